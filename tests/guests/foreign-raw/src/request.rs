//! `agw.v1.Request`, byte by byte.

/// One command: its name and its arguments.
pub(crate) type Command<'a> = &'a [&'a [u8]];

/// What of a request a scenario chooses.
#[derive(Clone, Copy)]
pub(crate) struct Batch<'a> {
    pub(crate) resource: &'a str,
    pub(crate) callback: bool,
    pub(crate) deadline_ms: u32,
    pub(crate) commands: &'a [Command<'a>],
    pub(crate) atomic: bool,
}

/// A batch of commands for a resource.
pub(crate) fn redis(batch: Batch<'_>) -> Vec<u8> {
    let mut request = head(batch.resource, batch.callback);
    if batch.deadline_ms != 0 {
        request.push(0x18);
        varint(&mut request, u64::from(batch.deadline_ms));
    }
    let mut redis = Vec::new();
    for command in batch.commands {
        let mut args = Vec::new();
        for arg in *command {
            bytes(&mut args, &[0x0a], arg);
        }
        bytes(&mut redis, &[0x0a], &args);
    }
    if batch.atomic {
        redis.extend_from_slice(&[0x10, 0x01]);
    }
    bytes(&mut request, &[0x82, 0x01], &redis);
    request
}

/// A request without anything to do.
pub(crate) fn head(resource: &str, callback: bool) -> Vec<u8> {
    let mut request = Vec::new();
    bytes(&mut request, &[0x0a], resource.as_bytes());
    if callback {
        request.extend_from_slice(&[0x10, 0x01]);
    }
    request
}

/// Takes a call back.
pub(crate) fn cancel(call_id: u32) -> Vec<u8> {
    let mut request = vec![0x20];
    varint(&mut request, u64::from(call_id));
    request
}

/// Tag, length, bytes.
pub(crate) fn bytes(out: &mut Vec<u8>, tag: &[u8], value: &[u8]) {
    out.extend_from_slice(tag);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

pub(crate) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
