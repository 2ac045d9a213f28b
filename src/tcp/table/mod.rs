//! Every connection the agent knows: found by its endpoints, bounded in number, forgotten when idle.

mod bulk;
mod ends;
mod limits;
mod plain;
mod shortage;

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use ends::{Ends, initials, is_new_syn};
pub use limits::{Overflow, TcpCounters, TcpLimits};

use super::bulk::{Heavy, Part, StreamId};
use super::connection::{Context, FAR_BEHIND, Streams, Verdict};
use super::holders::Holders;
use super::key::FlowKey;
use super::recency::{RANKS, Rank, Recency, TableSummary};
use super::slots::Slots;
use super::{Direction, Finish, Flow, Interest, Origin, Past, StreamHandler};
use crate::packet::{Segment, SequenceNumber, TcpFlags};
use crate::time::Timestamp;

/// How long an entry that is over, or that never carried payload, is kept.
const SHORT_TIMEOUT: Duration = Duration::from_secs(30);

/// How often idle entries are looked for. An entry that is used after its timeout counts as idle at once,
/// so this bounds memory and the lateness of what is reported, and changes no result.
const IDLE_CHECK: Duration = Duration::from_secs(1);

/// When a loss is looked at again that could not be acted on. Never zero: a timer must not be due when it is set.
const RETRY: Duration = Duration::from_millis(10);

/// A packet so much older than the one before it begins another time.
const BACKWARDS: Duration = Duration::from_secs(60);

/// The table; `S` is what the layer above keeps for each connection.
///
/// Invariants: every entry is in `index` and in `recency` exactly once; every entry that holds bytes is in `holders`.
#[derive(Debug)]
pub struct ConnectionTable<S> {
    limits: TcpLimits,
    hasher: FixedState,
    index: HashTable<u32>,
    /// Whose segment was the last: the next one is often of the same connection.
    latest: u32,
    entries: Slots<Entry<S>>,
    recency: Recency,
    losses: VecDeque<LossTimer>,
    holders: Holders,
    /// Streams that bring much that nobody reads.
    heavy: Heavy,
    counters: TcpCounters,
    now: Timestamp,
    /// The shortest of all timeouts, in nanoseconds.
    soonest: u64,
    /// The time of the first packet.
    since: Option<Timestamp>,
    births: u64,
    /// Idle entries are looked for at most once in [`IDLE_CHECK`] of packet time.
    idle_checked: Timestamp,
    /// Nothing is taken at a glance.
    #[cfg(test)]
    goes_the_long_way: bool,
}

#[derive(Debug)]
struct Entry<S> {
    key: FlowKey,
    /// Tells this entry from an earlier one at the same index.
    birth: u64,
    state: EntryState<S>,
}

#[derive(Debug)]
enum EntryState<S> {
    /// Its events are wanted.
    Followed(Box<Streams<S>>),
    /// Not HTTP: nothing is kept but what tells a new connection from this one.
    Ignored { initial: Ends<Option<SequenceNumber>> },
    /// Over: late copies of its packets are no new connection.
    Over { initial: Ends<Option<SequenceNumber>>, end: Ends<SequenceNumber> },
}

/// Fires when a loss may have become certain. At most one for each followed connection.
#[derive(Clone, Copy, Debug)]
struct LossTimer {
    deadline: Timestamp,
    index: u32,
    birth: u64,
}

impl<S> ConnectionTable<S> {
    /// What an entry takes beside what is followed: its slot, its place in the index and in a queue, its timer.
    const ENTRY: usize = size_of::<Option<Entry<S>>>() + Recency::LINK + size_of::<LossTimer>() + 16;

