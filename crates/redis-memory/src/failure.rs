//! Why a command was refused: the text of Redis 7, without the leading `-`.

use std::borrow::Cow;

/// An error reply. The code is its first word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure(Cow<'static, [u8]>);

/// What a command's function ends with; its reply is written on the way.
pub(crate) type Done = Result<(), Failure>;

/// Text taken from an argument is cut here.
const QUOTED_BYTES_MAX: usize = 128;
/// A command's name is cut here.
const NAME_BYTES_MAX: usize = 32;

impl Failure {
    pub(crate) const WRONG_TYPE: Self =
        Self::fixed("WRONGTYPE Operation against a key holding the wrong kind of value");
    pub(crate) const OUT_OF_MEMORY: Self =
        Self::fixed("OOM command not allowed when used memory > 'maxmemory'.");
    pub(crate) const NOT_INTEGER: Self = Self::fixed("ERR value is not an integer or out of range");
    pub(crate) const NOT_FLOAT: Self = Self::fixed("ERR value is not a valid float");
    pub(crate) const NOT_POSITIVE: Self = Self::fixed("ERR value is out of range, must be positive");
    pub(crate) const NOT_SYMMETRIC: Self = Self::fixed(
        "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
    );
    pub(crate) const INFINITE_SUM: Self = Self::fixed("ERR increment would produce NaN or Infinity");
    pub(crate) const SUM_OVERFLOW: Self = Self::fixed("ERR increment or decrement would overflow");
    pub(crate) const SYNTAX: Self = Self::fixed("ERR syntax error");
    pub(crate) const NO_SUCH_KEY: Self = Self::fixed("ERR no such key");
    pub(crate) const OUT_OF_RANGE: Self = Self::fixed("ERR index out of range");
    pub(crate) const STRING_TOO_LONG: Self =
        Self::fixed("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    pub(crate) const REPLY_TOO_LONG: Self =
        Self::fixed("ERR the reply is longer than memory:// allows; ask for less at a time");
    pub(crate) const ABORTED: Self =
        Self::fixed("EXECABORT Transaction discarded because of previous errors.");
    pub(crate) const ABORTED_OUT_OF_MEMORY: Self = Self::fixed(
        "EXECABORT Transaction discarded because of: \
         OOM command not allowed when used memory > 'maxmemory'.",
    );

    pub(crate) const fn fixed(text: &'static str) -> Self {
        Failure(Cow::Borrowed(text.as_bytes()))
    }

    /// The command is known, its number of arguments is not right.
    pub(crate) fn arity(command: &str) -> Self {
        Failure(Cow::Owned(format!("ERR wrong number of arguments for '{command}' command").into_bytes()))
    }

    pub(crate) fn expire_time(command: &str) -> Self {
        Failure(Cow::Owned(format!("ERR invalid expire time in '{command}' command").into_bytes()))
    }

    /// As Redis, this repeats the argument; what could end the line early is replaced.
    pub(crate) fn unsupported_option(option: &[u8]) -> Self {
        let mut text = b"ERR Unsupported option ".to_vec();
        let shown = option.iter().take(QUOTED_BYTES_MAX).take_while(|byte| **byte != 0);
        text.extend(shown.map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
        Failure(Cow::Owned(text))
    }

    /// Names the command and nothing of its arguments, which may be secret.
    pub(crate) fn unknown_command(name: &[u8]) -> Self {
        let shown = name.iter().take(NAME_BYTES_MAX).map(|byte| match byte {
            b'\'' | b'"' | b'\\' => '?',
            byte if byte.is_ascii_graphic() => char::from(*byte),
            _ => '?',
        });
        let shown: String = shown.collect();
        let cut = if name.len() > NAME_BYTES_MAX { "..." } else { "" };
        Failure(Cow::Owned(
            format!(
                "ERR unknown command '{shown}{cut}' in memory://, the embedded store, which has a part of \
                 Redis only; use a real Redis server for this command"
            )
            .into_bytes(),
        ))
    }

    pub(crate) fn text(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_cannot_break_the_line_or_grow_it() {
        let text = Failure::unknown_command(b"x'\r\n\xff").text().to_vec();
        assert!(text.starts_with(b"ERR unknown command 'x????' in memory://"));
        assert!(Failure::unknown_command(&[b'a'; 4096]).text().len() < 250);
    }

    #[test]
    fn an_option_is_repeated_without_line_ends() {
        assert_eq!(Failure::unsupported_option(b"a\r\nb\0c").text(), b"ERR Unsupported option a  b");
    }
}
