//! The table of connections alone: segments near each other → events, compared with streams whose every byte is known.
//!
//! A byte of a stream is a function of its connection, its direction and its sequence number, so the twin needs no
//! memory to know what is right.

use std::net::SocketAddr;
use std::time::Duration;

use network_agent::packet::{Segment, SequenceNumber, TcpFlags};
use network_agent::tcp::{
    ConnectionTable, Direction, Finish, Flow, Interest, Mark, StreamEvent, StreamHandler, TcpLimits,
};
use network_agent::time::Timestamp;

use super::books::Footprint;
use super::choices::Choices;
use super::owned;

const START: u64 = 1_700_000_000_000_000_000;
const MILLI: u64 = 1_000_000;
const PORT: u16 = 4000;
const FLAGS: [u8; 16] =
    [0x10, 0x10, 0x10, 0x18, 0x10, 0x10, 0x18, 0x10, 0x11, 0x10, 0x02, 0x12, 0x04, 0x14, 0x00, 0x13];

pub fn words() -> Vec<Vec<u8>> {
    owned(&[b"\0", b"\x80\x40", b"\x01\x40\x10", b"\xff\xff\xff\xf0", b"\x0a\x00\x00", b"\x08\x08\x08", b"\xff"])
}

/// The first byte says whether the peers are honest.
pub fn run(input: &[u8]) -> Footprint {
    let mut choices = Choices(input);
    if choices.byte().is_multiple_of(4) { honest(&mut choices) } else { hostile(&mut choices) }
}

/// The byte of a stream at `sequence`.
fn truth(port: u16, direction: Direction, sequence: u32) -> u8 {
    let mixed = sequence.wrapping_mul(0x9e37_79b1) ^ (u32::from(port) << 8) ^ (direction as u32 + 1);
    (mixed ^ (mixed >> 15)).to_le_bytes()[1]
}

fn ends(connection: u16) -> (SocketAddr, SocketAddr) {
    (SocketAddr::from(([10, 0, 0, 1], PORT + connection)), SocketAddr::from(([10, 0, 0, 2], 80)))
}

/// What the twin knows of one connection that the table has begun.
#[derive(Debug, Default)]
struct Life {
    next: [Option<u32>; 2],
    /// Whether a byte was delivered. Before, only acknowledgements tell where a direction stands, and what they pass
    /// over without a byte in between is one loss.
    shown: [bool; 2],
    ended: [bool; 2],
    over: bool,
}

/// The layer above: checks every event.
#[derive(Debug, Default)]
struct Twin {
    lives: Vec<Life>,
    /// What is answered to the next event.
    interest: Option<Interest>,
    /// Whether it ever said that it wants no more.
    refused: bool,
    /// Sequence numbers that a FIN took, by connection and direction.
    fins: Vec<(u16, Direction, u32)>,
    latest: u64,
    bytes: u64,
    missing: u64,
    finished: u64,
    /// Runs of bytes in the order of delivery.
    turns: Vec<(Direction, u64)>,
    closed: u64,
}

impl StreamHandler for Twin {
    type State = usize;

    fn heap_bytes(_: &usize) -> usize {
        0
    }

    fn begin(&mut self) -> usize {
        self.lives.push(Life::default());
        self.lives.len() - 1
    }

