//! Options read strictly: what is not in the grammar is refused, and so is what occurs twice.

use super::decimal;
use crate::command::Command;
use crate::refusal::Refusal;
use crate::table::{Grammar, OptValue};

/// Each `*` in a pattern is one more level of recursion in servers before Redis 7.2.6 (CVE-2024-31228).
const STARS_MAX: usize = 8;

/// What the options brought, as positions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    pub(super) keys: [Option<usize>; 2],
    pub(super) key_pattern: Option<usize>,
    pub(super) block: Option<usize>,
    /// What follows the word that ends the options.
    pub(super) tail: Option<usize>,
}

pub(super) fn read(
    command: &Command,
    grammar: &Grammar,
    args: &[&[u8]],
    last_word: Option<&str>,
) -> Result<Found, Refusal> {
    let mut found = Found::default();
    let mut seen = 0u32;
    let mut at = grammar.from;
    while let Some(arg) = args.get(at) {
        if last_word.is_some_and(|word| arg.eq_ignore_ascii_case(word.as_bytes())) {
            found.tail = Some(at + 1);
            break;
        }
        let option = grammar.options.iter().enumerate().find(|(_, option)| is(arg, option.name));
        let Some((number, option)) = option else {
            return Err(Refusal::argument(command, at, "is not an option that this host knows"));
        };
        let repeatable = matches!(option.value, OptValue::Only { .. });
        if seen & (1 << number) != 0 && !repeatable {
            return Err(Refusal::argument(command, at, "repeats an option; give it once"));
        }
        seen |= 1 << number;
        let end = at + 1 + option.values;
        if end > args.len() {
            return Err(Refusal::argument(command, at, "is an option whose value is missing"));
        }
        take(command, &option.value, args, at, &mut found)?;
        at = end;
    }
    Ok(found)
}

fn is(arg: &[u8], name: &str) -> bool {
    arg.eq_ignore_ascii_case(name.as_bytes())
}

fn take(
    command: &Command,
    value: &OptValue,
    args: &[&[u8]],
    at: usize,
    found: &mut Found,
) -> Result<(), Refusal> {
    let value_at = at + 1;
    match value {
        OptValue::Plain => Ok(()),
        OptValue::Key => {
            let free = usize::from(found.keys[0].is_some());
            found.keys[free] = Some(value_at);
            Ok(())
        }
        OptValue::Pattern => pattern(command, args[value_at], value_at),
        OptValue::KeyPattern => {
            found.key_pattern = Some(value_at);
            pattern(command, args[value_at], value_at)
        }
        OptValue::Block => {
            found.block = Some(value_at);
            Ok(())
        }
        OptValue::AtMost(most) => match decimal(args[value_at]) {
            Some(count) if (1..=u64::from(*most)).contains(&count) => Ok(()),
            _ => Err(Refusal::argument(command, value_at, format!("must be between 1 and {most}"))),
        },
        OptValue::Only { value, .. } if is(args[value_at], value) => Ok(()),
        OptValue::Only { why, .. } | OptValue::Never(why) => {
            Err(Refusal::denied(command, format!("is refused: the option at argument {at} {why}")))
        }
    }
}

fn pattern(command: &Command, pattern: &[u8], at: usize) -> Result<(), Refusal> {
    if pattern.iter().filter(|byte| **byte == b'*').count() > STARS_MAX {
        return Err(Refusal::argument(command, at, format!("is a pattern with more than {STARS_MAX} '*'")));
    }
    Ok(())
}
