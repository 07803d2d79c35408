//! What the kernel says about processes: CPU time and memory, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::param::clock_ticks_per_second;

/// Of one process, from `/proc/PID/stat`, in clock ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// User and system time of all its threads.
    own: u64,
    /// The same of children that have ended and were waited for.
    ended_children: u64,
}

/// CPU time that a process and its descendants, living and ended, have used.
///
/// # Errors
/// When the process is gone.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let stats = tree(pid)?;
    let ticks: u64 = stats.values().map(|stat| stat.own + stat.ended_children).sum();
    Ok(time(ticks))
}

/// The most memory that a process and its living descendants had at once, each for itself, in bytes (`VmHWM`).
///
/// # Errors
/// When the process is gone.
pub(crate) fn peak_memory(pid: u32) -> Result<u64> {
    let peaks = tree(pid)?.into_keys().map(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        high_water_mark(&status).context("no VmHWM")
    });
    peaks.sum()
}

/// A process and its living descendants, by their numbers.
///
/// # Errors
/// When the process is gone.
pub(crate) fn descended(pid: u32) -> Result<Vec<u32>> {
    Ok(tree(pid)?.into_keys().collect())
}

/// CPU time that the whole machine has used, and that others of the same host took from it.
///
/// # Errors
/// When `/proc/stat` cannot be read.
pub(crate) fn machine_cpu_time() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    Ok(time(busy_ticks(&stat).context("no line cpu in /proc/stat")?))
}

fn time(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64)
}

/// A process and its living descendants.
fn tree(root: u32) -> Result<BTreeMap<u32, Stat>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // Processes end while this loop runs.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|stat| parse_stat(&stat));
        all.extend(stat.map(|stat| (pid, stat)));
    }
    all.get(&root).with_context(|| format!("process {root} is gone"))?;
    Ok(descendants(root, &all))
}

fn descendants(root: u32, all: &BTreeMap<u32, Stat>) -> BTreeMap<u32, Stat> {
    let mut found: BTreeMap<u32, Stat> =
        all.get_key_value(&root).map(|(pid, stat)| (*pid, *stat)).into_iter().collect();
    loop {
        let more: Vec<_> = all
            .iter()
            .filter(|(pid, stat)| !found.contains_key(pid) && found.contains_key(&stat.parent))
            .map(|(pid, stat)| (*pid, *stat))
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

/// The name of a process stands in parentheses and may hold any character, so the fields count from the last one.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // The first of these is field 3 of proc(5).
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(number(4)?).ok()?,
        own: number(14)? + number(15)?,
        ended_children: number(16)? + number(17)?,
    })
}

fn high_water_mark(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// Everything but idle and iowait: user, nice, system, irq, softirq and steal. Guest time is in user already.
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    [0, 1, 2, 5, 6, 7].into_iter().map(|index| fields.get(index).copied()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name() {
        let line = "42 (a) b (c) S 7 42 42 0 -1 4194560 105 0 0 0 300 120 10 5 20 0 1 0 99 1000 50 184467";
        assert_eq!(parse_stat(line), Some(Stat { parent: 7, own: 420, ended_children: 15 }));
        assert_eq!(parse_stat("42 (a) S 7 42"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn a_tree_is_the_process_its_children_and_theirs() {
        let stat = |parent| Stat { parent, own: 1, ended_children: 0 };
        let all = BTreeMap::from([(1, stat(0)), (10, stat(1)), (11, stat(10)), (5, stat(11)), (12, stat(1))]);
        let found: Vec<_> = descendants(10, &all).into_keys().collect();
        assert_eq!(found, [5, 10, 11]);
    }

    #[test]
    fn memory_and_machine_time_are_read() {
        assert_eq!(high_water_mark("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n"), Some(2 << 20));
        assert_eq!(high_water_mark("Name:\tx\n"), None);
        assert_eq!(busy_ticks("cpu  10 1 20 4000 300 2 3 4 0 0\ncpu0 1 1 1 1\n"), Some(40));
        assert_eq!(busy_ticks("cpu  10 1\n"), None);
    }

    #[test]
    fn this_process_has_used_time_and_memory() -> Result<()> {
        let pid = std::process::id();
        assert!(peak_memory(pid)? > 1 << 20);
        assert!(cpu_time(pid)? <= machine_cpu_time()?);
        assert!(cpu_time(u32::MAX).is_err());
        Ok(())
    }
}