    /// An empty table. `seed` makes the places of keys unpredictable to who sends packets; it changes no result.
    pub fn new(limits: TcpLimits, seed: u64) -> Self {
        let soonest = nanos(SHORT_TIMEOUT.min(limits.idle_timeout).min(limits.busy_timeout));
        Self {
            limits,
            soonest,
            hasher: FixedState::with_seed(seed),
            index: HashTable::new(),
            latest: 0,
            entries: Slots::new(),
            recency: Recency::default(),
            losses: VecDeque::new(),
            holders: Holders::default(),
            heavy: Heavy::default(),
            counters: TcpCounters::default(),
            now: Timestamp::default(),
            since: None,
            births: 0,
            idle_checked: Timestamp::default(),
            #[cfg(test)]
            goes_the_long_way: false,
        }
    }

    /// Takes one segment; what it brings goes to `handler`.
    pub fn handle<H: StreamHandler<State = S>>(&mut self, segment: &Segment<'_>, handler: &mut H) {
        if self.is_due(segment.at) {
            self.handle_timeout(segment.at, handler);
        }
        self.advance(segment.at);
        let (key, direction) = FlowKey::of(segment);
        let Some(index) = self.find(&key).and_then(|index| self.unless_idle(index, handler)) else {
            if segment.payload_length > 0 || segment.flags.contains(TcpFlags::SYN) {
                self.begin(key, segment, direction, handler);
            } else {
                self.counters.unknown_connection += 1;
            }
            return;
        };
        if self.follow_plain(index, segment, direction, handler) {
            return;
        }
        if self.is_foreign(index, segment, direction) {
            self.end(index, Finish::Replaced, handler);
            self.begin(key, segment, direction, handler);
        } else if segment.flags.contains(TcpFlags::RST) {
            self.reset(index, segment, direction, handler);
        } else {
            self.follow(index, segment, direction, handler);
        }
    }

    /// Runs every timer due at `now`: losses that became certain, connections that were idle for too long.
    pub fn handle_timeout<H: StreamHandler<State = S>>(&mut self, now: Timestamp, handler: &mut H) {
        self.advance(now);
        while let Some(timer) = self.losses.front().copied().filter(|timer| timer.deadline <= self.now) {
            self.losses.pop_front();
            self.lose(timer, handler);
        }
        self.idle_checked = self.now;
        for rank in RANKS {
            let Some(before) = self.idle_before(rank) else { continue };
            while let Some(index) = self.recency.stale(rank, before, self.now) {
                self.end(index, Finish::Idle, handler);
            }
        }
    }

    /// Time goes on. It stands still when packets come slightly out of order, and goes back when they are of an
    /// earlier time altogether: files are joined, clocks are set.
    fn advance(&mut self, at: Timestamp) {
        if at >= self.now {
            self.now = at;
            return;
        }
        if self.now.is_within(BACKWARDS, at) {
            return;
        }
        self.now = at;
        self.idle_checked = at;
        let latest = at.saturating_add(self.limits.loss_grace);
        for timer in &mut self.losses {
            timer.deadline = timer.deadline.min(latest);
        }
    }

    /// Whether a timer is due at `now`; cheap enough to ask for every packet.
    fn is_due(&self, now: Timestamp) -> bool {
        self.losses.front().is_some_and(|timer| timer.deadline <= now) || !now.is_within(IDLE_CHECK, self.idle_checked)
    }

