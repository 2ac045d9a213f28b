//! Bytes → where lines end. Sixty-four bytes at a time, because lines are too short for a search that begins anew with each.

/// Bytes that are looked at together.
const BLOCK: usize = 64;
/// With the byte before them.
const AND_BEFORE: usize = BLOCK + 1;
/// None of the bytes that are looked for.
const FILLER: u8 = b' ';

/// The places of all line feeds, in order.
#[derive(Clone, Debug)]
pub(super) struct LineFeeds<'a> {
    bytes: &'a [u8],
    /// From the byte before the next block on.
    rest: &'a [u8],
    /// Where the present block begins, and the next one; never at the first byte, which none is before.
    start: usize,
    next: usize,
    /// Those of the present block that are still to come: a bit for each byte, the lowest for the first.
    found: u64,
    may_be_odd: bool,
}

impl<'a> LineFeeds<'a> {
    /// In `bytes`.
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        let found = u64::from(bytes.first() == Some(&b'\n'));
        Self { bytes, rest: bytes, start: 0, next: 1, found, may_be_odd: false }
    }

    /// Whether there may be NUL, but for the first byte, or CR that ends no line, before the place that came last. No where
    /// there is none of these among all bytes.
    pub(super) const fn may_be_odd(&self) -> bool {
        self.may_be_odd
    }

    /// Start and end of the next line that begins as `may_begin` says, where one begins at `start` after the line feed that came
    /// last. Four bytes tell it, which may reach into further lines, and a line that stands where there are fewer may begin in
    /// any way.
    #[inline]
    pub(super) fn next_line(&mut self, start: usize, may_begin: impl Fn([u8; 4]) -> bool) -> Option<(usize, usize)> {
        let mut start = start;
        loop {
            let mut found = self.found;
            while found != 0 {
                let end = self.start + found.trailing_zeros() as usize + 1;
                found &= found - 1;
                let beginning = self.bytes.get(start..).and_then(|line| line.first_chunk());
                if beginning.is_none_or(|beginning| may_begin(*beginning)) {
                    self.found = found;
                    return Some((start, end));
                }
                start = end;
            }
            if !self.look_on() {
                return None;
            }
        }
    }

    /// Looks at the next block; whether there was one.
    #[inline]
    fn look_on(&mut self) -> bool {
        let (found, is_odd) = match self.rest.first_chunk() {
            Some(block) => {
                self.rest = self.rest.get(BLOCK..).unwrap_or_default();
                look_at(block)
            }
            None if self.rest.len() > 1 => {
                self.rest = &[];
                look_at_last(self.bytes, self.next)
            }
            None => return false,
        };
        self.found = found;
        self.may_be_odd |= is_odd;
        self.start = self.next;
        self.next += BLOCK;
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

/// What [`look_at`] says of the last bytes, which begin at `next` and are no block. Apart from [`LineFeeds`], which so need not
/// stand in memory.
#[inline(never)]
fn look_at_last(bytes: &[u8], next: usize) -> (u64, bool) {
    let known = (next + BLOCK).saturating_sub(bytes.len());
    if let Some(block) = bytes.last_chunk() {
        let (found, is_odd) = look_at(block);
        return (found >> known, is_odd);
    }
    let mut block = [FILLER; AND_BEFORE];
    for (to, from) in block.iter_mut().zip(bytes) {
        *to = *from;
    }
    look_at(&block)
}

/// The line feeds of a block, and whether it has NUL, or something else than a line feed behind CR.
#[cfg(target_arch = "x86_64")]
#[inline]
fn look_at(block: &[u8; AND_BEFORE]) -> (u64, bool) {
    use std::arch::x86_64::{
        __m128i, _mm_andnot_si128, _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
        _mm_setzero_si128,
    };
    const VECTOR: usize = size_of::<__m128i>();
    let bytes =
        |from: usize| block.get(from..).and_then(|bytes| bytes.first_chunk()).copied().unwrap_or([FILLER; VECTOR]);
    let mut found = 0;
    #[expect(unsafe_code, reason = "it takes a fifth of the time that numbers of eight bytes take")]
    // SAFETY: every x86-64 has SSE2; a vector is sixteen bytes, whatever they are.
    let odd = unsafe {
        let is = |bytes, byte: u8| _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte.cast_signed()));
        let (mut stray, mut least) = (_mm_setzero_si128(), _mm_set1_epi8(-1));
        for start in (0..BLOCK).step_by(VECTOR).rev() {
            let [before, here] =
                [start, start + 1].map(|from| std::mem::transmute::<[u8; VECTOR], __m128i>(bytes(from)));
            let line_feeds = is(here, b'\n');
            stray = _mm_or_si128(stray, _mm_andnot_si128(line_feeds, is(before, b'\r')));
            least = _mm_min_epu8(least, here);
            found = found << VECTOR | u64::from(_mm_movemask_epi8(line_feeds).cast_unsigned());
        }
        _mm_movemask_epi8(_mm_or_si128(stray, _mm_cmpeq_epi8(least, _mm_setzero_si128())))
    };
    (found, odd != 0)
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn look_at(block: &[u8; AND_BEFORE]) -> (u64, bool) {
    portable::look_at(block)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    use super::{AND_BEFORE, BLOCK};

    const EACH: u64 = u64::MAX / 255;

    /// See [`super::look_at`].
    pub(super) fn look_at(block: &[u8; AND_BEFORE]) -> (u64, bool) {
        let [before, bytes @ ..] = block;
        let [line_feeds, returns, nuls] = [b'\n', b'\r', 0].map(|byte| places(bytes, byte));
        let behind_returns = returns << 1 | u64::from(*before == b'\r');
        (line_feeds, (behind_returns & !line_feeds) | nuls != 0)
    }

    /// A bit for each byte of the block that is `wanted`.
    fn places(block: &[u8; BLOCK], wanted: u8) -> u64 {
        let (words, _) = block.as_chunks();
        words
            .iter()
            .rev()
            .fold(0, |all, word| all << 8 | u64::from(zeros(u64::from_le_bytes(*word) ^ (EACH * u64::from(wanted)))))
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

    /// Whether there is NUL, but for the first byte, or CR that ends no line, as one at the end.
    fn is_odd(bytes: &[u8]) -> bool {
        let ends_line = |place: usize| bytes.get(place + 1) == Some(&b'\n');
        let mut all = bytes.iter().enumerate();
        all.any(|(place, byte)| (*byte == 0 && place > 0) || (*byte == b'\r' && !ends_line(place)))
    }

    #[test]
    fn a_return_at_the_end_of_few_bytes_may_be_odd_and_is_none_before_a_line_feed() {
        let after_one = |bytes: &[u8]| {
            let mut found = LineFeeds::of(bytes);
            (found.next(), found.may_be_odd())
        };
        assert_eq!(after_one(b"\0\n\r"), (Some(1), true));
        assert_eq!(after_one(b"\0\r\n"), (Some(2), false));
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
            for place in places {
                prop_assert_eq!(found.next(), Some(place));
                prop_assert!(found.may_be_odd() || !is_odd(&bytes[..=place]));
                prop_assert!(is_odd(&bytes) || !found.may_be_odd());
            }
            prop_assert_eq!(found.next(), None);
        }

        #[test]
        fn lines_that_begin_otherwise_are_passed(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), 98_u8..110], 0..200),
        ) {
            let (mut start, mut wanted) = (0, Vec::new());
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                let end = start + line.len();
                if line.ends_with(b"\n") && (line.starts_with(b"a") || bytes.len() - start < 4) {
                    wanted.push((start, end));
                }
                start = end;
            }
            let (mut found, mut end) = (LineFeeds::of(&bytes), 0);
            for line in wanted {
                prop_assert_eq!(found.next_line(end, |beginning| beginning[0] == b'a'), Some(line));
                end = line.1;
            }
            prop_assert_eq!(found.next_line(end, |beginning| beginning[0] == b'a'), None);
        }

        #[test]
        fn what_works_everywhere_finds_the_same(
            bytes in proptest::collection::vec(
                prop_oneof![any::<u8>(), 9_u8..14, 32_u8..127, 138_u8..142, Just(b'\r')],
                AND_BEFORE,
            ),
            at in 0..AND_BEFORE,
            is_return in any::<bool>(),
        ) {
            let mut block: [u8; AND_BEFORE] = bytes.try_into().unwrap();
            prop_assert_eq!(portable::look_at(&block), look_at(&block));
            // One odd byte alone, or none.
            block.iter_mut().filter(|byte| matches!(byte, 0 | b'\r')).for_each(|byte| *byte = b'1');
            prop_assert_eq!(portable::look_at(&block), look_at(&block));
            block[at] = if is_return { b'\r' } else { 0 };
            prop_assert_eq!(portable::look_at(&block), look_at(&block));
        }
    }
}
