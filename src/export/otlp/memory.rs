//! Blocks of attributes that were encoded before → their bytes.
//!
//! Of a connection with many exchanges the sockets are the same each time and mostly who is asked there, and of a pod its names:
//! more than half of a span's bytes. They are encoded once and copied from then on. The table has a fixed number of places, and who comes to a place that is taken
//! takes it: what is not used is gone soon, and nothing grows.

use crate::span::{BlockKey, Held, Part};

/// Sets of two places: two blocks that are wanted in turn must not drive each other out.
const SETS: usize = 512;
/// A block of more bytes is not remembered.
const LONGEST: usize = 2 << 10;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// None before the first block; of each set the one that came last is first.
    sets: Vec<[Option<Box<Remembered>>; 2]>,
    /// Set and place of the one that was found last: its other part may be wanted soon.
    latest: (usize, usize),
}

#[derive(Clone, Debug)]
pub(super) struct Remembered {
    key: BlockKey,
    #[expect(dead_code, reason = "held, so that what the key names stays where it is")]
    held: Held,
    /// Of each part.
    attributes: [usize; 2],
    bytes: Vec<u8>,
    /// Where the second part begins.
    middle: usize,
}

impl Memory {
    /// A part of a block: how many attributes it has, and their bytes.
    #[inline]
    pub(super) fn find(&mut self, key: &BlockKey, part: Part) -> Option<(usize, &[u8])> {
        let is_latest = || self.at(self.latest).is_some_and(|found| found.key == *key);
        if part == Part::Before || !is_latest() {
            let number = set_of(key);
            let is_it = |block: &Option<Box<Remembered>>| block.as_ref().is_some_and(|block| block.key == *key);
            self.latest = (number, self.sets.get(number)?.iter().position(is_it)?);
        }
        Some(self.at(self.latest)?.part(part))
    }

    fn at(&self, (set, place): (usize, usize)) -> Option<&Remembered> {
        self.sets.get(set)?.get(place)?.as_deref()
    }

    /// Remembers the parts of a block: how many attributes each, and their bytes.
    pub(super) fn keep(&mut self, key: BlockKey, held: Held, parts: [(usize, &[u8]); 2]) {
        let ([before, behind], attributes) = (parts.map(|(_, bytes)| bytes), parts.map(|(attributes, _)| attributes));
        let length = before.len() + behind.len();
        if length > LONGEST {
            return;
        }
        if self.sets.is_empty() {
            self.sets.resize_with(SETS, || [None, None]);
        }
        let Some(set) = self.sets.get_mut(set_of(&key)) else { return };
        set.reverse();
        let [first, _] = set;
        let taken = first.as_deref_mut().map(|taken| std::mem::take(&mut taken.bytes));
        // Its room is used again.
        let mut bytes = taken.filter(|taken| taken.capacity() >= length).unwrap_or_else(|| Vec::with_capacity(length));
        bytes.clear();
        bytes.extend_from_slice(before);
        bytes.extend_from_slice(behind);
        let block = Remembered { key, held, attributes, bytes, middle: before.len() };
        match first.as_deref_mut() {
            Some(taken) => *taken = block,
            None => *first = Some(Box::new(block)),
        }
    }
}

impl Remembered {
    /// How many attributes a part has, and their bytes.
    pub(super) fn part(&self, part: Part) -> (usize, &[u8]) {
        let [attributes, further] = self.attributes;
        let (before, behind) = self.bytes.split_at_checked(self.middle).unwrap_or_default();
        match part {
            Part::Before => (attributes, before),
            Part::Behind => (further, behind),
        }
    }
}

fn set_of(key: &BlockKey) -> usize {
    usize::try_from(key.hash() >> 32).unwrap_or_default() % SETS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> impl Iterator<Item = BlockKey> {
        (0..4 * u32::try_from(SETS).unwrap()).map(BlockKey::numbered)
    }

    #[test]
    fn what_came_last_is_found_and_what_is_not_used_makes_room() {
        let mut memory = Memory::default();
        for (number, key) in keys().enumerate() {
            assert!(memory.find(&key, Part::Before).is_none());
            let bytes = number.to_le_bytes();
            memory.keep(key, Held::default(), [(number, &bytes), (number + 1, &[7])]);
            assert_eq!(memory.find(&key, Part::Before), Some((number, &bytes[..])));
            assert_eq!(memory.find(&key, Part::Behind), Some((number + 1, &[7][..])));
        }
        let found = keys().filter(|key| memory.find(key, Part::Before).is_some()).count();
        assert!((SETS..=2 * SETS).contains(&found), "{found}");
        let held: usize = memory.sets.iter().flatten().flatten().map(|block| block.bytes.capacity()).sum();
        assert!(held <= 2 * SETS * (size_of::<usize>() + 1));
    }

    #[test]
    fn two_blocks_of_one_set_stay_side_by_side() {
        let first = keys().next().unwrap();
        let mut same = keys().filter(|key| set_of(key) == set_of(&first));
        let [one, two, three] = [(); 3].map(|()| same.next().unwrap());
        let mut memory = Memory::default();
        let mut keep = |key, bytes: &[u8], further: [BlockKey; 3]| {
            memory.keep(key, Held::default(), [(1, bytes), (0, b"")]);
            further.map(|key| memory.find(&key, Part::Before).map(|(_, bytes)| bytes.to_vec()))
        };
        let found = |bytes: &[u8]| Some(bytes.to_vec());
        assert_eq!(keep(one, b"one", [one, two, three]), [found(b"one"), None, None]);
        assert_eq!(keep(two, b"two", [one, two, three]), [found(b"one"), found(b"two"), None]);
        assert_eq!(keep(three, b"three", [one, two, three]), [None, found(b"two"), found(b"three")]);
    }

    #[test]
    fn a_long_block_is_not_remembered() {
        let mut memory = Memory::default();
        let key = keys().next().unwrap();
        memory.keep(key, Held::default(), [(1, &[0; LONGEST]), (1, &[0])]);
        assert!(memory.find(&key, Part::Before).is_none());
        memory.keep(key, Held::default(), [(1, &[0; LONGEST - 1]), (1, &[0])]);
        assert!(memory.find(&key, Part::Before).is_some());
    }
}
