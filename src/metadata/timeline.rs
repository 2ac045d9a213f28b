//! Keys, and what they meant from when to when → what a key meant at a moment.
//!
//! Read without a lock while it changes. Entries lie in sorted runs, one a shard; a change makes a new run of its shard and
//! puts it in the old one's place. So a change costs some dozen entries, whatever their number in all.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};

use crate::time::Timestamp;

/// What has ended still counts for what comes so much later: the last packets of a pod that was deleted by force.
pub(super) const GRACE: Duration = Duration::from_secs(30);
/// What begins counts for what came so much earlier: a pod speaks before the API tells its address.
pub(super) const LEAD: Duration = Duration::from_secs(5);
/// How long what has ended is remembered, for exchanges that began before and are given up only now.
pub(super) const REMEMBERED: Duration = Duration::from_secs(11 * 60);

/// Runs of some two dozen entries, where there are 100,000.
const SHARDS: usize = 4096;

/// The end of what goes on.
pub(super) const OPEN: Timestamp = Timestamp::from_nanos(u64::MAX);

/// What keys mean, now and a while ago.
#[derive(Debug)]
pub(super) struct Timeline<T> {
    shards: Box<[ArcSwap<Run<T>>]>,
}

/// The entries of a shard, in the order of key and beginning.
type Run<T> = Box<[Entry<T>]>;

/// What a key meant for a while. Invariant: `since <= until`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Entry<T> {
    key: u128,
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
    pub(super) what: T,
}

/// A change.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Edit<T> {
    /// The key means this, too, from `since` on.
    Begin {
        /// Since when.
        since: Timestamp,
        /// What it means.
        what: T,
    },
    /// What the key means goes on under new words.
    Renew(T),
    /// The key does not mean this any more.
    End {
        /// What it meant.
        what: T,
        /// Until when.
        until: Timestamp,
    },
    /// What had ended before is not remembered any more.
    Forget {
        /// Before when.
        before: Timestamp,
    },
}

/// Tells whether two values speak of the same thing, whatever they say of it.
pub(super) trait Identity {
    /// Whether they do.
    fn is_same(&self, other: &Self) -> bool;
}

/// The entries of one key, held as they were when they were asked for.
pub(super) struct Meanings<T: 'static> {
    run: Guard<Arc<Run<T>>>,
    first: usize,
    end: usize,
}

impl<T> Default for Timeline<T> {
    fn default() -> Self {
        let empty: Arc<Run<T>> = Arc::new(Box::default());
        Self { shards: (0..SHARDS).map(|_| ArcSwap::new(empty.clone())).collect() }
    }
}

impl<T: Clone + Identity> Timeline<T> {
    /// Everything that `key` has meant and means; `None` when it is nothing.
    pub(super) fn get(&self, key: u128) -> Option<Meanings<T>> {
        let run = self.shards.get(shard(key))?.load();
        let first = run.partition_point(|entry| entry.key < key);
        let same = run.get(first..)?.iter().take_while(|entry| entry.key == key).count();
        (same > 0).then(|| Meanings { run, first, end: first + same })
    }

    /// Makes changes, each shard's at once and in their order.
    pub(super) fn apply(&self, mut edits: Vec<(u128, Edit<T>)>) {
        edits.sort_by_key(|(key, _)| shard(*key));
        for edits in edits.chunk_by(|(one, _), (other, _)| shard(*one) == shard(*other)) {
            let Some(place) = edits.first().and_then(|(key, _)| self.shards.get(shard(*key))) else { continue };
            let mut run = Vec::with_capacity(place.load().len() + edits.len());
            run.extend(place.load().iter().cloned());
            for (key, edit) in edits {
                edit.apply(*key, &mut run);
            }
            place.store(Arc::new(run.into_boxed_slice()));
        }
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.load().len()).sum()
    }
}

impl<T: Identity + Clone> Edit<T> {
    fn apply(&self, key: u128, run: &mut Vec<Entry<T>>) {
        match self {
            Self::Begin { since, what } => {
                let place = run.partition_point(|entry| (entry.key, entry.since) <= (key, *since));
                run.insert(place, Entry { key, since: *since, until: OPEN, what: what.clone() });
            }
            Self::Renew(what) => {
                for entry in open(run, key, what) {
                    entry.what = what.clone();
                }
            }
            Self::End { what, until } => {
                for entry in open(run, key, what) {
                    entry.until = entry.since.max(*until);
                }
            }
            Self::Forget { before } => run.retain(|entry| entry.key != key || entry.until >= *before),
        }
    }
}

/// What goes on of `what`.
fn open<'a, T: Identity>(run: &'a mut [Entry<T>], key: u128, what: &'a T) -> impl Iterator<Item = &'a mut Entry<T>> {
    run.iter_mut().filter(move |entry| entry.key == key && entry.until == OPEN && entry.what.is_same(what))
}

