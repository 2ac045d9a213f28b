//! The last so many records, in order, and by their keys.

use std::collections::VecDeque;

/// Records of one key that are looked at: those that came last. Without end only where somebody makes them equal.
const LOOKS: usize = 8;
/// Records of one chain that are looked at in all, likewise.
const STEPS: usize = 64;
/// Chains at first.
const FEWEST: usize = 1 << 10;

/// What has a key, which may be that of many.
pub(super) trait Linked {
    fn key(&self) -> u64;
}

/// Records, of which the oldest are forgotten. Those whose keys have the same remainder are in one chain, from the last to the
/// first: what is forgotten needs no taking out, because a chain ends where the numbers are too old.
///
/// Each record has a number, in order, of which the lower half is kept. Invariants: there are as many chains as records or more;
/// each begins with its last record, and a record leads to the one before it in its chain, or to one that is forgotten.
#[derive(Debug)]
pub(super) struct Chains<T> {
    records: VecDeque<Record<T>>,
    /// The number of the next.
    next: u32,
    /// Numbers of last records.
    lasts: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Record<T> {
    value: T,
    before: u32,
}

impl<T> Default for Chains<T> {
    fn default() -> Self {
        Self { records: VecDeque::new(), next: 0, lasts: Vec::new() }
    }
}

impl<T: Linked> Chains<T> {
    /// Adds the newest.
    pub(super) fn push(&mut self, value: T) {
        if self.records.len() >= self.lasts.len() {
            self.link_anew();
        }
        let number = self.next;
        self.next = number.wrapping_add(1);
        let chain = self.chain(value.key());
        let before = self.lasts.get_mut(chain).map_or(number, |last| std::mem::replace(last, number));
        self.records.push_back(Record { value, before });
    }

    /// The newest record with this key of which `is_it` holds: its age, which is 1 for the newest of all.
    pub(super) fn find(&self, key: u64, is_it: impl Fn(&T) -> bool) -> Option<u64> {
        let mut number = *self.lasts.get(self.chain(key))?;
        let (mut age, mut looks) = (0, 0);
        for _ in 0..STEPS {
            let (record, older) = self.at(number)?;
            // The number of a chain that was not used for 2³² records is another's by now: never back to what was seen.
            if older <= age {
                return None;
            }
            age = older;
            if record.value.key() == key {
                if is_it(&record.value) {
                    return Some(age as u64);
                }
                looks += 1;
                if looks == LOOKS {
                    return None;
                }
            }
            number = record.before;
        }
        None
    }

    /// Puts `value` in the place of one with the same key.
    pub(super) fn replace(&mut self, age: usize, value: T) {
        let place = self.records.len().checked_sub(age);
        if let Some(record) = place.and_then(|place| self.records.get_mut(place)) {
            record.value = value;
        }
    }

    /// Forgets all but the newest `count`.
    pub(super) fn keep(&mut self, count: usize) {
        while self.records.len() > count {
            self.records.pop_front();
        }
    }

    /// All, the oldest first.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.records.iter().map(|record| &record.value)
    }

    /// A record by its number, and its age.
    fn at(&self, number: u32) -> Option<(&Record<T>, usize)> {
        let age = self.next.wrapping_sub(number) as usize;
        let place = self.records.len().checked_sub(age)?;
        Some((self.records.get(place)?, age))
    }

    fn chain(&self, key: u64) -> usize {
        // The number of chains is a power of two, or none.
        usize::try_from(key & u64::from(u32::MAX)).unwrap_or_default() & self.lasts.len().wrapping_sub(1)
    }

    /// Makes twice as many chains, and links all records anew, where they are.
    #[cold]
    fn link_anew(&mut self) {
        let count = (self.lasts.len() * 2).max(FEWEST);
        let oldest = self.next.wrapping_sub(u32::try_from(self.records.len()).unwrap_or(u32::MAX));
        // A number that is forgotten, and stays so.
        self.lasts = vec![oldest.wrapping_sub(1); count];
        for place in 0..self.records.len() {
            let number = oldest.wrapping_add(u32::try_from(place).unwrap_or(u32::MAX));
            let Some(chain) = self.records.get(place).map(|record| self.chain(record.value.key())) else { break };
            let before = self.lasts.get_mut(chain).map_or(number, |last| std::mem::replace(last, number));
            if let Some(record) = self.records.get_mut(place) {
                record.before = before;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Linked for (u64, u32) {
        fn key(&self) -> u64 {
            self.0
        }
    }

    proptest! {
        /// Keys that differ in their chain, or only beyond it, at numbers that wrap around.
        #[test]
        fn finds_the_newest_as_looking_through_all_does(
            start in prop_oneof![Just(0_u32), Just(u32::MAX - 30), any::<u32>()],
            steps in prop::collection::vec((0_u8..8, 0_u64..6, 0_u64..3, 0_u32..3), 0..200),
            many in 0_usize..3000,
        ) {
            let mut chains = Chains { next: start, ..Chains::default() };
            let mut twin: Vec<(u64, u32)> = Vec::new();
            for number in 0..many as u64 {
                chains.push((number << 8 | 0x4d, 9));
                twin.push((number << 8 | 0x4d, 9));
            }
            for (step, low, high, value) in steps {
                let key = low | high << 20;
                match step {
                    0 => {
                        let count = usize::try_from(key & 31).unwrap();
                        chains.keep(count);
                        twin.drain(..twin.len().saturating_sub(count));
                    }
                    1 => {
                        if let Some(place) = twin.iter().rposition(|(found, _)| *found == key) {
                            chains.replace(twin.len() - place, (key, value));
                            twin[place] = (key, value);
                        }
                    }
                    _ => {
                        chains.push((key, value));
                        twin.push((key, value));
                    }
                }
                prop_assert!(chains.iter().eq(&twin));
                for wanted in 0..4 {
                    let mut same = twin.iter().rev().zip(1_u64..).filter(|((found, _), _)| *found == key).take(LOOKS);
                    let expected = same.find(|((_, found), _)| *found == wanted).map(|(_, age)| age);
                    prop_assert_eq!(chains.find(key, |(_, found)| *found == wanted), expected);
                }
            }
        }
    }

    #[test]
    fn where_somebody_makes_keys_equal_or_of_one_chain_only_some_are_looked_at() {
        let mut chains = Chains::default();
        (0..10_000).for_each(|number| chains.push((7, number)));
        let looked_at = std::cell::Cell::new(0);
        assert_eq!(
            chains.find(7, |_| {
                looked_at.set(looked_at.get() + 1);
                false
            }),
            None
        );
        assert_eq!(looked_at.get(), LOOKS);
        (0..10_000).for_each(|number| chains.push((u64::from(number) << 32 | 8, number)));
        assert_eq!(chains.find(8, |_| true), None, "too far back");
        assert_eq!(chains.find(9_999 << 32 | 8, |_| true), Some(1));
    }
}
