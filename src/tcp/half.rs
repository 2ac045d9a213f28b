//! One direction of a connection: where its stream stands and what waits.

use super::Mark;
use super::pending::{Held, Inserted, Pending, distance};
use crate::packet::SequenceNumber;
use crate::time::Timestamp;

/// Acknowledged bytes further ahead than this are not believed: no window is that large (RFC 7323 §2.2).
pub(super) const MAX_WINDOW: u32 = 1 << 30;

/// Numbers this far from all that the capture shows are still surely of this connection: several of the largest windows that
/// systems give out unasked, and less than one in a hundred of all numbers.
pub(super) const REACH: u32 = 1 << 24;

/// A late SYN is at most so far before the first bytes that were captured; one of a new connection is hardly ever.
const LATE_SYN_REACH: i32 = 1 << 16;

/// So many losses without any data, and the capture does not show this direction.
const SILENT_AFTER: u8 = 4;

/// One direction.
///
/// ```text
///          next            acknowledged by the peer
///   …──────┼─ hole ─┬──────┼───────┬─ hole ─┬────────
///  delivered        │ held │  held │        │ held
/// ```
#[derive(Debug, Default)]
pub(super) struct Half {
    anchor: Anchor,
    next: SequenceNumber,
    /// Where the capture came to this direction.
    start: SequenceNumber,
    initial: Option<SequenceNumber>,
    acknowledged: Option<SequenceNumber>,
    /// An acknowledgement that was not believed, unless the next one goes on from it.
    doubted: Option<SequenceNumber>,
    fin: Option<Fin>,
    /// `fin` was delivered; it is still there.
    ended: bool,
    /// Boxed, because most never have one.
    loss: Option<Box<Loss>>,
    /// Losses before the first data.
    losses: u8,
    /// The interface that showed the first data; copies seen on others are no retransmissions.
    interface: Option<u32>,
    pub(super) pending: Pending,
}

/// How well `next` is known.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Anchor {
    /// Nothing was seen.
    #[default]
    Unknown,
    /// No data yet, but the peer has acknowledged up to here.
    Hinted,
    /// The capture shows no data of this direction at all; its acknowledgements only move it on.
    Silent,
    /// By a SYN, or by data.
    Known,
}

#[derive(Clone, Copy, Debug)]
struct Fin {
    sequence: SequenceNumber,
    at: Timestamp,
}

/// Bytes that the peer has and the capture has not; certain when `deadline` has passed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss {
    pub(super) until: SequenceNumber,
    pub(super) deadline: Timestamp,
}

/// What a range of bytes is to this half.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// All of it was delivered before.
    Old,
    /// It brings the next byte, after `skip` bytes that were delivered before.
    Next { skip: u32 },
    /// It leaves a hole before it.
    Ahead,
}

impl Half {
    /// The next byte to deliver.
    pub(super) const fn next(&self) -> SequenceNumber {
        self.next
    }

    /// The initial sequence number, when the SYN was seen.
    pub(super) const fn initial(&self) -> Option<SequenceNumber> {
        self.initial
    }

    /// Whether `next` rests on a SYN or on data.
    pub(super) const fn is_known(&self) -> bool {
        matches!(self.anchor, Anchor::Known)
    }

    /// Whether anything of it was seen, if only an acknowledgement by the peer.
    pub(super) const fn is_anchored(&self) -> bool {
        !matches!(self.anchor, Anchor::Unknown)
    }

    /// Whether its FIN was delivered.
    pub(super) const fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether a SYN with this number may be the one that began what was seen of this direction: the same, or, where it
    /// was not captured, one shortly before the first bytes. Captures of several queues or interfaces deliver it late.
    pub(super) fn may_have_begun_with(&self, initial: SequenceNumber) -> bool {
        if let Some(known) = self.initial {
            return known == initial;
        }
        let first = initial.advance(1);
        // Half of all numbers away, neither is the later one.
        !self.is_anchored() || (0..=LATE_SYN_REACH).contains(&self.start.distance_from(first))
    }

