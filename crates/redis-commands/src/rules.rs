//! One plugin's grant, compiled, and the check of every command against it.

mod nearest;

#[cfg(test)]
mod tests;

use agw_wire::resp;

use crate::call::{Blocking, Call, KeyPositions};
use crate::command::{Command, Keys, Safety};
use crate::refusal::Refusal;
use crate::reply::ReplyRule;
use crate::table;

/// Which commands a grant covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandSet {
    /// Every command that is not refused, those that need a lease included.
    AllSafe,
    /// These. A container such as `xgroup` covers its subcommands; `xgroup|create` covers one of them.
    Named(Vec<String>),
}

/// A grant as the operator wrote it.
#[derive(Clone, Debug)]
pub struct RulesSpec<'a> {
    /// The commands.
    pub commands: CommandSet,
    /// Goes before every key and channel; may be empty.
    pub key_prefix: &'a str,
    /// Refuse whatever writes or publishes.
    pub read_only: bool,
    /// Bytes of one key, prefix not counted. At least 1.
    pub key_bytes_max: usize,
}

/// What is wrong with a grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// The table does not hold the command.
    #[error("{name:?} is not a Redis command that this host knows{}", suggestion(.nearest))]
    UnknownCommand {
        /// As the operator wrote it.
        name: String,
        /// The command that may have been meant.
        nearest: Option<&'static str>,
    },
    /// No plugin may call the command.
    #[error("{name:?} cannot be granted: {why}")]
    RefusedCommand {
        /// As the operator wrote it.
        name: String,
        /// Why, and the way out.
        why: &'static str,
    },
    /// The key prefix holds a control character.
    #[error("the key prefix holds a control character; use printable characters")]
    PrefixCharacter,
    /// No key would fit.
    #[error("the limit on a key's bytes is 0; it must be at least 1")]
    NoKeyFits,
}

fn suggestion(nearest: &Option<&'static str>) -> String {
    nearest.map(|name| format!("; did you mean {name:?}?")).unwrap_or_default()
}

/// One plugin's grant, compiled once and shared. Never changes.
#[derive(Clone, Debug)]
pub struct Rules {
    granted: [u64; table::COUNT.div_ceil(64)],
    prefix: Box<[u8]>,
    /// The prefix as a pattern that matches just itself.
    prefix_pattern: Box<[u8]>,
    read_only: bool,
    key_bytes_max: usize,
}

/// A command that may go out, and what the sender must heed.
#[derive(Clone, Copy, Debug)]
pub struct Admitted {
    /// Its row; for a container the subcommand's.
    pub command: &'static Command,
    /// What is to be done with its reply.
    pub reply: ReplyRule,
    /// It must go out on an exclusive connection.
    pub leased: bool,
    /// It changes data or reaches subscribers.
    pub writes: bool,
    /// How long it may block the connection.
    pub blocking: Blocking,
}

// === impl Rules ===

impl Rules {
    /// Compiles a grant.
    ///
    /// # Errors
    /// Everything that is wrong with it, not just the first.
    pub fn new(spec: RulesSpec<'_>) -> Result<Rules, Vec<RuleError>> {
        let mut errors = Vec::new();
        if spec.key_prefix.chars().any(char::is_control) {
            errors.push(RuleError::PrefixCharacter);
        }
        if spec.key_bytes_max == 0 {
            errors.push(RuleError::NoKeyFits);
        }
        let prefix = spec.key_prefix.as_bytes();
        let mut rules = Rules {
            granted: [0; _],
            prefix: prefix.into(),
            prefix_pattern: escaped(prefix).into(),
            read_only: spec.read_only,
            key_bytes_max: spec.key_bytes_max,
        };
        match spec.commands {
            CommandSet::AllSafe => rules.grant_if(Command::grantable),
            CommandSet::Named(names) => {
                errors.extend(names.into_iter().filter_map(|name| rules.grant(name).err()));
            }
        }
        if errors.is_empty() { Ok(rules) } else { Err(errors) }
    }

