//! Sets.

use super::grammars::MEMBERS;
use super::rows::{ALL, ONE, TWO, counted, options, read, write};
use crate::command::Command;

pub(super) const ROWS: &[Command] = &[
    write("sadd", -3, ONE),
    read("scard", 2, ONE),
    read("sdiff", -2, ALL),
    write("sdiffstore", -3, ALL),
    read("sinter", -2, ALL),
    read("sintercard", -3, counted(1)),
    write("sinterstore", -3, ALL),
    read("sismember", 3, ONE),
    read("smembers", 2, ONE),
    read("smismember", -3, ONE),
    write("smove", 4, TWO),
    write("spop", -2, ONE),
    read("srandmember", -2, ONE),
    write("srem", -3, ONE),
    read("sscan", -3, options(1, &MEMBERS)),
    read("sunion", -2, ALL),
    write("sunionstore", -3, ALL),
];
