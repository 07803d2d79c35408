//! Lists.

use super::rows::{ONE, TWO, counted, range, read, write};
use crate::command::{Command, Timeout};
use crate::reply::ReplyRule;

pub(super) const ROWS: &[Command] = &[
    write("blmove", 6, TWO).blocks(Timeout::LastSeconds),
    write("blmpop", -5, counted(2)).blocks(Timeout::FirstSeconds).answers(ReplyRule::KeyFirst),
    write("blpop", -3, range(1, -2, 1)).blocks(Timeout::LastSeconds).answers(ReplyRule::KeyFirst),
    write("brpop", -3, range(1, -2, 1)).blocks(Timeout::LastSeconds).answers(ReplyRule::KeyFirst),
    write("brpoplpush", 4, TWO).blocks(Timeout::LastSeconds),
    read("lindex", 3, ONE),
    write("linsert", 5, ONE),
    read("llen", 2, ONE),
    write("lmove", 5, TWO),
    write("lmpop", -4, counted(1)).answers(ReplyRule::KeyFirst),
    write("lpop", -2, ONE),
    read("lpos", -3, ONE),
    write("lpush", -3, ONE),
    write("lpushx", -3, ONE),
    read("lrange", 4, ONE),
    write("lrem", 4, ONE),
    write("lset", 4, ONE),
    write("ltrim", 4, ONE),
    write("rpop", -2, ONE),
    write("rpoplpush", 3, TWO),
    write("rpush", -3, ONE),
    write("rpushx", -3, ONE),
];
