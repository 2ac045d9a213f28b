//! One direction of HTTP/1.x: stream bytes → `Message`s.

mod body;
mod early;
mod gap;
mod head;
mod proof;
mod search;
mod unread;

use body::{Chunked, Framing, Then};
use early::Switch;
use head::{Head, Whole};
pub(super) use head::{parse_request, parse_response};
pub(super) use proof::{PeerState, Proof, Turn};

use super::detect::{Detected, detect};
use super::fields::KeptLines;
use super::{Answered, HttpLimits, Lost, Message, MessageSink, Opening, Role, Standing, moment};
use crate::tcp::Mark;
use crate::time::Timestamp;

/// When so many bytes may be a request line, only its end, or what it cannot hold, tells more.
const DECIDED: usize = 256;

/// One direction.
///
/// ```text
///            ┌──────────────── message whole ───────────────┐
///            ▼                                              │
/// ──▶ Boundary ──▶ Head (start line, part of the head) ──▶ Body
///        ▲  └─ lost, malformed ─▶ Searching ◀─ lost, malformed ─┘
///        └──────── a provable start line ──────┘
/// ```
#[derive(Debug)]
pub(super) struct Stream {
    role: Option<Role>,
    state: State,
    /// Part of a head, until it is whole. `held.len() <= max_head_bytes`.
    held: Vec<u8>,
    /// Where `held` begins, and when its last bytes came.
    held_mark: Mark,
    held_last: Timestamp,
    held_packets: u32,
    tally: Tally,
    looks: u32,
    /// A loss from the time when it was not known what this direction carries.
    unreported_loss: Option<Box<(Lost, Mark)>>,
    /// The present response answers a request that was not seen: HEAD perhaps, and then there is no body, whatever the
    /// head says. A response that provably begins in the body shows that it was.
    doubt: Doubt,
    /// How sure the boundaries are since the last loss.
    standing: Standing,
    /// How the message read last began.
    opening: Opening,
    /// The message read last was an interim response: the client may go on with its body.
    interim: bool,
    /// What the request read last asks for.
    switch: Switch,
    /// The last number of a loss within the present body may be that of a FIN that was lost as well: it counts as a byte
    /// when something shows that the body goes on.
    withholds_one: bool,
}

/// Whether the present response has a body at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Doubt {
    /// No doubt.
    None,
    /// Nobody knows.
    OfBody,
    /// Bytes have been taken for its body.
    Swallowed,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Before a start line.
    Boundary,
    /// In a head.
    Head,
    /// In a body.
    Body(Body),
    /// Looking for a start line at a place where one is provable.
    Searching,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Body {
    Length { remaining: u64 },
    Chunked(Chunked),
    UntilClose,
}

/// Bytes of the present message that were not reported yet.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    wire: u64,
    body: u64,
    packets: u32,
}

/// Where bytes stand, and what bounds them.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'a> {
    pub(super) mark: &'a Mark,
    pub(super) turn: Turn,
    pub(super) proof: Proof,
    pub(super) opening: Opening,
    /// What the direction carries, as far as that is known.
    pub(super) expected: Option<Role>,
    pub(super) limits: &'a HttpLimits,
}

impl<'a> At<'a> {
    /// For bytes of the same packet after its first ones, at `mark`: they begin no turn.
    fn further(self, mark: &'a Mark) -> Self {
        Self { mark, turn: Turn::Same, proof: Proof::None, opening: Opening::Unknown, ..self }
    }
}

/// What the direction is after an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum After {
    /// HTTP/1, or not known yet.
    Follow,
    /// Not HTTP/1.
    NotHttp,
    /// HTTP/2.
    Http2,
    /// HTTP has ended on this connection: an upgrade or a tunnel.
    Tunnel,
}

impl Stream {
    /// A direction of which nothing is known.
    pub(super) fn new() -> Self {
        Self {
            role: None,
            state: State::Boundary,
            held: Vec::new(),
            held_mark: Mark::default(),
            held_last: Timestamp::default(),
            held_packets: 0,
            tally: Tally::default(),
            looks: 0,
            unreported_loss: None,
            doubt: Doubt::None,
            standing: Standing::Sure,
            opening: Opening::Unknown,
            interim: false,
            switch: Switch::None,
            withholds_one: false,
        }
    }

