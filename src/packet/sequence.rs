//! 32-bit TCP sequence numbers that wrap (RFC 9293 §3.4).

/// A sequence or acknowledgement number; ordered by distance, not by value.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct SequenceNumber(u32);

impl SequenceNumber {
    /// The number as it stands in the header.
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The number as it stands in the header.
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The number `count` bytes further, modulo 2³².
    #[must_use]
    pub const fn advance(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count))
    }

    /// Signed distance `self - earlier`: negative when `self` comes before `earlier`.
    /// Right for numbers at most 2³¹ - 1 bytes apart.
    pub const fn distance_from(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }

    /// Whether `self` comes before `other`.
    pub const fn is_before(self, other: Self) -> bool {
        self.distance_from(other) < 0
    }

    /// Whether `self` comes after `other`.
    pub const fn is_after(self, other: Self) -> bool {
        self.distance_from(other) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_holds_across_the_wrap() {
        let before = SequenceNumber::new(u32::MAX - 9);
        let after = before.advance(20);
        assert_eq!(after.value(), 10);
        assert!(before.is_before(after) && after.is_after(before));
        assert_eq!(after.distance_from(before), 20);
        assert_eq!(before.distance_from(after), -20);
    }
}
