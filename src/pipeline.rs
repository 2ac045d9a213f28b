//! The core assembled: packets in, exchanges out. No thread, clock, socket, file or randomness.

use std::time::Duration;

use crate::exchange::{ExchangeLimits, ExchangeSink, Pairer, Pairing};
use crate::http::{Connection, Following, HttpLimits, KeptFields, Known};
use crate::packet::{Decoder, RawPacket, Segment, SegmentSink};
use crate::tcp::{Bulk, ConnectionTable, Direction, Finish, Flow, Interest, StreamEvent, StreamHandler, TcpLimits};
use crate::time::Timestamp;

pub use crate::exchange::ExchangeCounters;
pub use crate::http::HttpCounters;
pub use crate::packet::{DecoderLimits, PacketCounters};
pub use crate::tcp::{TableSummary, TcpCounters};

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
    /// `AGENT_MAX_MEMORY`: bytes of all that the core holds; near it the least valuable goes first. Stops whatever the other
    /// bounds together allow.
    pub max_memory: usize,
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
    /// Makes the places of connections in the table unpredictable to who sends packets; changes no result.
    pub hash_seed: u64,
}

impl PipelineConfig {
    /// The share of one of `workers` pipelines: the bounds on what all connections take are divided.
    #[must_use]
    pub fn share(self, workers: usize) -> Self {
        let workers = workers.max(1);
        let decoder = DecoderLimits { fragment_bytes: self.decoder.fragment_bytes / workers, ..self.decoder };
        Self {
            decoder,
            max_connections: (self.max_connections / workers).max(1),
            max_total_pending_bytes: self.max_total_pending_bytes / workers,
            max_memory: self.max_memory / workers,
            ..self
        }
    }
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            decoder: DecoderLimits::default(),
            max_connections: 200_000,
            max_pending_bytes: 1 << 20,
            max_total_pending_bytes: 32 << 20,
            max_pending_segments: 256,
            max_memory: 128 << 20,
            max_head_bytes: 64 << 10,
            max_open_exchanges: 256,
            exchange_timeout: Duration::from_secs(600),
            idle_timeout: Duration::from_secs(300),
            loss_grace: Duration::from_millis(200),
            hash_seed: 0,
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

impl std::ops::AddAssign for PipelineCounters {
    fn add_assign(&mut self, other: Self) {
        self.packet += other.packet;
        self.tcp += other.tcp;
        self.http += other.http;
        self.exchange += other.exchange;
    }
}

/// Packets in, exchanges out; see the module.
#[derive(Debug)]
pub struct Pipeline {
    decoder: Decoder,
    connections: ConnectionTable<Conversation>,
    conversations: Conversations,
}

impl Pipeline {
    /// A pipeline that has seen nothing.
    pub fn new(config: PipelineConfig) -> Self {
        let tcp = TcpLimits {
            max_connections: config.max_connections,
            max_pending_bytes: config.max_pending_bytes,
            max_total_pending_bytes: config.max_total_pending_bytes,
            max_pending_segments: config.max_pending_segments,
            max_memory: config.max_memory.saturating_sub(config.decoder.fragment_bytes),
            busy_timeout: config.exchange_timeout,
            idle_timeout: config.idle_timeout,
            loss_grace: config.loss_grace,
        };
        Self {
            decoder: Decoder::new(config.decoder),
            connections: ConnectionTable::new(tcp, config.hash_seed),
            conversations: Conversations {
                http_limits: HttpLimits { max_head_bytes: config.max_head_bytes },
                exchange_limits: ExchangeLimits { max_open_exchanges: config.max_open_exchanges },
                fields: KeptFields::All,
                http: HttpCounters::default(),
                exchange: ExchangeCounters::default(),
            },
        }
    }

    /// Of the header fields of each exchange, only `fields` are kept from now on; without this, all are.
    #[must_use]
    pub fn keeping(mut self, fields: KeptFields) -> Self {
        self.conversations.fields = fields;
        self
    }

    /// Takes one packet; exchanges that it finishes go to `sink`. Timers due at the packet's time run first.
    pub fn handle_packet(&mut self, packet: &RawPacket<'_>, sink: &mut impl ExchangeSink) {
        let handler = Handler { conversations: &mut self.conversations, sink };
        self.decoder.decode(packet, &mut IntoTable { connections: &mut self.connections, handler });
    }

    /// Runs every timer due at `now`.
    pub fn handle_timeout(&mut self, now: Timestamp, sink: &mut impl ExchangeSink) {
        self.connections.handle_timeout(now, &mut Handler { conversations: &mut self.conversations, sink });
    }

    /// When [`Self::handle_timeout`] is next wanted; perhaps too early, never too late.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.connections.poll_timeout()
    }

