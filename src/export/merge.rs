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

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::time::Duration;

use tokio::time::Instant;

use super::arrivals::Arrivals;
use super::chains::{Chains, Linked};
use crate::exchange::{Exchange, Packed, Parcel, Translated};
use crate::time::Timestamp;

/// Exchanges that have left are remembered until so many more have: less than 1 MiB.
const REMEMBERED: usize = 16 << 10;

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
/// Each has a number, in order of arrival, and stands where it came until it was given on. Invariants: `known` has those that
/// are remembered and those that wait, and nothing when there is no window; `bytes` is the sum of the footprints of those that
/// wait; `merged + late + released == taken`.
#[derive(Debug)]
pub(super) struct Merger {
    config: MergeConfig,
    /// Those that may go on, then those that wait.
    exchanges: Arrivals,
    /// What belongs to each that waits.
    waiting: VecDeque<Waiting>,
    /// How many have left since the start: the number of the first that waits.
    first: u64,
    /// The last to leave is before the first that waits.
    known: Chains<Known>,
    bytes: usize,
    /// The latest end of an exchange.
    now: Timestamp,
    counts: MergeCounts,
    /// For views that become one: memory that is used again.
    scratch: Box<[Exchange; 2]>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// Capture time after which no view is waited for.
    until: Timestamp,
    arrived: Instant,
    /// [`Packed::footprint`].
    bytes: usize,
}

/// What tells of an exchange which views it has.
#[derive(Clone, Copy, Debug)]
struct Known {
    key: u64,
    start: Timestamp,
    /// The start of its identity, when it had a response; one that is zero tells nothing.
    answered: Option<NonZeroU64>,
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
            exchanges: Arrivals::default(),
            waiting: VecDeque::new(),
            first: 0,
            known: Chains::default(),
            bytes: 0,
            now: Timestamp::default(),
            counts: MergeCounts::default(),
            scratch: Box::new([Exchange::empty(), Exchange::empty()]),
        }
    }

    /// Takes views that arrive at `arrived`. Those that are exchanges of their own stay where they are.
    pub(super) fn take(&mut self, mut views: Parcel, arrived: Instant) {
        let mut kept = 0;
        for place in 0..views.len() {
            if self.take_one(&mut views, place, arrived) {
                views.swap(place, kept);
                kept += 1;
            }
        }
        if kept < views.len() {
            views.truncate(kept);
        }
        self.exchanges.push(views);
    }

    /// Takes the view at `place`, before which are those of the same hand-over that wait. Whether it waits as well: else it is
    /// done with.
    fn take_one(&mut self, views: &mut Parcel, place: usize, arrived: Instant) -> bool {
        let Some(view) = views.get(place) else { return false };
        let at = view.end();
        // A capture file may begin again in an earlier time.
        self.now = if self.now.saturating_since(at) > Duration::from_secs(60) { at } else { self.now.max(at) };
        let known = Known::of(view);
        match self.view_of(&known) {
            View::New => {
                self.wait(view.footprint(), arrived);
                if !self.config.window.is_zero() {
                    self.known.push(known);
                }
                return true;
            }
            View::Waiting(number) => {
                self.counts.merged += u64::from(self.join(number, views, place).is_some());
            }
            View::Gone => self.counts.late += 1,
        }
        false
    }

    /// What `view` is a view of.
    fn view_of(&self, view: &Known) -> View {
        let found = self.known.find(view.key, |known| known.is_view_of(view, self.config.window));
        match found {
            None => View::New,
            // The last that is known is the last that waits.
            Some(age) => match (self.first + self.waiting.len() as u64).checked_sub(age) {
                Some(number) if number >= self.first => View::Waiting(number),
                _ => View::Gone,
            },
        }
    }

    /// Makes the view at `place` of `views` a part of the exchange `number`, if that waits.
    fn join(&mut self, number: u64, views: &mut Parcel, place: usize) -> Option<()> {
        let [one, other] = &mut *self.scratch;
        views.get(place)?.unpack(other);
        let earlier = number.checked_sub(self.exchanges.next()).and_then(|place| usize::try_from(place).ok());
        let waiting = match earlier {
            Some(earlier) => views.get(earlier)?,
            None => self.exchanges.get(number)?,
        };
        waiting.unpack(one);
        join(one, other);
        let joined = if let Some(earlier) = earlier {
            views.replace(earlier, one);
            views.get(earlier)?
        } else {
            self.exchanges.replace(number, one);
            self.exchanges.get(number)?
        };
        let distance = place_of(number, self.first);
        if let Some(waiting) = self.waiting.get_mut(distance) {
            self.bytes = self.bytes - waiting.bytes + joined.footprint();
            waiting.bytes = joined.footprint();
        }
        // From the last one back.
        let age = self.waiting.len() - distance;
        self.known.replace(age, Known::of(joined));
        Some(())
    }

    fn wait(&mut self, bytes: usize, arrived: Instant) {
        self.bytes += bytes;
        let until = self.now.saturating_add(self.config.window);
        self.waiting.push_back(Waiting { until, arrived, bytes });
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
    pub(super) fn ready(&self) -> Option<Packed<'_>> {
        if self.readies() == 0 { None } else { self.exchanges.get(self.exchanges.first()) }
    }

    /// How many may go on.
    pub(super) fn readies(&self) -> usize {
        place_of(self.first, self.exchanges.first())
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
        let Some(Waiting { bytes, .. }) = self.waiting.pop_front() else { return };
        self.first += 1;
        self.bytes -= bytes;
        // Beside those that wait, so many are remembered.
        self.known.keep(self.waiting.len() + REMEMBERED);
    }
}

impl Known {
    fn of(exchange: Packed<'_>) -> Self {
        let id = exchange.id().0;
        // The identity's first bytes tell the response as well.
        let start = id.first_chunk().filter(|_| exchange.has_response());
        let answered = start.and_then(|start| NonZeroU64::new(u64::from_be_bytes(*start)));
        Self { key: exchange.request_key(), start: exchange.start(), answered }
    }

    /// Whether two exchanges of the same request key are views of one.
    fn is_view_of(&self, other: &Self, window: Duration) -> bool {
        is_near(self.start, other.start, window) && may_be_one(self.answered, other.answered)
    }
}

impl Linked for Known {
    fn key(&self) -> u64 {
        self.key
    }
}

fn is_near(one: Timestamp, other: Timestamp, window: Duration) -> bool {
    one.saturating_since(other).max(other.saturating_since(one)) <= window
}

fn may_be_one(one: Option<NonZeroU64>, other: Option<NonZeroU64>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
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

fn place_of(number: u64, first: u64) -> usize {
    usize::try_from(number.wrapping_sub(first)).unwrap_or(usize::MAX)
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
