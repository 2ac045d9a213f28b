//! The time units of a pcapng interface → `Timestamp`.

use crate::time::Timestamp;

const NANOS_A_SECOND: u32 = 1_000_000_000;

/// How an interface of a pcapng file counts time (draft-ietf-opsawg-pcapng §4.2, `if_tsresol` and `if_tsoffset`).
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    unit: Unit,
    /// Nanoseconds to add.
    offset: i128,
}

#[derive(Clone, Copy, Debug)]
enum Unit {
    /// So many nanoseconds.
    Nanos(u64),
    /// So many of them make a nanosecond.
    PerNano(u128),
    /// Two to this power of them make a second.
    PerSecond(u32),
}

impl Default for Clock {
    /// Microseconds since the epoch.
    fn default() -> Self {
        Self { unit: Unit::Nanos(1000), offset: 0 }
    }
}

impl Clock {
    /// Takes the value of `if_tsresol`: a negative power of ten, or of two when the highest bit is set.
    pub(super) fn set_resolution(&mut self, value: u8) {
        let power = u32::from(value & 0x7f);
        self.unit = match (value & 0x80, power) {
            (0, 0..=9) => Unit::Nanos(10_u64.pow(9 - power)),
            (0, _) => Unit::PerNano(10_u128.checked_pow(power - 9).unwrap_or(u128::MAX)),
            _ => Unit::PerSecond(power),
        };
    }

    /// Takes the value of `if_tsoffset`, in seconds.
    pub(super) fn set_offset(&mut self, seconds: i64) {
        self.offset = i128::from(seconds) * i128::from(NANOS_A_SECOND);
    }

    /// The time `ticks` stands for; what lies before the epoch or beyond the year 2554 is put at that end.
    pub(super) fn at(&self, ticks: u64) -> Timestamp {
        let since_offset = match self.unit {
            Unit::Nanos(nanos) => u128::from(ticks) * u128::from(nanos),
            Unit::PerNano(ticks_a_nano) => u128::from(ticks) / ticks_a_nano,
            Unit::PerSecond(power) => (u128::from(ticks) * u128::from(NANOS_A_SECOND)) >> power,
        };
        // At most 2^64 · 10^9: no overflow of 127 bits.
        let nanos = i128::try_from(since_offset).unwrap_or(i128::MAX).saturating_add(self.offset);
        Timestamp::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(resolution: u8, offset: i64, ticks: u64) -> u64 {
        let mut clock = Clock::default();
        clock.set_resolution(resolution);
        clock.set_offset(offset);
        clock.at(ticks).as_nanos()
    }

    #[test]
    fn the_default_is_microseconds() {
        assert_eq!(Clock::default().at(1_500_000).as_nanos(), 1_500_000_000);
    }

    #[test]
    fn decimal_resolutions_become_nanoseconds() {
        assert_eq!(nanos(0, 0, 7), 7_000_000_000);
        assert_eq!(nanos(3, 0, 1_234), 1_234_000_000);
        assert_eq!(nanos(6, 0, 1_234), 1_234_000);
        assert_eq!(nanos(9, 0, 1_234), 1_234);
        assert_eq!(nanos(12, 0, 1_999_999), 1_999);
        assert_eq!(nanos(127, 0, u64::MAX), 0);
    }

    #[test]
    fn binary_resolutions_become_nanoseconds() {
        assert_eq!(nanos(0x80 + 20, 0, 3 << 19), 1_500_000_000);
        assert_eq!(nanos(0x80 + 32, 0, 1 << 31), 500_000_000);
        assert_eq!(nanos(0x80 + 127, 0, u64::MAX), 0);
    }

    #[test]
    fn offsets_move_both_ways() {
        assert_eq!(nanos(9, 2, 5), 2_000_000_005);
        assert_eq!(nanos(0, -2, 5), 3_000_000_000);
    }

    #[test]
    fn impossible_times_saturate() {
        assert_eq!(nanos(0, 0, u64::MAX), u64::MAX);
        assert_eq!(nanos(6, i64::MIN, u64::MAX), 0);
        assert_eq!(nanos(0, i64::MAX, u64::MAX), u64::MAX);
    }
}
