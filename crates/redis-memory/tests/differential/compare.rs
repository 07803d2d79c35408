//! When two replies are the same: byte by byte, unless Redis itself promises less.

use agw_wire::resp::{self, Value};

use crate::Command;

/// Two clocks are read one after the other on a busy machine.
const TOLERANCE_MILLIS: i64 = 5_000;

pub(crate) fn same(command: &Command, ours: &[u8], theirs: &[u8]) -> Result<(), String> {
    if ours == theirs {
        return Ok(());
    }
    same_value(command, &parse(ours), &parse(theirs))
}

/// The reply to EXEC, part by part.
pub(crate) fn same_batch(commands: &[Command], ours: &[u8], theirs: &[u8]) -> Result<(), String> {
    let (Value::Array(our_parts), Value::Array(their_parts)) = (parse(ours), parse(theirs)) else {
        return if ours == theirs { Ok(()) } else { Err(format!("{:?} {:?}", parse(ours), parse(theirs))) };
    };
    if our_parts.len() != their_parts.len() {
        return Err("other lengths".into());
    }
    let mut parts = commands.iter().zip(our_parts.iter().zip(&their_parts));
    parts.try_for_each(|(command, (ours, theirs))| same_value(command, ours, theirs))
}

/// The members that SPOP replied with.
pub(crate) fn members(reply: &[u8]) -> Vec<Vec<u8>> {
    match parse(reply) {
        Value::Bulk(member) => vec![member.to_vec()],
        Value::Array(members) => members
            .into_iter()
            .map(|member| match member {
                Value::Bulk(member) => member.to_vec(),
                other => panic!("{other:?} is not a member"),
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn parse(reply: &[u8]) -> Value<'_> {
    let values = resp::parse_all(reply, 1);
    values.unwrap_or_else(|error| panic!("{error}: {}", reply.escape_ascii())).remove(0)
}

fn same_value(command: &Command, ours: &Value<'_>, theirs: &Value<'_>) -> Result<(), String> {
    let name = String::from_utf8_lossy(&command[0]).to_ascii_lowercase();
    let verdict = match (name.as_str(), ours, theirs) {
        (
            "smembers" | "sinter" | "sunion" | "sdiff" | "hkeys" | "hvals",
            Value::Array(ours),
            Value::Array(theirs),
        ) => sorted(ours, 1) == sorted(theirs, 1),
        ("hgetall", Value::Array(ours), Value::Array(theirs)) => sorted(ours, 2) == sorted(theirs, 2),
        ("hscan" | "zscan" | "sscan", Value::Array(ours), Value::Array(theirs)) => {
            let per_item = if name == "sscan" { 1 } else { 2 };
            match (&ours[..], &theirs[..]) {
                ([cursor, Value::Array(ours)], [other, Value::Array(theirs)]) => {
                    cursor == other && sorted(ours, per_item) == sorted(theirs, per_item)
                }
                _ => false,
            }
        }
        ("ttl" | "expiretime", Value::Int(ours), Value::Int(theirs)) => near(*ours, *theirs, 1000),
        ("pttl" | "pexpiretime", Value::Int(ours), Value::Int(theirs)) => near(*ours, *theirs, 1),
        ("time", Value::Array(ours), Value::Array(theirs)) => ours.len() == theirs.len(),
        ("spop" | "srandmember", Value::Bulk(_), Value::Bulk(_)) => true,
        ("spop" | "srandmember", Value::Array(ours), Value::Array(theirs)) => {
            let repeats = command.get(2).is_some_and(|count| count.starts_with(b"-"));
            ours.len() == theirs.len() && (repeats || all_differ(ours))
        }
        _ => ours == theirs,
    };
    if verdict { Ok(()) } else { Err(format!("{ours:?} is not {theirs:?}")) }
}

fn near(ours: i64, theirs: i64, unit: i64) -> bool {
    if ours < 0 || theirs < 0 {
        ours == theirs
    } else {
        ours.abs_diff(theirs) as i64 * unit <= TOLERANCE_MILLIS
    }
}

fn all_differ(values: &[Value<'_>]) -> bool {
    sorted(values, 1).windows(2).all(|pair| pair[0] != pair[1])
}

fn sorted(values: &[Value<'_>], per_item: usize) -> Vec<String> {
    let mut items: Vec<_> = values.chunks(per_item).map(|item| format!("{item:?}")).collect();
    items.sort();
    items
}
