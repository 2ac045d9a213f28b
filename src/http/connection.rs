//! Both directions of one connection: which carries requests, and when a turn of the conversation begins.

use super::detect::{Detected, detect_strictly};
use super::http1::{After, At, PeerState, Proof, Stream, Turn};
use super::preamble::{Passed, Preamble};
use super::{HttpLimits, MessageSink, Opening, Role};
use crate::packet::SequenceNumber;
use crate::tcp::{Direction, Flow, Mark, Origin, StreamEvent};

/// What practically every server says to a client that asks before it sends a body (RFC 9110 §15.2.1). No final response of a
/// server that is in use is as short.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// HTTP on one connection, until it is found that it is none.
#[derive(Debug)]
pub struct Connection {
    preamble: Preamble,
    up: Side,
    down: Side,
}

#[derive(Debug)]
struct Side {
    stream: Stream,
    /// What it carries, as far as the bytes or the handshake tell.
    expected: Option<Role>,
    /// The acknowledgement of the data seen last, or of the handshake: when it moves, the sender has received something
    /// new.
    acknowledged: Option<SequenceNumber>,
    /// The end of the data seen last.
    end: Option<SequenceNumber>,
}

/// What the peer's direction says of a boundary in this one.
#[derive(Clone, Copy, Debug)]
struct Peer {
    acknowledged: Option<SequenceNumber>,
    end: Option<SequenceNumber>,
    state: PeerState,
}

/// What an event made of the connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Following {
    /// It is HTTP/1, or may be.
    Follow(Known),
    /// It is something else, or HTTP has ended on it; no event is wanted any more.
    Leave,
}

/// Whether it is known that a connection is HTTP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Known {
    /// A start line was seen.
    Http,
    /// Nothing that would tell was seen.
    NotYet,
}

impl Connection {
    /// A connection of which nothing was seen.
    pub fn new() -> Self {
        Self { preamble: Preamble::new(), up: Side::new(), down: Side::new() }
    }

    /// Bytes allocated: what is held of heads and preambles.
    pub fn heap_bytes(&self) -> usize {
        self.up.stream.heap_bytes() + self.down.stream.heap_bytes() + self.preamble.heap_bytes()
    }

    /// How many of the next bytes of `direction` are only counted.
    pub const fn unread(&self, direction: Direction) -> u64 {
        self.side(direction).stream.unread()
    }

    /// Takes the next event of one direction.
    pub fn event(
        &mut self,
        flow: &Flow,
        direction: Direction,
        event: StreamEvent<'_>,
        limits: &HttpLimits,
        sink: &mut impl MessageSink,
    ) -> Following {
        let after = match event {
            StreamEvent::Data(bytes, mark) if self.is_within_body(direction, bytes) => {
                let side = self.side_mut(direction);
                side.note(bytes, &mark);
                side.stream.pass(bytes.len() as u64, &mark, sink);
                After::Follow
            }
            StreamEvent::Data(bytes, mark) if self.preamble.is_over(direction) || flow.origin == Origin::Joined => {
                let (side, start, peer) = self.turn(flow, direction);
                side.data(bytes, &mark, start, &peer, limits, sink)
            }
            _ => self.take(flow, direction, event, limits, sink),
        };
        match after {
            After::Follow => self.agree(direction, sink),
            After::Http2 => {
                sink.counters().http2_connections += 1;
                Following::Leave
            }
            After::NotHttp | After::Tunnel => {
                sink.counters().opaque_connections += 1;
                Following::Leave
            }
        }
    }

    /// Whether `bytes` are of the middle of a body, where nothing begins and nothing has to be proven.
    const fn is_within_body(&self, direction: Direction, bytes: &[u8]) -> bool {
        let side = self.side(direction);
        side.stream.unread() > bytes.len() as u64 && side.acknowledged.is_some()
    }

