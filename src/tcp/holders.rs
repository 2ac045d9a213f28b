//! Which connections hold bytes out of order, by how much and since when → the one to give up its hole.

use std::collections::BTreeMap;

/// Bytes from which on a holder stands in the next class.
const WEIGHTS: [usize; 2] = [16 << 10, 256 << 10];

/// The holders. Invariants: every connection that holds bytes is in the class of its weight exactly once; a class's bytes
/// are the sum over its holders.
#[derive(Debug, Default)]
pub(super) struct Holders {
    classes: [Class; WEIGHTS.len() + 1],
    /// Number of the next hole.
    next: u64,
}

/// A connection's place among the holders: when its hole began, as a serial number. Meaningless while it holds nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Since(u64);

#[derive(Debug, Default)]
struct Class {
    /// Index in the table, the oldest hole first.
    by_age: BTreeMap<u64, u32>,
    bytes: usize,
}

impl Holders {
    /// What a holder's place takes: key and value, in nodes that are half full at worst.
    pub(super) const PLACE: usize = 2 * size_of::<(u64, u32)>();

    /// Bytes that all hold.
    pub(super) fn bytes(&self) -> usize {
        self.classes.iter().map(|class| class.bytes).sum()
    }

    /// The connection at `index` held `before` bytes, and holds `after` now. Who has given some back is as good as new:
    /// its hole was filled, and the next one is another.
    #[inline]
    pub(super) fn change(&mut self, index: u32, since: &mut Since, before: usize, after: usize) {
        if before != after {
            self.move_to(index, since, before, after);
        }
    }

    fn move_to(&mut self, index: u32, since: &mut Since, before: usize, after: usize) {
        let (from, to) = (class_of(before), class_of(after));
        if before > 0
            && let Some(class) = self.classes.get_mut(from)
        {
            class.bytes -= before;
            if from != to || after < before {
                class.by_age.remove(&since.0);
            }
        }
        if after == 0 {
            return;
        }
        let Some(class) = self.classes.get_mut(to) else { return };
        class.bytes += after;
        if before == 0 || after < before {
            *since = Since(self.next);
            self.next += 1;
        }
        if before == 0 || from != to || after < before {
            class.by_age.insert(since.0, index);
        }
    }

    /// The connection to give up its hole when all together hold too much: of the heaviest class that holds more than
    /// `share` bytes the one whose hole is the oldest. So a few who hold much do not take the place of many who hold
    /// little, nor many who hold little the place of one who holds more for a moment: packets that come in the wrong
    /// order do so within milliseconds, and holes made to cost memory must last.
    pub(super) fn costliest(&self, share: usize) -> Option<u32> {
        let by_weight = || self.classes.iter().rev().filter(|class| !class.by_age.is_empty());
        let class = by_weight().find(|class| class.bytes > share).or_else(|| by_weight().next())?;
        class.by_age.first_key_value().map(|(_, index)| *index)
    }
}

const fn class_of(bytes: usize) -> usize {
    let [medium, heavy] = WEIGHTS;
    (bytes >= medium) as usize + (bytes >= heavy) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The twin is a plain list of (index, bytes), the oldest hole first.
        #[test]
        fn finds_the_oldest_hole_of_the_heaviest_class_that_matters(
            steps in prop::collection::vec((0u32..10, prop_oneof![Just(0), 1usize..600 << 10]), 1..80),
            share in 0usize..1 << 20,
        ) {
            let mut holders = Holders::default();
            let mut since = [Since::default(); 10];
            let mut twin: Vec<(u32, usize)> = Vec::new();
            for (index, after) in steps {
                let place = twin.iter().position(|holder| holder.0 == index);
                let before = place.map_or(0, |place| twin[place].1);
                holders.change(index, &mut since[index as usize], before, after);
                match place {
                    Some(place) if after >= before => twin[place].1 = after,
                    _ => {
                        twin.retain(|holder| holder.0 != index);
                        twin.extend((after > 0).then_some((index, after)));
                    }
                }
                prop_assert_eq!(holders.bytes(), twin.iter().map(|holder| holder.1).sum::<usize>());
                let of = |class: usize| twin.iter().filter(move |holder| class_of(holder.1) == class);
                let heavy = (0..3).rev().find(|class| of(*class).map(|holder| holder.1).sum::<usize>() > share);
                let class = heavy.or_else(|| (0..3).rev().find(|class| of(*class).next().is_some()));
                let wanted = class.and_then(|class| of(class).next()).map(|holder| holder.0);
                prop_assert_eq!(holders.costliest(share), wanted);
            }
        }
    }
}
