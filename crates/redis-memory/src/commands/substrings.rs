//! Strings in part: APPEND, GETRANGE, SETRANGE, STRLEN.

use super::arguments::integer;
use super::{Grows, Spec, spec};
use crate::failure::{Done, Failure};
use crate::keyspace::Keyspace;
use crate::reply::Reply;
use crate::value::Text;

/// Redis' `proto-max-bulk-len`.
const STRING_BYTES_MAX: usize = 512 << 20;

pub(super) const COMMANDS: &[Spec] = &[
    spec("append", 3, Grows::Key(1), append),
    spec("getrange", 4, Grows::No, getrange),
    spec("setrange", 4, Grows::Key(1), setrange),
    spec("strlen", 2, Grows::No, strlen),
    spec("substr", 4, Grows::No, getrange),
];

fn strlen(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    reply.count(db.read::<Text>(args[1])?.map_or(0, |text| text.0.len()));
    Ok(())
}

fn append(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let len = db.change_or_create(args[1], |text: &mut Text| {
        if text.0.len().saturating_add(args[2].len()) > STRING_BYTES_MAX {
            return Err(Failure::STRING_TOO_LONG);
        }
        text.0.extend_from_slice(args[2]);
        Ok(text.0.len())
    })?;
    reply.count(len);
    Ok(())
}

fn getrange(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    let (start, end) = (integer(args[2])?, integer(args[3])?);
    let text = db.read::<Text>(args[1])?.map_or(&b""[..], |text| &text.0);
    reply.bulk(part(text, start, end));
    Ok(())
}

/// Unlike in lists, an end before the first byte means the first byte.
fn part(text: &[u8], start: i64, end: i64) -> &[u8] {
    if start < 0 && end < 0 && start > end {
        return b"";
    }
    let place = |index: i64| {
        let distance = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
        if index < 0 { text.len().saturating_sub(distance) } else { distance }
    };
    let end = place(end).saturating_add(1).min(text.len());
    text.get(place(start)..end).unwrap_or_default()
}

fn setrange(db: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    const NEGATIVE: Failure = Failure::fixed("ERR offset is out of range");
    let offset = usize::try_from(integer(args[2])?).map_err(|_| NEGATIVE)?;
    let patch = args[3];
    let len = db.read::<Text>(args[1])?.map_or(0, |text| text.0.len());
    if patch.is_empty() {
        reply.count(len);
        return Ok(());
    }
    let end = offset.saturating_add(patch.len());
    if end > STRING_BYTES_MAX {
        return Err(Failure::STRING_TOO_LONG);
    }
    db.room_for(end.saturating_sub(len), 0)?;
    let len = db.change_or_create(args[1], |text: &mut Text| {
        if text.0.len() < end {
            text.0.resize(end, 0);
        }
        text.0[offset..end].copy_from_slice(patch);
        Ok(text.0.len())
    })?;
    reply.count(len);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::shell::Shell;

    #[test]
    fn parts_of_strings_are_read_and_written() {
        Shell::new().expect(&[
            ("SETRANGE a -1 x", "-ERR offset is out of range"),
            ("SETRANGE a 536870912 x", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
            ("SETRANGE a 400000000 x", "-OOM command not allowed when used memory > 'maxmemory'."),
            ("SETRANGE a 3 ''", "0"),
            ("EXISTS a", "0"),
            ("APPEND a hello", "5"),
            ("SETRANGE a 6 x", "7"),
            ("GET a", "hello\\x00x"),
            ("GETRANGE a 0 -3", "hello"),
            ("GETRANGE a 5 1", ""),
            ("GETRANGE a -9223372036854775808 9223372036854775807", "hello\\x00x"),
            ("STRLEN a", "7"),
            ("SUBSTR a 0 1", "he"),
        ]);
    }
}
