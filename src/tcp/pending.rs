//! Bytes of one direction that came before their time, in order and without overlap.

use super::Mark;
use crate::packet::SequenceNumber;

/// A run of stream bytes that waits. `bytes.len() <= length`: the snap length may have cut the end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Held {
    pub(super) mark: Mark,
    pub(super) bytes: Vec<u8>,
    pub(super) length: u32,
}

impl Held {
    fn end(&self) -> SequenceNumber {
        self.mark.sequence.advance(self.length)
    }
}

/// What a run takes on top of its bytes: its place in the list, which grows by doubling, and the allocator's own. Counted,
/// so that the bounds hold for a flood of one-byte islands too.
const RUN_OVERHEAD: usize = 2 * size_of::<Held>();

/// Held runs, sorted by sequence number, none overlapping another. The first copy of a byte wins.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending(Option<Box<Runs>>);

/// Boxed, because nearly all connections hold nothing nearly always.
#[derive(Clone, Debug, Default)]
struct Runs {
    runs: Vec<Held>,
    bytes: usize,
}

/// What became of a run that should be held.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Inserted {
    /// Some of its bytes were new.
    New,
    /// All of it was held already.
    Known,
}

impl Pending {
    /// Holds what of `[mark.sequence, + length)` is not held yet.
    pub(super) fn insert(&mut self, mark: Mark, bytes: &[u8], length: u32) -> Inserted {
        let mut inserted = Inserted::Known;
        let (mut start, end) = (mark.sequence, mark.sequence.advance(length));
        let mut index = self.runs().partition_point(|run| !run.end().is_after(start));
        while start.is_before(end) {
            let Some(run) = self.runs().get(index) else {
                self.put(index, mark, start, bytes, end);
                return Inserted::New;
            };
            if run.mark.sequence.is_after(start) {
                let next = run.mark.sequence;
                let until = if next.is_before(end) { next } else { end };
                self.put(index, mark, start, bytes, until);
                inserted = Inserted::New;
                start = until;
                index += 1;
            } else {
                start = run.end();
                index += 1;
            }
        }
        inserted
    }

    /// Takes out the first run.
    pub(super) fn pop(&mut self) -> Option<Held> {
        let held = self.0.as_deref_mut()?;
        let run = held.runs.remove(0);
        held.bytes -= run.bytes.len() + RUN_OVERHEAD;
        if held.runs.is_empty() {
            self.0 = None;
        }
        Some(run)
    }

    /// The first run's place and length.
    pub(super) fn first(&self) -> Option<(&Mark, u32)> {
        self.runs().first().map(|run| (&run.mark, run.length))
    }

    /// Bytes of the stream that the runs stand for, with what the snap length cut.
    pub(super) fn stream_bytes(&self) -> u64 {
        self.runs().iter().map(|run| u64::from(run.length)).sum()
    }

    /// Where the last run ends.
    pub(super) fn end(&self) -> Option<SequenceNumber> {
        self.runs().last().map(Held::end)
    }

    /// Whether nothing is held.
    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Runs held.
    pub(super) fn len(&self) -> usize {
        self.runs().len()
    }

    /// Bytes held, with what it takes to hold them.
    pub(super) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |held| held.bytes)
    }

    fn runs(&self) -> &[Held] {
        self.0.as_ref().map_or(&[], |held| &held.runs)
    }

    fn put(&mut self, index: usize, mark: Mark, start: SequenceNumber, bytes: &[u8], end: SequenceNumber) {
        let skip = distance(start, mark.sequence) as usize;
        let length = distance(end, start);
        let bytes = bytes.get(skip..).unwrap_or_default();
        let bytes = bytes.get(..length as usize).unwrap_or(bytes).to_vec();
        let held = self.0.get_or_insert_default();
        held.bytes += bytes.len() + RUN_OVERHEAD;
        held.runs.insert(index, Held { mark: Mark { sequence: start, ..mark }, bytes, length });
    }
}

/// `later - earlier`, zero when it is not later.
pub(super) fn distance(later: SequenceNumber, earlier: SequenceNumber) -> u32 {
    u32::try_from(later.distance_from(earlier)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn mark(sequence: u32) -> Mark {
        Mark { sequence: SequenceNumber::new(sequence), ..Mark::default() }
    }

    proptest! {
        #[test]
        fn holds_what_a_byte_map_holds(
            base in any::<u32>(),
            segments in prop::collection::vec((0u32..80, 1u32..30), 0..40),
        ) {
            let mut pending = Pending::default();
            let mut map = BTreeMap::new();
            for (number, (offset, length)) in segments.into_iter().enumerate() {
                let filler = u8::try_from(number).unwrap();
                let bytes: Vec<u8> = vec![filler; length as usize];
                let fresh = (offset..offset + length).any(|at| !map.contains_key(&at));
                for at in offset..offset + length {
                    map.entry(at).or_insert(filler);
                }
                let inserted = pending.insert(mark(base.wrapping_add(offset)), &bytes, length);
                prop_assert_eq!(inserted == Inserted::New, fresh);
                prop_assert_eq!(pending.bytes(), map.len() + pending.len() * RUN_OVERHEAD);
            }
            let mut held = BTreeMap::new();
            while let Some(run) = pending.pop() {
                let start = run.mark.sequence.value().wrapping_sub(base);
                for (at, byte) in (start..).zip(run.bytes) {
                    prop_assert!(held.insert(at, byte).is_none(), "byte {} held twice", at);
                }
            }
            prop_assert_eq!(held, map);
            prop_assert_eq!(pending.bytes(), 0);
        }
    }

    #[test]
    fn a_cut_run_keeps_its_length() {
        let mut pending = Pending::default();
        pending.insert(mark(10), b"abc", 8);
        assert_eq!(pending.insert(mark(12), b"xxxxxx", 6), Inserted::Known);
        let run = pending.pop().unwrap();
        assert_eq!((run.bytes.as_slice(), run.length), (&b"abc"[..], 8));
    }
}