    /// When [`Self::handle_timeout`] is next wanted; perhaps too early, never too late.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let loss = self.losses.front().map(|timer| timer.deadline);
        let idle = RANKS.into_iter().filter_map(|rank| {
            let placed = self.recency.front_placed(rank)?;
            Some(placed.min(self.now).saturating_add(self.timeout(rank)))
        });
        idle.chain(loss).min()
    }

    /// The capture has ended: finishes every connection, in the order in which they began.
    pub fn finish<H: StreamHandler<State = S>>(&mut self, handler: &mut H) {
        let mut all: Vec<(u64, u32)> = (0..self.entries.capacity())
            .filter_map(|index| self.entries.get(index).map(|entry| (entry.birth, index)))
            .collect();
        all.sort_unstable();
        for (_, index) in all {
            self.end(index, Finish::CaptureEnded, handler);
        }
        self.losses.clear();
    }

    /// What was counted so far.
    pub fn counters(&self) -> TcpCounters {
        TcpCounters { active: self.entries.len() as u64, memory: self.recency.bytes() as u64, ..self.counters }
    }

    /// What is in the table now, by class; the cost does not depend on how much that is.
    pub fn summary(&self) -> TableSummary {
        self.recency.summary()
    }

    /// Bytes held out of order now.
    pub fn pending_bytes(&self) -> usize {
        self.holders.bytes()
    }

    fn find(&mut self, key: &FlowKey) -> Option<u32> {
        let same = |index: &u32| self.entries.get(*index).is_some_and(|entry| entry.key == *key);
        if !same(&self.latest) {
            self.latest = *self.index.find(self.hasher.hash_one(key), same)?;
        }
        Some(self.latest)
    }

    fn begin<H>(&mut self, key: FlowKey, segment: &Segment<'_>, direction: Direction, handler: &mut H)
    where
        H: StreamHandler<State = S>,
    {
        while self.entries.len() >= self.limits.max_connections.max(1) {
            let Some(least) = self.recency.least() else { break };
            self.counters.evicted += 1;
            self.end(least, Finish::Evicted, handler);
        }
        self.births += 1;
        self.counters.connections += 1;
        let since = *self.since.get_or_insert(segment.at);
        let begun = segment.flags.contains(TcpFlags::SYN);
        let flow = Flow {
            low: key.low(),
            high: key.high(),
            handshake_rtt: None,
            retransmits: 0,
            origin: if begun { Origin::Begun } else { Origin::Joined },
            past: if self.now.saturating_since(since) > SHORT_TIMEOUT { Past::Silent } else { Past::Unknown },
            opener: None,
            beginnings: [None; 2],
            ends_ahead: false,
        };
        let streams = Box::new(Streams::new(handler.begin(), flow));
        let index = self.entries.insert(Entry { key, birth: self.births, state: EntryState::Followed(streams) });
        let (hasher, entries) = (&self.hasher, &self.entries);
        let rehash = |index: &u32| entries.get(*index).map_or(0, |entry| hasher.hash_one(entry.key));
        self.index.insert_unique(hasher.hash_one(key), index, rehash);
        self.recency.place(index, Rank::Fresh, segment.at, Self::ENTRY);
        if segment.flags.contains(TcpFlags::RST) {
            self.reset(index, segment, direction, handler);
        } else {
            self.follow(index, segment, direction, handler);
        }
    }

    fn is_foreign(&self, index: u32, segment: &Segment<'_>, direction: Direction) -> bool {
        match self.entries.get(index).map(|entry| &entry.state) {
            Some(EntryState::Followed(streams)) => streams.is_foreign(segment, direction),
            Some(EntryState::Ignored { initial }) => is_new_syn(initial, segment, direction),
            Some(EntryState::Over { initial, end }) => {
                let distance = segment.sequence.distance_from(end.of(direction));
                // A late copy is at most a window old.
                let is_copy = (FAR_BEHIND..0).contains(&distance);
                (segment.payload_length > 0 && !is_copy) || is_new_syn(initial, segment, direction)
            }
            None => false,
        }
    }

    fn follow<H>(&mut self, index: u32, segment: &Segment<'_>, direction: Direction, handler: &mut H)
    where
        H: StreamHandler<State = S>,
    {
        let Some(entry) = self.entries.get_mut(index) else { return };
        let EntryState::Followed(streams) = &mut entry.state else {
            let over = matches!(entry.state, EntryState::Over { .. }) || segment.flags.contains(TcpFlags::FIN);
            if over && segment.payload_length > 0 {
                self.counters.retransmits += 1;
            }
            if matches!(entry.state, EntryState::Ignored { .. }) {
                let id = StreamId { index, birth: entry.birth, direction };
                self.heavy.note(id, segment.payload_length, Part::after(segment));
            }
            self.recency.touch(index, if over { Rank::Closed } else { Rank::Opaque }, segment.at, Self::ENTRY);
            return;
        };
        let before = streams.pending_bytes();
        let mut cx = Context { handler, counters: &mut self.counters, limits: &self.limits };
        let verdict = streams.accept(segment, direction, &mut cx);
        let birth = entry.birth;
        self.heavy.note_body(segment.payload_length, || {
            let id = StreamId { index, birth, direction };
            (id, streams.half(direction).next(), H::unread(&streams.state, direction))
        });
        self.after(index, birth, before, verdict, segment.at, handler);
    }

    /// Books what `verdict` says of an entry that is followed; then keeps the bounds that all share.
    fn after<H>(&mut self, index: u32, birth: u64, before: usize, verdict: Verdict, at: Timestamp, handler: &mut H)
    where
        H: StreamHandler<State = S>,
    {
        self.book(index, birth, before, verdict, at, handler);
        self.relieve(handler);
        self.shed(handler);
    }

    /// Brings the table's own books in line with what `verdict` says of an entry that is followed.
    fn book<H>(&mut self, index: u32, birth: u64, before: usize, verdict: Verdict, at: Timestamp, handler: &mut H)
    where
        H: StreamHandler<State = S>,
    {
        let Some(Entry { state: EntryState::Followed(streams), .. }) = self.entries.get_mut(index) else { return };
        let held = streams.pending_bytes();
        self.holders.change(index, &mut streams.since, before, held);
        let interest = match verdict {
            Verdict::Closed => {
                // A timer may have made it so, when the last packet was long gone.
                let last = self.recency.last_use(index).map_or(at, |(_, touched)| at.max(touched.min(self.now)));
                return self.close(index, Finish::Closed(last), at, handler);
            }
            Verdict::Open(Interest::None) => return self.ignore(index, at),
            Verdict::Open(interest) => interest,
        };
        let deadline = self.now.saturating_add(self.limits.loss_grace);
        if let Some(deadline) = streams.watch_loss(deadline).or_else(|| H::waits(&streams.state).then_some(deadline))
            && !streams.timer_armed
        {
            streams.timer_armed = true;
            // A loss that is certain and still waits for the other direction's is looked at again later, not at once.
            let deadline = if deadline > self.now { deadline } else { self.now.saturating_add(RETRY) };
            self.losses.push_back(LossTimer { deadline, index, birth });
        }
        let place = if held > 0 { Holders::PLACE } else { 0 };
        let bytes = Self::ENTRY + size_of::<Streams<S>>() + held + place + H::heap_bytes(&streams.state);
        self.recency.touch(index, Rank::of(interest), at, bytes);
        // Timers of connections that are gone must not pile up while packet time stands still.
        if self.losses.len() > 2 * self.limits.max_connections.max(1) {
            let entries = &self.entries;
            self.losses.retain(|timer| entries.get(timer.index).is_some_and(|entry| entry.birth == timer.birth));
        }
    }

    fn reset<H>(&mut self, index: u32, segment: &Segment<'_>, direction: Direction, handler: &mut H)
    where
        H: StreamHandler<State = S>,
    {
        match self.entries.get_mut(index).map(|entry| &mut entry.state) {
            Some(EntryState::Followed(streams)) if streams.is_credible_reset(segment, direction) => {
                streams.note_reset(segment, direction);
                self.close(index, Finish::Reset(segment.at), segment.at, handler);
            }
            Some(EntryState::Ignored { .. } | EntryState::Over { .. }) => {
                self.recency.touch(index, Rank::Closed, segment.at, Self::ENTRY);
            }
            Some(EntryState::Followed(_)) => self.counters.ignored_resets += 1,
            None => {}
        }
    }

    fn lose<H: StreamHandler<State = S>>(&mut self, timer: LossTimer, handler: &mut H) {
        let Some(entry) = self.entries.get_mut(timer.index).filter(|entry| entry.birth == timer.birth) else { return };
        let EntryState::Followed(streams) = &mut entry.state else { return };
        streams.timer_armed = false;
        let before = streams.pending_bytes();
        let mut cx = Context { handler, counters: &mut self.counters, limits: &self.limits };
        let verdict = streams.lose(self.now, &mut cx);
        // The timer is no packet: it must not make the connection look used.
        self.after(timer.index, timer.birth, before, verdict, Timestamp::default(), handler);
    }

    /// The connection is over; its entry stays for late copies.
    fn close<H>(&mut self, index: u32, finish: Finish, at: Timestamp, handler: &mut H)
    where
        H: StreamHandler<State = S>,
    {
        let Some(entry) = self.entries.get_mut(index) else { return };
        let EntryState::Followed(streams) = &mut entry.state else { return };
        let before = streams.pending_bytes();
        let mut cx = Context { handler: &mut *handler, counters: &mut self.counters, limits: &self.limits };
        // What still waits comes before the end: a late copy of it is no new connection.
        streams.settle(self.now, &mut cx);
        let held = streams.pending_bytes();
        self.holders.change(index, &mut streams.since, before, held);
        let initial = initials(streams);
        let end = Ends::new(|direction| streams.half(direction).next());
        let state = std::mem::replace(&mut entry.state, EntryState::Over { initial, end });
        self.conclude(index, state, finish, handler);
        self.recency.touch(index, Rank::Closed, at, Self::ENTRY);
    }

    fn ignore(&mut self, index: u32, at: Timestamp) {
        let Some(entry) = self.entries.get_mut(index) else { return };
        let EntryState::Followed(streams) = &mut entry.state else { return };
        let before = streams.pending_bytes();
        self.holders.change(index, &mut streams.since, before, 0);
        entry.state = EntryState::Ignored { initial: initials(streams) };
        self.recency.touch(index, Rank::Opaque, at, Self::ENTRY);
    }

    /// Takes an entry out of the table.
    fn end<H: StreamHandler<State = S>>(&mut self, index: u32, finish: Finish, handler: &mut H) {
        self.recency.remove(index);
        let Some(entry) = self.entries.remove(index) else { return };
        let hash = self.hasher.hash_one(entry.key);
        if let Ok(place) = self.index.find_entry(hash, |other| *other == index) {
            place.remove();
        }
        self.conclude(index, entry.state, finish, handler);
    }

    /// The last events of a connection, and its end.
    fn conclude<H>(&mut self, index: u32, state: EntryState<S>, finish: Finish, handler: &mut H)
    where
        H: StreamHandler<State = S>,
    {
        let EntryState::Followed(mut streams) = state else { return };
        let before = streams.pending_bytes();
        self.holders.change(index, &mut streams.since, before, 0);
        let mut cx = Context { handler, counters: &mut self.counters, limits: &self.limits };
        streams.settle(self.now, &mut cx);
        if streams.is_wanted() {
            let Streams { state, flow, .. } = *streams;
            handler.finish(state, &flow, finish);
        }
    }

    /// `index`, unless its entry was idle for too long: then that is over.
    fn unless_idle<H: StreamHandler<State = S>>(&mut self, index: u32, handler: &mut H) -> Option<u32> {
        let (rank, touched) = self.recency.last_use(index)?;
        // Most were used a moment ago.
        let unused = self.now.as_nanos().saturating_sub(touched.as_nanos());
        if unused < self.soonest || self.now.is_within(self.timeout(rank), touched) {
            return Some(index);
        }
        self.end(index, Finish::Idle, handler);
        None
    }

    /// Entries of this rank that were last used at or before this time are idle.
    fn idle_before(&self, rank: Rank) -> Option<Timestamp> {
        self.now.as_nanos().checked_sub(nanos(self.timeout(rank))).map(Timestamp::from_nanos)
    }

    const fn timeout(&self, rank: Rank) -> Duration {
        match rank {
            Rank::Closed | Rank::Fresh => SHORT_TIMEOUT,
            Rank::Opaque | Rank::Quiet => self.limits.idle_timeout,
            Rank::Busy => self.limits.busy_timeout,
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