    fn event(&mut self, state: &mut usize, flow: &Flow, direction: Direction, event: StreamEvent<'_>) -> Interest {
        let (port, side) = (flow.low.port(), direction as usize);
        let life = &mut self.lives[*state];
        assert!(!life.over, "{event:?} after the end of the connection");
        assert!(!life.ended[side], "{event:?} after the end of its direction");
        match event {
            StreamEvent::Data(bytes, mark) => {
                assert!(!bytes.is_empty());
                assert!(mark.at.as_nanos() <= self.latest && mark.interface < 2);
                if !life.shown[side] {
                    let start = mark.sequence.value();
                    let behind = life.next[side].map_or(0, |next| next.wrapping_sub(start));
                    assert!(behind == 0 || behind > 1 << 29, "twice");
                    life.next[side] = None;
                    life.shown[side] = true;
                }
                follow(&mut life.next[side], &mark, bytes.len() as u64);
                for (sequence, byte) in sequences(mark.sequence).zip(bytes) {
                    assert_eq!(*byte, truth(port, direction, sequence), "byte {sequence} {direction:?}");
                }
                self.bytes += bytes.len() as u64;
                match self.turns.last_mut() {
                    Some((last, count)) if *last == direction => *count += bytes.len() as u64,
                    _ => self.turns.push((direction, bytes.len() as u64)),
                }
            }
            StreamEvent::Gap(count, mark) => {
                assert!(count > 0 && count < 1 << 32);
                if !life.shown[side] {
                    life.next[side] = None;
                }
                follow(&mut life.next[side], &mark, count);
                self.missing += count;
            }
            StreamEvent::LeftOut(..) => unreachable!("nothing was left out"),
            StreamEvent::End(at) => {
                assert!(at.as_nanos() <= self.latest);
                life.ended[side] = true;
                let place = life.next[side].filter(|_| life.shown[side]);
                let told = self.fins.iter().any(|(connection, other, sequence)| {
                    let reached = place.is_none_or(|place| place.wrapping_sub(*sequence).cast_signed() >= 0);
                    PORT + connection == port && *other == direction && reached
                });
                assert!(told, "an end that nobody has told");
            }
        }
        let interest = self.interest.unwrap_or(Interest::Quiet);
        if interest == Interest::None {
            life.over = true;
            self.refused = true;
            self.finished += 1;
        }
        interest
    }

    fn finish(&mut self, state: usize, _: &Flow, finish: Finish) {
        let life = &mut self.lives[state];
        assert!(!life.over, "finished twice");
        assert!(!matches!(finish, Finish::Closed(_)) || life.ended == [true; 2], "closed before both ends");
        life.over = true;
        self.finished += 1;
        self.closed += u64::from(matches!(finish, Finish::Closed(_)));
    }
}

/// An event begins where the one before it ended.
fn follow(next: &mut Option<u32>, mark: &Mark, count: u64) {
    let start = mark.sequence.value();
    assert_eq!(next.unwrap_or(start), start, "twice, or left out");
    *next = Some(start.wrapping_add(u32::try_from(count).unwrap_or(u32::MAX)));
}

fn sequences(start: SequenceNumber) -> impl Iterator<Item = u32> {
    (0_u32..).map(move |offset| start.advance(offset).value())
}

/// A table with its twin.
struct Audited {
    table: ConnectionTable<usize>,
    limits: TcpLimits,
    twin: Twin,
}

impl Audited {
    fn new(limits: TcpLimits) -> Self {
        Self { table: ConnectionTable::new(limits, 7), limits, twin: Twin::default() }
    }

    /// One segment of the true stream of `connection`, of which the snap length has cut the last `cut` bytes.
    fn feed(&mut self, at: u64, connection: u16, direction: Direction, segment: &Sent, cut: usize) {
        let Sent { sequence, acknowledgement, flags, length, interface } = *segment;
        let (low, high) = ends(connection);
        let (source, destination) = if direction == Direction::Up { (low, high) } else { (high, low) };
        let syn = u32::from(flags & 2 != 0);
        let first = SequenceNumber::new(sequence.wrapping_add(syn));
        let payload: Vec<u8> = sequences(first)
            .take(length.saturating_sub(cut))
            .map(|sequence| truth(low.port(), direction, sequence))
            .collect();
        let payload_length = u32::try_from(length).unwrap_or(0);
        if flags & 1 != 0 {
            self.twin.fins.push((connection, direction, first.advance(payload_length).value()));
        }
        self.twin.latest = self.twin.latest.max(at);
        let segment = Segment {
            at: Timestamp::from_nanos(at),
            interface,
            source,
            destination,
            sequence: SequenceNumber::new(sequence),
            acknowledgement: SequenceNumber::new(acknowledgement),
            flags: TcpFlags(flags),
            payload: &payload,
            payload_length,
        };
        self.table.handle(&segment, &mut self.twin);
        self.audit();
    }

