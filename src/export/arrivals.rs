//! Hand-overs of many items each → one line of items, each of which is read where it stands and never moved.

use std::collections::VecDeque;

/// Items in order of arrival, in the chunks in which they came. Each has a number, one more than that of the item before it.
///
/// Invariants: no chunk is empty; the first number of each follows the last of the chunk before it; `first` is in the first
/// chunk, or equal to `next` when there is none.
#[derive(Debug)]
pub(super) struct Arrivals<T> {
    chunks: VecDeque<Chunk<T>>,
    /// The number of the first that is left.
    first: u64,
    /// The number of the next to come.
    next: u64,
}

#[derive(Debug)]
struct Chunk<T> {
    /// The number of its first item.
    first: u64,
    /// All that came; those before [`Arrivals::first`] are done with, and dropped with the last of them.
    items: Vec<T>,
}

impl<T> Arrivals<T> {
    pub(super) const fn new() -> Self {
        Self { chunks: VecDeque::new(), first: 0, next: 0 }
    }

    /// Adds `items` behind all others.
    pub(super) fn push(&mut self, mut items: Vec<T>) {
        if items.is_empty() {
            return;
        }
        if items.len() < items.capacity() / 2 {
            // What was taken out of it shall not be held all the time.
            items.shrink_to_fit();
        }
        let first = self.next;
        self.next += items.len() as u64;
        self.chunks.push_back(Chunk { first, items });
    }

    /// The number of the first that is left, or of the next to come.
    pub(super) const fn first(&self) -> u64 {
        self.first
    }

    /// The number of the next to come.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn get(&self, number: u64) -> Option<&T> {
        let chunk = self.chunks.get(self.chunk_of(number)?)?;
        chunk.items.get(usize::try_from(number - chunk.first).ok()?)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let place = self.chunk_of(number)?;
        let chunk = self.chunks.get_mut(place)?;
        chunk.items.get_mut(usize::try_from(number - chunk.first).ok()?)
    }

    /// Is done with the first.
    pub(super) fn pass(&mut self) {
        if self.first == self.next {
            return;
        }
        self.first += 1;
        if self.chunks.get(1).map_or(self.next, |second| second.first) == self.first {
            self.chunks.pop_front();
            if self.chunks.is_empty() {
                // A burst leaves no memory behind.
                self.chunks = VecDeque::new();
            }
        }
    }

    /// The place of the chunk that has `number`, if one has.
    fn chunk_of(&self, number: u64) -> Option<usize> {
        if number < self.first || number >= self.next {
            return None;
        }
        match self.chunks.get(1) {
            // Mostly one of the first is asked for.
            Some(second) if number >= second.first => {
                self.chunks.partition_point(|chunk| chunk.first <= number).checked_sub(1)
            }
            _ => Some(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn items_are_dropped_with_the_last_of_their_chunk() {
        let item = Arc::new(());
        let mut arrivals = Arrivals::new();
        arrivals.push(vec![item.clone(), item.clone()]);
        arrivals.push(vec![item.clone()]);
        arrivals.pass();
        assert_eq!(Arc::strong_count(&item), 4);
        arrivals.pass();
        assert_eq!(Arc::strong_count(&item), 2);
        arrivals.pass();
        arrivals.pass();
        assert_eq!((Arc::strong_count(&item), arrivals.first(), arrivals.next()), (1, 3, 3));
        assert_eq!(arrivals.chunks.capacity(), 0);
    }

    #[test]
    fn a_chunk_holds_less_than_twice_what_is_left_of_it() {
        let mut arrivals = Arrivals::new();
        let mut items = Vec::with_capacity(128);
        items.push(1_u64);
        arrivals.push(items);
        assert!(arrivals.chunks.iter().all(|chunk| chunk.items.capacity() < 64));
    }

    proptest! {
        #[test]
        fn is_a_queue_with_numbers(steps in prop::collection::vec((any::<bool>(), 0_u64..6), 0..60)) {
            let (mut arrivals, mut twin, mut come) = (Arrivals::new(), VecDeque::new(), 0);
            for (is_push, count) in steps {
                if is_push {
                    arrivals.push((come..come + count).collect());
                    twin.extend(come..come + count);
                    come += count;
                } else {
                    (0..count).for_each(|_| arrivals.pass());
                    (0..count).for_each(|_| { twin.pop_front(); });
                }
                prop_assert_eq!(arrivals.next(), come);
                prop_assert_eq!(arrivals.next() - arrivals.first(), twin.len() as u64);
                for number in 0..come + 2 {
                    let expected = twin.iter().find(|item| **item == number).copied();
                    prop_assert_eq!(arrivals.get(number).copied(), expected);
                    prop_assert_eq!(arrivals.get_mut(number).copied(), expected);
                }
            }
        }
    }
}
