//! When two replies are the same: byte by byte, unless Redis itself promises less.

use std::collections::BTreeSet;

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

/// The pieces of a scan, without repetitions.
#[derive(Default)]
pub(crate) struct Scanned(BTreeSet<Vec<Vec<u8>>>);

impl Scanned {
    /// Returns the next cursor, or `None` if this is no reply to a scan.
    pub(crate) fn add(&mut self, command: &Command, reply: &[u8]) -> Option<Vec<u8>> {
        let per_item = match command[0].to_ascii_lowercase().as_slice() {
            b"sscan" => 1,
            b"hscan" | b"zscan" => 2,
            _ => return None,
        };
        let Value::Array(parts) = parse(reply) else { return None };
        let (Some(Value::Bulk(cursor)), Some(Value::Array(items))) = (parts.first(), parts.get(1)) else {
            return None;
        };
        let bytes = |value: &Value<'_>| match value {
            Value::Bulk(bytes) => bytes.to_vec(),
            other => panic!("{other:?} in a scan"),
        };
        self.0.extend(items.chunks(per_item).map(|item| item.iter().map(bytes).collect()));
        Some(cursor.to_vec())
    }

    /// As one reply with the cursor 0.
    pub(crate) fn reply(&self) -> Vec<u8> {
        let mut out = b"*2\r\n$1\r\n0\r\n".to_vec();
        resp::put_header(&mut out, b'*', self.0.iter().map(Vec::len).sum());
        self.0.iter().flatten().for_each(|bytes| resp::put_bulk(&mut out, bytes));
        out
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
        // Redis 7.0 negates the lowest integer, which C leaves undefined; later ones refuse it as the store does.
        ("lpos", Value::Error(ours), _)
            if ours.starts_with(b"ERR value is out of range, value must between") =>
        {
            command.contains(&i64::MIN.to_string().into_bytes())
        }
        _ => ours == theirs,
    };
    if verdict { Ok(()) } else { Err(format!("the replies to {name} differ")) }
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
