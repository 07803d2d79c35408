//! Latencies in fixed memory.

use std::time::Duration;

/// Each power of two is cut into so many buckets, so a figure is off by less than one in 128.
const PER_OCTAVE: u64 = 128;
const PER_OCTAVE_BITS: u32 = 7;
/// 2^37 nanoseconds are over two minutes, far past every time-out here; longer times count as that.
const LONGEST: u64 = (1 << 37) - 1;
const BUCKETS: usize = (37 - PER_OCTAVE_BITS as usize + 1) * PER_OCTAVE as usize;

/// How often each latency came.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    count: u64,
    longest: Duration,
}

// === impl Histogram ===

impl Histogram {
    pub(crate) fn new() -> Self {
        Histogram { counts: vec![0; BUCKETS], count: 0, longest: Duration::ZERO }
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(LONGEST).min(LONGEST);
        if let Some(count) = self.counts.get_mut(bucket(nanoseconds)) {
            *count += 1;
        }
        self.count += 1;
        self.longest = self.longest.max(latency);
    }

    /// How many were recorded.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The longest, exactly.
    pub(crate) fn longest(&self) -> Duration {
        self.longest
    }

    /// The latency that this share stayed within (nearest rank); zero without records.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let rank = (share * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(middle(index as u64));
            }
        }
        Duration::ZERO
    }
}

fn bucket(nanoseconds: u64) -> usize {
    let index = if nanoseconds < PER_OCTAVE {
        nanoseconds
    } else {
        let shift = nanoseconds.ilog2() - PER_OCTAVE_BITS;
        (u64::from(shift + 1) << PER_OCTAVE_BITS) + ((nanoseconds >> shift) & (PER_OCTAVE - 1))
    };
    usize::try_from(index).unwrap_or(BUCKETS - 1)
}

/// The middle of a bucket, in nanoseconds.
fn middle(index: u64) -> u64 {
    if index < PER_OCTAVE {
        return index;
    }
    let shift = (index >> PER_OCTAVE_BITS) - 1;
    let low = (PER_OCTAVE + (index & (PER_OCTAVE - 1))) << shift;
    low + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_off_by_less_than_a_hundredth() {
        let mut histogram = Histogram::new();
        for microseconds in (1..=100_000u64).rev() {
            histogram.record(Duration::from_micros(microseconds));
        }
        assert_eq!(histogram.count(), 100_000);
        for (share, expected) in [(0.5, 50_000.0), (0.99, 99_000.0), (0.999, 99_900.0), (1.0, 100_000.0)] {
            let found = histogram.quantile(share).as_secs_f64() * 1e6;
            assert!((found / expected - 1.0).abs() < 0.01, "{share}: {found} instead of {expected}");
        }
        assert_eq!(histogram.longest(), Duration::from_millis(100));
    }

    #[test]
    fn every_value_falls_into_a_bucket_around_it() {
        for nanoseconds in [0, 1, 127, 128, 129, 255, 256, 1_000, 1_000_000, LONGEST] {
            let index = bucket(nanoseconds);
            assert!(index < BUCKETS, "{nanoseconds}");
            let off = middle(index as u64).abs_diff(nanoseconds) as f64;
            assert!(off <= nanoseconds as f64 / PER_OCTAVE as f64, "{nanoseconds}: off by {off}");
        }
    }

    #[test]
    fn absurd_times_and_an_empty_histogram_are_no_trouble() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(0.99), Duration::ZERO);
        histogram.record(Duration::MAX);
        assert!(histogram.quantile(0.5) > Duration::from_secs(100));
    }
}
