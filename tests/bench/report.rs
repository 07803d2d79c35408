//! The results as text: tables for a terminal, or for a Markdown page.

use std::fmt::Write;

use crate::commands;
use crate::latency::{Latency, METHOD, Quantiles, Round};
use crate::results::{Results, Spread};
use crate::sql::{self, SqlResults};
use crate::subjects::SUBJECTS;
use crate::verdict::Verdict;

/// From this share of the machine on, the figures say more about others than about the subjects.
const NOISY: f64 = 0.05;

/// A table in its making.
#[derive(Debug, Default)]
struct Table {
    rows: Vec<Vec<String>>,
}

/// Where the text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Terminal,
    Markdown,
}

/// Everything.
pub(crate) fn report(results: &Results, format: Format) -> String {
    let mut text = facts(results);
    for &connections in results.settings.connections.iter().filter(|_| !results.measured.is_empty()) {
        text.push_str(&heading(&format!("{connections} connections"), format));
        text.push_str(&load_table(results, connections).text(format));
    }
    text.push_str(&redis_commands(results));
    if let Some(latency) = &results.latency {
        let title = format!(
            "A Redis check at {:.0} requests/s, half of {:.0}, {} connections",
            latency.rate, latency.peak, latency.connections
        );
        text.push_str(&heading(&title, format));
        text.push_str(&latency_table(latency).text(format));
        text.push_str(&format!("\n{METHOD}\n"));
    }
    if let Some(sql) = &results.sql {
        text.push_str(&heading("Lookups by primary key", format));
        text.push_str(&lookups_table(sql).text(format));
        text.push_str(&format!("\n{}\n", sql::METHOD));
    }
    text.push_str(&heading("Targets", format));
    text.push_str(&verdict_table(&results.verdicts).text(format));
    text
}

fn facts(results: &Results) -> String {
    let (machine, settings) = (&results.machine, &results.settings);
    let connections: Vec<_> = settings.connections.iter().map(usize::to_string).collect();
    let mut text = format!(
        "{}: {} cores ({}), {}, Linux {}; load before: {}.\n{} rounds of {} s after {} s of warm-up, {} connections, \
         {} keys, upstream {}, profile {}.\n",
        machine.date,
        machine.cores,
        machine.processor,
        machine.memory,
        machine.kernel,
        machine.load_before,
        settings.rounds,
        settings.duration_seconds,
        settings.warmup_seconds,
        connections.join(" and "),
        settings.keys,
        settings.upstream,
        settings.profile,
    );
    let versions: Vec<_> =
        machine.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    text.push_str(&format!("Versions: {}.\n", versions.join("; ")));
    for (subject, why) in &results.left_out {
        text.push_str(&format!("Left out: {subject} ({why}).\n"));
    }
    if !results.invalid.is_empty() {
        text.push_str(&format!("{} rounds were invalid and made again.\n", results.invalid.len()));
    }
    let worst = results.worst_elsewhere();
    if worst > NOISY {
        let share = worst * 100.0;
        text.push_str(&format!(
            "NOT QUIET: other processes took up to {share:.0} % of the machine in a round.\n"
        ));
    }
    text
}

fn heading(title: &str, format: Format) -> String {
    match format {
        Format::Terminal => format!("\n=== {title}\n"),
        Format::Markdown => format!("\n### {title}\n\n"),
    }
}

fn load_table(results: &Results, connections: usize) -> Table {
    let mut table = Table::default();
    table.row([
        "subject",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "CPU us/request",
        "upstream",
        "redis",
        "load",
        "peak MiB",
    ]);
    for subject in SUBJECTS {
        let figure =
            |figure: fn(&crate::results::Measured) -> f64| results.spread(subject.name, connections, figure);
        let Some(rate) = figure(|m| m.requests_per_second) else { continue };
        let redis = figure(|m| m.cpu_us.redis.unwrap_or(f64::NAN)).filter(|redis| redis.median.is_finite());
        table.row([
            subject.name.to_owned(),
            with_range(Some(rate), 0),
            median(figure(|m| m.p50_us / 1000.0), 2),
            with_range(figure(|m| m.p99_us / 1000.0), 2),
            with_range(figure(|m| m.cpu_us.subject), 2),
            median(figure(|m| m.cpu_us.upstream), 2),
            median(redis, 2),
            median(figure(|m| m.cpu_us.generator), 2),
            median(figure(|m| m.peak_memory_bytes as f64 / (1024.0 * 1024.0)), 1),
        ]);
    }
    table
}

fn redis_commands(results: &Results) -> String {
    let mut text = String::new();
    for subject in SUBJECTS {
        let calls = commands::per_request(results, subject.name);
        if !calls.is_empty() {
            let calls = commands::text(&calls);
            let _ = write!(text, "\nRedis commands per request of {}: {calls}.\n", subject.name);
        }
    }
    text
}

