//! Conversations: what a client and a server say → the frames a capture would hold, with faults on demand.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses a part of this")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step is a failed test")]

pub mod files;
pub mod frames;
pub mod talk;

use std::net::SocketAddr;

use network_agent::exchange::Exchange;
use network_agent::packet::{LinkType, RawPacket};
use network_agent::pipeline::{Pipeline, PipelineConfig, PipelineCounters};
use network_agent::span::SpanSettings;
use network_agent::time::Timestamp;

use frames::{Segment, encode};

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

/// One captured frame.
#[derive(Clone, Debug)]
pub struct Frame {
    pub at: u64,
    pub data: Vec<u8>,
    pub wire_length: u32,
    pub link: LinkType,
    pub interface: u32,
}

impl Frame {
    pub fn packet(&self) -> RawPacket<'_> {
        RawPacket {
            at: Timestamp::from_nanos(self.at),
            data: &self.data,
            wire_length: self.wire_length,
            link: self.link,
            interface: self.interface,
        }
    }
}

/// Which side speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    Client,
    Server,
}

/// One TCP connection, said step by step.
#[derive(Clone, Debug)]
pub struct Conversation {
    pub client: SocketAddr,
    pub server: SocketAddr,
    pub link: LinkType,
    /// Largest payload of a segment.
    pub mss: usize,
    /// Nanoseconds between frames.
    pub step: u64,
    pub at: u64,
    pub(super) sent: [u32; 2],
    received: [u32; 2],
    pub frames: Vec<Frame>,
}

impl Conversation {
    pub fn new() -> Self {
        Self {
            client: "10.1.0.7:41000".parse().unwrap(),
            server: "10.1.0.80:80".parse().unwrap(),
            link: LinkType::Ethernet,
            mss: 1448,
            step: 1_000_000,
            at: 1_700_000_000_000_000_000,
            sent: [1000, 5000],
            received: [5000, 1000],
            frames: Vec::new(),
        }
    }

    pub fn between(client: &str, server: &str) -> Self {
        Self { client: client.parse().unwrap(), server: server.parse().unwrap(), ..Self::new() }
    }

    pub fn starting_at(mut self, client: u32, server: u32) -> Self {
        self.sent = [client, server];
        self.received = [server, client];
        self
    }

    pub fn cut_at(mut self, mss: usize) -> Self {
        self.mss = mss;
        self
    }

    pub fn on(mut self, link: LinkType) -> Self {
        self.link = link;
        self
    }

    /// The next frame comes so many nanoseconds later than it would.
    pub fn wait(mut self, nanos: u64) -> Self {
        self.at += nanos;
        self
    }

    pub fn handshake(mut self) -> Self {
        self.sent[0] = self.sent[0].wrapping_sub(1);
        self.sent[1] = self.sent[1].wrapping_sub(1);
        self.push(Side::Client, SYN, b"");
        self.sent[0] = self.sent[0].wrapping_add(1);
        self.arrive(Side::Client);
        self.push(Side::Server, SYN | ACK, b"");
        self.sent[1] = self.sent[1].wrapping_add(1);
        self.arrive(Side::Server);
        self.push(Side::Client, ACK, b"");
        self
    }

    pub fn client(self, text: impl AsRef<[u8]>) -> Self {
        self.say(Side::Client, text)
    }

    pub fn server(self, text: impl AsRef<[u8]>) -> Self {
        self.say(Side::Server, text)
    }

    /// Says `text` in segments, each acknowledging all that its sender has received; then it arrives.
    pub fn say(mut self, side: Side, text: impl AsRef<[u8]>) -> Self {
        for piece in text.as_ref().chunks(self.mss) {
            self.push(side, ACK, piece);
            self.sent[side as usize] = self.sent[side as usize].wrapping_add(u32::try_from(piece.len()).unwrap());
        }
        self.arrive(side);
        self
    }

    /// A segment without payload.
    pub fn ack(mut self, side: Side) -> Self {
        self.push(side, ACK, b"");
        self
    }

    pub fn fin(mut self, side: Side) -> Self {
        self.push(side, FIN | ACK, b"");
        self.sent[side as usize] = self.sent[side as usize].wrapping_add(1);
        self.arrive(side);
        self
    }

    pub fn rst(mut self, side: Side) -> Self {
        self.push(side, RST | ACK, b"");
        self
    }

    pub fn close(self) -> Self {
        self.fin(Side::Client).fin(Side::Server).ack(Side::Client)
    }