    /// The capture has ended: gives every open exchange to `sink` and forgets all connections.
    pub fn finish(&mut self, sink: &mut impl ExchangeSink) {
        self.connections.finish(&mut Handler { conversations: &mut self.conversations, sink });
    }

    /// What was counted so far.
    pub fn counters(&self) -> PipelineCounters {
        PipelineCounters {
            packet: self.decoder.counters(),
            tcp: self.connections.counters(),
            http: self.conversations.http,
            exchange: self.conversations.exchange,
        }
    }

    /// The streams that are heavy at present and whose payload is not read, a few at most: a source may leave it out, which
    /// changes no exchange.
    pub fn bulk(&mut self) -> impl Iterator<Item = Bulk> {
        self.connections.bulk()
    }

    /// Whether [`Self::bulk`] has become more since this was asked last.
    pub const fn has_new_bulk(&mut self) -> bool {
        self.connections.has_new_bulk()
    }

    /// Forgets of [`Self::bulk`] what has brought little since the last call.
    pub fn renew_bulk(&mut self) {
        self.connections.renew_bulk();
    }

    /// What the table of connections holds now.
    pub fn table(&self) -> TableSummary {
        self.connections.summary()
    }
}

/// What the upper layers keep for one connection.
#[derive(Debug, Default)]
struct Conversation {
    http: Connection,
    pairing: Pairing,
}

/// What the upper layers keep for all connections.
#[derive(Debug)]
struct Conversations {
    http_limits: HttpLimits,
    exchange_limits: ExchangeLimits,
    fields: KeptFields,
    http: HttpCounters,
    exchange: ExchangeCounters,
}

impl Conversations {
    /// Pairing at work on one connection.
    fn pairer<'a, K>(
        &'a mut self,
        pairing: &'a mut Pairing,
        flow: &'a Flow,
        direction: Direction,
        sink: &'a mut K,
    ) -> Pairer<'a, K> {
        let Self { exchange_limits: limits, fields, http, exchange: counters, .. } = self;
        Pairer { pairing, flow, direction, limits, fields, counters, http, sink }
    }
}

struct Handler<'a, K> {
    conversations: &'a mut Conversations,
    sink: &'a mut K,
}

impl<K: ExchangeSink> StreamHandler for Handler<'_, K> {
    type State = Conversation;

    fn heap_bytes(state: &Conversation) -> usize {
        state.http.heap_bytes() + state.pairing.heap_bytes()
    }

    fn unread(state: &Conversation, direction: Direction) -> u64 {
        state.http.unread(direction)
    }

    fn waits(state: &Conversation) -> bool {
        state.pairing.is_waiting()
    }

    fn overdue(&mut self, state: &mut Conversation, flow: &Flow, now: Timestamp, _: Interest) -> Interest {
        let mut pairer = self.conversations.pairer(&mut state.pairing, flow, Direction::Up, self.sink);
        pairer.overdue(now);
        if state.pairing.is_open() { Interest::Busy } else { Interest::Quiet }
    }

    fn begin(&mut self) -> Conversation {
        Conversation::default()
    }

    fn event(
        &mut self,
        state: &mut Conversation,
        flow: &Flow,
        direction: Direction,
        event: StreamEvent<'_>,
    ) -> Interest {
        let Conversations { http_limits, exchange_limits, fields, http, exchange } = &mut *self.conversations;
        let mut pairer = Pairer {
            pairing: &mut state.pairing,
            flow,
            direction,
            limits: exchange_limits,
            fields,
            counters: exchange,
            http,
            sink: self.sink,
        };
        match state.http.event(flow, direction, event, http_limits, &mut pairer) {
            Following::Follow(Known::NotYet) => Interest::Undecided,
            Following::Follow(Known::Http) if pairer.pairing.is_open() => Interest::Busy,
            Following::Follow(Known::Http) => Interest::Quiet,
            Following::Leave => {
                // What is open when HTTP ends on a connection will not be answered in HTTP.
                pairer.finish(Finish::Replaced);
                Interest::None
            }
        }
    }

    fn finish(&mut self, mut state: Conversation, flow: &Flow, finish: Finish) {
        let mut pairer = self.conversations.pairer(&mut state.pairing, flow, Direction::Up, self.sink);
        pairer.finish(finish);
    }
}

struct IntoTable<'a, K> {
    connections: &'a mut ConnectionTable<Conversation>,
    handler: Handler<'a, K>,
}

impl<K: ExchangeSink> SegmentSink for IntoTable<'_, K> {
    fn segment(&mut self, segment: &Segment<'_>) {
        self.connections.handle(segment, &mut self.handler);
    }
}