    /// A SYN of this direction with `initial`.
    pub(super) fn synchronise(&mut self, initial: SequenceNumber) {
        if matches!(self.anchor, Anchor::Unknown | Anchor::Hinted) && !self.ended {
            self.initial = Some(initial);
            self.next = initial.advance(1);
            self.start = self.next;
            self.anchor = Anchor::Known;
        }
    }

    /// Data (or a FIN) of this direction at `start`, seen on `interface`: anchors the stream when nothing has yet.
    pub(super) fn join(&mut self, start: SequenceNumber, interface: u32) {
        if self.ended {
            return;
        }
        self.interface.get_or_insert(interface);
        match self.anchor {
            Anchor::Known => {}
            Anchor::Hinted if start.is_after(self.next) && distance(start, self.next) < MAX_WINDOW => {
                self.anchor = Anchor::Known;
            }
            // Its bytes before `next` were reported as lost.
            Anchor::Silent if (1..MAX_WINDOW).contains(&distance(self.next, start)) => {
                self.anchor = Anchor::Known;
            }
            Anchor::Hinted | Anchor::Silent | Anchor::Unknown => {
                self.next = start;
                self.start = start;
                self.anchor = Anchor::Known;
            }
        }
    }

    /// A FIN without data at `start`.
    pub(super) fn join_at_end(&mut self, start: SequenceNumber) {
        if self.anchor == Anchor::Unknown {
            self.next = start;
            self.start = start;
            self.anchor = Anchor::Known;
        } else if self.anchor == Anchor::Hinted && start == self.next {
            self.anchor = Anchor::Known;
        }
    }

    /// The peer says that it has received everything before `number`. Whether it is believed: up to `reach` beyond all that
    /// the capture shows, and further when it goes on from one that was not. A receiver that goes on takes data in, and a
    /// wrong number only comes again; so a loss of any length is one after two acknowledgements.
    pub(super) fn acknowledge(&mut self, number: SequenceNumber, reach: u32) -> bool {
        if self.is_anchored() {
            if distance(self.next, number) > MAX_WINDOW {
                return false;
            }
            let beyond = distance(number, self.furthest());
            let goes_on = self.doubted.is_some_and(|doubted| (1..=REACH).contains(&distance(number, doubted)));
            if beyond > reach && !(goes_on && beyond <= MAX_WINDOW) {
                self.doubted = Some(number);
                return false;
            }
        }
        self.doubted = None;
        match self.anchor {
            Anchor::Unknown => {
                self.next = number;
                self.start = number;
                self.anchor = Anchor::Hinted;
            }
            // An older acknowledgement that comes late: the stream began before what the first one told.
            Anchor::Hinted if (1..MAX_WINDOW).contains(&distance(self.next, number)) => {
                self.next = number;
                self.start = number;
            }
            // There was data, and it was not captured, or not yet.
            Anchor::Hinted if number.is_after(self.next) => self.anchor = Anchor::Known,
            Anchor::Silent if (1..MAX_WINDOW).contains(&distance(number, self.next)) => self.next = number,
            Anchor::Hinted | Anchor::Silent | Anchor::Known => {}
        }
        if self.acknowledged.is_none_or(|known| number.is_after(known)) {
            self.acknowledged = Some(number);
        }
        true
    }

    /// Whether `sequence` is not far from what was seen, if anything was.
    pub(super) fn is_near(&self, sequence: SequenceNumber) -> bool {
        !self.is_anchored() || distance(self.next, sequence).max(distance(sequence, self.furthest())) <= REACH
    }

    /// Whether nothing waits here, is lost, is in doubt or comes to its end, and it has shown data.
    #[inline]
    pub(super) fn is_calm(&self) -> bool {
        matches!(self.anchor, Anchor::Known)
            && self.interface.is_some()
            && self.loss.is_none()
            && self.fin.is_none()
            && self.doubted.is_none()
            && self.pending.is_empty()
            && self.acknowledged.is_some_and(|number| !number.is_after(self.next))
    }

