//! Bytes → where lines end. Sixty-four bytes at a time, because lines are too short for a search that begins anew with each.

/// Bytes that are looked at together, and the one behind them.
const BLOCK: usize = 64;
const BLOCK_AND_NEXT: usize = BLOCK + 1;
/// Neither of the bytes that are looked for.
const FILLER: u8 = b' ';

/// The places of all line feeds, in order.
#[derive(Clone, Debug)]
pub(super) struct LineFeeds<'a> {
    /// What was not looked at yet.
    rest: &'a [u8],
    /// Where the present block begins, and the next one.
    start: usize,
    next: usize,
    /// Those of the present block that are still to come: a bit for each byte, the lowest for the first.
    found: u64,
    may_be_odd: bool,
}

impl<'a> LineFeeds<'a> {
    /// In `bytes`.
    pub(super) const fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, start: 0, next: 0, found: 0, may_be_odd: false }
    }

    /// Whether there may be NUL, or CR that ends no line, before the place that came last. No where there is none of these
    /// among all bytes.
    pub(super) const fn may_be_odd(&self) -> bool {
        self.may_be_odd
    }

    /// Looks at the next block; whether there was one.
    #[inline]
    fn look_on(&mut self) -> bool {
        let Some(rest) = self.rest.get(BLOCK..) else { return self.look_at_last() };
        let Some(block) = self.rest.first_chunk() else { return self.look_at_last() };
        self.note(rest, block)
    }

    /// The last bytes are fewer than a block and the one behind it.
    #[inline(never)]
    fn look_at_last(&mut self) -> bool {
        if self.rest.is_empty() {
            return false;
        }
        let mut block = [FILLER; BLOCK_AND_NEXT];
        let length = self.rest.len().min(BLOCK);
        let (last, rest) = self.rest.split_at(length);
        if let Some(place) = block.get_mut(..length) {
            place.copy_from_slice(last);
        }
        self.note(rest, &block)
    }

    #[inline]
    fn note(&mut self, rest: &'a [u8], block: &[u8; BLOCK_AND_NEXT]) -> bool {
        let (found, is_odd) = look_at(block);
        self.rest = rest;
        self.start = self.next;
        self.next += BLOCK;
        self.found = found;
        self.may_be_odd |= is_odd;
        true
    }
}

impl Iterator for LineFeeds<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.found == 0 {
            if !self.look_on() {
                return None;
            }
        }
        let place = self.start + self.found.trailing_zeros() as usize;
        self.found &= self.found - 1;
        Some(place)
    }
}

