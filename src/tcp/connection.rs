//! Both directions of one connection: segments in, stream events out in causal order.

use std::time::Duration;

use super::bulk::{LeftOut, Part};
use super::half::{Half, MAX_WINDOW, Place, REACH};
use super::holders::Since;
use super::pending::{Held, Inserted};
use super::table::{Overflow, TcpCounters, TcpLimits};
use super::{Direction, Flow, Interest, Mark, StreamEvent, StreamHandler};
use crate::packet::{Segment, SequenceNumber, TcpFlags};
use crate::time::Timestamp;

/// A segment further ahead of its stream than this belongs to another connection.
const FAR_AHEAD: i32 = 1 << 30;
/// A segment further behind than this, likewise; retransmissions are at most a window old.
pub(super) const FAR_BEHIND: i32 = -(1 << 26);
/// A reset further from its stream than this is not believed (RFC 5961 §3.2, made lenient for lost segments).
const RESET_REACH: u32 = 1 << 24;
/// A reset further ahead than this hides no bytes: one that was guessed must not make any up.
const RESET_GAP: u32 = 1 << 20;
/// A second SYN later than this was sent again, so it is not known which one was answered.
const SYN_AGAIN: Duration = Duration::from_millis(500);

/// A connection whose events are wanted.
#[derive(Debug)]
pub(super) struct Streams<S> {
    pub(super) state: S,
    pub(super) flow: Flow,
    pub(super) timer_armed: bool,
    pub(super) since: Since,
    pub(super) up: Half,
    pub(super) down: Half,
    pub(super) interest: Interest,
    pub(super) handshake: Handshake,
    left_out: LeftOut,
}

/// What `accept` needs beside the connection itself.
pub(super) struct Context<'a, H> {
    pub(super) handler: &'a mut H,
    pub(super) counters: &'a mut TcpCounters,
    pub(super) limits: &'a TcpLimits,
}

/// What became of the connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// It goes on.
    Open(Interest),
    /// Both directions have ended.
    Closed,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Handshake {
    Unseen,
    Asked { by: Direction, at: Timestamp },
    Answered { by: Direction, at: Timestamp },
    Over,
}

impl<S> Streams<S> {
    pub(super) fn new(state: S, flow: Flow) -> Self {
        Self {
            state,
            flow,
            timer_armed: false,
            since: Since::default(),
            up: Half::default(),
            down: Half::default(),
            interest: Interest::Undecided,
            handshake: Handshake::Unseen,
            left_out: LeftOut::default(),
        }
    }

    /// Takes a segment of this connection.
    pub(super) fn accept<H>(&mut self, segment: &Segment<'_>, direction: Direction, cx: &mut Context<'_, H>) -> Verdict
    where
        H: StreamHandler<State = S>,
    {
        self.note_handshake(segment, direction);
        let is_believed = self.note_acknowledgement(segment, direction);
        cx.counters.ignored_acknowledgements += u64::from(!is_believed);
        let start = self.note_edges(segment, direction);
        if segment.payload_length > 0 {
            self.take(segment, start, direction, cx);
        }
        self.drain(cx);
        self.verdict()
    }

    /// Whether a segment cannot belong to this connection, only to a later one with the same addresses and ports.
    pub(super) fn is_foreign(&self, segment: &Segment<'_>, direction: Direction) -> bool {
        let half = self.half(direction);
        if segment.flags.contains(TcpFlags::SYN) {
            return !half.may_have_begun_with(segment.sequence);
        }
        if segment.payload_length == 0 || !half.is_known() {
            return false;
        }
        let distance = segment.sequence.distance_from(half.next());
        let is_beyond_end =
            half.is_ended() && distance >= 0 && !half.is_probe(segment.sequence, segment.payload_length);
        !(FAR_BEHIND..=FAR_AHEAD).contains(&distance) || is_beyond_end
    }

    /// Whether a reset is believed.
    pub(super) fn is_credible_reset(&self, segment: &Segment<'_>, direction: Direction) -> bool {
        let half = self.half(direction);
        !half.is_known() || segment.sequence.distance_from(half.next()).unsigned_abs() <= RESET_REACH
    }