    /// Takes an acknowledgement of bytes that the capture shows, of a half that is [calm](Self::is_calm), if it is one and
    /// none before it had acknowledged more.
    #[inline]
    pub(super) fn acknowledge_shown(&mut self, number: SequenceNumber) -> bool {
        let is_shown = u32::try_from(self.next.distance_from(number)).is_ok_and(|behind| behind <= MAX_WINDOW);
        let goes_on = is_shown && self.acknowledged.is_some_and(|known| !number.is_before(known));
        if goes_on {
            self.acknowledged = Some(number);
        }
        goes_on
    }

    /// A FIN that takes the number `sequence`.
    pub(super) fn finish_at(&mut self, sequence: SequenceNumber, at: Timestamp) {
        if self.fin.is_none() && !sequence.is_before(self.next) {
            self.fin = Some(Fin { sequence, at });
        }
    }

    /// The FIN's time, once everything before it was delivered, and how many bytes were held that lie beyond it and belong
    /// to no stream; only once.
    pub(super) fn take_end(&mut self) -> Option<(Timestamp, u64)> {
        let fin = self.fin.filter(|fin| !self.ended && !fin.sequence.is_after(self.next))?;
        self.ended = true;
        Some((fin.at, std::mem::take(&mut self.pending).stream_bytes()))
    }

    /// Where `length` bytes at `start` stand.
    pub(super) fn place(&self, start: SequenceNumber, length: u32) -> Place {
        if start.is_after(self.next) {
            return Place::Ahead;
        }
        let skip = distance(self.next, start);
        if skip >= length { Place::Old } else { Place::Next { skip } }
    }

    /// Whether `length` bytes at `start` only ask whether the peer is there: the number before the next one, with one
    /// byte of nothing (RFC 9293 §3.8.4). After a FIN that is the FIN's own.
    pub(super) fn is_probe(&self, start: SequenceNumber, length: u32) -> bool {
        let before_next = if self.ended { start } else { start.advance(1) };
        length <= 1 && before_next == self.next
    }

    /// Whether a segment that acknowledges `number` of this direction was sent after bytes that are still to come here.
    pub(super) fn is_behind(&self, number: Option<SequenceNumber>) -> bool {
        self.received_by(number).is_some()
    }

    /// Whether the peer has acknowledged bytes of this direction that are still to come here.
    pub(super) fn is_behind_its_peer(&self) -> bool {
        self.is_behind(self.acknowledged)
    }

    /// How far beyond `next` the sender of such an acknowledgement had received.
    pub(super) fn received_by(&self, number: Option<SequenceNumber>) -> Option<SequenceNumber> {
        let open = self.is_known() && !self.ended;
        let is_believed = |number: &SequenceNumber| self.acknowledged.is_some_and(|known| !number.is_after(known));
        let believed = number.filter(is_believed).map(|number| self.believable(number));
        believed.filter(|until| open && until.is_after(self.next))
    }

    /// Moves past `count` bytes, delivered or lost.
    pub(super) fn advance(&mut self, count: u32) {
        self.next = self.next.advance(count);
    }

    /// Holds a run; [`Inserted::Known`] when it brings nothing new.
    pub(super) fn hold(&mut self, mark: Mark, bytes: &[u8], length: u32) -> Inserted {
        let (mut mark, mut bytes, mut length) = (mark, bytes, length);
        if let Place::Next { skip } = self.place(mark.sequence, length) {
            mark.sequence = mark.sequence.advance(skip);
            bytes = bytes.get(skip as usize..).unwrap_or_default();
            length -= skip;
        }
        self.pending.insert(mark, bytes, length)
    }

    /// Whether anything may be delivered without a further packet: a held run, or the FIN.
    #[inline]
    pub(super) const fn has_more(&self) -> bool {
        !self.pending.is_empty() || (self.fin.is_some() && !self.ended)
    }

    /// The first held run, when it is next; runs that were delivered meanwhile are dropped.
    pub(super) fn ready(&mut self) -> Option<Mark> {
        loop {
            let (first, length) = self.pending.first()?;
            match self.place(first.sequence, length) {
                Place::Next { .. } => return Some(*first),
                Place::Ahead => return None,
                Place::Old => drop(self.pending.pop()),
            }
        }
    }

