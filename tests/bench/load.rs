//! Runs a generator in a process of its own, and looks at every process while its window is open.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use agw_tests::process::Process;
use anyhow::{Context, Result};

use crate::generator::ANSWER_WITHIN;
use crate::generator::plan::{CLOSED, OPEN, Plan, Report};
use crate::proc;

/// What a process is in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Subject,
    Upstream,
    Redis,
    Generator,
}

/// A generator and its plan.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// The mode of this program that it runs in.
    pub(crate) mode: &'static str,
    /// Its plan, as JSON.
    plan: String,
    /// From its start to the window's opening and from there to its end, at most.
    warmup: Duration,
    duration: Duration,
}

/// What came of a load, and what it cost.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) report: Report,
    /// CPU time within the window.
    pub(crate) cpu: BTreeMap<Role, Duration>,
    /// CPU time of others within the window, as a share of the machine.
    pub(crate) elsewhere: f64,
}

/// Room for a machine that is busy: connecting, starting, being scheduled.
const SLACK: Duration = Duration::from_secs(20);

// === impl Load ===

impl Load {
    /// # Errors
    /// When the plan does not become JSON.
    pub(crate) fn new(mode: &'static str, plan: &Plan) -> Result<Self> {
        Ok(Load { mode, plan: serde_json::to_string(plan)?, warmup: plan.warmup, duration: plan.duration })
    }

    /// Runs it, and measures these processes by the way.
    ///
    /// # Errors
    /// When the generator cannot begin or loses every connection, or a process ends.
    pub(crate) fn run(&self, watched: &[(Role, u32)]) -> Result<Observed> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut generator = Process::spawn("the generator", command.arg(self.mode).arg(&self.plan))?;
        let mut watched = watched.to_vec();
        watched.push((Role::Generator, generator.id()));

        generator.wait_for_line(self.warmup + SLACK, |line| (line == OPEN).then_some(()))?;
        let before = Snapshot::take(&watched)?;
        generator.wait_for_line(self.duration + SLACK, |line| (line == CLOSED).then_some(()))?;
        let after = Snapshot::take(&watched)?;
        let report =
            generator.wait_for_line(ANSWER_WITHIN + SLACK, |line| serde_json::from_str(line).ok())?;
        Ok(Observed { report, cpu: after.cpu_since(&before), elsewhere: after.elsewhere_since(&before) })
    }
}

/// The clocks of one moment.
struct Snapshot {
    at: Instant,
    cpu: BTreeMap<Role, Duration>,
    machine: Duration,
}

// === impl Snapshot ===

impl Snapshot {
    fn take(watched: &[(Role, u32)]) -> Result<Self> {
        let at = Instant::now();
        let machine = proc::machine_cpu_time()?;
        let read = |(role, pid): &(Role, u32)| {
            let cpu = proc::cpu_time(*pid).with_context(|| format!("CPU time of the {role:?}"))?;
            Ok((*role, cpu))
        };
        Ok(Snapshot { at, cpu: watched.iter().map(read).collect::<Result<_>>()?, machine })
    }

    fn cpu_since(&self, before: &Snapshot) -> BTreeMap<Role, Duration> {
        let earlier = |role| before.cpu.get(role).copied().unwrap_or_default();
        self.cpu.iter().map(|(role, cpu)| (*role, cpu.saturating_sub(earlier(role)))).collect()
    }

    fn elsewhere_since(&self, before: &Snapshot) -> f64 {
        let ours: Duration = self.cpu_since(before).values().sum();
        let all = self.machine.saturating_sub(before.machine);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let window = (self.at - before.at).as_secs_f64() * cores as f64;
        all.saturating_sub(ours).as_secs_f64() / window.max(f64::EPSILON)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(at: Instant, subject: u64, machine: u64) -> Snapshot {
        let cpu = BTreeMap::from([(Role::Subject, Duration::from_millis(subject))]);
        Snapshot { at, cpu, machine: Duration::from_millis(machine) }
    }

    #[test]
    fn time_of_others_is_what_ours_did_not_use() {
        let start = Instant::now();
        let before = snapshot(start, 100, 1000);
        let after = snapshot(start + Duration::from_secs(1), 600, 1900);
        assert_eq!(after.cpu_since(&before)[&Role::Subject], Duration::from_millis(500));
        let cores = std::thread::available_parallelism().unwrap().get() as f64;
        assert!((after.elsewhere_since(&before) - 0.4 / cores).abs() < 1e-9);
        // Clocks of different grain may disagree by a tick.
        assert_eq!(snapshot(start + Duration::from_secs(1), 2000, 1900).elsewhere_since(&before), 0.0);
    }
}