    fn audit(&self) {
        let counters = self.table.counters();
        let connections = usize::try_from(counters.active).unwrap_or(usize::MAX);
        assert!(connections <= self.limits.max_connections);
        let held = self.table.pending_bytes();
        assert!(held <= self.limits.max_total_pending_bytes, "{held} bytes are held");
        assert!(held <= connections * 2 * self.limits.max_pending_bytes, "{held} bytes are held");
        assert!(connections == 0 || self.table.poll_timeout().is_some(), "nothing would ever expire");
        assert_eq!(counters.connections, self.twin.lives.len() as u64);
        if !self.twin.refused {
            assert_eq!((counters.bytes, counters.missing_bytes), (self.twin.bytes, self.twin.missing));
        }
    }

    fn finish(mut self) -> (Twin, Footprint) {
        self.table.finish(&mut self.twin);
        self.audit();
        let counters = self.table.counters();
        assert_eq!((counters.active, self.table.pending_bytes()), (0, 0), "nothing is left");
        assert_eq!(self.twin.finished, counters.connections, "every connection ends once");
        let mut footprint = Footprint::default();
        for count in [
            counters.connections,
            counters.evicted,
            counters.gaps,
            counters.missing_bytes,
            counters.retransmits,
            counters.duplicates,
            counters.out_of_order,
            counters.pending_overflows.iter().sum(),
            counters.unknown_connection,
            self.twin.turns.len() as u64,
            self.twin.closed,
        ] {
            footprint.note(count);
        }
        (self.twin, footprint)
    }
}

/// A segment's numbers.
#[derive(Clone, Copy, Debug)]
struct Sent {
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
    length: usize,
    interface: u32,
}

/// Segments with any numbers near where the streams stand, of two or three connections.
fn hostile(choices: &mut Choices<'_>) -> Footprint {
    let limits = TcpLimits {
        max_connections: choices.below(4) + 1,
        max_pending_bytes: 600,
        max_total_pending_bytes: 1500,
        max_pending_segments: choices.below(8) + 1,
        max_memory: 4096,
        busy_timeout: Duration::from_secs(60),
        idle_timeout: Duration::from_secs(30),
        loss_grace: Duration::from_millis(200),
    };
    let connections = choices.below(2) + 2;
    let mut stands = [[choices.number(), choices.number()], [choices.number(), u32::MAX - 70], [0, 1 << 31]];
    let mut audited = Audited::new(limits);
    let mut at = START;
    while !choices.is_empty() {
        let (which, flags, place) = (choices.byte(), choices.byte(), choices.byte());
        let connection = usize::from(which) % connections;
        let direction = if which & 0x10 == 0 { Direction::Up } else { Direction::Down };
        let (own, peer) = (direction as usize, 1 - direction as usize);
        let length = if which & 0x20 == 0 { choices.below(256) } else { 0 };
        let stand = stands[connection][own];
        // Mostly at the end of what was sent, often near it, seldom far away.
        let sequence = match place {
            0..=0x7f => stand,
            0x80..=0xbf => stand.wrapping_add(u32::from(place - 0x80) * 5),
            0xc0..=0xfa => stand.wrapping_sub(u32::from(place - 0xc0) * 7),
            _ => stand.wrapping_add(1 << (19 + (place - 0xfb) * 3)),
        };
        let flags = FLAGS[usize::from(flags & 0x0f)];
        let acknowledged = stands[connection][peer].wrapping_add_signed(i32::from(choices.byte().cast_signed()) / 3);
        let sent = Sent { sequence, acknowledgement: acknowledged, flags, length, interface: u32::from(which >> 7) };
        let end = sequence.wrapping_add(u32::try_from(length).unwrap_or(0)).wrapping_add(u32::from(flags & 2 != 0));
        if end.wrapping_sub(stand).cast_signed() > 0 || place > 0xfb {
            stands[connection][own] = end;
        }
        let pause = choices.byte();
        match pause {
            0..=0xdf => at += u64::from(pause) * MILLI / 4,
            0xe0..=0xef => at += u64::from(pause - 0xdf) * 4_000 * MILLI,
            0xf0..=0xf7 => at -= u64::from(pause & 7) * MILLI,
            _ => at = START,
        }
        let cut = if which & 0x40 == 0 { 0 } else { usize::from(pause) % 9 };
        audited.twin.interest = Some(match pause % 32 {
            31 => Interest::None,
            20..=30 => Interest::Busy,
            10..=19 => Interest::Undecided,
            _ => Interest::Quiet,
        });
        audited.feed(at, u16::try_from(connection).unwrap_or(0), direction, &sent, cut);
    }
    audited.finish().1
}