    /// A segment exactly as given: `offset` from where the side stands.
    pub fn raw(mut self, side: Side, offset: i32, flags: u8, payload: &[u8]) -> Self {
        let kept = self.sent[side as usize];
        self.sent[side as usize] = kept.wrapping_add_signed(offset);
        self.push(side, flags, payload);
        self.sent[side as usize] = kept;
        self
    }

    /// What `side` has sent by [`Self::raw`] arrives: its peer acknowledges `length` bytes more.
    pub fn taken(mut self, side: Side, length: usize) -> Self {
        self.sent[side as usize] = self.sent[side as usize].wrapping_add(u32::try_from(length).unwrap());
        self.arrive(side);
        self
    }

    pub fn push(&mut self, side: Side, flags: u8, payload: &[u8]) {
        let (source, destination) = match side {
            Side::Client => (self.client, self.server),
            Side::Server => (self.server, self.client),
        };
        let segment = Segment {
            source,
            destination,
            sequence: self.sent[side as usize],
            acknowledgement: if flags & ACK == 0 { 0 } else { self.received[side as usize] },
            flags,
            payload,
        };
        let data = encode(self.link, &segment);
        self.at += self.step;
        let wire_length = u32::try_from(data.len()).unwrap();
        self.frames.push(Frame { at: self.at, data, wire_length, link: self.link, interface: 0 });
    }

    pub fn arrive(&mut self, side: Side) {
        self.received[1 - side as usize] = self.sent[side as usize];
    }
}

/// Runs frames through a fresh pipeline and checks that the books are even, and that it finds the same when it keeps of heads
/// only what spans are made of.
pub fn run(frames: &[Frame]) -> (Vec<Exchange>, PipelineCounters) {
    let (exchanges, counters) = run_with(PipelineConfig::default(), frames);
    let thrifty = Pipeline::new(PipelineConfig::default()).keeping(SpanSettings::default().fields());
    let (same, _) = run_through(thrifty, frames);
    assert_eq!(say(&same), say(&exchanges), "as with all header lines");
    let known = |exchanges: &[Exchange]| -> Vec<_> {
        exchanges.iter().map(|exchange| (exchange.id, exchange.start(), exchange.end())).collect()
    };
    assert_eq!(known(&same), known(&exchanges), "as with all header lines");
    (exchanges, counters)
}

pub fn run_with(config: PipelineConfig, frames: &[Frame]) -> (Vec<Exchange>, PipelineCounters) {
    run_through(Pipeline::new(config), frames)
}

fn run_through(mut pipeline: Pipeline, frames: &[Frame]) -> (Vec<Exchange>, PipelineCounters) {
    let mut exchanges: Vec<Exchange> = Vec::new();
    for frame in frames {
        pipeline.handle_packet(&frame.packet(), &mut exchanges);
    }
    pipeline.finish(&mut exchanges);
    let counters = pipeline.counters();
    let discards: u64 = counters.packet.discards.iter().sum();
    assert_eq!(counters.packet.packets, counters.packet.segments + discards, "packets in = segments + discards");
    assert_eq!(counters.exchange.requests, counters.exchange.emitted, "requests = exchanges");
    assert_eq!((counters.exchange.open, counters.tcp.active), (0, 0), "nothing is left");
    assert_eq!(counters.exchange.emitted, exchanges.len() as u64);
    (exchanges, counters)
}

/// `METHOD target status outcome`, with `!` for an incomplete exchange.
pub fn say(exchanges: &[Exchange]) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    exchanges
        .iter()
        .map(|exchange| {
            let head = &exchange.request.head;
            let status =
                exchange.response.as_ref().map_or_else(|| "-".to_owned(), |part| part.head.status().to_string());
            let ending = exchange.outcome.error_type().map_or_else(String::new, |error| format!(" {error}"));
            let mark = if exchange.incomplete { " !" } else { "" };
            format!("{} {} {status}{ending}{mark}", text(head.method()), text(head.target()))
        })
        .collect()
}

/// A small deterministic generator (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

/// Moves frames at most `window` places; times stay in order.
pub fn reorder(frames: &mut [Frame], window: usize, random: &mut Random) {
    let times: Vec<u64> = frames.iter().map(|frame| frame.at).collect();
    for place in 0..frames.len() {
        let other = (place + usize::try_from(random.below(window as u64 + 1)).unwrap()).min(frames.len() - 1);
        frames.swap(place, other);
    }
    for (frame, at) in frames.iter_mut().zip(times) {
        frame.at = at;
    }
}

/// Keeps only the first `length` bytes of each frame.
pub fn snap(frames: &mut [Frame], length: usize) {
    for frame in frames {
        frame.data.truncate(length);
    }
}