    /// Takes the numbers of a reset that is believed: its sender has sent everything before its own number, and received
    /// everything before the one it acknowledges (RFC 9293 §3.5.2).
    pub(super) fn note_reset(&mut self, segment: &Segment<'_>, direction: Direction) {
        self.note_acknowledgement(segment, direction);
        self.half_mut(direction).acknowledge(segment.sequence, RESET_GAP);
    }

    /// Declares lost what is certainly lost at `now`.
    pub(super) fn lose<H: StreamHandler<State = S>>(&mut self, now: Timestamp, cx: &mut Context<'_, H>) -> Verdict {
        while self.interest != Interest::None {
            // What one direction lacks may hold up the other, whose own loss is then no longer one.
            let before = (self.up.next(), self.down.next());
            self.lose_in(Direction::Up, now, cx);
            self.lose_in(Direction::Down, now, cx);
            if before != (self.up.next(), self.down.next()) {
                continue;
            }
            // Both wait for each other: no real conversation does that. One alone waits for the other's loss to be
            // certain.
            let both_wait = self.up.certain_loss(now).is_some() && self.down.certain_loss(now).is_some();
            let Some(direction) = self.next_to_settle().filter(|_| both_wait) else { break };
            self.leap(direction, now, cx);
            self.drain(cx);
        }
        if self.interest != Interest::None && H::waits(&self.state) {
            self.interest = cx.handler.overdue(&mut self.state, &self.flow, now, self.interest);
        }
        self.verdict()
    }

    /// No more segments will come: delivers all that waits, over every hole.
    pub(super) fn settle<H: StreamHandler<State = S>>(&mut self, now: Timestamp, cx: &mut Context<'_, H>) {
        self.drain(cx);
        self.up.hasten_loss(now);
        self.down.hasten_loss(now);
        self.lose(now, cx);
        while self.interest != Interest::None {
            let Some(direction) = self.next_to_settle() else { break };
            self.leap(direction, now, cx);
            self.drain(cx);
        }
    }

    /// All connections together hold too much: gives up one hole, of the direction that holds more.
    pub(super) fn relieve<H: StreamHandler<State = S>>(&mut self, now: Timestamp, cx: &mut Context<'_, H>) -> Verdict {
        let heavier = self.up.pending.bytes() >= self.down.pending.bytes();
        self.leap(if heavier { Direction::Up } else { Direction::Down }, now, cx);
        self.drain(cx);
        self.verdict()
    }

    /// When a loss becomes certain, if nothing comes; `deadline` for one that begins to show now.
    pub(super) fn watch_loss(&mut self, deadline: Timestamp) -> Option<Timestamp> {
        let (up, down) = (self.up.watch_loss(deadline), self.down.watch_loss(deadline));
        match (up, down) {
            (Some(up), Some(down)) => Some(up.min(down)),
            (up, down) => up.or(down),
        }
    }

    /// The source has been told that `part` need not be shown.
    pub(super) fn leave_out(&mut self, direction: Direction, part: Part) {
        self.left_out.add(direction, part);
    }

    /// Whether the layer above still follows it.
    pub(super) fn is_wanted(&self) -> bool {
        self.interest != Interest::None
    }

    /// Bytes held.
    pub(super) fn pending_bytes(&self) -> usize {
        self.up.pending.bytes() + self.down.pending.bytes()
    }

