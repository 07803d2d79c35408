//! A processor for the measured process alone. With a processor for each of two processes that talk, a time is theirs;
//! with both on one, it is also the scheduler's, which lets who runs go on for milliseconds before who was woken.

use std::fs;

use anyhow::{Context, Result};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::proc;

/// One processor for the subject, the others for everybody else.
#[derive(Debug)]
pub(crate) struct Apart {
    subject: CpuSet,
    others: CpuSet,
    all: CpuSet,
}

/// Which side a process is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Subject,
    Others,
}

// === impl Apart ===

impl Apart {
    /// Of the processors that this thread may use; `None` if there is only one.
    ///
    /// # Errors
    /// When the kernel does not say which they are.
    pub(crate) fn of_machine() -> Result<Option<Self>> {
        let all = sched_getaffinity(None)?;
        let mut places = (0..CpuSet::MAX_CPU).filter(|place| all.is_set(*place));
        let (Some(first), Some(_)) = (places.next(), places.next()) else { return Ok(None) };
        let (mut subject, mut others) = (CpuSet::new(), all);
        subject.set(first);
        others.unset(first);
        Ok(Some(Apart { subject, others, all }))
    }

    /// Puts all threads of a process and of its descendants on this side.
    ///
    /// # Errors
    /// When the process is gone.
    pub(crate) fn place(&self, side: Side, pid: u32) -> Result<()> {
        for pid in proc::descended(pid)? {
            for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                let name = task?.file_name();
                let task = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
                sched_setaffinity(Some(task.context("a task without a number")?), self.set(side))?;
            }
        }
        Ok(())
    }

    /// Calls `f`, and puts the processes that it starts on this side.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn starting<T>(&self, side: Side, f: impl FnOnce() -> T) -> Result<T> {
        sched_setaffinity(None, self.set(side))?;
        let outcome = f();
        sched_setaffinity(None, &self.all)?;
        Ok(outcome)
    }

    fn set(&self, side: Side) -> &CpuSet {
        match side {
            Side::Subject => &self.subject,
            Side::Others => &self.others,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_sides_share_no_processor_and_leave_none_out() {
        let Some(apart) = Apart::of_machine().unwrap() else { return };
        for place in 0..CpuSet::MAX_CPU {
            let sides = u32::from(apart.subject.is_set(place)) + u32::from(apart.others.is_set(place));
            assert_eq!(sides, u32::from(apart.all.is_set(place)));
        }
        assert_eq!(apart.subject.count(), 1);
    }

    #[test]
    fn a_process_starts_on_its_side_and_can_be_moved() {
        let Some(apart) = Apart::of_machine().unwrap() else { return };
        let started = apart.starting(Side::Subject, || std::process::Command::new("sleep").arg("60").spawn());
        let mut child = started.unwrap().unwrap();
        let pid = Pid::from_child(&child);
        assert_eq!(sched_getaffinity(Some(pid)).unwrap(), apart.subject);
        apart.place(Side::Others, child.id()).unwrap();
        assert_eq!(sched_getaffinity(Some(pid)).unwrap(), apart.others);
        assert_eq!(sched_getaffinity(None).unwrap(), apart.all);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
