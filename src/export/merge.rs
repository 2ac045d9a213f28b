//! Several views of one exchange → one exchange: what is captured on both sides of an address translation, or twice.
//!
//! A node captures on all its interfaces, and an address translation on the way (a Service's DNAT, masquerade) makes two
//! connections of one. Sequence numbers and payload survive it, and both are in an exchange's identity. So an exchange
//! waits a moment for its other views. They are views of the same one when
//!
//! - the requests have the same sequence number and head ([`Exchange::request_key`]),
//! - the responses do, too, or one of the views has none, and
//! - their first bytes were captured within the window of each other: a capture played again is another exchange.
//!
//! What is merged keeps the first time and the addresses of the view that saw the request first (the client's side) and
//! of the one that saw it last (the server's side), and the messages of the view that is more complete. A view that comes
//! when the exchange has left is dropped and counted.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use foldhash::fast::FixedState;
use tokio::time::Instant;

use super::arrivals::Arrivals;
use crate::exchange::{Exchange, Translated};
use crate::time::Timestamp;

/// Exchanges that have left are remembered until so many more have: 1.5 MiB.
const REMEMBERED: usize = 16 << 10;
/// Exchanges of one request key that are looked at: those that arrived last. Without end only where somebody makes them equal.
const LOOKS: usize = 8;

/// How views are merged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MergeConfig {
    /// `AGENT_MERGE_WINDOW`: how far apart, in capture time, two views of an exchange may be. Zero merges nothing.
    pub window: Duration,
    /// Bytes that may wait for other views; stops a burst from growing the agent. Beyond it the oldest goes on early.
    pub max_bytes: usize,
    /// How long an exchange waits at most when no packets come that would tell the time; `None` for a file.
    pub patience: Option<Duration>,
}

/// Exchanges that wait for their other views, in order of arrival, before them those that may go on, and behind these what is
/// remembered of all that have left.
///
/// Each has a number, in order of arrival, and stands where it came until it was given on. Invariants: `latest` has the last
/// to arrive of each key, of those that wait and those that are remembered, and with the numbers of those before it (`before`)
/// leads to all of them; `bytes` is the sum of the footprints of those that wait; `merged + late + released == taken`.
#[derive(Debug)]
pub(super) struct Merger {
    config: MergeConfig,
    /// Those that may go on, then those that wait.
    exchanges: Arrivals<Exchange>,
    /// What belongs to each that waits.
    waiting: VecDeque<Waiting>,
    /// How many have left since the start: the number of the first that waits.
    first: u64,
    /// The last to leave is the last.
    left: VecDeque<Gone>,
    /// Request key → number.
    latest: HashMap<u64, u64, FixedState>,
    bytes: usize,
    /// The latest end of an exchange.
    now: Timestamp,
    counts: MergeCounts,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// Capture time after which no view is waited for.
    until: Timestamp,
    arrived: Instant,
    /// The number of the one of the same key before it, if any.
    before: Option<u64>,
}

/// What is remembered of an exchange that has left.
#[derive(Clone, Copy, Debug)]
struct Gone {
    key: u64,
    start: Timestamp,
    /// The start of its identity, when it had a response.
    answered: Option<u64>,
    before: Option<u64>,
}

/// What an exchange is a view of.
enum View {
    /// Of none that is known.
    New,
    /// Of one that waits, by its number.
    Waiting(u64),
    /// Of one that has left.
    Gone,
}

/// What merging has counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct MergeCounts {
    /// Views that became part of another.
    pub(super) merged: u64,
    /// Views that came when theirs had left, and were dropped.
    pub(super) late: u64,
    /// Exchanges that went on early because too many waited.
    pub(super) early: u64,
}

impl Merger {
    pub(super) fn new(config: MergeConfig) -> Self {
        Self {
            config,
            exchanges: Arrivals::new(),
            waiting: VecDeque::new(),
            first: 0,
            left: VecDeque::new(),
            latest: HashMap::default(),
            bytes: 0,
            now: Timestamp::default(),
            counts: MergeCounts::default(),
        }
    }

    /// Takes views that arrive at `arrived`. Those that are exchanges of their own stay where they are.
    pub(super) fn take(&mut self, mut views: Vec<Exchange>, arrived: Instant) {
        let mut kept = 0;
        for place in 0..views.len() {
            let (earlier, rest) = views.split_at_mut(place);
            let (Some(earlier), Some(view)) = (earlier.get_mut(..kept), rest.first_mut()) else { break };
            if self.take_one(view, earlier, arrived) {
                if kept < place {
                    views.swap(kept, place);
                }
                kept += 1;
            }
        }
        views.truncate(kept);
        self.exchanges.push(views);
    }

