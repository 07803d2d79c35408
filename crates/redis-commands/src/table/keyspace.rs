//! Keys of any type.

use super::grammars::{COPY, SCAN, SORT, SORT_RO};
use super::reasons::{ADMIN, DATABASE, FOREIGN, INTERNAL, MIGRATE, RESTORE};
use super::rows::{ALL, ONE, SECOND, TWO, options, read, refused, write};
use crate::command::{Command, Keys};
use crate::reply::ReplyRule;

pub(super) const ROWS: &[Command] = &[
    write("copy", -3, options(2, &COPY)),
    write("del", -2, ALL),
    read("dump", 2, ONE),
    read("exists", -2, ALL),
    write("expire", -3, ONE),
    write("expireat", -3, ONE),
    read("expiretime", 2, ONE),
    refused("keys", 2, FOREIGN),
    read("memory", -2, Keys::Subcommands),
    refused("memory|doctor", 2, ADMIN),
    refused("memory|help", 2, INTERNAL),
    refused("memory|malloc-stats", 2, ADMIN),
    refused("memory|purge", 2, ADMIN),
    refused("memory|stats", 2, ADMIN),
    read("memory|usage", -3, SECOND),
    refused("migrate", -6, MIGRATE).writing(),
    refused("move", 3, DATABASE).writing(),
    read("object", -2, Keys::Subcommands),
    read("object|encoding", 3, SECOND),
    read("object|freq", 3, SECOND),
    refused("object|help", 2, INTERNAL),
    read("object|idletime", 3, SECOND),
    read("object|refcount", 3, SECOND),
    write("persist", 2, ONE),
    write("pexpire", -3, ONE),
    write("pexpireat", -3, ONE),
    read("pexpiretime", 2, ONE),
    read("pttl", 2, ONE),
    refused("randomkey", 1, FOREIGN),
    write("rename", 3, TWO),
    write("renamenx", 3, TWO),
    refused("restore", -4, RESTORE).writing(),
    refused("restore-asking", -4, RESTORE).writing(),
    read("scan", -2, Keys::Scan(&SCAN)).answers(ReplyRule::ScanKeys),
    write("sort", -2, options(1, &SORT)),
    read("sort_ro", -2, options(1, &SORT_RO)),
    read("touch", -2, ALL),
    read("ttl", 2, ONE),
    read("type", 2, ONE),
    write("unlink", -2, ALL),
];
