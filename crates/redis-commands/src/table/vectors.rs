//! Vector sets (Redis 8).

use super::rows::{ONE, read, write};
use crate::command::Command;

pub(super) const ROWS: &[Command] = &[
    write("vadd", -5, ONE),
    read("vcard", 2, ONE),
    read("vdim", 2, ONE),
    read("vemb", -3, ONE),
    read("vgetattr", 3, ONE),
    read("vinfo", 2, ONE),
    read("vismember", 3, ONE),
    read("vlinks", -3, ONE),
    read("vrandmember", -2, ONE),
    read("vrange", -4, ONE),
    write("vrem", 3, ONE),
    write("vsetattr", 4, ONE),
    read("vsim", -4, ONE),
];
