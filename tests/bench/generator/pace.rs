//! A steady pace: a timer of the kernel that counts what is due, to the microsecond.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// Ticks so many times a second from its making on. A late reader misses no tick: it gets all of them at once.
#[derive(Debug)]
pub(crate) struct Pace {
    timer: OwnedFd,
    interval: Duration,
}

// === impl Pace ===

impl Pace {
    /// # Errors
    /// When the system gives no timer.
    pub(crate) fn new(per_second: f64) -> io::Result<Self> {
        let interval = Duration::from_secs_f64(1.0 / per_second.clamp(1.0, 1e6));
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let every = timespec(interval);
        timerfd_settime(
            &timer,
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval: every, it_value: every },
        )?;
        Ok(Pace { timer, interval })
    }

    /// From one tick to the next.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// The ticks since the last call; 0 if none has come.
    ///
    /// # Errors
    /// When the timer cannot be read.
    pub(crate) fn ticks(&self) -> io::Result<u64> {
        let mut count = [0; 8];
        match rustix::io::read(&self.timer, &mut count) {
            Ok(_) => Ok(u64::from_ne_bytes(count)),
            Err(rustix::io::Errno::AGAIN) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Pace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

// tokio's `AsyncFd` asks for it.
impl AsRawFd for Pace {
    fn as_raw_fd(&self) -> RawFd {
        self.timer.as_raw_fd()
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
