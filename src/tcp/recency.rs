//! Which entries of the table were used last: one queue for each rank, touched in constant time.
//!
//! A touch only writes a time while the entry's place in its queue is younger than [`SLACK`]: then it moves to the
//! back. So a packet seldom touches its neighbours' memory, and the order of a queue is true but for the slack.

use std::time::Duration;

use super::Interest;
use super::slots::grow_gently;
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

impl Rank {
    /// Of a connection that is followed.
    pub(super) const fn of(interest: Interest) -> Self {
        match interest {
            Interest::Busy => Self::Busy,
            Interest::Quiet => Self::Quiet,
            Interest::Undecided | Interest::None => Self::Fresh,
        }
    }
}

/// Ranks in the order in which they are given up.
pub(super) const RANKS: [Rank; 5] = [Rank::Closed, Rank::Fresh, Rank::Opaque, Rank::Quiet, Rank::Busy];

const NONE: u32 = u32::MAX;

/// Bytes from which on an entry with something open waits in the next queue.
const WEIGHTS: [u32; 3] = [8 << 10, 64 << 10, 512 << 10];

/// One queue for each rank, but several for the last, by weight.
const QUEUES: usize = RANKS.len() + WEIGHTS.len();

/// The connections of one class.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TableClass {
    /// How many there are.
    pub connections: u64,
    /// Bytes of memory that they take.
    pub bytes: u64,
}

/// What a table holds, by class: what is lost when a connection goes, and how heavy it is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TableSummary([TableClass; QUEUES]);

impl TableSummary {
    /// The classes and what they mean, in the order in which their connections are given up.
    const WORDS: [(&'static str, &'static str); QUEUES] = [
        ("closed", "over; kept for late copies of their packets"),
        ("fresh", "no payload yet, or too little to tell"),
        ("opaque", "not HTTP"),
        ("quiet", "HTTP, no exchange open"),
        ("busy", "an exchange open, below 8 KiB"),
        ("busy_8k", "likewise, from 8 KiB"),
        ("busy_64k", "likewise, from 64 KiB"),
        ("busy_512k", "likewise, from 512 KiB"),
    ];

    /// Each class: its name, what it means, what is in it.
    pub fn classes(&self) -> impl Iterator<Item = (&'static str, &'static str, TableClass)> {
        Self::WORDS.into_iter().zip(self.0).map(|((name, words), class)| (name, words, class))
    }
}

impl std::ops::AddAssign for TableSummary {
    fn add_assign(&mut self, other: Self) {
        for (class, other) in self.0.iter_mut().zip(other.0) {
            class.connections += other.connections;
            class.bytes += other.bytes;
        }
    }
}

/// The queues. Invariants: every index that was placed and not removed is in exactly one queue; a queue's length and bytes
/// are the sums over its entries, and all bytes the sum over the queues.
#[derive(Debug, Default)]
pub(super) struct Recency {
    links: Vec<Link>,
    queues: [Queue; QUEUES],
    /// Of all queues together: it is asked for with every packet.
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
    rank: Rank,
    /// Which queue it is in.
    queue: u8,
    /// Memory that goes with the entry.
    bytes: u32,
    placed: Timestamp,
    touched: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Queue {
    front: u32,
    back: u32,
    length: usize,
    bytes: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Self { front: NONE, back: NONE, length: 0, bytes: 0 }
    }
}

impl Recency {
    /// Bytes that an entry's place in the queues takes.
    pub(super) const LINK: usize = size_of::<Link>();

    /// Puts a new index at the back of its rank's queue; `bytes` of memory go with it.
    pub(super) fn place(&mut self, index: u32, rank: Rank, at: Timestamp, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let queue = queue_of(rank, bytes);
        let link = Link { previous: NONE, next: NONE, rank, queue, bytes, placed: at, touched: at };
        while index as usize >= self.links.len() {
            grow_gently(&mut self.links);
            self.links.push(link);
        }
        if let Some(slot) = self.links.get_mut(index as usize) {
            *slot = link;
        }
        self.append(index);
    }

    /// The entry was used, and has this rank now; `bytes` of memory go with it.
    pub(super) fn touch(&mut self, index: u32, rank: Rank, at: Timestamp, bytes: usize) {
        let Some(link) = self.links.get_mut(index as usize) else { return };
        link.touched = link.touched.max(at);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let queue = queue_of(rank, bytes);
        if link.queue == queue && link.touched.is_within(SLACK, link.placed) {
            if link.bytes != bytes {
                let before = std::mem::replace(&mut link.bytes, bytes);
                if let Some(queue) = self.queues.get_mut(usize::from(queue)) {
                    queue.bytes = queue.bytes - before as usize + bytes as usize;
                    self.bytes = self.bytes - before as usize + bytes as usize;
                }
            }
            return;
        }
        self.move_back(index, rank, queue, bytes);
    }

