//! Capture time: what the packet says, never what a clock says.

use std::time::Duration;

/// Nanoseconds since the Unix epoch, as stamped on the packet by the capture source.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The time `nanos` nanoseconds after the Unix epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// `self + duration`, at most the largest time there is.
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// Time that passed from `earlier` to `self`; zero when `earlier` is later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Whether less than `duration` passed from `earlier` to `self`, or `earlier` is later.
    #[inline]
    pub const fn is_within(self, duration: Duration, earlier: Self) -> bool {
        // Compared as numbers: a duration is seconds and nanoseconds apart.
        (self.0.saturating_sub(earlier.0) as u128) < duration.as_nanos()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let late = Timestamp::from_nanos(u64::MAX - 1);
        assert_eq!(late.saturating_add(Duration::from_secs(1)).as_nanos(), u64::MAX);
        let early = Timestamp::from_nanos(5);
        assert_eq!(early.saturating_since(late), Duration::ZERO);
        assert_eq!(late.saturating_since(early), Duration::from_nanos(u64::MAX - 6));
    }

    #[test]
    fn within_is_less_than_the_time_that_passed() {
        let at = Timestamp::from_nanos;
        for (later, earlier, is_within) in [(15, 6, true), (16, 6, false), (6, 16, true), (u64::MAX, 0, false)] {
            assert_eq!(at(later).is_within(Duration::from_nanos(10), at(earlier)), is_within, "{later} {earlier}");
        }
        assert!(at(u64::MAX).is_within(Duration::MAX, at(0)));
    }
}