/// Peers that take turns and close; on the way segments are cut, copied and come late, and none is lost.
fn honest(choices: &mut Choices<'_>) -> Footprint {
    let limits = TcpLimits {
        max_connections: 4,
        max_pending_bytes: 1 << 20,
        max_total_pending_bytes: 1 << 20,
        max_pending_segments: 10_000,
        max_memory: 1 << 30,
        busy_timeout: Duration::from_secs(60),
        idle_timeout: Duration::from_secs(60),
        loss_grace: Duration::from_millis(200),
    };
    let mut stands = [choices.number(), choices.number()];
    let mut sent: Vec<(Direction, Sent)> = Vec::new();
    let mut say = |direction: Direction, flags: u8, length: usize, stands: &mut [u32; 2]| {
        let (own, peer) = (direction as usize, direction.opposite() as usize);
        let (sequence, acknowledgement) = (stands[own], stands[peer]);
        sent.push((direction, Sent { sequence, acknowledgement, flags, length, interface: 0 }));
        let numbers = u32::try_from(length).unwrap_or(0) + u32::from(flags & 3 != 0);
        stands[own] = stands[own].wrapping_add(numbers);
    };
    say(Direction::Up, 0x02, 0, &mut stands);
    say(Direction::Down, 0x12, 0, &mut stands);
    say(Direction::Up, 0x10, 0, &mut stands);
    let mut turns: Vec<(Direction, u64)> = Vec::new();
    let mut direction = Direction::Up;
    for _ in 0..=choices.below(12) {
        let (total, piece) = (choices.below(256) * 3 + 1, choices.below(256) + 1);
        turns.push((direction, total as u64));
        let mut left = total;
        while left > 0 {
            let length = left.min(piece);
            say(direction, 0x10, length, &mut stands);
            left -= length;
        }
        direction = direction.opposite();
    }
    say(direction, 0x11, 0, &mut stands);
    say(direction.opposite(), 0x11, 0, &mut stands);
    mislead(choices, &mut sent);
    let mut audited = Audited::new(limits);
    for (at, (direction, segment)) in (START..).step_by(200_000).zip(sent) {
        audited.feed(at, 0, direction, &segment, 0);
    }
    let (twin, footprint) = audited.finish();
    assert_eq!(twin.turns, turns, "the conversation in its order");
    assert_eq!((twin.missing, twin.closed, twin.lives.len()), (0, 1, 1));
    footprint
}

/// Copies some segments, and lets some come late.
fn mislead(choices: &mut Choices<'_>, sent: &mut Vec<(Direction, Sent)>) {
    const HANDSHAKE: usize = 3;
    for place in HANDSHAKE..sent.len() {
        let choice = choices.byte();
        if choice & 0x0f == 1 {
            let mut copy = sent[place];
            copy.1.interface = u32::from(choice >> 7);
            sent.push(copy);
        }
        let later = (place + usize::from(choice >> 5)).min(sent.len() - 1);
        if choice & 0x10 != 0 {
            sent.swap(place, later);
        }
    }
}
