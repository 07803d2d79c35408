//! The small versions of scenarios. They judge counts; how long something took is printed.

#![expect(clippy::print_stdout, reason = "figures are its output")]

mod faults;
mod neighbour;
mod sql;
mod verdict;

use anyhow::{Result, ensure};

use crate::sql::Size;
use crate::verdict::Verdict;

fn hold(scenario: fn(&mut Verdict, Size) -> Result<()>) -> Result<()> {
    let mut verdict = Verdict { untimed: true, failed: 0 };
    scenario(&mut verdict, Size::Small)?;
    ensure!(verdict.failed == 0, "{} promises did not hold", verdict.failed);
    Ok(())
}

#[test]
fn a_plugin_that_floods_redis_refuses_nobody_but_itself() -> Result<()> {
    let mut verdict = Verdict { untimed: true, failed: 0 };
    neighbour::run(&mut verdict, neighbour::SMALL)?;
    ensure!(verdict.failed == 0, "{} promises did not hold", verdict.failed);
    Ok(())
}

#[test]
fn statements_end_at_their_deadline_and_others_get_their_own_rows() -> Result<()> {
    hold(sql::deadline::run)
}

#[test]
fn a_server_that_dies_is_coded_errors_and_its_return_is_found() -> Result<()> {
    hold(sql::outage::run)
}

#[test]
fn plugins_share_a_pool_that_is_far_too_small() -> Result<()> {
    hold(sql::held::run)
}

#[test]
fn values_are_nothing_but_values() -> Result<()> {
    hold(sql::injection::run)
}

#[test]
fn every_fault_of_every_server_has_its_outcome_and_an_end() -> Result<()> {
    let mut verdict = Verdict { untimed: true, failed: 0 };
    faults::run(&mut verdict)?;
    ensure!(verdict.failed == 0, "{} promises did not hold", verdict.failed);
    Ok(())
}
