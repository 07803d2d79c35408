//! Hashes.

use super::grammars::MEMBERS;
use super::rows::{ONE, options, read, write};
use crate::command::Command;

pub(super) const ROWS: &[Command] = &[
    write("hdel", -3, ONE),
    read("hexists", 3, ONE),
    write("hexpire", -6, ONE),
    write("hexpireat", -6, ONE),
    read("hexpiretime", -5, ONE),
    read("hget", 3, ONE),
    read("hgetall", 2, ONE),
    write("hgetdel", -5, ONE),
    write("hgetex", -5, ONE),
    write("hincrby", 4, ONE),
    write("hincrbyfloat", 4, ONE),
    read("hkeys", 2, ONE),
    read("hlen", 2, ONE),
    read("hmget", -3, ONE),
    write("hmset", -4, ONE),
    write("hpersist", -5, ONE),
    write("hpexpire", -6, ONE),
    write("hpexpireat", -6, ONE),
    read("hpexpiretime", -5, ONE),
    read("hpttl", -5, ONE),
    read("hrandfield", -2, ONE),
    read("hscan", -3, options(1, &MEMBERS)),
    write("hset", -4, ONE),
    write("hsetex", -6, ONE),
    write("hsetnx", 4, ONE),
    read("hstrlen", 3, ONE),
    read("httl", -5, ONE),
    read("hvals", 2, ONE),
];