    /// What stands where `direction` has an event, with what is known from the handshake: its side, how it began, its peer.
    #[inline]
    fn turn(&mut self, flow: &Flow, direction: Direction) -> (&mut Side, Origin, Peer) {
        // A direction whose SYN was not captured is joined, too.
        let start = match flow.beginning(direction) {
            None => Origin::Joined,
            Some(_) => flow.origin,
        };
        let (side, peer) = match direction {
            Direction::Up => (&mut self.up, self.down.as_peer()),
            Direction::Down => (&mut self.down, self.up.as_peer()),
        };
        // Who opened the connection asks, where the bytes do not tell otherwise.
        side.expected = side.stream.role().or_else(|| match flow.opener {
            Some(opener) if opener == direction => Some(Role::Request),
            Some(_) => Some(Role::Response),
            None => None,
        });
        if side.acknowledged.is_none() {
            side.acknowledged = flow.beginning(direction.opposite());
        }
        (side, start, peer)
    }

    /// Hands an event to its direction, without what stands before HTTP.
    fn take(
        &mut self,
        flow: &Flow,
        direction: Direction,
        event: StreamEvent<'_>,
        limits: &HttpLimits,
        sink: &mut impl MessageSink,
    ) -> After {
        let passed = match event {
            _ if flow.origin == Origin::Joined => Passed::Skip(0),
            StreamEvent::Data(..) if self.preamble.is_over(direction) => Passed::Skip(0),
            StreamEvent::Data(bytes, mark) => {
                self.preamble.data(direction, bytes, &mark, &mut sink.counters().preambles)
            }
            StreamEvent::Gap(..) | StreamEvent::LeftOut(..) | StreamEvent::End(_) => self.preamble.give_up(direction),
        };
        let (side, start, peer) = self.turn(flow, direction);
        let used = match passed {
            Passed::Skip(used) => used,
            Passed::Replay(held) => {
                for (bytes, mark) in held.parts() {
                    let after = side.data(bytes, mark, start, &peer, limits, sink);
                    if after != After::Follow {
                        return after;
                    }
                }
                0
            }
            Passed::Broken => return After::NotHttp,
        };
        match event {
            StreamEvent::Data(bytes, mark) => match bytes.get(used..) {
                None | Some([]) => return After::Follow,
                Some(rest) => {
                    let sequence = mark.sequence.advance(u32::try_from(used).unwrap_or(u32::MAX));
                    return side.data(rest, &Mark { sequence, ..mark }, start, &peer, limits, sink);
                }
            },
            StreamEvent::Gap(count, mark) => {
                // What the peer has received beyond this was hidden.
                side.end.get_or_insert(mark.sequence);
                return side.stream.gap(count, &mark, sink);
            }
            StreamEvent::LeftOut(count, mark) => {
                side.end = Some(mark.sequence.advance(u32::try_from(count).unwrap_or(u32::MAX)));
                return side.stream.left_out(count, &mark, sink);
            }
            StreamEvent::End(at) => side.stream.close(at, sink),
        }
        After::Follow
    }

    /// One direction's role is the other's opposite.
    fn agree(&mut self, direction: Direction, sink: &mut impl MessageSink) -> Following {
        let Some(role) = self.side_mut(direction).stream.role() else {
            return Following::Follow(Known::NotYet);
        };
        let opposite = match role {
            Role::Request => Role::Response,
            Role::Response => Role::Request,
        };
        self.side_mut(direction.opposite()).stream.assume(opposite, sink);
        Following::Follow(Known::Http)
    }

    const fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    const fn side_mut(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }
}

impl Default for Connection {
    fn default() -> Self {
        Self::new()
    }
}

impl Peer {
    /// How a message would begin at `mark` in the other direction.
    fn opening(&self, mark: &Mark) -> Opening {
        let had_all = self.end.is_some() && self.end == mark.acknowledgement;
        if had_all && self.acknowledged == Some(mark.sequence) { Opening::InStep } else { Opening::Unknown }
    }
}

impl Side {
    fn new() -> Self {
        Self { stream: Stream::new(), expected: None, acknowledged: None, end: None }
    }