    fn grant(&mut self, name: String) -> Result<(), RuleError> {
        let Some(place) = table::find(name.as_bytes()) else {
            let nearest = nearest::to(&name);
            return Err(RuleError::UnknownCommand { name, nearest });
        };
        let command = table::command(place);
        if let Safety::Refused(why) = command.safety {
            return Err(RuleError::RefusedCommand { name, why });
        }
        self.set(place);
        if command.keys == Keys::Subcommands {
            let inside =
                |row: &Command| row.name.split_once('|').is_some_and(|(outer, _)| outer == command.name);
            self.grant_if(|row| row.grantable() && inside(row));
        }
        Ok(())
    }

    fn grant_if(&mut self, wanted: impl Fn(&Command) -> bool) {
        for (place, command) in table::all().iter().enumerate() {
            if wanted(command) {
                self.set(place);
            }
        }
    }

    fn set(&mut self, place: usize) {
        self.granted[place / 64] |= 1 << (place % 64);
    }

    fn is_granted(&self, place: usize) -> bool {
        self.granted[place / 64] & (1 << (place % 64)) != 0
    }

    /// What goes before every key; [`ReplyRule::apply`] takes it off again.
    pub fn key_prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Checks one command and appends it to `out` as RESP, its keys prefixed.
    ///
    /// # Errors
    /// [`Refusal`]; `out` is then as it was.
    pub fn admit(&self, args: &[&[u8]], out: &mut Vec<u8>) -> Result<Admitted, Refusal> {
        let command = self.granted(args)?;
        command.check_arity(args)?;
        let call = Call::read(command, args)?;
        self.check_keys(command, args, &call)?;
        match command.keys {
            Keys::Scan(_) => self.put_scan(args, call.key_pattern, out),
            _ => self.put(args, &call.keys, out),
        }
        Ok(Admitted {
            command,
            reply: command.reply,
            leased: command.safety == Safety::Leased || call.blocking != Blocking::No,
            writes: command.writes || command.publishes(),
            blocking: call.blocking,
        })
    }

