//! Scripts and functions.

use super::reasons::SCRIPT;
use super::rows::refused;
use crate::command::Command;

pub(super) const ROWS: &[Command] = &[
    refused("eval", -3, SCRIPT),
    refused("eval_ro", -3, SCRIPT),
    refused("evalsha", -3, SCRIPT),
    refused("evalsha_ro", -3, SCRIPT),
    refused("fcall", -3, SCRIPT),
    refused("fcall_ro", -3, SCRIPT),
    refused("function", -2, SCRIPT),
    refused("function|delete", 3, SCRIPT).writing(),
    refused("function|dump", 2, SCRIPT),
    refused("function|flush", -2, SCRIPT).writing(),
    refused("function|help", 2, SCRIPT),
    refused("function|kill", 2, SCRIPT),
    refused("function|list", -2, SCRIPT),
    refused("function|load", -3, SCRIPT).writing(),
    refused("function|restore", -3, SCRIPT).writing(),
    refused("function|stats", 2, SCRIPT),
    refused("script", -2, SCRIPT),
    refused("script|debug", 3, SCRIPT),
    refused("script|exists", -3, SCRIPT),
    refused("script|flush", -2, SCRIPT),
    refused("script|help", 2, SCRIPT),
    refused("script|kill", 2, SCRIPT),
    refused("script|load", 3, SCRIPT),
    refused("script|show", 3, SCRIPT),
];
