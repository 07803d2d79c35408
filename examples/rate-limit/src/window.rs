//! One fixed window in Redis.

use agw_sdk::{CallId, Error, SetOptions};

use crate::config::Config;

/// Where a key stands in its window, the request at hand included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Requests so far.
    pub(crate) count: u64,
    /// Milliseconds until the window ends.
    pub(crate) left_ms: u64,
}

/// A request that is being counted.
pub(crate) struct Count {
    key: Vec<u8>,
    call: CallId,
}

// === impl Count ===

impl Count {
    /// Counts one request under `key`, in one round trip. It does not wait: while Redis answers, the VM serves other
    /// requests.
    ///
    /// The window starts with the first request: `SET NX` creates the counter together with its expiry, and nothing
    /// can run between it and `INCR`.
    pub(crate) fn start(config: &Config, key: Vec<u8>) -> Result<Count, Error> {
        let redis = agw_sdk::redis(&config.resource)?;
        let start = SetOptions { ex: Some(config.window.into()), nx: true, ..SetOptions::default() };
        let call = redis.atomic().set_with(&key, "0", start).incr(&key).pttl(&key).start()?;
        Ok(Count { key, call })
    }

    /// Whether `on_foreign_function` was called about it.
    pub(crate) fn matches(&self, function_id: u32) -> bool {
        self.call.matches(function_id)
    }

    /// The answer, of `size` bytes: where the key stands, and the call that mends its counter, if that has to be.
    ///
    /// A counter without expiry can be met if someone else made it or it expired in the middle on an old server; it
    /// gets one before the request goes on, because the calls of a stream end with it.
    pub(crate) fn finish(self, config: &Config, size: usize) -> Result<(Standing, Option<CallId>), Error> {
        let ((), count, left_ms): ((), i64, i64) = agw_sdk::answer(self.call, size)?;
        let count = u64::try_from(count).unwrap_or(0);
        if let Ok(left_ms) = u64::try_from(left_ms) {
            return Ok((Standing { count, left_ms }, None));
        }
        let mending = agw_sdk::redis(&config.resource)
            .and_then(|redis| redis.pipeline().expire(&self.key, config.window.into()).start())
            .map_err(|error| not_mended(&error));
        Ok((Standing { count, left_ms: u64::from(config.window) * 1000 }, mending.ok()))
    }
}

/// The request is counted whatever comes of it; the next one tries again.
pub(crate) fn not_mended(error: &Error) {
    log::warn!("a counter has no expiry, and it could not be mended: {error}");
}

// === impl Standing ===

impl Standing {
    /// Whether the request is one too many.
    pub(crate) fn is_over(self, config: &Config) -> bool {
        self.count > config.limit
    }

    /// Requests left in the window.
    pub(crate) fn remaining(self, config: &Config) -> u64 {
        config.limit.saturating_sub(self.count)
    }

    /// Whole seconds until the window ends, rounded up: who waits so long finds a new one.
    pub(crate) fn reset_seconds(self) -> u64 {
        self.left_ms.div_ceil(1000).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(count: u64, left_ms: u64) -> Standing {
        Standing { count, left_ms }
    }

    #[test]
    fn exactly_the_limit_passes() {
        let config = Config::parse(br#"{"limit": 5, "window": 10}"#).unwrap();
        assert!(!standing(5, 1).is_over(&config));
        assert!(standing(6, 1).is_over(&config));
        assert_eq!(standing(1, 1).remaining(&config), 4);
        assert_eq!(standing(7, 1).remaining(&config), 0);
    }

    #[test]
    fn waiting_for_the_reset_is_always_enough() {
        assert_eq!(standing(1, 0).reset_seconds(), 1);
        assert_eq!(standing(1, 1).reset_seconds(), 1);
        assert_eq!(standing(1, 1000).reset_seconds(), 1);
        assert_eq!(standing(1, 1001).reset_seconds(), 2);
    }
}
