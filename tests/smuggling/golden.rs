//! The table of what the gateway and nginx made of the same bytes, kept in `golden.txt`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

use agw_tests::{cargo, nginx};
use anyhow::{Context, Result};

use crate::case::Case;
use crate::outcome::Outcome;

/// The table as it is kept.
#[derive(Debug)]
pub(crate) struct Golden {
    /// Of the nginx that made the last column.
    pub(crate) version: String,
    lines: Vec<Line>,
}

#[derive(Debug, PartialEq, Eq)]
struct Line {
    name: String,
    agw: String,
    nginx: String,
}

// === impl Golden ===

impl Golden {
    /// Of these outcomes.
    pub(crate) fn new(cases: &[Case], agw: &[Outcome], nginx: &[Outcome]) -> Result<Self> {
        let line = |((case, agw), nginx): ((&Case, &Outcome), &Outcome)| Line {
            name: case.name.clone(),
            agw: agw.shown(),
            nginx: nginx.shown(),
        };
        let lines = cases.iter().zip(agw).zip(nginx).map(line).collect();
        Ok(Golden { version: nginx::version()?, lines })
    }

    /// The kept one.
    pub(crate) fn read() -> Result<Self> {
        let text = fs::read_to_string(file()).context("no golden.txt; see tests/README.md")?;
        let mut lines = text.lines();
        let version = lines.next().and_then(|first| first.rsplit_once("nginx ")).context("its first line")?.1;
        let columns = |line: &str| {
            let mut columns = line.split('|').map(str::trim);
            let mut next = || columns.next().map(str::to_owned);
            Some(Line { name: next()?, agw: next()?, nginx: next()? })
        };
        let version = version.trim().to_owned();
        Ok(Golden { version, lines: lines.filter_map(columns).collect() })
    }

    /// Keeps it, if `AGW_TEST_BLESS` is set. Says whether it did.
    pub(crate) fn blessed(&self) -> Result<bool> {
        if env::var_os("AGW_TEST_BLESS").is_none() {
            return Ok(false);
        }
        fs::write(file(), self.text())?;
        Ok(true)
    }

    /// What differs from the kept table. Another version of nginx may do something else.
    pub(crate) fn differences(&self, kept: &Golden) -> Vec<String> {
        let same_nginx = self.version == kept.version;
        let differs = |line: &&Line| {
            let kept = kept.lines.iter().find(|kept| kept.name == line.name);
            kept.is_none_or(|kept| kept.agw != line.agw || same_nginx && kept.nginx != line.nginx)
        };
        let new = self.lines.iter().filter(differs).map(|line| {
            let kept = kept.lines.iter().find(|kept| kept.name == line.name);
            format!("{line:?}, but kept is {kept:?}")
        });
        let gone = kept.lines.iter().filter(|kept| self.lines.iter().all(|line| line.name != kept.name));
        new.chain(gone.map(|kept| format!("{kept:?} is kept, but no case has this name"))).collect()
    }

    /// As in the file.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{:34} | {:26} | nginx {}\n", "case", "agw", self.version);
        for Line { name, agw, nginx } in &self.lines {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:34} | {agw:26} | {nginx}");
        }
        text
    }
}

fn file() -> PathBuf {
    cargo::workspace().join("tests/smuggling/golden.txt")
}
