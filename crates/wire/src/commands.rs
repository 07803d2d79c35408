//! Redis commands that are written down as they are made: a guest builds no list of lists before it encodes them.

use alloc::vec::Vec;

use crate::protobuf;
use crate::request::{Lease, Style};
use crate::resp::put_decimal;

/// Commands in order, each the bytes of an `agw.v1.RedisCommand`, end to end in one buffer.
///
/// What it encodes to is what [`Request::encode`](crate::Request::encode) makes of the same commands, but that a
/// script's name stands before its arguments; to a reader that is the same.
#[derive(Clone, Debug, Default)]
pub struct RedisCommands {
    bytes: Vec<u8>,
    /// Where each command begins in `bytes`.
    starts: Vec<usize>,
}

impl RedisCommands {
    /// None yet, with room for so many bytes and commands.
    pub fn with_capacity(bytes: usize, commands: usize) -> Self {
        RedisCommands { bytes: Vec::with_capacity(bytes), starts: Vec::with_capacity(commands) }
    }

    /// The next command, without any argument yet; its first is its name.
    pub fn begin(&mut self) {
        self.starts.push(self.bytes.len());
    }

    /// The next command is a call of this script. Its first `keys` arguments are keys.
    pub fn begin_script(&mut self, name: &str, keys: u32) {
        self.begin();
        protobuf::put_optional_bytes(&mut self.bytes, SCRIPT, name.as_bytes());
        protobuf::put_uint(&mut self.bytes, SCRIPT_KEYS, keys.into());
    }

    /// The last command's next argument; of no command, if none has begun.
    pub fn arg(&mut self, arg: &[u8]) {
        protobuf::put_bytes(&mut self.bytes, ARGS, arg);
    }

    /// The same, in decimal.
    pub fn int(&mut self, value: i64) {
        protobuf::put_delimiter(&mut self.bytes, ARGS, 0);
        let begin = self.bytes.len();
        if value < 0 {
            self.bytes.push(b'-');
        }
        put_decimal(&mut self.bytes, value.unsigned_abs());
        // At most 20 bytes, so that their number takes the one byte that is there.
        self.bytes[begin - 1] = (self.bytes.len() - begin) as u8;
    }

    /// How many commands.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The bytes of a request with these commands; its fields are those of [`Request`](crate::Request) and
    /// [`RedisBatch`](crate::RedisBatch).
    pub fn encode(
        &self,
        resource: &str,
        style: Style,
        deadline_ms: u32,
        atomic: bool,
        lease: Option<Lease>,
    ) -> Vec<u8> {
        let commands: usize = self.each().map(|command| protobuf::delimited_len(1, command.len())).sum();
        let lease_len = lease.map_or(0, |lease| protobuf::delimited_len(3, lease.len()));
        let batch = commands + protobuf::uint_len(2, atomic.into()) + lease_len;
        let len = protobuf::optional_bytes_len(1, resource.as_bytes())
            + protobuf::uint_len(2, style as u64)
            + protobuf::uint_len(3, deadline_ms.into())
            + protobuf::delimited_len(16, batch);
        let mut out = Vec::with_capacity(len);
        protobuf::put_optional_bytes(&mut out, 1, resource.as_bytes());
        protobuf::put_uint(&mut out, 2, style as u64);
        protobuf::put_uint(&mut out, 3, deadline_ms.into());
        protobuf::put_delimiter(&mut out, 16, batch);
        for command in self.each() {
            protobuf::put_bytes(&mut out, 1, command);
        }
        protobuf::put_uint(&mut out, 2, atomic.into());
        if let Some(lease) = lease {
            lease.put(&mut out);
        }
        out
    }

    fn each(&self) -> impl Iterator<Item = &[u8]> {
        let ends = self.starts.iter().skip(1).copied().chain([self.bytes.len()]);
        self.starts.iter().zip(ends).map(|(begin, end)| &self.bytes[*begin..end])
    }
}

/// Fields of `agw.v1.RedisCommand`.
const ARGS: u32 = 1;
const SCRIPT: u32 = 2;
const SCRIPT_KEYS: u32 = 3;

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::{RedisBatch, RedisCommand, Request};

    fn request<'a>(commands: Vec<RedisCommand<'a>>, atomic: bool, lease: Option<Lease>) -> Request<'a> {
        let redis = RedisBatch { commands, atomic, lease };
        Request {
            resource: "limits",
            style: Style::Callback,
            deadline_ms: 300,
            redis: Some(redis),
            ..Request::default()
        }
    }

    #[test]
    fn plain_commands_are_byte_for_byte_those_of_a_request() {
        let long = [b'x'; 300];
        let mut commands = RedisCommands::default();
        commands.begin();
        for arg in [&b"SET"[..], b"", &long] {
            commands.arg(arg);
        }
        commands.begin();
        let lease = Some(Lease { id: 7, keep: true });
        let list = vec![RedisCommand::new(vec![b"SET", b"", &long]), RedisCommand::default()];
        let encoded = commands.encode("limits", Style::Callback, 300, true, lease);
        assert_eq!(encoded, request(list, true, lease).encode());
        assert_eq!((commands.len(), commands.is_empty()), (2, false));
    }

    #[test]
    fn a_script_reads_as_one() {
        let mut commands = RedisCommands::default();
        commands.begin_script("take", 1);
        commands.arg(b"k");
        let script = RedisCommand { args: vec![b"k"], script: "take", script_keys: 1 };
        let encoded = commands.encode("limits", Style::Callback, 300, false, None);
        assert_eq!(Request::decode(&encoded).unwrap(), request(vec![script], false, None));
    }

    #[test]
    fn integers_are_decimal_to_the_last() {
        for value in [0, 7, -1, 10, i64::MAX, i64::MIN] {
            let mut commands = RedisCommands::default();
            commands.begin();
            commands.int(value);
            commands.arg(b"after");
            let encoded = commands.encode("limits", Style::Callback, 300, false, None);
            let text = alloc::format!("{value}");
            let list = vec![RedisCommand::new(vec![text.as_bytes(), b"after"])];
            assert_eq!(Request::decode(&encoded).unwrap(), request(list, false, None));
        }
    }
}