    /// Where the stream of `direction` stands.
    pub(super) const fn half(&self, direction: Direction) -> &Half {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    const fn half_mut(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }

    fn verdict(&self) -> Verdict {
        if self.up.is_ended() && self.down.is_ended() { Verdict::Closed } else { Verdict::Open(self.interest) }
    }

    /// SYN and FIN; the sequence number of the first byte of payload.
    fn note_edges(&mut self, segment: &Segment<'_>, direction: Direction) -> SequenceNumber {
        if segment.flags.contains(TcpFlags::SYN) {
            self.flow.note_beginning(direction, segment.sequence.advance(1));
            let mut opener = direction;
            if segment.flags.contains(TcpFlags::ACK) {
                opener = direction.opposite();
                self.flow.note_beginning(opener, segment.acknowledgement);
            }
            self.flow.opener.get_or_insert(opener);
        }
        let half = self.half_mut(direction);
        let mut start = segment.sequence;
        if segment.flags.contains(TcpFlags::SYN) {
            half.synchronise(segment.sequence);
            start = start.advance(1);
        }
        let fin = segment.flags.contains(TcpFlags::FIN);
        if segment.payload_length > 0 {
            half.join(start, segment.interface);
        } else if fin {
            half.join_at_end(start);
        }
        if fin {
            half.finish_at(start.advance(segment.payload_length), segment.at);
        }
        start
    }

    fn note_handshake(&mut self, segment: &Segment<'_>, direction: Direction) {
        let syn = segment.flags.contains(TcpFlags::SYN);
        let ack = segment.flags.contains(TcpFlags::ACK);
        self.handshake = match self.handshake {
            Handshake::Unseen if syn && !ack => Handshake::Asked { by: direction, at: segment.at },
            Handshake::Unseen => Handshake::Over,
            Handshake::Asked { at, .. } if syn && !ack && segment.at.saturating_since(at) > SYN_AGAIN => {
                Handshake::Over
            }
            Handshake::Asked { by, at } if syn && ack && by != direction => Handshake::Answered { by, at },
            Handshake::Answered { by, at } if ack && !syn && by == direction => {
                self.flow.handshake_rtt = Some(segment.at.saturating_since(at));
                Handshake::Over
            }
            unchanged => unchanged,
        };
    }

    /// What the peer has sent, by an acknowledgement in `segment`; whether it is believed, if there is one.
    fn note_acknowledgement(&mut self, segment: &Segment<'_>, direction: Direction) -> bool {
        if !segment.flags.contains(TcpFlags::ACK) {
            return true;
        }
        let reach = self.reach_of_acknowledgement(segment, direction);
        let peer = self.half_mut(direction.opposite());
        reach.is_some_and(|reach| peer.acknowledge(segment.acknowledgement, reach))
    }

    /// How far beyond what the capture shows of the peer's bytes an acknowledgement by `segment` is believed at first sight.
    ///
    /// The peer itself drops what acknowledges bytes that it has not sent (RFC 9293 §3.10.7.4); the capture cannot know what
    /// it has sent, for it may have lost any of it. But where a wrong number is believed, up to 1 GiB counts as lost, and what
    /// comes then as old. So the segment itself has to be credible:
    /// - Its own number is far from the rest of its direction: it is of another connection.
    /// - Nothing was seen of its direction but the SYN that it answers: a server that still knows a connection on the same
    ///   ports says what it has acknowledged there. It brings nothing but what the capture shows the peer to have sent.
    /// - It carries data or a FIN that fit: it is of this connection, and may tell of any loss.
    /// - Else: as far as a few windows. What kernels drop between two acknowledgements is less, and when it is more the next
    ///   acknowledgement goes on from this one ([`Half::acknowledge`]).
    fn reach_of_acknowledgement(&self, segment: &Segment<'_>, direction: Direction) -> Option<u32> {
        let (own, peer) = (self.half(direction), self.half(direction.opposite()));
        let says_more = segment.payload_length > 0 || segment.flags.contains(TcpFlags::FIN);
        match own.is_near(segment.sequence) {
            false => None,
            true if !own.is_anchored() && !says_more && peer.initial().is_some() => Some(0),
            true if own.is_anchored() && says_more => Some(MAX_WINDOW),
            true => Some(REACH),
        }
    }

    /// Payload: delivered at once when it is next, held when it is not.
    fn take<H>(&mut self, segment: &Segment<'_>, start: SequenceNumber, direction: Direction, cx: &mut Context<'_, H>)
    where
        H: StreamHandler<State = S>,
    {
        let length = segment.payload_length;
        let mark = Mark {
            at: segment.at,
            sequence: start,
            acknowledgement: segment.flags.contains(TcpFlags::ACK).then_some(segment.acknowledgement),
            interface: segment.interface,
        };
        let waits = self.half(direction.opposite()).is_behind(mark.acknowledgement);
        let half = self.half(direction);
        let place = if half.is_ended() { Place::Old } else { half.place(start, length) };
        match place {
            Place::Old => {
                if !half.is_probe(start, length) {
                    self.note_repeat(segment, direction, cx.counters);
                }
            }
            Place::Next { skip } if !waits && half.pending.is_empty() => {
                if skip > 0 {
                    self.note_repeat(segment, direction, cx.counters);
                }
                let mark = Mark { sequence: start.advance(skip), ..mark };
                let bytes = segment.payload.get(skip as usize..).unwrap_or_default();
                self.deliver(direction, mark, bytes, length - skip, cx);
            }
            Place::Next { .. } | Place::Ahead => {
                cx.counters.out_of_order += u64::from(place == Place::Ahead);
                self.hold(segment, mark, direction, cx);
            }
        }
    }

    fn hold<H>(&mut self, segment: &Segment<'_>, mark: Mark, direction: Direction, cx: &mut Context<'_, H>)
    where
        H: StreamHandler<State = S>,
    {
        let held = self.half_mut(direction).hold(mark, segment.payload, segment.payload_length);
        if held == Inserted::Known {
            self.note_repeat(segment, direction, cx.counters);
        }
        if let Some(bound) = self.overflow(direction, cx.limits) {
            cx.counters.count_overflow(bound);
        }
        // One hole after the other: the last one may be no loss, only a segment that is late.
        while self.overflow(direction, cx.limits).is_some() && self.interest != Interest::None {
            self.leap(direction, segment.at, cx);
            self.drain(cx);
        }
    }

    /// The bound that `direction` exceeds.
    fn overflow(&self, direction: Direction, limits: &TcpLimits) -> Option<Overflow> {
        let pending = &self.half(direction).pending;
        if pending.bytes() > limits.max_pending_bytes {
            Some(Overflow::Bytes)
        } else {
            (pending.len() > limits.max_pending_segments).then_some(Overflow::Segments)
        }
    }

    fn note_repeat(&mut self, segment: &Segment<'_>, direction: Direction, counters: &mut TcpCounters) {
        if self.half(direction).is_home(segment.interface) {
            counters.retransmits += 1;
            self.flow.retransmits = self.flow.retransmits.saturating_add(1);
        } else {
            counters.duplicates += 1;
        }
    }

    /// Delivers what is next in either direction, a segment never before the bytes that its sender had received.
    fn drain<H: StreamHandler<State = S>>(&mut self, cx: &mut Context<'_, H>) {
        while self.up.has_more() || self.down.has_more() {
            let mut moved = false;
            for direction in [Direction::Up, Direction::Down] {
                while let Some(run) = self.take_causal(direction) {
                    self.deliver_held(direction, &run, cx);
                    moved = true;
                }
                if let Some((at, beyond)) = self.half_mut(direction).take_end() {
                    cx.counters.bytes_after_end += beyond;
                    self.flow.ends_ahead = self.half(direction.opposite()).is_behind_its_peer();
                    self.report(direction, StreamEvent::End(at), cx);
                    self.flow.ends_ahead = false;
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn take_causal(&mut self, direction: Direction) -> Option<Held> {
        let first = self.half_mut(direction).ready()?;
        if self.half(direction.opposite()).is_behind(first.acknowledgement) {
            return None;
        }
        self.half_mut(direction).take_ready()
    }

    fn lose_in<H>(&mut self, direction: Direction, now: Timestamp, cx: &mut Context<'_, H>)
    where
        H: StreamHandler<State = S>,
    {
        while self.interest != Interest::None {
            let half = self.half_mut(direction);
            let Some(until) = half.certain_loss(now) else { return };
            let hole = half.hole_before(until);
            if hole == 0 {
                return;
            }
            self.skip(direction, hole, now, cx);
            self.half_mut(direction).note_loss();
            self.drain(cx);
        }
    }

    /// One step towards what waits first in `direction`, or its FIN: over the hole before it, or over the hole of the
    /// other direction that its sender had received; where both directions wait for each other, the run itself.
    fn leap<H: StreamHandler<State = S>>(&mut self, direction: Direction, now: Timestamp, cx: &mut Context<'_, H>) {
        let Some(until) = self.half(direction).resumes_at() else { return };
        let hole = self.half(direction).hole_before(until);
        if hole > 0 {
            self.skip(direction, hole, now, cx);
            return;
        }
        let Some(first) = self.half_mut(direction).ready() else { return };
        let other = self.half(direction.opposite());
        let hidden = other.received_by(first.acknowledgement).map_or(0, |until| other.hole_before(until));
        if hidden > 0 {
            self.skip(direction.opposite(), hidden, now, cx);
        } else if let Some(run) = self.half_mut(direction).take_ready() {
            self.deliver_held(direction, &run, cx);
        }
    }

    /// The direction whose waiting bytes were captured first.
    fn next_to_settle(&self) -> Option<Direction> {
        match (self.up.pending.first(), self.down.pending.first()) {
            (Some((up, _)), Some((down, _))) => Some(if up.at <= down.at { Direction::Up } else { Direction::Down }),
            (Some(_), None) => Some(Direction::Up),
            (None, Some(_)) => Some(Direction::Down),
            (None, None) if self.up.resumes_at().is_some() => Some(Direction::Up),
            (None, None) => self.down.resumes_at().map(|_| Direction::Down),
        }
    }

    fn skip<H>(&mut self, direction: Direction, count: u32, at: Timestamp, cx: &mut Context<'_, H>)
    where
        H: StreamHandler<State = S>,
    {
        let half = self.half_mut(direction);
        let mark = Mark { at, sequence: half.next(), ..Mark::default() };
        half.advance(count);
        cx.counters.gaps += 1;
        cx.counters.missing_bytes += u64::from(count);
        self.report(direction, StreamEvent::Gap(u64::from(count), mark), cx);
    }

    fn deliver_held<H>(&mut self, direction: Direction, run: &Held, cx: &mut Context<'_, H>)
    where
        H: StreamHandler<State = S>,
    {
        self.deliver(direction, run.mark, &run.bytes, run.length, cx);
    }

    /// The next `length` bytes, of which the capture has `bytes`; the snap length cut the rest.
    pub(super) fn deliver<H>(
        &mut self,
        direction: Direction,
        mark: Mark,
        bytes: &[u8],
        length: u32,
        cx: &mut Context<'_, H>,
    ) where
        H: StreamHandler<State = S>,
    {
        let captured = u32::try_from(bytes.len()).unwrap_or(length).min(length);
        self.half_mut(direction).advance(length);
        if captured > 0 {
            cx.counters.bytes += u64::from(captured);
            self.report(direction, StreamEvent::Data(bytes, mark), cx);
        }
        let cut = length - captured;
        if cut == 0 {
            return;
        }
        let is_left_out = self.left_out.holds(direction, mark.sequence);
        let mark = Mark { sequence: mark.sequence.advance(captured), ..mark };
        if is_left_out {
            cx.counters.left_out_bytes += u64::from(cut);
            self.report(direction, StreamEvent::LeftOut(u64::from(cut), mark), cx);
        } else {
            cx.counters.gaps += 1;
            cx.counters.missing_bytes += u64::from(cut);
            self.report(direction, StreamEvent::Gap(u64::from(cut), mark), cx);
        }
    }

    fn report<H>(&mut self, direction: Direction, event: StreamEvent<'_>, cx: &mut Context<'_, H>)
    where
        H: StreamHandler<State = S>,
    {
        if self.interest != Interest::None {
            self.interest = cx.handler.event(&mut self.state, &self.flow, direction, event);
        }
    }
}
