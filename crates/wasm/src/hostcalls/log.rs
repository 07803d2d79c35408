//! Guests' log lines and the clock.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use wasmtime::{Caller, Linker, Result};

use super::ENV;
use crate::guest_memory::Guest;
use crate::limits::LOG_BYTES_MAX;
use crate::status::Status;
use crate::vm_data::VmData;

pub(crate) fn link(linker: &mut Linker<VmData>) -> Result<()> {
    linker.func_wrap(ENV, "proxy_log", proxy_log)?;
    linker.func_wrap(ENV, "proxy_get_log_level", proxy_get_log_level)?;
    linker.func_wrap(ENV, "proxy_get_current_time_nanoseconds", proxy_get_current_time_nanoseconds)?;
    Ok(())
}

/// A guest's level, as the ABI numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GuestLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}

impl GuestLevel {
    fn from_number(number: u32) -> Option<Self> {
        const LEVELS: [GuestLevel; 6] = [
            GuestLevel::Trace,
            GuestLevel::Debug,
            GuestLevel::Info,
            GuestLevel::Warn,
            GuestLevel::Error,
            GuestLevel::Critical,
        ];
        LEVELS.get(number as usize).copied()
    }
}

fn proxy_log(mut caller: Caller<'_, VmData>, level: u32, address: u32, len: u32) -> Result<u32> {
    let guest = Guest::of(&mut caller)?;
    let message = guest.bytes(address, len, "proxy_log: message")?;
    let Some(level) = GuestLevel::from_number(level) else {
        // The Rust SDK cannot express another level, and traps on any status but OK.
        return Ok(Status::BadArgument.into());
    };
    emit(&guest.data.plugin.name, level, message);
    Ok(Status::Ok.into())
}

/// Writes one line of a guest to the gateway's log. Control characters are escaped, so that a line stays one.
pub(crate) fn emit(name: &str, level: GuestLevel, message: &[u8]) {
    let cut = &message[..message.len().min(LOG_BYTES_MAX)];
    let text = String::from_utf8_lossy(cut);
    let text = escape(&text);
    match level {
        GuestLevel::Trace => tracing::trace!(target: "agw::guest", { plugin.name = name }, "{text}"),
        GuestLevel::Debug => tracing::debug!(target: "agw::guest", { plugin.name = name }, "{text}"),
        GuestLevel::Info => tracing::info!(target: "agw::guest", { plugin.name = name }, "{text}"),
        GuestLevel::Warn => tracing::warn!(target: "agw::guest", { plugin.name = name }, "{text}"),
        GuestLevel::Error => tracing::error!(target: "agw::guest", { plugin.name = name }, "{text}"),
        GuestLevel::Critical => {
            tracing::error!(target: "agw::guest", { plugin.name = name, critical = true }, "{text}")
        }
    }
}

fn escape(text: &str) -> Cow<'_, str> {
    let trimmed = text.trim_end_matches(['\n', '\r']);
    if trimmed.chars().any(char::is_control) {
        Cow::Owned(trimmed.chars().flat_map(escape_char).collect())
    } else {
        Cow::Borrowed(trimmed)
    }
}

fn escape_char(c: char) -> impl Iterator<Item = char> {
    let (plain, escaped) = if c.is_control() { (None, Some(c.escape_default())) } else { (Some(c), None) };
    plain.into_iter().chain(escaped.into_iter().flatten())
}

fn proxy_get_log_level(mut caller: Caller<'_, VmData>, level_cell: u32) -> Result<u32> {
    let level = match tracing::level_filters::LevelFilter::current().into_level() {
        Some(tracing::Level::TRACE) => GuestLevel::Trace,
        Some(tracing::Level::DEBUG) => GuestLevel::Debug,
        Some(tracing::Level::INFO) => GuestLevel::Info,
        Some(tracing::Level::WARN) => GuestLevel::Warn,
        _ => GuestLevel::Error,
    };
    Guest::of(&mut caller)?.write_u32(level_cell, level as u32, "proxy_get_log_level: result")?;
    Ok(Status::Ok.into())
}

fn proxy_get_current_time_nanoseconds(mut caller: Caller<'_, VmData>, time_cell: u32) -> Result<u32> {
    let nanoseconds = unix_nanoseconds(SystemTime::now());
    Guest::of(&mut caller)?.write_u64(
        time_cell,
        nanoseconds,
        "proxy_get_current_time_nanoseconds: result",
    )?;
    Ok(Status::Ok.into())
}

/// Nanoseconds since 1970; 0 before it.
pub(crate) fn unix_nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn a_line_of_a_guest_cannot_forge_another() {
        assert_eq!(escape("plain"), "plain");
        assert_eq!(escape("ends\n"), "ends");
        assert_eq!(escape("a\nERROR forged\u{1b}[31m"), "a\\nERROR forged\\u{1b}[31m");
    }
}