    /// Bytes allocated.
    pub(super) const fn heap_bytes(&self) -> usize {
        let early = if self.unreported_loss.is_some() { size_of::<(Lost, Mark)>() } else { 0 };
        self.held.capacity() + early
    }

    /// What this direction carries, once it is known.
    pub(super) const fn role(&self) -> Option<Role> {
        self.role
    }

    /// The other direction has shown what this one carries.
    pub(super) fn assume(&mut self, role: Role, sink: &mut impl MessageSink) {
        if self.role.is_none() {
            self.role = Some(role);
            self.report_early_loss(sink);
        }
    }

    /// What this direction tells of boundaries in the other.
    pub(super) const fn as_peer(&self) -> PeerState {
        match self.state {
            State::Searching => PeerState::Searching,
            // What is taken for the body of an answer to HEAD may be the next message, and an interim response.
            State::Body(_) if matches!(self.doubt, Doubt::Swallowed) => PeerState::Searching,
            _ if self.interim => PeerState::SaidInterim,
            _ => PeerState::Following,
        }
    }

    /// The next bytes in order, of one packet.
    pub(super) fn data(&mut self, bytes: &[u8], at: &At<'_>, sink: &mut impl MessageSink) -> After {
        self.report_withheld(at.mark, sink);
        let (mut used, mut after) = (0, After::Follow);
        while after == After::Follow
            && let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty())
        {
            let (mark, further);
            let here = if used == 0 {
                at
            } else {
                mark = Mark { sequence: at.mark.sequence.advance(number(used)), ..*at.mark };
                further = at.further(&mark);
                &further
            };
            let step;
            (step, after) = self.step(rest, here, sink);
            used += step;
        }
        self.flush(at.mark, sink);
        after
    }

    /// Takes the first of `rest`; how many these were.
    fn step(&mut self, rest: &[u8], at: &At<'_>, sink: &mut impl MessageSink) -> (usize, After) {
        match self.state {
            State::Boundary => self.begin(rest, at, sink),
            State::Head => self.go_on(rest, at, sink),
            State::Body(body) => (self.body(body, rest, at, sink), After::Follow),
            State::Searching => self.search(rest, at, sink),
        }
    }

    /// FIN.
    pub(super) fn close(&mut self, at: Timestamp, sink: &mut impl MessageSink) {
        let Some(role) = self.role else { return };
        let mark = moment(at);
        self.report_withheld(&mark, sink);
        match self.state {
            State::Body(Body::UntilClose) => self.end(&mark, sink),
            State::Body(_) => sink.message(Message::Abort(role), &mark),
            State::Head => {
                if self.cut_head(sink).is_some() {
                    sink.message(Message::Abort(role), &mark);
                }
            }
            State::Boundary | State::Searching => {}
        }
        self.state = State::Boundary;
        sink.message(Message::Closed(role), &mark);
    }

    /// At a boundary: past empty lines (RFC 9112 §2.2), then a head, whole or in part.
    fn begin(&mut self, rest: &[u8], at: &At<'_>, sink: &mut impl MessageSink) -> (usize, After) {
        match self.early(rest, at, sink) {
            0 if self.state == State::Searching => return (0, After::Follow),
            0 => {}
            early => return (early, After::Follow),
        }
        let empty = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let rest = rest.get(empty..).unwrap_or_default();
        if rest.is_empty() {
            return (empty, After::Follow);
        }
        let mark = Mark { sequence: at.mark.sequence.advance(number(empty)), ..*at.mark };
        let mut kept = KeptLines::default();
        let mut whole = self.role.and_then(|role| Whole::find(rest, role, sink.fields(), &mut kept));
        if !whole.as_ref().is_some_and(Whole::begins_regularly) {
            match (detect(rest), self.role) {
                (Detected::StartLine(found), None) => {
                    self.role = Some(found);
                    whole = Whole::find(rest, found, sink.fields(), &mut kept);
                }
                (Detected::StartLine(found), Some(role)) if found == role => {}
                (Detected::NeedMore, _) => {}
                (Detected::Http2, None) => return (empty, After::Http2),
                (_, None) => return (empty, After::NotHttp),
                (_, Some(_)) => {
                    self.malformed(&mark, sink);
                    return (empty, After::Follow);
                }
            }
        }
        if at.proof == Proof::Proven {
            self.standing = Standing::Sure;
        }
        self.opening = at.opening;
        self.held_mark = mark;
        self.held_packets = 0;
        self.held_last = mark.at;
        if let Some(whole) = whole.as_ref().filter(|whole| whole.bytes().len() <= at.limits.max_head_bytes) {
            let length = whole.bytes().len();
            return (empty + length, self.complete(&Head::Whole(whole), &mark, sink));
        }
        self.state = State::Head;
        let (used, after) = self.go_on(rest, &At { mark: &mark, ..*at }, sink);
        (empty + used, after)
    }

    /// In a head that spans packets.
    fn go_on(&mut self, rest: &[u8], at: &At<'_>, sink: &mut impl MessageSink) -> (usize, After) {
        let (mark, limits) = (at.mark, at.limits);
        let before = self.held.len();
        if before > 0 && at.turn == Turn::New && !self.held.contains(&b'\n') {
            // Nobody answers half a start line: what is held is none.
            if self.role.is_none() {
                return (rest.len(), After::NotHttp);
            }
            self.lose(Lost::Unknown, mark, sink);
            return (0, After::Follow);
        }
        let room = limits.max_head_bytes.saturating_sub(before);
        let taken = rest.get(..room).unwrap_or(rest);
        self.held.extend_from_slice(taken);
        self.held_last = self.held_last.max(mark.at);
        if let Some(end) = head::find_end(&self.held, before) {
            let held = std::mem::take(&mut self.held);
            let after = self.complete(&Head::Gathered(held.get(..end).unwrap_or_default()), mark, sink);
            return (end - before, after);
        }
        if self.role.is_none() && (before <= DECIDED || may_end_line(taken)) {
            match detect(&self.held) {
                Detected::StartLine(role) => self.role = Some(role),
                Detected::NeedMore => {}
                Detected::Http2 => return (taken.len(), After::Http2),
                Detected::Other => return (taken.len(), After::NotHttp),
            }
        }
        self.held_packets += 1;
        if taken.len() < rest.len() || self.held.len() >= limits.max_head_bytes {
            sink.counters().oversized_heads += 1;
            if self.cut_head(sink) == Some(Framing::Tunnel) {
                self.end(mark, sink);
                return (taken.len(), After::Tunnel);
            }
            self.lose(Lost::Unknown, mark, sink);
        }
        (taken.len(), After::Follow)
    }

    /// A whole head.
    fn complete(&mut self, head: &Head<'_>, mark: &Mark, sink: &mut impl MessageSink) -> After {
        let bytes = head.bytes();
        if self.role.is_none() {
            match detect(bytes) {
                Detected::StartLine(role) => self.role = Some(role),
                Detected::Http2 => return After::Http2,
                Detected::NeedMore | Detected::Other => return After::NotHttp,
            }
        }
        self.report_early_loss(sink);
        let parsed = match self.role {
            Some(Role::Request) => self.request(head, sink),
            Some(Role::Response) => self.response(head, sink),
            None => return After::NotHttp,
        };
        match parsed {
            Parsed::Begun(framing) => {
                let packets = self.held_packets + 1;
                self.tally = Tally { wire: bytes.len() as u64, body: 0, packets };
                self.enter(framing, mark, sink)
            }
            Parsed::Interim => {
                self.state = State::Boundary;
                After::Follow
            }
            Parsed::Malformed => {
                self.malformed(mark, sink);
                After::Follow
            }
        }
    }

    fn request(&mut self, head: &Head<'_>, sink: &mut impl MessageSink) -> Parsed {
        let Some(head) = head.as_request(sink.fields()) else { return Parsed::Malformed };
        let (framing, upgrades) = body::of_request(&head);
        self.switch = Switch::of(&head, upgrades);
        sink.counters().requests += 1;
        sink.message(Message::RequestHead(head, self.standing, self.opening), &self.held_mark);
        Parsed::Begun(framing)
    }

    fn response(&mut self, head: &Head<'_>, sink: &mut impl MessageSink) -> Parsed {
        let Some(head) = head.as_response(sink.fields()) else { return Parsed::Malformed };
        if matches!(head.status(), 100 | 102..200) {
            sink.counters().interim_responses += 1;
            self.interim = true;
            sink.message(Message::Interim(head), &self.held_mark);
            return Parsed::Interim;
        }
        self.interim = false;
        let answered = sink.place_response(&self.held_mark);
        let framing = body::of_response(&head, answered);
        sink.counters().responses += 1;
        sink.message(Message::ResponseHead(head), &self.held_mark);
        self.doubt = if answered == Answered::Unknown { Doubt::OfBody } else { Doubt::None };
        Parsed::Begun(framing)
    }

    /// The head is reported; its body begins.
    fn enter(&mut self, framing: Framing, mark: &Mark, sink: &mut impl MessageSink) -> After {
        self.state = match framing {
            Framing::Length(0) => {
                self.end(mark, sink);
                return After::Follow;
            }
            Framing::Length(remaining) => State::Body(Body::Length { remaining }),
            Framing::Chunked => State::Body(Body::Chunked(Chunked::new())),
            Framing::UntilClose => State::Body(Body::UntilClose),
            Framing::Tunnel => {
                self.end(mark, sink);
                return After::Tunnel;
            }
            Framing::Unknown => {
                self.lose(Lost::Unknown, mark, sink);
                return After::Follow;
            }
        };
        After::Follow
    }

    /// In a body; the number of bytes that belong to it.
    fn body(&mut self, body: Body, rest: &[u8], cx: &At<'_>, sink: &mut impl MessageSink) -> usize {
        if self.doubt != Doubt::None && cx.proof == Proof::Proven && detect(rest) == Detected::StartLine(Role::Response)
        {
            self.end(cx.mark, sink);
            return 0;
        }
        self.note_swallowed();
        self.tally.packets = self.tally.packets.max(1);
        let (used, ends) = match body {
            Body::Length { remaining } => {
                let used = rest.len().min(usize::try_from(remaining).unwrap_or(usize::MAX));
                let left = remaining - used as u64;
                if let State::Body(Body::Length { remaining }) = &mut self.state {
                    *remaining = left;
                }
                self.tally.body += used as u64;
                (used, left == 0)
            }
            Body::UntilClose => {
                self.tally.body += rest.len() as u64;
                (rest.len(), false)
            }
            Body::Chunked(mut chunked) => {
                let step = chunked.consume(rest, cx.limits.max_head_bytes);
                self.state = State::Body(Body::Chunked(chunked));
                self.tally.body += step.body;
                if step.then == Then::Malformed {
                    self.tally.wire += step.used as u64;
                    self.malformed(cx.mark, sink);
                    return step.used;
                }
                (step.used, step.then == Then::End)
            }
        };
        self.tally.wire += used as u64;
        if ends {
            self.end(cx.mark, sink);
        }
        used
    }

    fn flush(&mut self, mark: &Mark, sink: &mut impl MessageSink) {
        let Tally { wire, body, packets } = std::mem::take(&mut self.tally);
        if let Some(role) = self.role.filter(|_| wire > 0) {
            let at = mark.at.max(std::mem::take(&mut self.held_last));
            sink.message(Message::Bytes { role, wire, body, packets }, &Mark { at, ..*mark });
        }
    }

    fn end(&mut self, mark: &Mark, sink: &mut impl MessageSink) {
        self.flush(mark, sink);
        self.state = State::Boundary;
        self.looks = 0;
        self.held_packets = 0;
        if let Some(role) = self.role {
            sink.message(Message::End(role), mark);
        }
    }
}

/// What a head turned out to be.
enum Parsed {
    /// A message whose body is framed like this.
    Begun(Framing),
    /// An interim response.
    Interim,
    /// No head that could be read.
    Malformed,
}

/// Whether `bytes` may decide of a line that was a request line so far: they end it, or no request line holds them.
fn may_end_line(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| *byte < b' ' && !matches!(byte, b'\t' | b'\r'))
}

fn number(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}