    /// Takes a view that came with `earlier` ones, which wait. Whether it waits as well: else it is done with.
    fn take_one(&mut self, view: &mut Exchange, earlier: &mut [Exchange], arrived: Instant) -> bool {
        let at = view.end();
        // A capture file may begin again in an earlier time.
        self.now = if self.now.saturating_since(at) > Duration::from_secs(60) { at } else { self.now.max(at) };
        if self.config.window.is_zero() {
            self.wait(view, arrived, None);
            return true;
        }
        let number = self.first + self.waiting.len() as u64;
        // Of views that are none of the known ones, this is the latest.
        let before = self.latest.insert(view.request_key, number);
        match self.view_of(view, earlier, before) {
            View::New => {
                self.wait(view, arrived, before);
                return true;
            }
            View::Waiting(number) => {
                self.put_back(view.request_key, before);
                let waiting = match number.checked_sub(self.exchanges.next()) {
                    Some(place) => usize::try_from(place).ok().and_then(|place| earlier.get_mut(place)),
                    None => self.exchanges.get_mut(number),
                };
                if let Some(waiting) = waiting {
                    self.bytes -= waiting.footprint();
                    join(waiting, view);
                    self.bytes += waiting.footprint();
                    self.counts.merged += 1;
                }
            }
            View::Gone => {
                self.put_back(view.request_key, before);
                self.counts.late += 1;
            }
        }
        false
    }

    /// What `view` is a view of, which came with `earlier` ones: of that with the number `latest` or one of its key before that.
    fn view_of(&self, view: &Exchange, earlier: &[Exchange], mut latest: Option<u64>) -> View {
        for _ in 0..LOOKS {
            let Some(number) = latest else { break };
            let oldest = self.first - self.left.len() as u64;
            if number >= self.first {
                let exchange = match number.checked_sub(self.exchanges.next()) {
                    Some(place) => usize::try_from(place).ok().and_then(|place| earlier.get(place)),
                    None => self.exchanges.get(number),
                };
                let (Some(exchange), Some(waiting)) = (exchange, self.waiting.get(place(number, self.first))) else {
                    break;
                };
                if is_view_of(exchange, view, self.config.window) {
                    return View::Waiting(number);
                }
                latest = waiting.before;
            } else {
                let Some(gone) = number.checked_sub(oldest).and_then(|_| self.left.get(place(number, oldest))) else {
                    break;
                };
                if gone.is_view_of(view, self.config.window) {
                    return View::Gone;
                }
                latest = gone.before;
            }
        }
        View::New
    }

    fn put_back(&mut self, key: u64, latest: Option<u64>) {
        match latest {
            Some(number) => self.latest.insert(key, number),
            None => self.latest.remove(&key),
        };
    }

    fn wait(&mut self, exchange: &Exchange, arrived: Instant, before: Option<u64>) {
        self.bytes += exchange.footprint();
        let until = self.now.saturating_add(self.config.window);
        self.waiting.push_back(Waiting { until, arrived, before });
    }

    /// What has waited long enough at `now` may go on.
    pub(super) fn release(&mut self, now: Instant) {
        while let Some(first) = self.waiting.front() {
            let is_due = self.config.window.is_zero()
                || first.until < self.now
                || self.config.patience.is_some_and(|wait| now >= first.arrived + wait);
            if !is_due && self.bytes <= self.config.max_bytes {
                return;
            }
            self.counts.early += u64::from(!is_due);
            self.leave();
        }
    }

    /// All that waits may go on: nothing more will come.
    pub(super) fn release_all(&mut self) {
        while !self.waiting.is_empty() {
            self.leave();
        }
    }

    /// The first of those that may go on.
    pub(super) fn ready(&self) -> Option<&Exchange> {
        if self.readies() == 0 { None } else { self.exchanges.get(self.exchanges.first()) }
    }

    /// How many may go on.
    pub(super) fn readies(&self) -> usize {
        place(self.first, self.exchanges.first())
    }

    /// The first of those that may go on has gone.
    pub(super) fn pass(&mut self) {
        if self.readies() > 0 {
            self.exchanges.pass();
        }
    }

