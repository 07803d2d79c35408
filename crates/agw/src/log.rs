//! The log on standard error. A line of a guest begins with its plugin's name: `[rate-limit] INFO ...`.

use std::fmt;
use std::io::{self, IsTerminal};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The target of guests' lines.
const GUEST: &str = "agw::guest";

/// `AGW_LOG` filters the lines, such as `debug` or `agw::guest=trace,info`.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_env("AGW_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // Colours are for people; in a file or a pipe they are noise.
    let colours = io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colours);
    log.event_format(Lines { gateway: Format::default().with_target(false) }).init();
}

/// Guests' lines in a form of their own, the gateway's as the library has them.
struct Lines {
    gateway: Format<Full>,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if event.metadata().target() != GUEST {
            return self.gateway.format_event(context, out, event);
        }
        let mut line = GuestLine::default();
        event.record(&mut line);
        SystemTime.format_time(&mut out)?;
        let level = if line.critical { "CRITICAL" } else { event.metadata().level().as_str() };
        writeln!(out, " [{}] {level} {}", line.plugin, line.message)
    }
}

/// What a guest's event carries.
#[derive(Default)]
struct GuestLine {
    plugin: String,
    message: String,
    critical: bool,
}

impl Visit for GuestLine {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "plugin.name" {
            value.clone_into(&mut self.plugin);
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.critical |= field.name() == "critical" && value;
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // The host has escaped control characters: a line stays one.
            self.message = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_guests_line_names_its_plugin_and_level_and_other_lines_stay_as_they_are() {
        let memory = Memory::default();
        let writer = memory.clone();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
        let log = log.event_format(Lines { gateway: Format::default().with_target(false) }).finish();
        tracing::subscriber::with_default(log, || {
            tracing::warn!(target: "agw::guest", { plugin.name = "limits" }, "over {}", 5);
            tracing::error!(target: "agw::guest", { plugin.name = "limits", critical = true }, "gone");
            tracing::info!(plugin.name = "limits", "of the gateway");
        });
        let text = String::from_utf8(memory.0.lock().clone()).expect("text");
        let lines: Vec<&str> =
            text.lines().filter_map(|line| line.split_once(' ')).map(|(_, line)| line).collect();
        let expected =
            ["[limits] WARN over 5", "[limits] CRITICAL gone", " INFO of the gateway plugin.name=\"limits\""];
        assert_eq!(lines, expected, "{text}");
    }
}