    const fn as_peer(&self) -> Peer {
        Peer { acknowledged: self.acknowledged, end: self.end, state: self.stream.as_peer() }
    }

    fn data(
        &mut self,
        bytes: &[u8],
        mark: &Mark,
        start: Origin,
        peer: &Peer,
        limits: &HttpLimits,
        sink: &mut impl MessageSink,
    ) -> After {
        let turn = match (self.acknowledged, mark.acknowledgement) {
            (Some(before), Some(now)) if !now.is_after(before) => Turn::Same,
            _ => Turn::New,
        };
        let proof = self.prove(turn, mark, peer);
        let opening = peer.opening(mark);
        let joins = start == Origin::Joined && self.end.is_none();
        if joins && bytes.len() == 1 && detect_strictly(bytes) == Detected::Other {
            // Perhaps a probe, which may carry a byte that is none of the stream's (RFC 9293 §3.8.4).
            sink.counters().skipped_bytes += 1;
            return After::Follow;
        }
        self.note(bytes, mark);
        if joins && detect_strictly(bytes) == Detected::Other {
            // Where a capture joins, empty lines and words may be the middle of a body: no boundary.
            return self.stream.search_on(bytes, sink);
        }
        match self.stream.data(bytes, &At { mark, turn, proof, opening, expected: self.expected, limits }, sink) {
            // The capture joined in mid-connection: these bytes may be the middle of a message.
            After::NotHttp if start == Origin::Joined => self.stream.search_on(bytes, sink),
            after => after,
        }
    }

    /// Notes what data tells of both directions.
    fn note(&mut self, bytes: &[u8], mark: &Mark) {
        if mark.acknowledgement.is_some() {
            self.acknowledged = mark.acknowledgement;
        }
        self.end = Some(mark.sequence.advance(u32::try_from(bytes.len()).unwrap_or(u32::MAX)));
    }

    /// Whether a message begins with the segment at `mark`, as far as the numbers tell.
    ///
    /// - A client that waits for its answer had received everything before it when it asked: the answer begins at the
    ///   acknowledgement of its last data. A server that has answered had received everything before the next request.
    /// - After an interim response a client goes on with a body: what it had received proves nothing then.
    fn prove(&self, turn: Turn, mark: &Mark, peer: &Peer) -> Proof {
        let may_be_request = self.expected != Some(Role::Response);
        if peer.acknowledged == Some(mark.sequence) && turn == Turn::New {
            match peer.state {
                PeerState::SaidInterim => return Proof::None,
                PeerState::Searching if may_be_request && self.may_continue(mark, peer) => return Proof::None,
                // What it said last may have been an interim response, too.
                PeerState::Searching if may_be_request => return Proof::Likely,
                PeerState::Searching | PeerState::Following => return Proof::Proven,
            }
        }
        let has_hidden_answer = match (mark.acknowledgement, peer.end) {
            (Some(received), Some(end)) => received.is_after(end),
            (Some(_), None) => self.acknowledged.is_some(),
            (None, _) => false,
        };
        // What follows other bytes of the same turn may be the middle of a body.
        let is_likely = has_hidden_answer && turn == Turn::New && may_be_request && !self.may_continue(mark, peer);
        if is_likely { Proof::Likely } else { Proof::None }
    }

    /// Whether all that was hidden before the data at `mark` may be a [`CONTINUE`]: then that data is a body.
    fn may_continue(&self, mark: &Mark, peer: &Peer) -> bool {
        let later = |one: SequenceNumber, other: SequenceNumber| if one.is_after(other) { one } else { other };
        let known = match (self.acknowledged, peer.end) {
            (Some(received), Some(end)) => Some(later(received, end)),
            (received, end) => received.or(end),
        };
        let hidden = mark.acknowledgement.zip(known).map(|(received, known)| received.distance_from(known));
        hidden.is_some_and(|hidden| usize::try_from(hidden) == Ok(CONTINUE.len()))
    }
}