    /// When [`Self::release`] is next wanted, if nothing comes.
    pub(super) fn due(&self) -> Option<Instant> {
        Some(self.waiting.front()?.arrived + self.config.patience?)
    }

    /// Exchanges that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// What was counted since the last call.
    pub(super) fn counts(&mut self) -> MergeCounts {
        std::mem::take(&mut self.counts)
    }

    /// The first that waits does so no longer.
    fn leave(&mut self) {
        let Some(Waiting { before, .. }) = self.waiting.pop_front() else { return };
        let Some(exchange) = self.exchanges.get(self.first) else { return };
        self.first += 1;
        self.bytes -= exchange.footprint();
        if !self.config.window.is_zero() {
            self.remember(Gone::of(exchange, before));
        }
    }

    fn remember(&mut self, gone: Gone) {
        if self.left.len() >= REMEMBERED
            && let Some(oldest) = self.left.pop_front()
            && let Entry::Occupied(latest) = self.latest.entry(oldest.key)
            && *latest.get() < self.first - self.left.len() as u64 - 1
        {
            latest.remove();
        }
        self.left.push_back(gone);
    }
}

impl Gone {
    fn of(exchange: &Exchange, before: Option<u64>) -> Self {
        Self { key: exchange.request_key, start: exchange.start(), answered: answered(exchange), before }
    }

    fn is_view_of(&self, exchange: &Exchange, window: Duration) -> bool {
        is_near(self.start, exchange.start(), window) && may_be_one(self.answered, answered(exchange))
    }
}

/// Whether two exchanges of the same request key are views of one.
fn is_view_of(one: &Exchange, other: &Exchange, window: Duration) -> bool {
    is_near(one.start(), other.start(), window) && may_be_one(answered(one), answered(other))
}

fn is_near(one: Timestamp, other: Timestamp, window: Duration) -> bool {
    one.saturating_since(other).max(other.saturating_since(one)) <= window
}

fn may_be_one(one: Option<u64>, other: Option<u64>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

/// The identity's first bytes, which tell the response as well.
fn answered(exchange: &Exchange) -> Option<u64> {
    exchange.response.as_ref()?;
    exchange.id.0.first_chunk().map(|start| u64::from_be_bytes(*start))
}

/// Makes one exchange of two views of it, the same whichever came first; `other` is what is left over.
fn join(kept: &mut Exchange, other: &mut Exchange) {
    let (near, far) = ends(&[sides(kept), sides(other)]);
    let start = kept.start().min(other.start());
    let handshake_rtt = kept.handshake_rtt.max(other.handshake_rtt);
    if worth(other) > worth(kept) {
        std::mem::swap(kept, other);
    }
    kept.request.transfer.first_byte = start;
    kept.handshake_rtt = handshake_rtt;
    kept.interface =
        if (kept.client, kept.server) == (near.client, near.server) { kept.interface } else { other.interface };
    (kept.client, kept.server) = (near.client, near.server);
    kept.translated = ((far.client, far.server) != (near.client, near.server)).then(|| Box::new(far));
}

/// Which view knows more; of two that know the same, the earlier.
fn worth(exchange: &Exchange) -> impl Ord {
    let addresses = std::cmp::Reverse((exchange.start(), exchange.client, exchange.server));
    (exchange.response.is_some(), !exchange.incomplete, addresses)
}

/// The client's and the server's side of a view, or of what views were merged into.
fn sides(exchange: &Exchange) -> [Translated; 2] {
    let near = Translated { client: exchange.client, server: exchange.server, seen: exchange.start() };
    [near, exchange.translated.as_deref().copied().unwrap_or(near)]
}

/// The side that saw the request first, and the one that saw it last; of each side its first sight counts.
fn ends(views: &[[Translated; 2]; 2]) -> (Translated, Translated) {
    let [[one, two], [three, four]] = *views;
    let sides = [one, two, three, four];
    let first_sight = |side: Translated| {
        let same = sides.iter().filter(|other| (other.client, other.server) == (side.client, side.server));
        Translated { seen: same.map(|other| other.seen).min().unwrap_or(side.seen), ..side }
    };
    let mut all = sides.map(first_sight);
    all.sort_unstable_by_key(|side| (side.seen, side.client, side.server));
    let [first, .., last] = all;
    (first, last)
}

fn place(number: u64, first: u64) -> usize {
    usize::try_from(number.wrapping_sub(first)).unwrap_or(usize::MAX)
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