    /// Takes out the run that is [`ready`](Self::ready), without what was delivered meanwhile.
    pub(super) fn take_ready(&mut self) -> Option<Held> {
        let mut run = self.pending.pop()?;
        let skip = distance(self.next, run.mark.sequence).min(run.length);
        run.mark.sequence = run.mark.sequence.advance(skip);
        run.bytes.drain(..run.bytes.len().min(skip as usize));
        run.length -= skip;
        Some(run)
    }

    /// The hole before the first held run, or before `until` when nothing is held before it.
    pub(super) fn hole_before(&self, until: SequenceNumber) -> u32 {
        let end = match self.pending.first() {
            Some((first, _)) if first.sequence.is_before(until) => first.sequence,
            _ => until,
        };
        distance(end, self.next)
    }

    /// Where the stream surely goes on, or ends, after a hole: at held bytes, or at a FIN.
    pub(super) fn resumes_at(&self) -> Option<SequenceNumber> {
        match (self.pending.first(), self.fin) {
            _ if self.ended => None,
            (Some((first, _)), _) => Some(first.sequence),
            (None, Some(fin)) if fin.sequence.is_after(self.next) => Some(fin.sequence),
            _ => None,
        }
    }

    /// Notes since when acknowledged bytes are missing; the deadline when there are any.
    pub(super) fn watch_loss(&mut self, deadline: Timestamp) -> Option<Timestamp> {
        let is_ahead = |number: SequenceNumber| number.is_after(self.next);
        // As nearly always: the peer has no more than the capture.
        let has_all = self.loss.is_none() && self.fin.is_none() && !self.acknowledged.is_some_and(is_ahead);
        if has_all || self.ended {
            return None;
        }
        if let Some(loss) = self.loss.as_ref().filter(|loss| loss.until.is_after(self.next)) {
            return Some(loss.deadline);
        }
        let until = self.acknowledged.map(|number| self.believable(number));
        self.loss = match until {
            Some(until) if self.is_known() && until.is_after(self.next) => Some(Box::new(Loss { until, deadline })),
            _ => None,
        };
        self.loss.as_ref().map(|loss| loss.deadline)
    }

    /// The loss that is certain at `now`.
    pub(super) fn certain_loss(&self, now: Timestamp) -> Option<SequenceNumber> {
        self.loss
            .as_ref()
            .filter(|loss| !self.ended && loss.deadline <= now && loss.until.is_after(self.next))
            .map(|loss| loss.until)
    }

    /// No more segments will come: acknowledged bytes that are missing are lost at `now`.
    pub(super) fn hasten_loss(&mut self, now: Timestamp) {
        self.watch_loss(now);
        if let Some(loss) = &mut self.loss {
            loss.deadline = loss.deadline.min(now);
        }
    }

    /// Bytes of a direction that shows no data at all, loss after loss, are not waited for again until it does.
    pub(super) fn note_loss(&mut self) {
        if self.interface.is_none() {
            self.losses = self.losses.saturating_add(1);
            if self.losses >= SILENT_AFTER {
                self.anchor = Anchor::Silent;
            }
        }
    }

    /// Whether a copy seen on `interface` is a retransmission, not the same packet seen elsewhere.
    pub(super) fn is_home(&self, interface: u32) -> bool {
        self.interface.is_none_or(|home| home == interface)
    }

    /// The end of what was captured.
    fn furthest(&self) -> SequenceNumber {
        self.pending.end().filter(|end| end.is_after(self.next)).unwrap_or(self.next)
    }

    /// `number` without the FIN's own number and without what no window allows.
    fn believable(&self, number: SequenceNumber) -> SequenceNumber {
        if distance(number, self.next) > MAX_WINDOW {
            return self.next;
        }
        match self.fin {
            Some(fin) if number.is_after(fin.sequence) => fin.sequence,
            _ => number,
        }
    }
}
