#![doc = include_str!("../README.md")]

mod call;
mod command;
mod frames;
mod refusal;
mod reply;
mod rules;
mod slot;
mod table;

pub use call::{Blocking, KeyPositions};
pub use command::{Command, Keys, Safety, Timeout};
pub use refusal::Refusal;
pub use reply::{ReplyError, ReplyRule};
pub use rules::{Admitted, CommandSet, RuleError, Rules, RulesSpec};
pub use slot::{HASH_SLOTS, HASH_TAG};
pub use table::{Grammar, all, lookup};
