//! `cargo xtask check`: every rule over the whole workspace, every violation at once.

mod files;
mod graph;
mod map;
mod rules;
mod size;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

/// What a run found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// These fail the check.
    pub(crate) violations: Vec<String>,
    /// These only ask for a look.
    pub(crate) warnings: Vec<String>,
}

// === impl Findings ===

impl Findings {
    fn violation(&mut self, text: String) {
        self.violations.push(text);
    }

    fn warning(&mut self, text: String) {
        self.warnings.push(text);
    }
}

pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    let findings = find(root)?;
    for warning in &findings.warnings {
        println!("warning: {warning}");
    }
    for violation in &findings.violations {
        println!("error: {violation}");
    }
    let (errors, warnings) = (findings.violations.len(), findings.warnings.len());
    println!("check: {errors} errors, {warnings} warnings");
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn find(root: &Path) -> Result<Findings> {
    let mut findings = Findings::default();
    let packages = graph::packages(root)?;
    graph::check(&packages, &mut findings);
    graph::check_lock(root, &mut findings)?;
    let files = files::tracked(root)?;
    files::check_machine_paths(&files, &mut findings);
    size::check(&files, &mut findings);
    map::check(root, &mut findings)?;
    Ok(findings)
}
