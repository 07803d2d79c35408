//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};

use crate::peers::Peer;
use crate::subjects::{SUBJECTS, Subject};

/// Compares AGW with its peers on this machine: interleaved rounds, one worker each, medians and spread.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo xtask bench")]
pub(crate) struct Options {
    /// What to run
    #[arg(value_enum, default_value_t = Part::All)]
    pub(crate) part: Part,
    /// Rounds; each runs every subject once, in rotated order
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) rounds: u16,
    /// How long each subject is measured in each round
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Load before that, which is not counted
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub(crate) warmup: Duration,
    /// Numbers of connections; redis-latency uses the first
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "64,1000",
          value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) connections: Vec<u16>,
    /// Only these subjects
    #[arg(long, value_name = "SUBJECT,..", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Leave out the subjects that need this program
    #[arg(long, value_name = "PEER,..", value_delimiter = ',', value_enum)]
    pub(crate) without: Vec<Peer>,
    /// Who answers behind the subjects
    #[arg(long, value_enum, default_value_t = UpstreamKind::Nginx)]
    pub(crate) upstream: UpstreamKind,
    /// Write the results, every round included, to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Put the tables into docs/benchmarks.md
    #[arg(long)]
    pub(crate) markdown: bool,
    /// Run nothing: take the results of an earlier run from its JSON file
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
    /// List the subjects
    #[arg(long)]
    pub(crate) list: bool,
}

/// What to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// All of the others
    All,
    /// Requests per second, CPU, memory
    Load,
    /// What a Redis check adds over redis-rs, at half of peak load
    RedisLatency,
    /// Lookups in SQL databases from a plugin, beside the drivers alone
    Sql,
}

/// Who answers behind the subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum UpstreamKind {
    /// nginx with a static answer
    Nginx,
    /// The harness's server: slow, but always there
    Own,
}

// === impl Options ===

impl Options {
    /// The subjects to run, and those left out by `--without`.
    ///
    /// # Errors
    /// When a name is wrong, nothing is left, or a program that is needed is not there.
    pub(crate) fn subjects(&self) -> Result<(Vec<Subject>, Vec<Subject>)> {
        let named: Vec<Subject> = if !self.measures_load() {
            Vec::new()
        } else if self.only.is_empty() {
            SUBJECTS.to_vec()
        } else {
            for name in &self.only {
                Subject::named(name)?;
            }
            // Each once, in the order of the table.
            let named = |subject: &&Subject| self.only.iter().any(|name| name == subject.name);
            SUBJECTS.iter().filter(named).copied().collect()
        };
        let (left_out, wanted): (Vec<_>, Vec<_>) = named
            .into_iter()
            .partition(|subject| subject.peer.is_some_and(|peer| self.without.contains(&peer)));
        if wanted.is_empty() && self.measures_load() {
            bail!("no subject is left; --list shows them");
        }
        for peer in self.peers(&wanted) {
            peer.require()?;
        }
        Ok((wanted, left_out))
    }

    /// The programs that this run needs, each once.
    pub(crate) fn peers(&self, subjects: &[Subject]) -> Vec<Peer> {
        let mut peers: Vec<Peer> = subjects.iter().filter_map(|subject| subject.peer).collect();
        if self.upstream == UpstreamKind::Nginx {
            peers.push(Peer::Nginx);
        }
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    /// Whether subjects are loaded.
    pub(crate) fn measures_load(&self) -> bool {
        matches!(self.part, Part::All | Part::Load)
    }

    /// Whether lookups are to be measured. They belong to no subject.
    pub(crate) fn measures_sql(&self) -> bool {
        match self.part {
            Part::Sql => true,
            Part::Load | Part::RedisLatency => false,
            Part::All => self.only.is_empty(),
        }
    }

    /// Whether the latency of a Redis check is to be measured.
    pub(crate) fn measures_latency(&self) -> bool {
        match self.part {
            Part::RedisLatency => true,
            Part::Load | Part::Sql => false,
            Part::All => self.only.is_empty() || self.only.iter().any(|name| name == "agw-rate-limit"),
        }
    }
}

/// `5s`, `500ms`, or seconds without a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let (digits, milliseconds) = match text.strip_suffix("ms") {
        Some(digits) => (digits, 1),
        None => (text.strip_suffix('s').unwrap_or(text), 1000),
    };
    let number: u64 = digits.parse().map_err(|_| "write digits and s or ms, such as 5s".to_owned())?;
    let duration = Duration::from_millis(number.saturating_mul(milliseconds));
    let allowed = Duration::from_millis(100)..=Duration::from_secs(120);
    if allowed.contains(&duration) { Ok(duration) } else { Err("write 100ms to 120s".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Options {
        Options::try_parse_from(std::iter::once("bench").chain(line.split_whitespace())).unwrap()
    }

    #[test]
    fn durations_have_units_and_bounds() {
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("2"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        for wrong in ["", "s", "5m", "-1s", "0s", "1h", "99ms", "121s", "99999999999999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_default_is_what_the_targets_are_stated_for() {
        let options = options("");
        assert_eq!((options.rounds, options.connections.as_slice()), (5, [64, 1000].as_slice()));
        assert!(options.measures_latency());
    }

    #[test]
    fn a_peer_is_left_out_only_when_told() -> Result<()> {
        let (run, left_out) = options("--without nginx,nginx-lua,envoy --upstream own").subjects()?;
        assert!(run.iter().all(|subject| subject.name.starts_with("agw")));
        assert_eq!(run.len() + left_out.len(), SUBJECTS.len());
        assert!(options("--only nginx --without nginx --upstream own").subjects().is_err());
        assert!(options("--only nobody --upstream own").subjects().is_err());
        let (twice, _) = options("--only agw-filter,agw,agw --upstream own").subjects()?;
        assert_eq!(twice.iter().map(|subject| subject.name).collect::<Vec<_>>(), ["agw", "agw-filter"]);
        Ok(())
    }

    #[test]
    fn latency_goes_with_the_rate_limit() {
        assert!(options("redis-latency").measures_latency());
        assert!(!options("load").measures_latency());
        assert!(!options("--only agw").measures_latency());
        assert!(options("--only agw-rate-limit").measures_latency());
    }
}
