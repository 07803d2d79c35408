//! Streams.

use super::grammars::{XREAD, XREADGROUP};
use super::reasons::INTERNAL;
use super::rows::{ONE, SECOND, read, refused, write};
use crate::command::{Command, Keys, Timeout};
use crate::reply::ReplyRule;

pub(super) const ROWS: &[Command] = &[
    write("xack", -4, ONE),
    write("xackdel", -6, ONE),
    write("xadd", -5, ONE),
    write("xautoclaim", -6, ONE),
    write("xclaim", -6, ONE),
    write("xdel", -3, ONE),
    write("xdelex", -5, ONE),
    read("xgroup", -2, Keys::Subcommands),
    write("xgroup|create", -5, SECOND),
    write("xgroup|createconsumer", 5, SECOND),
    write("xgroup|delconsumer", 5, SECOND),
    write("xgroup|destroy", 4, SECOND),
    refused("xgroup|help", 2, INTERNAL),
    write("xgroup|setid", -5, SECOND),
    read("xinfo", -2, Keys::Subcommands),
    read("xinfo|consumers", 4, SECOND),
    read("xinfo|groups", 3, SECOND),
    refused("xinfo|help", 2, INTERNAL),
    read("xinfo|stream", -3, SECOND),
    read("xlen", 2, ONE),
    read("xpending", -3, ONE),
    read("xrange", -4, ONE),
    read("xread", -4, Keys::Streams(&XREAD)).may_block(Timeout::BlockOption).answers(ReplyRule::KeyPerEntry),
    write("xreadgroup", -7, Keys::Streams(&XREADGROUP))
        .may_block(Timeout::BlockOption)
        .answers(ReplyRule::KeyPerEntry),
    read("xrevrange", -4, ONE),
    write("xsetid", -3, ONE),
    write("xtrim", -4, ONE),
];
