//! Which entries of the table were used last: one queue for each rank, touched in constant time.
//!
//! A touch only writes a time while the entry's place in its queue is younger than [`SLACK`]: then it moves to the
//! back. So a packet seldom touches its neighbours' memory, and the order of a queue is true but for the slack.

use std::time::Duration;

use crate::time::Timestamp;

/// How much later than it was due an idle entry may be found.
const SLACK: Duration = Duration::from_millis(250);

/// How much is lost when an entry goes; the least comes first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Rank {
    /// Over; kept for late copies of its last packets.
    Closed,
    /// No payload yet: half-open, or a scan.
    Fresh,
    /// Not HTTP.
    Opaque,
    /// HTTP, nothing open.
    Quiet,
    /// An open exchange.
    Busy,
}

/// Ranks in the order in which they are given up.
pub(super) const RANKS: [Rank; 5] = [Rank::Closed, Rank::Fresh, Rank::Opaque, Rank::Quiet, Rank::Busy];

const NONE: u32 = u32::MAX;

/// The queues. Invariant: every index that was placed and not removed is in exactly one queue.
#[derive(Debug, Default)]
pub(super) struct Recency {
    links: Vec<Link>,
    queues: [Queue; RANKS.len()],
}

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
    rank: Rank,
    placed: Timestamp,
    touched: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Queue {
    front: u32,
    back: u32,
}

impl Default for Queue {
    fn default() -> Self {
        Self { front: NONE, back: NONE }
    }
}

impl Recency {
    /// Puts a new index at the back of its rank's queue.
    pub(super) fn place(&mut self, index: u32, rank: Rank, at: Timestamp) {
        let link = Link { previous: NONE, next: NONE, rank, placed: at, touched: at };
        if index as usize >= self.links.len() {
            self.links.resize(index as usize + 1, link);
        }
        if let Some(slot) = self.links.get_mut(index as usize) {
            *slot = link;
        }
        self.append(index);
    }

    /// The entry was used, and has this rank now.
    pub(super) fn touch(&mut self, index: u32, rank: Rank, at: Timestamp) {
        let Some(link) = self.links.get_mut(index as usize) else { return };
        link.touched = link.touched.max(at);
        if link.rank != rank || link.touched.saturating_since(link.placed) >= SLACK {
            self.unlink(index);
            if let Some(link) = self.links.get_mut(index as usize) {
                link.rank = rank;
                link.placed = link.touched;
            }
            self.append(index);
        }
    }

    /// The entry's rank, and when it was last used.
    pub(super) fn last_use(&self, index: u32) -> Option<(Rank, Timestamp)> {
        self.links.get(index as usize).map(|link| (link.rank, link.touched))
    }

    /// Takes an index out.
    pub(super) fn remove(&mut self, index: u32) {
        self.unlink(index);
    }

    /// When the front of a rank's queue was placed: its entry was not used before, perhaps since.
    pub(super) fn front_placed(&self, rank: Rank) -> Option<Timestamp> {
        let front = self.queues.get(rank as usize)?.front;
        self.links.get(front as usize).map(|link| link.placed)
    }

    /// An index of this rank that was last used at or before `before`; it may be missed for [`SLACK`].
    pub(super) fn stale(&self, rank: Rank, before: Timestamp) -> Option<u32> {
        let front = self.queues.get(rank as usize)?.front;
        let link = self.links.get(front as usize)?;
        (link.touched <= before).then_some(front)
    }

    /// The least valuable index: of the lowest rank there is, the one that was not used for longest.
    pub(super) fn least(&self) -> Option<u32> {
        let rank = RANKS.into_iter().find(|rank| self.front_placed(*rank).is_some())?;
        self.queues.get(rank as usize).map(|queue| queue.front)
    }

    fn append(&mut self, index: u32) {
        let Some(rank) = self.links.get(index as usize).map(|link| link.rank) else { return };
        let Some(queue) = self.queues.get_mut(rank as usize) else { return };
        let back = std::mem::replace(&mut queue.back, index);
        if back == NONE {
            queue.front = index;
        }
        if let Some(link) = self.links.get_mut(back as usize) {
            link.next = index;
        }
        if let Some(link) = self.links.get_mut(index as usize) {
            link.previous = back;
            link.next = NONE;
        }
    }

    fn unlink(&mut self, index: u32) {
        let Some(link) = self.links.get(index as usize).copied() else { return };
        if let Some(previous) = self.links.get_mut(link.previous as usize) {
            previous.next = link.next;
        }
        if let Some(next) = self.links.get_mut(link.next as usize) {
            next.previous = link.previous;
        }
        let Some(queue) = self.queues.get_mut(link.rank as usize) else { return };
        if queue.front == index {
            queue.front = link.next;
        }
        if queue.back == index {
            queue.back = link.previous;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLI: u64 = 1_000_000;

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    proptest! {
        /// The twin is a plain list of (index, rank, last use).
        #[test]
        fn finds_the_stale_entries_of_a_plain_list_and_no_others(
            steps in prop::collection::vec((0u8..4, 0u32..12, 0usize..5), 1..120),
        ) {
            let mut recency = Recency::default();
            let mut twin: Vec<(u32, Rank, u64)> = Vec::new();
            let slack = u64::try_from(SLACK.as_nanos()).unwrap();
            for (now, (action, index, rank)) in (10_000u64..).step_by(130).zip(steps) {
                let now = now * MILLI;
                let rank = RANKS[rank];
                let known = twin.iter().position(|entry| entry.0 == index);
                match (action, known) {
                    (0, None) => {
                        recency.place(index, rank, at(now));
                        twin.push((index, rank, now));
                    }
                    (1, Some(place)) => {
                        recency.touch(index, rank, at(now));
                        twin[place] = (index, rank, now);
                    }
                    (2, Some(place)) => {
                        recency.remove(index);
                        twin.remove(place);
                    }
                    _ => {
                        let before = now - 900 * MILLI;
                        let mut found = Vec::new();
                        while let Some(index) = recency.stale(rank, at(before)) {
                            recency.remove(index);
                            found.push(index);
                        }
                        for entry in twin.iter().filter(|entry| entry.1 == rank) {
                            let is_found = found.contains(&entry.0);
                            prop_assert!(!is_found || entry.2 <= before, "{} was used since", entry.0);
                            prop_assert!(is_found || entry.2 + slack > before, "{} was missed", entry.0);
                        }
                        twin.retain(|entry| !found.contains(&entry.0));
                    }
                }
                let lowest = twin.iter().map(|entry| entry.1 as u8).min();
                let least = recency.least();
                prop_assert_eq!(least.is_some(), lowest.is_some());
                if let (Some(index), Some(lowest)) = (least, lowest) {
                    prop_assert!(twin.iter().any(|entry| entry.0 == index && entry.1 as u8 == lowest));
                }
            }
        }
    }
}
