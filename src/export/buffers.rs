//! The buffer of a batch → bytes that wait, without a copy, and back when they are done with.

use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::time::Instant;

/// Batches below this are copied: what waits is as large as it says, and a copy is cheap.
const SMALL: usize = 32 << 10;
/// Buffers that are kept to be used again.
const SPARE: usize = 2;
/// Buffers that nobody has used for so long are given up.
const REST: Duration = Duration::from_secs(10);

/// The buffer that is written, and some that were.
///
/// Invariants: `spare.len() <= SPARE`; what is handed over holds at most [`slack`] more memory than it counts.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// The one that is written.
    open: Vec<u8>,
    /// Empty ones.
    spare: Vec<Vec<u8>>,
    /// What a batch needs, by the last ones.
    wanted: usize,
    /// When those that are empty are given up.
    rest: Option<Instant>,
}

impl Buffers {
    /// The one that is written.
    pub(super) const fn open(&mut self) -> &mut Vec<u8> {
        &mut self.open
    }

    /// Makes room for a batch like those before.
    pub(super) fn begin(&mut self) {
        if self.open.capacity() > 0 {
            return;
        }
        if let Some(spare) = self.spare.pop() {
            self.open = spare;
        } else if self.wanted >= SMALL {
            self.open.reserve_exact(self.roomy());
        }
    }

    /// What was written from `start` on. Nothing is open then.
    pub(super) fn close(&mut self, start: usize) -> Bytes {
        let length = self.open.len().saturating_sub(start);
        if length < SMALL {
            // Traffic is low, or batches are: nothing large is kept for it.
            self.give_up_spare();
            self.wanted = length;
            let bytes = Bytes::copy_from_slice(self.open.get(start..).unwrap_or_default());
            self.open.clear();
            self.open.shrink_to(2 * SMALL);
            return bytes;
        }
        self.wanted = length.max(self.wanted - self.wanted / 128);
        if start > slack(length) {
            // What stands before it would wait as well.
            let mut other = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(self.roomy()));
            other.extend_from_slice(self.open.get(start..).unwrap_or_default());
            self.open.clear();
            return handed_over(other, 0);
        }
        handed_over(std::mem::take(&mut self.open), start)
    }

    /// Takes the memory of `bytes` back at `now`, if nobody else holds them and it is what a batch needs.
    pub(super) fn take_back(&mut self, bytes: Bytes, now: Instant) {
        if bytes.len() < SMALL {
            return;
        }
        self.rest = Some(now + REST);
        if self.spare.len() >= SPARE {
            return;
        }
        let Ok(mut bytes) = bytes.try_into_mut() else { return };
        // What is left in it would be moved to its beginning.
        bytes.clear();
        let buffer = Vec::from(bytes);
        if (self.wanted..=self.wanted + slack(self.wanted)).contains(&buffer.capacity()) {
            self.spare.push(buffer);
        }
    }

    /// When [`Self::give_up`] is wanted, if nothing is written before.
    pub(super) const fn rest(&self) -> Option<Instant> {
        self.rest
    }

    /// Holds no memory any more but what is written.
    pub(super) fn give_up(&mut self) {
        self.give_up_spare();
        self.open.shrink_to(self.open.len());
    }

    fn give_up_spare(&mut self) {
        self.spare = Vec::new();
        self.rest = None;
    }

    /// Room for a batch that is a little larger than those before.
    const fn roomy(&self) -> usize {
        self.wanted + self.wanted / 32
    }
}

/// The bytes of `buffer` from `start` on.
fn handed_over(mut buffer: Vec<u8>, start: usize) -> Bytes {
    let length = buffer.len() - start;
    if buffer.capacity() - length > slack(length) {
        // In place, where the allocator can.
        buffer.shrink_to_fit();
    }
    let mut bytes = Bytes::from(buffer);
    bytes.advance(start);
    bytes
}

