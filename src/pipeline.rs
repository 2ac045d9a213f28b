//! The core assembled: packets in, exchanges out. No thread, clock, socket, file or randomness.

use std::time::Duration;

use crate::exchange::ExchangeSink;
use crate::packet::{Decoder, DecoderLimits, PacketCounters, RawPacket};
use crate::time::Timestamp;

/// Bounds and times of the core. Every bound stops growth by hostile or broken input.
#[derive(Clone, Copy, Debug)]
pub struct PipelineConfig {
    /// Bounds of fragment reassembly.
    pub decoder: DecoderLimits,
    /// Connections known at once; stops SYN floods and scans.
    pub max_connections: usize,
    /// Bytes held out of order in one direction of one connection; stops a peer that leaves a hole open.
    pub max_pending_bytes: usize,
    /// Bytes held out of order by all connections; stops many such peers.
    pub max_total_pending_bytes: usize,
    /// Separate runs of bytes held out of order in one direction; stops a flood of one-byte islands.
    pub max_pending_segments: usize,
    /// `AGENT_MAX_HEAD_BYTES`: bytes of one message head; stops a head without an end.
    pub max_head_bytes: usize,
    /// Requests waiting for their response on one connection; stops pipelining without end.
    pub max_open_exchanges: usize,
    /// `AGENT_EXCHANGE_TIMEOUT`: idle time after which a connection with an open exchange is given up.
    pub exchange_timeout: Duration,
    /// Idle time after which a connection without an open exchange is forgotten.
    pub idle_timeout: Duration,
    /// How long acknowledged bytes may still come before they count as lost by the capture.
    pub loss_grace: Duration,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            decoder: DecoderLimits::default(),
            max_connections: 200_000,
            max_pending_bytes: 1 << 20,
            max_total_pending_bytes: 32 << 20,
            max_pending_segments: 256,
            max_head_bytes: 64 << 10,
            max_open_exchanges: 256,
            exchange_timeout: Duration::from_secs(600),
            idle_timeout: Duration::from_secs(300),
            loss_grace: Duration::from_millis(200),
        }
    }
}

/// What the core has counted. Sums are stated at the fields of the parts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PipelineCounters {
    /// Packets.
    pub packet: PacketCounters,
    /// Connections and reassembly.
    pub tcp: TcpCounters,
    /// Messages.
    pub http: HttpCounters,
    /// Pairing.
    pub exchange: ExchangeCounters,
}

/// What the TCP layer has counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TcpCounters {
    /// Connections that got an entry in the table.
    pub connections: u64,
    /// Entries given back because the table was full.
    pub evicted: u64,
    /// Entries in the table now.
    pub active: u64,
    /// Payload bytes delivered in order.
    pub bytes: u64,
    /// Payload bytes that the capture never showed.
    pub missing_bytes: u64,
    /// Gaps those bytes made.
    pub gaps: u64,
    /// Segments that brought only bytes already seen.
    pub retransmits: u64,
    /// Copies of a packet already seen on another interface.
    pub duplicates: u64,
    /// Segments held because they came before their time.
    pub out_of_order: u64,
    /// Holes given up early because a bound on held bytes was reached.
    pub pending_overflows: u64,
    /// Segments without payload for connections that are not known.
    pub unknown_connection: u64,
}

/// What the HTTP layer has counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct HttpCounters {
    /// Request heads.
    pub requests: u64,
    /// Final response heads.
    pub responses: u64,
    /// Interim response heads (1xx but 101).
    pub interim_responses: u64,
    /// Connections found not to be HTTP/1.
    pub opaque_connections: u64,
    /// Connections that began with the HTTP/2 preface.
    pub http2_connections: u64,
    /// Heads that broke the syntax or the bound; the direction looks for the next provable start line.
    pub malformed_heads: u64,
    /// Bytes skipped while looking for a start line.
    pub skipped_bytes: u64,
}

/// What pairing has counted. Invariant: `requests == emitted + open`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ExchangeCounters {
    /// Requests seen.
    pub requests: u64,
    /// Exchanges given to the sink.
    pub emitted: u64,
    /// Requests still open.
    pub open: u64,
    /// Of the emitted: without a response.
    pub unanswered: u64,
    /// Of the emitted: marked incomplete.
    pub incomplete: u64,
    /// Final responses whose request was not seen or cannot be told.
    pub unmatched_responses: u64,
}

/// Packets in, exchanges out; see the module.
#[derive(Debug)]
pub struct Pipeline {
    decoder: Decoder,
}

impl Pipeline {
    /// A pipeline that has seen nothing.
    pub fn new(config: PipelineConfig) -> Self {
        Self { decoder: Decoder::new(config.decoder) }
    }

    /// Takes one packet; exchanges that it finishes go to `sink`. Timers due at the packet's time run first.
    pub fn handle_packet(&mut self, packet: &RawPacket<'_>, sink: &mut impl ExchangeSink) {
        let _ = (packet, sink);
    }

    /// Runs every timer due at `now`.
    pub fn handle_timeout(&mut self, now: Timestamp, sink: &mut impl ExchangeSink) {
        let _ = (now, sink);
    }

    /// When [`Self::handle_timeout`] is next wanted.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        None
    }

    /// The capture has ended: gives every open exchange to `sink` and forgets all connections.
    pub fn finish(&mut self, sink: &mut impl ExchangeSink) {
        let _ = sink;
    }

    /// What was counted so far.
    pub fn counters(&self) -> PipelineCounters {
        PipelineCounters { packet: *self.decoder.counters(), ..PipelineCounters::default() }
    }
}
