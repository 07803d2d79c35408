//! Why a command does not reach the server.

use crate::command::Command;

/// Why a command was not admitted. The texts hold command names, argument positions and advice, and
/// never an argument's bytes or the prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The grant or the table forbids it.
    #[error("{0}")]
    Denied(String),
    /// It is not a well-formed command.
    #[error("{0}")]
    Invalid(String),
}

impl Refusal {
    pub(crate) fn denied(command: &Command, what: impl AsRef<str>) -> Self {
        Refusal::Denied(format!("{command} {}", what.as_ref()))
    }

    pub(crate) fn invalid(command: &Command, what: impl AsRef<str>) -> Self {
        Refusal::Invalid(format!("{command}: {}", what.as_ref()))
    }

    pub(crate) fn argument(command: &Command, at: usize, what: impl AsRef<str>) -> Self {
        Refusal::invalid(command, format!("argument {at} {}", what.as_ref()))
    }
}