    /// The entry was used, and nothing about it is another.
    #[inline]
    pub(super) fn touch_alone(&mut self, index: u32, at: Timestamp) {
        let Some(link) = self.links.get_mut(index as usize) else { return };
        link.touched = link.touched.max(at);
        if !link.touched.is_within(SLACK, link.placed) {
            let Link { rank, queue, bytes, .. } = *link;
            self.move_back(index, rank, queue, bytes);
        }
    }

    #[inline(never)]
    fn move_back(&mut self, index: u32, rank: Rank, queue: u8, bytes: u32) {
        self.unlink(index);
        if let Some(link) = self.links.get_mut(index as usize) {
            *link = Link { rank, queue, bytes, placed: link.touched, ..*link };
        }
        self.append(index);
    }

    /// The entry's rank, and when it was last used.
    pub(super) fn last_use(&self, index: u32) -> Option<(Rank, Timestamp)> {
        self.links.get(index as usize).map(|link| (link.rank, link.touched))
    }

    /// Takes an index out.
    pub(super) fn remove(&mut self, index: u32) {
        self.unlink(index);
    }

    /// Memory that goes with all entries.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many entries there are of each class, and their memory.
    pub(super) fn summary(&self) -> TableSummary {
        let class = |queue: Queue| TableClass { connections: queue.length as u64, bytes: queue.bytes as u64 };
        TableSummary(self.queues.map(class))
    }

    /// When the front of a rank's queues was placed: no entry was used before, perhaps since. After time went back it
    /// may lie in the future.
    pub(super) fn front_placed(&self, rank: Rank) -> Option<Timestamp> {
        self.fronts(rank).map(|(_, link)| link.placed).min()
    }

    /// An index of this rank that was last used at or before `before`; it may be missed for [`SLACK`].
    ///
    /// Entries from before time went back to `now` stand in front and would hide all others for as long as it went back.
    /// They count as used now. Each is moved once, when it is found, so the jump itself costs nothing.
    pub(super) fn stale(&mut self, rank: Rank, before: Timestamp, now: Timestamp) -> Option<u32> {
        loop {
            let future = self.fronts(rank).find(|(_, link)| link.placed > now).map(|(index, _)| index);
            let Some(index) = future else { break };
            self.unlink(index);
            if let Some(link) = self.links.get_mut(index as usize) {
                (link.placed, link.touched) = (now, now);
            }
            self.append(index);
        }
        self.fronts(rank).find(|(_, link)| link.touched <= before).map(|(index, _)| index)
    }

    /// The least valuable index: of the lowest rank there is, the one that was not used for longest.
    pub(super) fn least(&self) -> Option<u32> {
        let oldest = |rank| self.fronts(rank).min_by_key(|(_, link)| link.placed).map(|(index, _)| index);
        RANKS.into_iter().find_map(oldest)
    }

    /// The index to give up for its memory: one without anything open while those hold more than `share` bytes; less is
    /// spared, because giving it up would give back next to nothing. Else one of the heaviest with something open that
    /// together hold more than `share`, so that who holds much goes before many who hold little, and a few who hold much
    /// do not go for what many hold. Of those, the one that was not used for longest.
    pub(super) fn dearest(&self, share: usize) -> Option<u32> {
        let has_any = |queue: &&Queue| queue.front != NONE;
        let (idle, busy) = self.queues.split_at(Rank::Busy as usize);
        let held: usize = idle.iter().map(|queue| queue.bytes).sum();
        let lowest = || idle.iter().find(has_any);
        let heaviest = || {
            let by_weight = || busy.iter().rev().filter(has_any);
            by_weight().find(|queue| queue.bytes > share).or_else(|| by_weight().next())
        };
        let queue = if held > share { lowest() } else { heaviest().or_else(lowest) };
        queue.map(|queue| queue.front)
    }

    fn fronts(&self, rank: Rank) -> impl Iterator<Item = (u32, &Link)> {
        let first = rank as usize;
        let last = if rank == Rank::Busy { QUEUES } else { first + 1 };
        let queues = self.queues.get(first..last).unwrap_or_default();
        queues.iter().filter_map(|queue| Some((queue.front, self.links.get(queue.front as usize)?)))
    }

