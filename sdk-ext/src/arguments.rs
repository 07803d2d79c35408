//! Commands under construction: all arguments in one buffer.

use agw_wire::RedisCommand;

/// Commands in order, each with its arguments. The arguments lie end to end in one buffer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Commands {
    bytes: Vec<u8>,
    /// Where each argument ends in `bytes`.
    ends: Vec<usize>,
    starts: Vec<Start>,
}

#[derive(Clone, Copy, Debug)]
struct Start {
    /// Index in `Commands::ends` of the command's name.
    first: usize,
    /// The first argument names a script, and so many of the others are keys.
    script_keys: Option<u32>,
}

impl Commands {
    /// Room for the batches of most plugins, so that their buffers never move.
    pub(crate) fn with_room() -> Self {
        Commands {
            bytes: Vec::with_capacity(512),
            ends: Vec::with_capacity(16),
            starts: Vec::with_capacity(4),
        }
    }

    /// The next command.
    pub(crate) fn begin(&mut self, name: &[u8]) {
        self.starts.push(Start { first: self.ends.len(), script_keys: None });
        self.bytes(name);
    }

    /// The next command is the script `name`; its first `keys` arguments are keys.
    pub(crate) fn begin_script(&mut self, name: &str, keys: usize) {
        // More keys than this cannot be held in the guest's memory.
        let keys = u32::try_from(keys).unwrap_or(u32::MAX);
        self.starts.push(Start { first: self.ends.len(), script_keys: Some(keys) });
        self.bytes(name.as_bytes());
    }

    /// A command given as a whole, its name first.
    pub(crate) fn whole(&mut self, args: &[&[u8]]) {
        self.starts.push(Start { first: self.ends.len(), script_keys: None });
        self.list(args);
    }

    pub(crate) fn bytes(&mut self, arg: &[u8]) {
        self.bytes.extend_from_slice(arg);
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn int(&mut self, value: i64) {
        if value < 0 {
            self.bytes.push(b'-');
        }
        agw_wire::resp::put_decimal(&mut self.bytes, value.unsigned_abs());
        // Ends the argument.
        self.bytes(b"");
    }

    pub(crate) fn float(&mut self, value: f64) {
        self.bytes(value.to_string().as_bytes());
    }

    pub(crate) fn list(&mut self, args: &[impl AsRef<[u8]>]) {
        for arg in args {
            self.bytes(arg.as_ref());
        }
    }

    pub(crate) fn pairs(&mut self, pairs: &[(impl AsRef<[u8]>, impl AsRef<[u8]>)]) {
        for (first, second) in pairs {
            self.bytes(first.as_ref());
            self.bytes(second.as_ref());
        }
    }

    pub(crate) fn scored(&mut self, members: &[(f64, impl AsRef<[u8]>)]) {
        for (score, member) in members {
            self.float(*score);
            self.bytes(member.as_ref());
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    /// The same in the contract's form, borrowed from here.
    pub(crate) fn to_wire(&self) -> Vec<RedisCommand<'_>> {
        let mut commands = Vec::with_capacity(self.starts.len());
        for (index, start) in self.starts.iter().enumerate() {
            let end = self.starts.get(index + 1).map_or(self.ends.len(), |next| next.first);
            let mut args: Vec<&[u8]> = Vec::with_capacity(end - start.first);
            args.extend((start.first..end).map(|index| self.argument(index)));
            let mut command = RedisCommand::default();
            if let Some(keys) = start.script_keys {
                command.script = std::str::from_utf8(args.remove(0)).unwrap_or_default();
                command.script_keys = keys;
            }
            command.args = args;
            commands.push(command);
        }
        commands
    }

    fn argument(&self, index: usize) -> &[u8] {
        let begin = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[begin..self.ends[index]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(value: i64) -> String {
        let mut commands = Commands::default();
        commands.int(value);
        String::from_utf8(commands.bytes).unwrap()
    }

    #[test]
    fn integers_are_decimal_to_the_last() {
        for value in [0, 7, -1, 10, i64::MAX, i64::MIN] {
            assert_eq!(int(value), value.to_string());
        }
    }

    #[test]
    fn empty_arguments_and_commands_without_any_keep_their_places() {
        let mut commands = Commands::default();
        commands.begin(b"PING");
        commands.begin(b"SET");
        commands.bytes(b"");
        commands.bytes(b"\r\n");
        commands.begin_script("take", 1);
        commands.bytes(b"k");
        commands.float(1.5);
        commands.whole(&[]);
        let wire = commands.to_wire();
        assert_eq!(wire.len(), commands.len());
        assert_eq!(wire[0].args, [b"PING"]);
        assert_eq!(wire[1].args, [&b"SET"[..], b"", b"\r\n"]);
        assert_eq!((wire[2].script, wire[2].script_keys), ("take", 1));
        assert_eq!(wire[2].args, [&b"k"[..], b"1.5"]);
        assert!(wire[3].args.is_empty());
    }
}