/// The line feeds of a block, and whether it has NUL, or CR without a line feed behind it.
#[cfg(target_arch = "x86_64")]
#[inline]
fn look_at(block: &[u8; BLOCK_AND_NEXT]) -> (u64, bool) {
    use std::arch::x86_64::{
        __m128i, _mm_andnot_si128, _mm_cmpeq_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8, _mm_setzero_si128,
    };
    let (mut found, mut any_odd) = (0, 0);
    for part in (0..BLOCK).step_by(size_of::<__m128i>()).rev() {
        let bytes = |from: usize| block.get(from..).and_then(|bytes| bytes.first_chunk()).copied().unwrap_or([FILLER; 16]);
        #[expect(unsafe_code, reason = "it takes a fifth of the time that numbers of eight bytes take")]
        // SAFETY: every x86-64 has SSE2; a vector is sixteen bytes, whatever they are.
        let (line_feeds, odd) = unsafe {
            let [here, next] = [part, part + 1].map(|from| std::mem::transmute::<[u8; 16], __m128i>(bytes(from)));
            let is = |bytes, byte: u8| _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte.cast_signed()));
            let stray = _mm_andnot_si128(is(next, b'\n'), is(here, b'\r'));
            let odd = _mm_or_si128(stray, _mm_cmpeq_epi8(here, _mm_setzero_si128()));
            (_mm_movemask_epi8(is(here, b'\n')), _mm_movemask_epi8(odd))
        };
        found = found << 16 | u64::from(line_feeds.cast_unsigned());
        any_odd |= odd;
    }
    (found, any_odd != 0)
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn look_at(block: &[u8; BLOCK_AND_NEXT]) -> (u64, bool) {
    portable::look_at(block)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    use super::{BLOCK, BLOCK_AND_NEXT};

    const EACH: u64 = u64::MAX / 255;

    /// See [`super::look_at`].
    pub(super) fn look_at(block: &[u8; BLOCK_AND_NEXT]) -> (u64, bool) {
        let [line_feeds, returns, nuls] = [b'\n', b'\r', 0].map(|byte| places(block, byte));
        let is_next = block.last() == Some(&b'\n');
        let stray = returns & !(line_feeds >> 1 | u64::from(is_next) << (BLOCK - 1));
        (line_feeds, stray | nuls != 0)
    }

    /// A bit for each byte of the block that is `wanted`.
    fn places(block: &[u8; BLOCK_AND_NEXT], wanted: u8) -> u64 {
        let (words, _) = block.as_chunks();
        words.iter().rev().fold(0, |all, word| all << 8 | u64::from(zeros(u64::from_le_bytes(*word) ^ EACH * u64::from(wanted))))
    }

    /// A bit for each byte of `word` that is zero: neither its high bit is set nor, by a carry, that of the sum.
    const fn zeros(word: u64) -> u8 {
        let sum = (word & (EACH * 0x7f)) + EACH * 0x7f;
        let zero = !(sum | word) & (EACH * 0x80);
        // The high bits, brought together in the highest byte.
        let [.., bits] = ((zero >> 7).wrapping_mul(0x0102_0408_1020_4080)).to_le_bytes();
        bits
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_odd(bytes: &[u8]) -> bool {
        let next = |place: usize| bytes.get(place + 1);
        let mut all = bytes.iter().enumerate();
        all.any(|(place, byte)| *byte == 0 || (*byte == b'\r' && next(place) != Some(&b'\n')))
    }

    proptest! {
        #[test]
        fn all_are_found_wherever_they_stand(
            bytes in proptest::collection::vec(prop_oneof![any::<u8>(), 9_u8..14, 32_u8..127, 128_u8..150], 0..200),
            is_plain in any::<bool>(),
        ) {
            let mut bytes = bytes;
            if is_plain {
                // Nothing that is odd.
                bytes.iter_mut().filter(|byte| matches!(byte, 0 | b'\r')).for_each(|byte| *byte = b'\n');
            }
            let places: Vec<usize> = (0..bytes.len()).filter(|place| bytes[*place] == b'\n').collect();
            let mut found = LineFeeds::of(&bytes);
            for (number, place) in places.iter().enumerate() {
                prop_assert_eq!(found.next(), Some(*place), "{}", number);
                prop_assert!(found.may_be_odd() || !is_odd(&bytes[..=*place]));
                prop_assert!(is_odd(&bytes) || !found.may_be_odd());
            }
            prop_assert_eq!(found.next(), None);
        }

        #[test]
        fn what_works_everywhere_finds_the_same(
            bytes in proptest::collection::vec(
                prop_oneof![any::<u8>(), 9_u8..14, 32_u8..127, 138_u8..142, Just(b'\r')],
                BLOCK_AND_NEXT,
            ),
            at in 0..BLOCK,
            is_return in any::<bool>(),
        ) {
            let mut block: [u8; BLOCK_AND_NEXT] = bytes.try_into().unwrap();
            prop_assert_eq!(portable::look_at(&block), look_at(&block));
            // One odd byte alone, or none.
            block.iter_mut().filter(|byte| matches!(byte, 0 | b'\r')).for_each(|byte| *byte = b'1');
            prop_assert_eq!(portable::look_at(&block), look_at(&block));
            block[at] = if is_return { b'\r' } else { 0 };
            prop_assert_eq!(portable::look_at(&block), look_at(&block));
        }
    }
}
