//! The pipeline under small bounds, and the sums that must hold at every moment.

use network_agent::exchange::Exchange;
use network_agent::packet::{DecoderLimits, LinkType, RawPacket};
use network_agent::pipeline::{Pipeline, PipelineConfig, PipelineCounters};
use network_agent::span::SpanSettings;
use network_agent::time::Timestamp;

/// What an input has reached, so that inputs that reach something new are mutated further: a hash of the magnitudes
/// of what was counted.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Footprint(u64);

impl Footprint {
    pub fn note(&mut self, count: u64) {
        let magnitude = u64::from(u64::BITS - count.leading_zeros());
        self.0 = (self.0 ^ magnitude).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
    }
}

/// Bounds so small that they are reached.
pub fn small() -> PipelineConfig {
    PipelineConfig {
        decoder: DecoderLimits { fragment_bytes: 4096, fragment_sets: 4 },
        max_connections: 8,
        max_pending_bytes: 4096,
        max_total_pending_bytes: 16_384,
        max_pending_segments: 8,
        max_head_bytes: 512,
        max_open_exchanges: 4,
        ..PipelineConfig::default()
    }
}

/// A pipeline whose books are looked at after every packet.
pub struct Audited {
    pipeline: Pipeline,
    config: PipelineConfig,
    exchanges: Vec<Exchange>,
    fed: u64,
}

impl Audited {
    pub fn new(config: PipelineConfig) -> Self {
        let pipeline = Pipeline::new(config).keeping(SpanSettings::default().fields());
        Self { pipeline, config, exchanges: Vec::new(), fed: 0 }
    }

    pub fn feed(&mut self, packet: &RawPacket<'_>) {
        self.pipeline.handle_packet(packet, &mut self.exchanges);
        self.fed += 1;
        let counters = self.audit();
        assert!(counters.tcp.active <= self.config.max_connections as u64);
        let open_at_most = counters.tcp.active.saturating_mul(self.config.max_open_exchanges as u64);
        assert!(counters.exchange.open <= open_at_most, "{:?}", counters.exchange);
        assert!(counters.tcp.active == 0 || self.pipeline.poll_timeout().is_some(), "nothing would ever expire");
    }

    /// The data of one packet, of which the snap length has cut `cut` bytes.
    pub fn feed_data(&mut self, at: u64, link: LinkType, data: &[u8], cut: u32) {
        let wire_length = u32::try_from(data.len()).unwrap_or(u32::MAX).saturating_add(cut);
        self.feed(&RawPacket { at: Timestamp::from_nanos(at), data, wire_length, link, interface: 0 });
    }

    /// Ends the capture; what was found.
    pub fn finish(mut self) -> (Vec<Exchange>, Footprint) {
        self.pipeline.finish(&mut self.exchanges);
        let counters = self.audit();
        assert_eq!((counters.exchange.open, counters.tcp.active), (0, 0), "nothing is left");
        let decided = counters.exchange.requests + counters.exchange.unproven_requests;
        assert_eq!(decided, counters.http.requests, "every head was a request or was given up");
        for exchange in &self.exchanges {
            assert!(exchange.end() >= exchange.start());
            let response = exchange.response.as_ref().map(|response| response.transfer);
            for transfer in [Some(exchange.request.transfer), response].into_iter().flatten() {
                assert!(transfer.body_bytes <= transfer.wire_bytes, "{transfer:?}");
                assert!(transfer.first_byte <= transfer.last_byte, "{transfer:?}");
            }
        }
        (self.exchanges, footprint(&counters))
    }

    fn audit(&self) -> PipelineCounters {
        let counters = self.pipeline.counters();
        let discards: u64 = counters.packet.discards.iter().sum();
        assert_eq!(counters.packet.packets, self.fed);
        assert_eq!(counters.packet.packets, counters.packet.segments + discards, "packets = segments + discards");
        let exchange = counters.exchange;
        assert_eq!(exchange.requests, exchange.emitted + exchange.open, "requests = emitted + open");
        // What only looks like a request counts once it is proven or given up.
        assert!(exchange.requests + exchange.unproven_requests <= counters.http.requests, "{counters:?}");
        assert_eq!(exchange.emitted, self.exchanges.len() as u64);
        counters
    }
}

fn footprint(counters: &PipelineCounters) -> Footprint {
    let PipelineCounters { packet, tcp, http, exchange } = counters;
    let mut footprint = Footprint::default();
    packet.discards.iter().for_each(|count| footprint.note(*count));
    for count in [
        packet.abandoned_datagrams.iter().sum(),
        tcp.connections,
        tcp.evicted,
        tcp.gaps,
        tcp.retransmits,
        tcp.duplicates,
        tcp.out_of_order,
        tcp.pending_overflows.iter().sum(),
        tcp.unknown_connection,
        http.requests,
        http.responses,
        http.interim_responses,
        http.opaque_connections,
        http.http2_connections,
        http.malformed_heads,
        http.oversized_heads,
        http.skipped_bytes,
        exchange.unanswered,
        exchange.incomplete,
        exchange.unmatched_responses,
        exchange.overflows,
    ] {
        footprint.note(count);
    }
    footprint
}
