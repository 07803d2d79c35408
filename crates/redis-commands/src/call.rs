//! One command line read against its row: where its keys are, and whether it blocks.

mod options;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::command::{Command, Keys, Timeout};
use crate::refusal::Refusal;
use options::Found;

/// Positions of the keys in one command line, ascending. Argument 0 is the name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyPositions {
    /// Leading keys, and at most two from options (GEORADIUS has STORE and STOREDIST).
    spans: [Span; 3],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    first: usize,
    end: usize,
    step: usize,
}

/// How long a command may block its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocking {
    /// Not at all.
    No,
    /// At most so long.
    AtMost(Duration),
    /// Until there is something.
    Forever,
}

/// What one command line holds, beyond its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) keys: KeyPositions,
    /// `SCAN` only: where the pattern for key names is.
    pub(crate) key_pattern: Option<usize>,
    pub(crate) blocking: Blocking,
}

impl Command {
    /// Where the keys are in this command line, as the server would find them; a channel counts as one.
    ///
    /// # Errors
    /// [`Refusal`] when the line is not one that the row allows: arity, options or counts are wrong.
    pub fn key_positions(&self, args: &[&[u8]]) -> Result<KeyPositions, Refusal> {
        self.check_arity(args)?;
        Ok(Call::read(self, args)?.keys)
    }

    pub(crate) fn check_arity(&self, args: &[&[u8]]) -> Result<(), Refusal> {
        let wanted = usize::from(self.arity.unsigned_abs());
        if args.len() == wanted || (self.arity < 0 && args.len() > wanted) {
            return Ok(());
        }
        let least = if self.arity < 0 { "at least " } else { "" };
        let found = args.len();
        Err(Refusal::invalid(
            self,
            format!("takes {least}{wanted} arguments, its name included, not {found}"),
        ))
    }
}

// === impl KeyPositions ===

impl KeyPositions {
    const ONE: KeyPositions = KeyPositions::span(1, 2, 1);

    const fn span(first: usize, end: usize, step: usize) -> Self {
        let none = Span { first: 0, end: 0, step: 1 };
        KeyPositions { spans: [Span { first, end, step }, none, none] }
    }

    fn and(mut self, place: usize, first: usize, end: usize, step: usize) -> Self {
        self.spans[place] = Span { first, end, step };
        self
    }

    /// Whether the argument at `index` is a key.
    pub fn contains(&self, index: usize) -> bool {
        self.spans.iter().any(|span| {
            index >= span.first
                && index < span.end
                && (span.step == 1 || (index - span.first).is_multiple_of(span.step))
        })
    }

    /// The positions, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.spans.into_iter().flat_map(|span| (span.first..span.end).step_by(span.step.max(1)))
    }
}

// === impl Call ===

impl Call {
    /// Arity must have been checked.
    pub(crate) fn read(command: &Command, args: &[&[u8]]) -> Result<Call, Refusal> {
        let mut found = Found::default();
        let keys = match command.keys {
            Keys::None | Keys::Subcommands => KeyPositions::default(),
            Keys::Range { first, last, step } => range(args, first, last, step),
            Keys::Counted { count, step, destination } => {
                let counted = counted(command, args, count.into(), step.into())?;
                if destination {
                    KeyPositions::ONE.and(1, counted.0, counted.1, step.into())
                } else {
                    KeyPositions::span(counted.0, counted.1, step.into())
                }
            }
            Keys::Options { leading, grammar } => {
                found = options::read(command, grammar, args, None)?;
                stored(leading.into(), &found)
            }
            Keys::Streams(grammar) => {
                found = options::read(command, grammar, args, Some("streams"))?;
                streams(command, args, found.tail)?
            }
            Keys::Scan(grammar) => {
                cursor(command, args)?;
                found = options::read(command, grammar, args, None)?;
                KeyPositions::default()
            }
            Keys::Channel => KeyPositions::ONE,
        };
        let blocking = blocking(command, args, found.block)?;
        Ok(Call { keys, key_pattern: found.key_pattern, blocking })
    }
}

