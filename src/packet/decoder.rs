//! The decoder: link layers, IP, fragments and tunnels down to the TCP segment.

use super::{PacketCounters, RawPacket, SegmentSink};

/// Bounds of the decoder's memory.
#[derive(Clone, Copy, Debug)]
pub struct DecoderLimits {
    /// Bytes of fragments held at once; stops a flood of first fragments that are never completed.
    pub fragment_bytes: usize,
    /// Datagrams under reassembly at once.
    pub fragment_sets: usize,
}

impl Default for DecoderLimits {
    fn default() -> Self {
        Self { fragment_bytes: 4 << 20, fragment_sets: 512 }
    }
}

/// Turns packets into segments; holds nothing but fragments and counters.
#[derive(Debug)]
pub struct Decoder {
    limits: DecoderLimits,
    counters: PacketCounters,
}

impl Decoder {
    /// A decoder that has seen nothing.
    pub fn new(limits: DecoderLimits) -> Self {
        Self { limits, counters: PacketCounters::default() }
    }

    /// Decodes one packet; the segment it holds, if any, goes to `sink`.
    pub fn decode(&mut self, packet: &RawPacket<'_>, sink: &mut impl SegmentSink) {
        let _ = (packet, sink, self.limits);
    }

    /// What was counted so far.
    pub fn counters(&self) -> &PacketCounters {
        &self.counters
    }
}