/// Bytes that what waits may hold beside `length` that it counts.
const fn slack(length: usize) -> usize {
    length / 8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn write(buffers: &mut Buffers, byte: u8, length: usize) {
        buffers.begin();
        buffers.open().extend(std::iter::repeat_n(byte, length));
    }

    /// A batch of `length` bytes behind `start` others.
    fn batch(buffers: &mut Buffers, byte: u8, start: usize, length: usize) -> Bytes {
        write(buffers, 0, start);
        write(buffers, byte, length);
        let bytes = buffers.close(start);
        assert!(bytes.len() == length && bytes.iter().all(|found| *found == byte));
        assert!(buffers.open().is_empty());
        bytes
    }

    /// The memory that `bytes` hold, which nobody else does.
    fn held(bytes: Bytes) -> usize {
        let mut bytes = bytes.try_into_mut().unwrap();
        bytes.clear();
        Vec::from(bytes).capacity()
    }

    #[tokio::test]
    async fn the_memory_of_a_batch_is_that_of_one_before_it() {
        let mut buffers = Buffers::default();
        let first = batch(&mut buffers, 1, 100, 100_000);
        buffers.take_back(first, Instant::now());
        let second = batch(&mut buffers, 2, 100, 100_000);
        let place = second.as_ptr();
        buffers.take_back(second, Instant::now());
        for byte in 3..20 {
            let next = batch(&mut buffers, byte, 100, 100_000 - usize::from(byte));
            assert_eq!(next.as_ptr(), place);
            buffers.take_back(next, Instant::now());
        }
    }

    #[tokio::test]
    async fn what_somebody_still_reads_is_not_written_again() {
        let mut buffers = Buffers::default();
        let first = batch(&mut buffers, 1, 0, 100_000);
        buffers.take_back(first.clone(), Instant::now());
        let second = batch(&mut buffers, 2, 0, 100_000);
        assert_ne!(first.as_ptr(), second.as_ptr());
        assert!(first.iter().all(|byte| *byte == 1));
    }

    #[tokio::test]
    async fn few_buffers_are_kept_and_none_that_is_not_used() {
        let mut buffers = Buffers::default();
        let batches: Vec<Bytes> = (0..9).map(|byte| batch(&mut buffers, byte, 0, 100_000)).collect();
        let now = Instant::now();
        for bytes in batches {
            buffers.take_back(bytes, now);
        }
        assert_eq!((buffers.spare.len(), buffers.rest()), (SPARE, Some(now + REST)));
        buffers.give_up();
        assert_eq!((buffers.spare.len(), buffers.open().capacity(), buffers.rest()), (0, 0, None));
    }

    #[tokio::test]
    async fn a_small_batch_ends_the_use_of_large_buffers() {
        let mut buffers = Buffers::default();
        let large = batch(&mut buffers, 1, 0, 1 << 20);
        buffers.take_back(large, Instant::now());
        let small = batch(&mut buffers, 2, 0, 3000);
        assert_eq!((held(small), buffers.spare.len(), buffers.rest()), (3000, 0, None));
        assert!(buffers.open().capacity() <= 2 * SMALL);
    }

    #[test]
    fn small_batches_are_all_written_in_one_place() {
        let mut buffers = Buffers::default();
        batch(&mut buffers, 1, 100, 3000);
        let place = |buffers: &mut Buffers| (buffers.open().as_ptr(), buffers.open().capacity());
        let first = place(&mut buffers);
        for (byte, length) in [(2, 2000), (3, 10), (4, 2500), (5, 0), (6, 3000)] {
            batch(&mut buffers, byte, 100, length);
            assert_eq!(place(&mut buffers), first);
        }
    }

    #[tokio::test]
    async fn what_stands_before_a_batch_does_not_wait_with_it() {
        let mut buffers = Buffers::default();
        for byte in 0..6 {
            let bytes = batch(&mut buffers, byte, 100_000, 100_000);
            if byte % 2 == 0 {
                buffers.take_back(bytes, Instant::now());
            } else {
                assert!(held(bytes) <= 112_500);
            }
        }
    }

    proptest! {
        /// Whatever comes in whatever order: a batch is what was written, and holds little more than it counts; and so does
        /// what is kept.
        #[test]
        fn what_waits_holds_little_more_than_it_counts(
            steps in prop::collection::vec((0_usize..300_000, prop_oneof![Just(0_usize), 0_usize..200_000], any::<bool>()), 1..20),
        ) {
            let mut buffers = Buffers::default();
            let now = Instant::now();
            let mut largest = 0;
            for (place, (length, start, is_taken_back)) in steps.into_iter().enumerate() {
                largest = largest.max(length);
                let bytes = batch(&mut buffers, u8::try_from(place).unwrap(), start, length);
                if is_taken_back {
                    buffers.take_back(bytes, now);
                } else if length > 0 {
                    prop_assert!(held(bytes) <= length + length / 8);
                }
                prop_assert!(buffers.spare.len() <= SPARE);
                prop_assert!(buffers.spare.iter().all(|spare| spare.is_empty() && spare.capacity() <= largest + largest / 8));
            }
        }
    }
}
