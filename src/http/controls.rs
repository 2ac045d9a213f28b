//! Bytes → where control characters are: line ends, and what may not be in a head. Sixteen bytes at a time, because lines are
//! too short for a search that begins anew with each.

/// Above NUL, tab, LF and CR, and below all that is printable.
const FIRST_OTHER: u8 = 14;
/// Bytes that are looked at together.
const BLOCK: usize = 16;

/// The places of all bytes below 14, in order.
#[derive(Clone, Debug)]
pub(super) struct Controls<'a> {
    /// What was not looked at yet.
    rest: &'a [u8],
    /// Where the present block begins.
    start: usize,
    /// Where `rest` begins.
    next: usize,
    /// Those of the present block that are still to come, a bit each.
    found: u16,
}

impl<'a> Controls<'a> {
    /// In `bytes`.
    pub(super) const fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, start: 0, next: 0, found: 0 }
    }

    /// The last bytes, which are no block.
    #[cold]
    fn last(&mut self) {
        let mut block = [u8::MAX; BLOCK];
        for (to, from) in block.iter_mut().zip(std::mem::take(&mut self.rest)) {
            *to = *from;
        }
        self.found = controls(&block);
    }
}

impl Iterator for Controls<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.found == 0 {
            self.start = self.next;
            self.next += BLOCK;
            if let Some((block, rest)) = self.rest.split_first_chunk::<BLOCK>() {
                self.rest = rest;
                self.found = controls(block);
            } else if self.rest.is_empty() {
                return None;
            } else {
                self.last();
            }
        }
        let place = self.start + self.found.trailing_zeros() as usize;
        self.found &= self.found - 1;
        Some(place)
    }
}

/// A bit for each byte below 14, the lowest for the first.
#[cfg(target_arch = "x86_64")]
#[inline]
fn controls(block: &[u8; BLOCK]) -> u16 {
    use std::arch::x86_64::{__m128i, _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_set1_epi8};
    const LAST: i8 = FIRST_OTHER.cast_signed() - 1;
    #[expect(unsafe_code, reason = "it takes a fifth of the time that numbers of eight bytes take")]
    // SAFETY: every x86-64 has SSE2; a vector is sixteen bytes, whatever they are.
    let mask = unsafe {
        let bytes = std::mem::transmute::<[u8; BLOCK], __m128i>(*block);
        _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(LAST)), bytes))
    };
    let [low, high, ..] = mask.to_le_bytes();
    u16::from_le_bytes([low, high])
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn controls(block: &[u8; BLOCK]) -> u16 {
    portable::controls(block)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    use super::{BLOCK, FIRST_OTHER};

    const EACH: u64 = u64::MAX / 255;

    /// See [`super::controls`].
    pub(super) fn controls(block: &[u8; BLOCK]) -> u16 {
        let (low, high) = block.split_at(BLOCK / 2);
        let [low, high] = [low, high].map(|half| half.first_chunk().map_or(0, |half| below(u64::from_le_bytes(*half))));
        u16::from_le_bytes([low, high])
    }

    /// A bit for each byte of `word`: its own high bit tells that it is large, and that of the sum for the other seven.
    const fn below(word: u64) -> u8 {
        let sum = (word & (EACH * 0x7f)) + EACH * (0x80 - FIRST_OTHER as u64);
        let small = !(sum | word) & (EACH * 0x80);
        // The high bits, brought together in the highest byte.
        let [.., bits] = ((small >> 7).wrapping_mul(0x0102_0408_1020_4080)).to_le_bytes();
        bits
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_are_found_wherever_they_stand(
            bytes in proptest::collection::vec(prop_oneof![any::<u8>(), 10_u8..18, 120_u8..150], 0..80),
        ) {
            let controls = bytes.iter().enumerate().filter(|(_, byte)| **byte < FIRST_OTHER);
            let places: Vec<usize> = controls.map(|(place, _)| place).collect();
            prop_assert_eq!(Controls::of(&bytes).collect::<Vec<_>>(), places);
        }

        #[test]
        fn what_works_everywhere_finds_the_same(bytes in any::<[u8; BLOCK]>(), byte in any::<u8>(), place in 0..BLOCK) {
            let mut block = bytes;
            block[place] = byte;
            prop_assert_eq!(portable::controls(&block), controls(&block));
        }
    }
}