    fn append(&mut self, index: u32) {
        let Some(Link { queue, bytes, .. }) = self.links.get(index as usize).copied() else { return };
        let Some(queue) = self.queues.get_mut(usize::from(queue)) else { return };
        queue.length += 1;
        queue.bytes += bytes as usize;
        self.bytes += bytes as usize;
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
        let Some(queue) = self.queues.get_mut(usize::from(link.queue)) else { return };
        queue.length -= 1;
        queue.bytes -= link.bytes as usize;
        self.bytes -= link.bytes as usize;
        if queue.front == index {
            queue.front = link.next;
        }
        if queue.back == index {
            queue.back = link.previous;
        }
    }
}

const fn queue_of(rank: Rank, bytes: u32) -> u8 {
    let [medium, heavy, huge] = WEIGHTS;
    match rank {
        Rank::Busy if bytes >= huge => rank as u8 + 3,
        Rank::Busy if bytes >= heavy => rank as u8 + 2,
        Rank::Busy if bytes >= medium => rank as u8 + 1,
        _ => rank as u8,
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

    #[test]
    fn who_holds_much_with_something_open_goes_before_many_who_hold_little() {
        let mut recency = Recency::default();
        let (light, heavy) = (15_000, 640);
        for index in 0..light {
            recency.place(index, Rank::Busy, at(1), 4 << 10);
        }
        for index in light..light + heavy {
            recency.place(index, Rank::Busy, at(2), 64 << 10);
        }
        let share = 8 << 20;
        let mut gone = 0;
        while recency.bytes() > 70 << 20 {
            let index = recency.dearest(share).unwrap();
            assert!(index >= light, "who holds little goes while others hold much");
            recency.remove(index);
            gone += 1;
        }
        assert!(gone < heavy);
    }

    #[test]
    fn a_few_who_hold_much_stay_while_nearly_all_is_held_by_many() {
        let mut recency = Recency::default();
        recency.place(0, Rank::Busy, at(1), 1 << 20);
        for index in 1..10_000 {
            recency.place(index, Rank::Busy, at(2), 4 << 10);
        }
        assert_eq!(recency.dearest(8 << 20), Some(1));
    }

    proptest! {
        /// The twin is a plain list of (index, rank, last use, bytes).
        #[test]
        fn finds_the_stale_entries_of_a_plain_list_and_no_others(
            steps in prop::collection::vec((0u8..4, 0u32..12, 0usize..5, 0usize..1 << 20), 1..120),
        ) {
            let mut recency = Recency::default();
            let mut twin: Vec<(u32, Rank, u64, usize)> = Vec::new();
            let slack = u64::try_from(SLACK.as_nanos()).unwrap();
            for (now, (action, index, rank, bytes)) in (10_000u64..).step_by(130).zip(steps) {
                let now = now * MILLI;
                let rank = RANKS[rank];
                let known = twin.iter().position(|entry| entry.0 == index);
                match (action, known) {
                    (0, None) => {
                        recency.place(index, rank, at(now), bytes);
                        twin.push((index, rank, now, bytes));
                    }
                    (1, Some(place)) => {
                        recency.touch(index, rank, at(now), bytes);
                        twin[place] = (index, rank, now, bytes);
                    }
                    (2, Some(place)) => {
                        recency.remove(index);
                        twin.remove(place);
                    }
                    _ => {
                        let before = now - 900 * MILLI;
                        let mut found = Vec::new();
                        while let Some(index) = recency.stale(rank, at(before), at(now)) {
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
                prop_assert_eq!(recency.bytes(), twin.iter().map(|entry| entry.3).sum::<usize>());
                for (class, (_, _, found)) in recency.summary().classes().enumerate() {
                    let of_class = |entry: &&(u32, Rank, u64, usize)| {
                        usize::from(queue_of(entry.1, u32::try_from(entry.3).unwrap())) == class
                    };
                    let bytes: usize = twin.iter().filter(of_class).map(|entry| entry.3).sum();
                    prop_assert_eq!(found.connections, twin.iter().filter(of_class).count() as u64);
                    prop_assert_eq!(found.bytes, bytes as u64);
                }
                let idle: usize = twin.iter().filter(|entry| entry.1 != Rank::Busy).map(|entry| entry.3).sum();
                let share = 1 << 19;
                let dearest = recency.dearest(share);
                prop_assert_eq!(dearest.is_some(), !twin.is_empty());
                if let Some(entry) = dearest.and_then(|index| twin.iter().find(|entry| entry.0 == index)) {
                    let has_busy = twin.iter().any(|entry| entry.1 == Rank::Busy);
                    prop_assert_eq!(entry.1 == Rank::Busy, has_busy && idle <= share, "{:?}", twin);
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