fn latency_table(latency: &Latency) -> Table {
    let mut table = Table::default();
    table.row(["what", "p50 us", "p99 us"]);
    type Way = fn(&Round) -> Quantiles;
    let ways: [(&str, Way); 4] = [
        ("redis-rs, direct", |round| round.direct),
        ("AGW, request with a check", |round| round.with),
        ("AGW, request without", |round| round.without),
        ("AGW, the foreign call by its histogram", |round| round.call),
    ];
    for (name, way) in ways {
        let spread =
            |pick: fn(Quantiles) -> f64| Spread::of(latency.rounds.iter().map(|round| pick(way(round))));
        table.row([name.to_owned(), with_range(spread(|q| q.p50), 0), with_range(spread(|q| q.p99), 0)]);
    }
    table.row(["added over direct".to_owned(), String::new(), with_range(latency.added_p99_us(), 0)]);
    table
}

fn lookups_table(sql: &SqlResults) -> Table {
    let mut table = Table::default();
    table.row(["database", "clients", "from", "lookups/s", "p50 us", "p99 us"]);
    for (database, clients) in sql.ways() {
        for from_plugin in [false, true] {
            let way = (database.as_str(), from_plugin, clients);
            table.row([
                database.clone(),
                clients.to_string(),
                if from_plugin { "a plugin" } else { "the driver" }.to_owned(),
                with_range(sql.spread(way, |one| one.per_second), 0),
                with_range(sql.spread(way, |one| one.p50_us), 0),
                with_range(sql.spread(way, |one| one.p99_us), 0),
            ]);
        }
    }
    table
}

fn verdict_table(verdicts: &[Verdict]) -> Table {
    let mut table = Table::default();
    table.row(["target", "connections", "what", "figure", "bound", "outcome"]);
    for verdict in verdicts {
        let digits = if verdict.target == 'e' { 0 } else { 2 };
        table.row([
            format!("({})", verdict.target),
            verdict.connections.map(|connections| connections.to_string()).unwrap_or_default(),
            verdict.what.clone(),
            with_range(verdict.value, digits),
            format!("{} {}", verdict.bound, verdict.unit),
            verdict.outcome.to_string(),
        ]);
    }
    table
}

fn median(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(|| "-".to_owned(), |spread| format!("{:.digits$}", spread.median))
}

fn with_range(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(
        || "-".to_owned(),
        |Spread { median, min, max }| format!("{median:.digits$} ({min:.digits$}..{max:.digits$})"),
    )
}

// === impl Table ===

impl Table {
    fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    fn text(&self, format: Format) -> String {
        let widths = self.rows.iter().fold(Vec::new(), |mut widths: Vec<usize>, row| {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.len());
            }
            widths
        });
        let (before, between, after) = match format {
            Format::Terminal => ("", "  ", ""),
            Format::Markdown => ("| ", " | ", " |"),
        };
        let mut text = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            let cells: Vec<_> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:width$}", width = *width))
                .collect();
            text.push_str(format!("{before}{}{after}", cells.join(between)).trim_end());
            text.push('\n');
            if index == 0 && format == Format::Markdown {
                text.push_str(&format!("|{}\n", "---|".repeat(widths.len())));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Invalid;
    use crate::results::sample::{measured, results};

    #[test]
    fn a_report_says_what_was_left_out_made_again_or_disturbed() {
        let mut results = results(vec![measured("agw", 1, 10.0, 5.0), measured("agw", 2, 12.0, 7.0)]);
        let quiet = report(&results, Format::Markdown);
        assert!(
            quiet.contains("| agw     | 6 (5..7)") && quiet.contains("| 11.00 (10.00..12.00) |"),
            "{quiet}"
        );
        assert!(!quiet.contains("NOT QUIET") && !quiet.contains("Left out"), "{quiet}");

        results.measured[1].elsewhere = 0.5;
        results.left_out.insert("envoy".to_owned(), "--without envoy".to_owned());
        let reason = "1 time-outs".to_owned();
        results.invalid.push(Invalid { subject: "agw".to_owned(), connections: 64, round: 1, reason });
        let quantiles = Quantiles { p50: 1.0, p99: 2.0 };
        let round = Round { direct: quantiles, with: quantiles, ..Round::default() };
        results.latency = Some(Latency { rate: 5.0, peak: 10.0, connections: 64, rounds: vec![round] });
        let text = report(&results, Format::Terminal);
        for said in [
            "took up to 50 %",
            "Left out: envoy (--without envoy)",
            "1 rounds were invalid",
            "5 requests/s, half",
        ] {
            assert!(text.contains(said), "{said}: {text}");
        }
    }

    #[test]
    fn a_table_is_aligned_for_people_and_piped_for_markdown() {
        let mut table = Table::default();
        table.row(["a", "long"]);
        table.row(["bcd", "e"]);
        assert_eq!(table.text(Format::Terminal), "a    long\nbcd  e\n");
        assert_eq!(table.text(Format::Markdown), "| a   | long |\n|---|---|\n| bcd | e    |\n");
    }

    #[test]
    fn a_figure_shows_its_range_and_a_missing_one_a_dash() {
        let spread = Spread { median: 1.234, min: 1.0, max: 2.0 };
        assert_eq!(with_range(Some(spread), 2), "1.23 (1.00..2.00)");
        assert_eq!(with_range(None, 2), "-");
        assert_eq!(median(Some(spread), 1), "1.2");
    }
}
