//! Blocks of attributes that were encoded before → their bytes.
//!
//! Of a connection with many exchanges the sockets are the same each time, and of a pod its names: half of a span's bytes. They
//! are encoded once and copied from then on. The table has a fixed number of places, and who comes to a place that is taken
//! takes it: what is not used is gone soon, and nothing grows.

use crate::span::{BlockKey, Held};

/// Sets of two places: two blocks that are wanted in turn must not drive each other out.
const SETS: usize = 512;
/// A block of more bytes is not remembered.
const LONGEST: usize = 2 << 10;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// None before the first block; of each set the one that came last is first.
    sets: Vec<[Option<Box<Remembered>>; 2]>,
}

#[derive(Clone, Debug)]
struct Remembered {
    key: BlockKey,
    /// So that what the key names stays where it is.
    held: Held,
    attributes: usize,
    bytes: Vec<u8>,
}

impl Memory {
    /// The bytes of a block, and how many attributes they are.
    #[inline]
    pub(super) fn find(&self, key: &BlockKey) -> Option<(&[u8], usize)> {
        let set = self.sets.get(set_of(key))?;
        let found = set.iter().flatten().find(|found| found.key == *key)?;
        Some((&found.bytes, found.attributes))
    }

    /// Remembers a block of so many attributes.
    pub(super) fn keep(&mut self, key: BlockKey, held: Held, attributes: usize, bytes: &[u8]) {
        if bytes.len() > LONGEST {
            return;
        }
        if self.sets.is_empty() {
            self.sets.resize_with(SETS, || [None, None]);
        }
        let Some(set) = self.sets.get_mut(set_of(&key)) else { return };
        set.reverse();
        let [first, _] = set;
        match first.as_deref_mut() {
            // Its room is used again.
            Some(taken) if taken.bytes.capacity() >= bytes.len() => {
                taken.bytes.clear();
                taken.bytes.extend_from_slice(bytes);
                (taken.key, taken.held, taken.attributes) = (key, held, attributes);
            }
            _ => *first = Some(Box::new(Remembered { key, held, attributes, bytes: bytes.to_vec() })),
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
            assert_eq!(memory.find(&key), None);
            let bytes = number.to_le_bytes();
            memory.keep(key, Held::default(), number, &bytes);
            assert_eq!(memory.find(&key), Some((&bytes[..], number)));
        }
        let found = keys().filter(|key| memory.find(key).is_some()).count();
        assert!((SETS..=2 * SETS).contains(&found), "{found}");
        let held: usize = memory.sets.iter().flatten().flatten().map(|block| block.bytes.capacity()).sum();
        assert!(held <= 2 * SETS * size_of::<usize>());
    }

    #[test]
    fn two_blocks_of_one_set_stay_side_by_side() {
        let first = keys().next().unwrap();
        let mut same = keys().filter(|key| set_of(key) == set_of(&first));
        let [one, two, three] = [(); 3].map(|()| same.next().unwrap());
        let mut memory = Memory::default();
        memory.keep(one, Held::default(), 1, b"one");
        memory.keep(two, Held::default(), 2, b"two");
        assert_eq!([one, two].map(|key| memory.find(&key)), [Some((&b"one"[..], 1)), Some((&b"two"[..], 2))]);
        memory.keep(three, Held::default(), 3, b"three");
        assert_eq!([one, two].map(|key| memory.find(&key)), [None, Some((&b"two"[..], 2))]);
        assert_eq!(memory.find(&three), Some((&b"three"[..], 3)));
    }

    #[test]
    fn a_long_block_is_not_remembered() {
        let mut memory = Memory::default();
        let key = keys().next().unwrap();
        memory.keep(key, Held::default(), 1, &[0; LONGEST + 1]);
        assert_eq!(memory.find(&key), None);
        memory.keep(key, Held::default(), 1, &[0; LONGEST]);
        assert!(memory.find(&key).is_some());
    }
}
