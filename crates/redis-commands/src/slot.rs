//! Hash slots of a Redis Cluster: which keys are at one node.

use crate::call::Call;
use crate::command::{Command, Keys};
use crate::refusal::Refusal;
use crate::rules::Rules;

/// Hash slots of a cluster.
pub const HASH_SLOTS: u16 = 16_384;

/// What to do about keys that are in different slots, as the end of a sentence.
pub const HASH_TAG: &str = "give the keys one hash tag, as in \"{user7}:a\" and \"{user7}:b\", or send a command for each in a batch that is not \
     atomic";

static CRC: [u16; 256] = table();

/// Of CRC-16/XMODEM, which the cluster specification prescribes.
const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// The slot of a key in two parts: of what is between the first `{` and the first `}` behind it, if there is anything
/// between them, and of the whole key otherwise.
fn key_slot(prefix: &[u8], key: &[u8]) -> u16 {
    let bytes = || prefix.iter().chain(key);
    let tag = bytes().position(|byte| *byte == b'{').and_then(|open| {
        let len = bytes().skip(open + 1).position(|byte| *byte == b'}')?;
        (len > 0).then_some((open + 1, len))
    });
    let (skipped, taken) = tag.unwrap_or((0, prefix.len() + key.len()));
    let step = |crc: u16, byte: &u8| (crc << 8) ^ CRC[usize::from((crc >> 8) as u8 ^ *byte)];
    bytes().skip(skipped).take(taken).fold(0, step) % HASH_SLOTS
}

impl Rules {
    /// The slot of the keys of a command that was admitted, prefix included; a channel counts as one. `None` without
    /// keys: any node answers it.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for keys in different slots, and for what only sees the keys of one node.
    pub fn slot(&self, command: &Command, args: &[&[u8]]) -> Result<Option<u16>, Refusal> {
        match command.keys {
            Keys::None | Keys::Subcommands => Ok(None),
            Keys::Scan(_) => Err(Refusal::invalid(
                command,
                "in a cluster it would see the keys of one node only; keep the names in a set of your own",
            )),
            _ => {
                let keys = Call::read(command, args)?.keys;
                let keys = keys.iter().filter_map(|at| args.get(at).copied());
                self.one_slot(keys).map_err(|()| {
                    let message = format!("its keys are in different hash slots of the cluster; {HASH_TAG}");
                    Refusal::invalid(command, message)
                })
            }
        }
    }

    /// The slot of a script's keys, as [`Rules::slot`].
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for keys in different slots.
    pub fn slot_of_keys<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> Result<Option<u16>, Refusal> {
        self.one_slot(keys).map_err(|()| {
            Refusal::Invalid(format!(
                "script: its keys are in different hash slots of the cluster; {HASH_TAG}"
            ))
        })
    }

    fn one_slot<'a>(&self, mut keys: impl Iterator<Item = &'a [u8]>) -> Result<Option<u16>, ()> {
        let prefix = self.key_prefix();
        let Some(first) = keys.next().map(|key| key_slot(prefix, key)) else { return Ok(None) };
        if keys.all(|key| key_slot(prefix, key) == first) { Ok(Some(first)) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CommandSet, RulesSpec, lookup};

    fn rules(key_prefix: &str) -> Rules {
        let commands = CommandSet::AllSafe;
        Rules::new(RulesSpec { commands, key_prefix, read_only: false, key_bytes_max: 100 }).unwrap()
    }

    fn slot(prefix: &str, line: &str) -> Result<Option<u16>, Refusal> {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        rules(prefix).slot(lookup(args[0]).unwrap(), &args)
    }

    /// Values of `CLUSTER KEYSLOT`.
    #[test]
    fn slots_are_those_of_a_server() {
        for (key, expected) in [
            ("123456789", 12_739),
            ("foo", 12_182),
            ("bar", 5061),
            ("hello", 866),
            ("{foo}bar", 12_182),
            ("x{foo}{bar}", 12_182),
        ] {
            assert_eq!(key_slot(b"", key.as_bytes()), expected, "{key}");
            for cut in 0..key.len() {
                let (prefix, rest) = key.as_bytes().split_at(cut);
                assert_eq!(key_slot(prefix, rest), expected, "{key} cut at {cut}");
            }
        }
    }

    #[test]
    fn only_the_first_brace_opens_a_tag_and_an_empty_one_is_none() {
        assert_eq!(key_slot(b"", b"{}foo"), key_slot(b"{}", b"foo"));
        assert_ne!(key_slot(b"", b"{}foo"), key_slot(b"", b"foo"));
        assert_ne!(
            key_slot(b"", b"{}{foo}"),
            key_slot(b"", b"foo"),
            "what follows an empty tag is none either"
        );
        assert_eq!(key_slot(b"", b"a{{foo}}"), key_slot(b"", b"{{foo}"));
        assert_ne!(key_slot(b"", b"}{"), key_slot(b"", b""));
        assert_eq!(key_slot(b"", b"{open"), key_slot(b"{", b"open"));
    }

    #[test]
    fn keys_of_one_command_have_to_be_in_one_slot() {
        assert_eq!(slot("", "mget {a}1 {a}2"), slot("", "get a"));
        assert_eq!(slot("{p}:", "mget a b c"), slot("", "get p"), "a tag in the prefix is everybody's");
        let refused = slot("p:", "mget a b").unwrap_err().to_string();
        assert!(
            refused.starts_with("MGET: its keys are in different hash slots")
                && refused.contains("{user7}:a")
        );
        assert!(slot("", "rename a b").is_err());
        assert!(slot("", "xread count 1 streams a b 0 0").is_err());
        assert!(slot("", "sort {a}l store {a}m").unwrap().is_some());
        let keys = [&b"a"[..], b"b"];
        assert!(rules("p:").slot_of_keys(keys.into_iter()).is_err());
        assert_eq!(rules("{p}").slot_of_keys(keys.into_iter()).unwrap(), slot("", "get p").unwrap());
        assert_eq!(rules("").slot_of_keys([].into_iter()).unwrap(), None);
    }

    #[test]
    fn what_has_no_key_goes_anywhere_and_what_sees_all_keys_goes_nowhere() {
        assert_eq!(slot("", "ping").unwrap(), None);
        assert_eq!(slot("", "time").unwrap(), None);
        assert_eq!(slot("", "publish c x"), slot("", "get c"));
        assert!(slot("", "scan 0").unwrap_err().to_string().contains("one node only"));
    }
}
