//! Commands under construction.

use agw_wire::RedisCommands;

/// Commands in order, each with its arguments, in the form in which they go out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Commands(RedisCommands);

impl Commands {
    /// Room for the batches of most plugins, so that their buffers never move.
    pub(crate) fn with_room() -> Self {
        Commands(RedisCommands::with_capacity(512, 4))
    }

    /// The next command.
    pub(crate) fn begin(&mut self, name: &[u8]) {
        self.0.begin();
        self.0.arg(name);
    }

    /// The next command is the script `name`; its first `keys` arguments are keys.
    pub(crate) fn begin_script(&mut self, name: &str, keys: usize) {
        // More keys than this cannot be held in the guest's memory.
        self.0.begin_script(name, u32::try_from(keys).unwrap_or(u32::MAX));
    }

    /// A command given as a whole, its name first.
    pub(crate) fn whole(&mut self, args: &[&[u8]]) {
        self.0.begin();
        self.list(args);
    }

    pub(crate) fn bytes(&mut self, arg: &[u8]) {
        self.0.arg(arg);
    }

    pub(crate) fn int(&mut self, value: i64) {
        self.0.int(value);
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

    pub(crate) fn as_wire(&self) -> &RedisCommands {
        &self.0
    }
}
