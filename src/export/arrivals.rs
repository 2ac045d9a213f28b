//! Hand-overs of many exchanges each → one line of exchanges, each of which stands where it came.

use std::collections::VecDeque;

use crate::exchange::{Exchange, Packed, Parcel};

/// Exchanges in order of arrival, in the parcels in which they came. Each has a number, one more than that of the one before it.
///
/// Invariants: no parcel is empty; the first number of each follows the last of the parcel before it; `first` is in the first
/// parcel, or equal to `next` when there is none.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    parcels: VecDeque<Numbered>,
    /// The number of the first that is left.
    first: u64,
    /// The number of the next to come.
    next: u64,
}

#[derive(Debug)]
struct Numbered {
    /// The number of its first exchange.
    first: u64,
    /// All that came; those before [`Arrivals::first`] are done with, and dropped with the last of them.
    parcel: Parcel,
}

impl Arrivals {
    /// Adds what is in `parcel` behind all others.
    pub(super) fn push(&mut self, mut parcel: Parcel) {
        if parcel.is_empty() {
            return;
        }
        // What holds nothing shall not be held all the time.
        parcel.shrink();
        let first = self.next;
        self.next += parcel.len() as u64;
        self.parcels.push_back(Numbered { first, parcel });
    }

    /// The number of the first that is left, or of the next to come.
    pub(super) const fn first(&self) -> u64 {
        self.first
    }

    /// The number of the next to come.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn get(&self, number: u64) -> Option<Packed<'_>> {
        let (numbered, place) = self.place_of(number)?;
        self.parcels.get(numbered)?.parcel.get(place)
    }

    /// Puts `exchange` in the place of another.
    pub(super) fn replace(&mut self, number: u64, exchange: &Exchange) {
        let Some((numbered, place)) = self.place_of(number) else { return };
        if let Some(numbered) = self.parcels.get_mut(numbered) {
            numbered.parcel.replace(place, exchange);
        }
    }

    /// Is done with the first.
    pub(super) fn pass(&mut self) {
        if self.first == self.next {
            return;
        }
        self.first += 1;
        if self.parcels.get(1).map_or(self.next, |second| second.first) == self.first {
            self.parcels.pop_front();
            if self.parcels.is_empty() {
                // A burst leaves no memory behind.
                self.parcels = VecDeque::new();
            }
        }
    }

    /// The parcel that has `number`, if one has, and its place there.
    fn place_of(&self, number: u64) -> Option<(usize, usize)> {
        if number < self.first || number >= self.next {
            return None;
        }
        let numbered = match self.parcels.get(1) {
            // Mostly one of the first is asked for.
            Some(second) if number >= second.first => {
                self.parcels.partition_point(|numbered| numbered.first <= number).checked_sub(1)?
            }
            _ => 0,
        };
        let first = self.parcels.get(numbered)?.first;
        Some((numbered, usize::try_from(number - first).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbered(number: u64) -> Exchange {
        Exchange { request_key: number, ..Exchange::empty() }
    }

    fn parcel(numbers: impl IntoIterator<Item = u64>) -> Parcel {
        let mut parcel = Parcel::default();
        numbers.into_iter().for_each(|number| parcel.push(&numbered(number)));
        parcel
    }

    #[test]
    fn what_is_done_with_leaves_with_the_last_of_its_parcel() {
        let mut arrivals = Arrivals::default();
        arrivals.push(parcel(0..2));
        arrivals.push(parcel(2..3));
        arrivals.pass();
        assert_eq!(arrivals.parcels.len(), 2);
        arrivals.pass();
        assert_eq!(arrivals.parcels.len(), 1);
        arrivals.pass();
        arrivals.pass();
        assert_eq!((arrivals.first(), arrivals.next(), arrivals.parcels.capacity()), (3, 3, 0));
    }

    proptest! {
        #[test]
        fn is_a_queue_with_numbers(steps in prop::collection::vec((0_u8..3, 0_u64..6), 0..60)) {
            let (mut arrivals, mut twin, mut come) = (Arrivals::default(), VecDeque::new(), 0);
            for (step, count) in steps {
                match step {
                    0 => {
                        arrivals.push(parcel(come..come + count));
                        twin.extend((come..come + count).map(|number| (number, number)));
                        come += count;
                    }
                    1 => {
                        (0..count).for_each(|_| arrivals.pass());
                        (0..count).for_each(|_| { twin.pop_front(); });
                    }
                    _ => {
                        arrivals.replace(count, &numbered(1000 + count));
                        twin.iter_mut().filter(|(number, _)| *number == count).for_each(|(_, key)| *key = 1000 + count);
                    }
                }
                prop_assert_eq!(arrivals.next(), come);
                prop_assert_eq!(arrivals.next() - arrivals.first(), twin.len() as u64);
                for number in 0..come + 2 {
                    let expected = twin.iter().find(|(found, _)| *found == number).map(|(_, key)| *key);
                    prop_assert_eq!(arrivals.get(number).map(Packed::request_key), expected);
                }
            }
        }
    }
}
