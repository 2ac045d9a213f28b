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