fn range(args: &[&[u8]], first: u8, last: i8, step: u8) -> KeyPositions {
    let end = match usize::try_from(last) {
        Ok(last) => last + 1,
        Err(_) => (args.len() + 1).saturating_sub(last.unsigned_abs().into()),
    };
    KeyPositions::span(first.into(), end, step.into())
}

/// Only plain decimal digits are taken, so that the server cannot read another number than we do.
fn counted(command: &Command, args: &[&[u8]], at: usize, step: usize) -> Result<(usize, usize), Refusal> {
    let count = args.get(at).and_then(|arg| decimal(arg)).filter(|count| *count > 0);
    let Some(count) = count else {
        return Err(Refusal::argument(
            command,
            at,
            "must be the number of keys, at least 1, in plain digits",
        ));
    };
    let first = at + 1;
    let end = usize::try_from(count).ok().and_then(|count| first.checked_add(count.checked_mul(step)?));
    match end {
        Some(end) if end <= args.len() => Ok((first, end)),
        _ => Err(Refusal::argument(command, at, "counts more keys than follow it")),
    }
}

fn stored(leading: usize, found: &Found) -> KeyPositions {
    let mut keys = KeyPositions::span(1, leading + 1, 1);
    for (place, at) in found.keys.into_iter().flatten().enumerate() {
        keys = keys.and(place + 1, at, at + 1, 1);
    }
    keys
}

fn streams(command: &Command, args: &[&[u8]], tail: Option<usize>) -> Result<KeyPositions, Refusal> {
    let Some(first) = tail else {
        return Err(Refusal::invalid(command, "the word STREAMS with keys and ids is missing"));
    };
    let rest = args.len() - first;
    if rest == 0 || !rest.is_multiple_of(2) {
        return Err(Refusal::invalid(command, "STREAMS must be followed by keys and as many ids"));
    }
    Ok(KeyPositions::span(first, first + rest / 2, 1))
}

fn cursor(command: &Command, args: &[&[u8]]) -> Result<(), Refusal> {
    match args.get(1).and_then(|arg| decimal(arg)) {
        Some(_) => Ok(()),
        None => Err(Refusal::argument(command, 1, "must be a cursor: 0, or the one that the last call gave")),
    }
}

fn blocking(command: &Command, args: &[&[u8]], block: Option<usize>) -> Result<Blocking, Refusal> {
    let last = args.len().saturating_sub(1);
    match (command.timeout, block) {
        (Timeout::None, _) | (Timeout::BlockOption, None) => Ok(Blocking::No),
        (Timeout::FirstSeconds, _) => seconds(command, args, 1),
        (Timeout::LastSeconds, _) => seconds(command, args, last),
        (Timeout::LastMillis, _) => millis(command, args, last),
        (Timeout::BlockOption, Some(at)) => millis(command, args, at),
    }
}

fn seconds(command: &Command, args: &[&[u8]], at: usize) -> Result<Blocking, Refusal> {
    let seconds = args.get(at).and_then(|arg| std::str::from_utf8(arg).ok()).and_then(|arg| arg.parse().ok());
    let timeout = seconds.and_then(|seconds: f64| Duration::try_from_secs_f64(seconds).ok());
    match timeout {
        // Anything that is not exactly 0 but too short for a `Duration` still ends.
        Some(Duration::ZERO) if seconds == Some(0.0) => Ok(Blocking::Forever),
        Some(timeout) => Ok(Blocking::AtMost(timeout)),
        None => Err(Refusal::argument(command, at, "must be a timeout in seconds, 0 or more")),
    }
}

fn millis(command: &Command, args: &[&[u8]], at: usize) -> Result<Blocking, Refusal> {
    match args.get(at).and_then(|arg| decimal(arg)) {
        Some(0) => Ok(Blocking::Forever),
        Some(millis) => Ok(Blocking::AtMost(Duration::from_millis(millis))),
        None => Err(Refusal::argument(command, at, "must be a timeout in whole milliseconds, 0 or more")),
    }
}

/// The number, if it is written the one way that every parser reads alike: digits, no sign, no leading zero.
fn decimal(arg: &[u8]) -> Option<u64> {
    match arg {
        [b'0'] => Some(0),
        [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit) => {
            std::str::from_utf8(arg).ok()?.parse().ok()
        }
        _ => None,
    }
}
