//! Options of the commands whose options may hold keys, patterns or a timeout.
//!
//! They are allow-lists: an argument that is not listed here is refused, because the server may read it
//! differently (it stops at a NUL byte when it compares option names, for one).

use super::reasons::{COMPUTED_KEYS, OTHER_DATABASE};

/// The options that follow a command's positional arguments.
#[derive(Debug, PartialEq, Eq)]
pub struct Grammar {
    pub(crate) from: usize,
    pub(crate) options: &'static [Opt],
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opt {
    pub(crate) name: &'static str,
    pub(crate) values: usize,
    pub(crate) value: OptValue,
}

/// What an option's values are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum OptValue {
    /// Nothing to look at.
    Plain,
    /// A key.
    Key,
    /// A pattern that is matched against members of one key.
    Pattern,
    /// The pattern that is matched against key names.
    KeyPattern,
    /// Milliseconds to block.
    Block,
    /// A count of at most so many.
    AtMost(u32),
    /// Allowed, any number of times, with exactly this value; any other is denied for the reason.
    Only { value: &'static str, why: &'static str },
    /// Denied for the reason.
    Never(&'static str),
}

const fn flag(name: &'static str) -> Opt {
    Opt { name, values: 0, value: OptValue::Plain }
}

const fn plain(name: &'static str, values: usize) -> Opt {
    Opt { name, values, value: OptValue::Plain }
}

const fn with(name: &'static str, value: OptValue) -> Opt {
    Opt { name, values: 1, value }
}

/// SCAN holds the server up for as many keys as COUNT says, whosoever they are.
const SCAN_COUNT_MAX: u32 = 1000;

pub(super) const SCAN: Grammar = Grammar {
    from: 2,
    options: &[
        with("match", OptValue::KeyPattern),
        with("count", OptValue::AtMost(SCAN_COUNT_MAX)),
        plain("type", 1),
    ],
};

pub(super) const MEMBERS: Grammar = Grammar {
    from: 3,
    options: &[with("match", OptValue::Pattern), plain("count", 1), flag("novalues"), flag("noscores")],
};

pub(super) const COPY: Grammar =
    Grammar { from: 3, options: &[flag("replace"), with("db", OptValue::Never(OTHER_DATABASE))] };

const BY: Opt = with("by", OptValue::Only { value: "nosort", why: COMPUTED_KEYS });
const GET: Opt = with("get", OptValue::Only { value: "#", why: COMPUTED_KEYS });

pub(super) const SORT: Grammar = Grammar {
    from: 2,
    options: &[
        BY,
        GET,
        plain("limit", 2),
        flag("asc"),
        flag("desc"),
        flag("alpha"),
        with("store", OptValue::Key),
    ],
};

pub(super) const SORT_RO: Grammar =
    Grammar { from: 2, options: &[BY, GET, plain("limit", 2), flag("asc"), flag("desc"), flag("alpha")] };

const RADIUS: &[Opt] = &[
    flag("withcoord"),
    flag("withdist"),
    flag("withhash"),
    plain("count", 1),
    flag("any"),
    flag("asc"),
    flag("desc"),
    with("store", OptValue::Key),
    with("storedist", OptValue::Key),
];

const RADIUS_RO: &[Opt] = RADIUS.split_at(RADIUS.len() - 2).0;

pub(super) const GEORADIUS: Grammar = Grammar { from: 6, options: RADIUS };
pub(super) const GEORADIUS_RO: Grammar = Grammar { from: 6, options: RADIUS_RO };
pub(super) const GEORADIUSBYMEMBER: Grammar = Grammar { from: 5, options: RADIUS };
pub(super) const GEORADIUSBYMEMBER_RO: Grammar = Grammar { from: 5, options: RADIUS_RO };

pub(super) const XREAD: Grammar =
    Grammar { from: 1, options: &[plain("count", 1), with("block", OptValue::Block)] };

pub(super) const XREADGROUP: Grammar = Grammar {
    from: 1,
    options: &[
        plain("group", 2),
        plain("count", 1),
        with("block", OptValue::Block),
        flag("noack"),
        plain("claim", 1),
    ],
};