impl<T> Meanings<T> {
    /// All of them, in the order of their beginning.
    pub(super) fn entries(&self) -> &[Entry<T>] {
        self.run.get(self.first..self.end).unwrap_or_default()
    }
}

impl<T> Entry<T> {
    /// How well it fits `at`; `None` when it does not. What goes on then fits best, of several what began last; then what
    /// had ended just before; then what begins just after.
    pub(super) fn fit(&self, at: Timestamp) -> Option<(u8, Timestamp)> {
        if self.since <= at && at <= self.until {
            Some((2, self.since))
        } else if self.until < at {
            (at.saturating_since(self.until) <= GRACE).then_some((1, self.until))
        } else {
            let sooner = Timestamp::from_nanos(u64::MAX - self.since.as_nanos());
            (self.since.saturating_since(at) <= LEAD).then_some((0, sooner))
        }
    }
}

/// The upper bits of a product depend on all bits of the key.
#[expect(clippy::cast_possible_truncation, reason = "both halves of the key are taken, and few bits of the product")]
const fn shard(key: u128) -> usize {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let folded = (key >> 64) as u64 ^ key as u64;
    (folded.wrapping_mul(ODD) >> (64 - SHARDS.trailing_zeros())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Identity for u32 {
        fn is_same(&self, other: &Self) -> bool {
            self / 10 == other / 10
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    fn begin(key: u128, seconds: u64, what: u32) -> (u128, Edit<u32>) {
        (key, Edit::Begin { since: at(seconds), what })
    }

    fn end(key: u128, seconds: u64, what: u32) -> (u128, Edit<u32>) {
        (key, Edit::End { what, until: at(seconds) })
    }

    fn meant(timeline: &Timeline<u32>, key: u128, seconds: u64) -> Option<u32> {
        let meanings = timeline.get(key)?;
        let fitting = meanings.entries().iter().filter_map(|entry| Some((entry.fit(at(seconds))?, entry.what)));
        fitting.max_by_key(|(fit, _)| *fit).map(|(_, what)| what)
    }

    #[test]
    fn a_key_means_what_it_meant_at_the_time() {
        let timeline = Timeline::default();
        timeline.apply(vec![begin(1, 100, 10), begin(2, 100, 20)]);
        timeline.apply(vec![end(1, 200, 10), begin(1, 300, 30)]);
        for (seconds, wanted) in [
            (94, None),
            (95, Some(10)),
            (100, Some(10)),
            (200, Some(10)),
            (230, Some(10)),
            (231, None),
            (294, None),
            (295, Some(30)),
            (900, Some(30)),
        ] {
            assert_eq!(meant(&timeline, 1, seconds), wanted, "{seconds}");
        }
        assert_eq!(meant(&timeline, 2, 900), Some(20));
        assert_eq!(meant(&timeline, 3, 900), None);
    }

    #[test]
    fn of_two_that_claim_a_key_the_later_has_it() {
        let timeline = Timeline::default();
        timeline.apply(vec![begin(1, 100, 10), begin(1, 150, 20), end(1, 160, 10)]);
        assert_eq!(meant(&timeline, 1, 149), Some(10));
        assert_eq!(meant(&timeline, 1, 155), Some(20));
    }

    #[test]
    fn new_words_change_nothing_about_the_time() {
        let timeline = Timeline::default();
        timeline.apply(vec![begin(1, 100, 10)]);
        timeline.apply(vec![(1, Edit::Renew(11))]);
        assert_eq!(meant(&timeline, 1, 100), Some(11));
        timeline.apply(vec![end(1, 120, 12), (1, Edit::Renew(13))]);
        assert_eq!(meant(&timeline, 1, 120), Some(11), "what has ended keeps its words");
    }

    #[test]
    fn what_is_forgotten_is_gone_and_the_rest_is_not() {
        let timeline = Timeline::default();
        timeline.apply(vec![begin(1, 100, 10), end(1, 110, 10), begin(1, 120, 20), begin(2, 100, 30)]);
        timeline.apply(vec![(1, Edit::Forget { before: at(115) })]);
        assert_eq!(timeline.len(), 2);
        assert_eq!((meant(&timeline, 1, 105), meant(&timeline, 1, 130)), (None, Some(20)));
    }

    #[test]
    fn keys_spread_over_the_shards() {
        let mut sizes = vec![0; SHARDS];
        for number in 0..100_000_u128 {
            sizes[shard(0xffff_0af4_0000 + number)] += 1;
        }
        assert!(sizes.iter().all(|size| (5..100).contains(size)), "{:?}", sizes.iter().minmax());
    }

    trait MinMax: Iterator + Sized {
        fn minmax(self) -> (Option<Self::Item>, Option<Self::Item>)
        where
            Self: Clone,
            Self::Item: Ord,
        {
            (self.clone().min(), self.max())
        }
    }

    impl<I: Iterator> MinMax for I {}
}