    /// Appends a call of a script that the operator has named; the caller has checked that the grant names it.
    ///
    /// Under a read-only grant it is `EVALSHA_RO`, so that the server refuses whatever the script would write.
    ///
    /// # Errors
    /// [`Refusal`]; `out` is then as it was.
    pub fn admit_script(
        &self,
        sha1_hex: &str,
        keys: &[&[u8]],
        args: &[&[u8]],
        out: &mut Vec<u8>,
    ) -> Result<Admitted, Refusal> {
        let name = if self.read_only { "evalsha_ro" } else { "evalsha" };
        let unknown = || Refusal::Invalid("a script is named by the 40 hex digits of its SHA-1".into());
        let command = table::lookup(name.as_bytes()).ok_or_else(unknown)?;
        if sha1_hex.len() != 40 || !sha1_hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(unknown());
        }
        if let Some(at) = keys.iter().position(|key| key.len() > self.key_bytes_max) {
            let most = self.key_bytes_max;
            return Err(Refusal::Invalid(format!(
                "script: key {at} is longer than the grant's {most} bytes"
            )));
        }
        out.reserve(self.encoded_len(keys) + self.encoded_len(args) + 128);
        resp::put_header(out, b'*', 3 + keys.len() + args.len());
        resp::put_bulk(out, name.as_bytes());
        resp::put_bulk(out, sha1_hex.as_bytes());
        resp::put_bulk(out, keys.len().to_string().as_bytes());
        for key in keys {
            put_prefixed(out, &self.prefix, key);
        }
        for arg in args {
            resp::put_bulk(out, arg);
        }
        let writes = !self.read_only;
        Ok(Admitted { command, reply: ReplyRule::AsIs, leased: false, writes, blocking: Blocking::No })
    }

    fn granted(&self, args: &[&[u8]]) -> Result<&'static Command, Refusal> {
        let Some(name) = args.first() else {
            return Err(Refusal::Invalid("the command is empty; its name must be argument 0".into()));
        };
        // Subcommands have rows of their own, but nobody may call them by the row's name.
        let place = table::find(name).filter(|place| !table::command(*place).name.contains('|'));
        let Some(mut place) = place else {
            return Err(Refusal::Denied(
                "argument 0 is not a Redis command that this host knows, and unknown commands are refused"
                    .into(),
            ));
        };
        let mut command = table::command(place);
        if command.keys == Keys::Subcommands {
            let Some(subcommand) = args.get(1) else {
                return Err(Refusal::argument(command, 1, "is missing: the subcommand"));
            };
            let Some(found) = table::find_subcommand(command, subcommand) else {
                return Err(Refusal::denied(command, "has no subcommand that this host knows by argument 1"));
            };
            place = found;
            command = table::command(place);
        }
        if let Safety::Refused(why) = command.safety {
            return Err(Refusal::denied(command, format!("is refused: {why}")));
        }
        if !self.is_granted(place) {
            let name = command.name;
            return Err(Refusal::denied(
                command,
                format!("is not granted; have the operator add {name:?} to this plugin's grant"),
            ));
        }
        if self.read_only && (command.writes || command.publishes()) {
            return Err(Refusal::denied(
                command,
                format!("writes and the grant is read-only{}", way_out(command)),
            ));
        }
        Ok(command)
    }

    fn check_keys(&self, command: &Command, args: &[&[u8]], call: &Call) -> Result<(), Refusal> {
        for at in call.keys.iter().chain(call.key_pattern) {
            if args.get(at).is_some_and(|key| key.len() > self.key_bytes_max) {
                let most = self.key_bytes_max;
                return Err(Refusal::argument(
                    command,
                    at,
                    format!("is longer than the grant's {most} bytes"),
                ));
            }
        }
        Ok(())
    }

    fn put(&self, args: &[&[u8]], keys: &KeyPositions, out: &mut Vec<u8>) {
        out.reserve(self.encoded_len(args));
        resp::put_header(out, b'*', args.len());
        for (at, arg) in args.iter().enumerate() {
            if keys.contains(at) {
                put_prefixed(out, &self.prefix, arg);
            } else {
                resp::put_bulk(out, arg);
            }
        }
    }

    /// `SCAN` sees only names that start with the prefix: its pattern is put behind the escaped prefix.
    fn put_scan(&self, args: &[&[u8]], pattern_at: Option<usize>, out: &mut Vec<u8>) {
        if self.prefix.is_empty() {
            return self.put(args, &KeyPositions::default(), out);
        }
        let added = if pattern_at.is_none() { 2 } else { 0 };
        out.reserve(self.encoded_len(args) + 2 * self.prefix_pattern.len() + 32);
        resp::put_header(out, b'*', args.len() + added);
        for (at, arg) in args.iter().enumerate() {
            if Some(at) == pattern_at {
                put_prefixed(out, &self.prefix_pattern, arg);
            } else {
                resp::put_bulk(out, arg);
            }
        }
        if pattern_at.is_none() {
            resp::put_bulk(out, b"match");
            put_prefixed(out, &self.prefix_pattern, b"*");
        }
    }

    /// At least the bytes that these arguments take, so that one reservation does.
    fn encoded_len(&self, args: &[&[u8]]) -> usize {
        16 + args.iter().map(|arg| arg.len() + self.prefix.len() + 16).sum::<usize>()
    }
}

fn put_prefixed(out: &mut Vec<u8>, prefix: &[u8], key: &[u8]) {
    resp::put_header(out, b'$', prefix.len() + key.len());
    out.extend_from_slice(prefix);
    out.extend_from_slice(key);
    out.extend_from_slice(b"\r\n");
}

fn escaped(prefix: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(prefix.len());
    for byte in prefix {
        if b"*?[]^-\\".contains(byte) {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    pattern
}

/// Some commands are writes only for what their options could do; the server has a reading form of them.
fn way_out(command: &Command) -> &'static str {
    match command.name {
        "bitfield" => "; use BITFIELD_RO",
        "georadius" => "; use GEORADIUS_RO",
        "georadiusbymember" => "; use GEORADIUSBYMEMBER_RO",
        "sort" => "; use SORT_RO",
        _ => "",
    }
}
