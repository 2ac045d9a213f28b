//! A packet → its segment: walks down the layers, through fragments and tunnels, and counts what it finds.

use etherparse::{EtherType, ip_number};

use super::captured::Captured;
use super::fragment::Fragments;
use super::ip::IpPart;
use super::{Discard, PacketCounters, RawPacket, SegmentSink, frame, ip, plain, tcp, tunnel};
use crate::time::Timestamp;

/// Tunnels within each other that are followed. Overlays on overlays need two; stops packets made to be unwrapped
/// for ever.
const MAX_TUNNELS: usize = 4;

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
///
/// Takes any bytes: what is no TCP segment is a counted [`Discard`].
#[derive(Debug)]
pub struct Decoder {
    fragments: Fragments,
    counters: PacketCounters,
}

impl Decoder {
    /// A decoder that has seen nothing.
    pub fn new(limits: DecoderLimits) -> Self {
        Self { fragments: Fragments::new(limits), counters: PacketCounters::default() }
    }

    /// Decodes one packet; the segment it holds or completes, if any, goes to `sink`.
    pub fn decode(&mut self, packet: &RawPacket<'_>, sink: &mut impl SegmentSink) {
        // Lossless where the agent runs: no target has pointers of less than 32 bits.
        let wire_length = usize::try_from(packet.wire_length).unwrap_or(usize::MAX);
        let bytes = Captured::new(packet.data, wire_length);
        self.counters.packets += 1;
        self.counters.wire_bytes += bytes.length() as u64;
        self.fragments.expire(packet.at);
        let walked = frame::open(packet, bytes).and_then(|(layer, interface)| {
            if let Some(segment) = plain::segment(&layer, packet.at, interface) {
                sink.segment(&segment);
                return Ok(());
            }
            let context = Context { at: packet.at, interface };
            self.walk(layer, context, 0, sink)
        });
        match walked {
            Ok(()) => self.counters.segments += 1,
            Err(discard) => self.counters.discard(discard),
        }
    }

    /// What was counted so far.
    pub fn counters(&self) -> PacketCounters {
        PacketCounters { abandoned_datagrams: self.fragments.abandoned(), ..self.counters }
    }

    /// Goes down layer by layer. Ends, as each step takes a header off; calls itself for the datagram that a fragment
    /// completes, which a tunnel must come before a second time.
    fn walk(
        &mut self,
        mut layer: Layer<'_>,
        context: Context,
        mut tunnels: usize,
        sink: &mut impl SegmentSink,
    ) -> Result<(), Discard> {
        loop {
            layer = match layer {
                Layer::Ethernet(bytes) => frame::ethernet(bytes)?,
                Layer::EtherType(ether_type, bytes) => frame::ether_type(ether_type, bytes)?,
                Layer::Ip(bytes) => Layer::IpPart(ip::open(bytes)?),
                Layer::IpPart(IpPart::Fragment(fragment)) => {
                    let datagram = self.fragments.add(&fragment, context.interface, context.at)?;
                    let payload = IpPart::Payload(datagram.payload(&fragment));
                    return self.walk(Layer::IpPart(payload), context, tunnels, sink);
                }
                Layer::IpPart(IpPart::Payload(payload)) if payload.protocol == ip_number::TCP => {
                    sink.segment(&tcp::open(&payload, context.at, context.interface)?);
                    return Ok(());
                }
                Layer::IpPart(IpPart::Payload(payload)) => {
                    if let Some(part) = ip::open_extension(&payload) {
                        Layer::IpPart(part?)
                    } else {
                        let inner = tunnel::open(&payload)?;
                        tunnels += 1;
                        if tunnels > MAX_TUNNELS {
                            return Err(Discard::TunnelTooDeep);
                        }
                        inner
                    }
                }
            };
        }
    }
}

/// What the next bytes of a packet are.
pub(super) enum Layer<'a> {
    /// An Ethernet II header.
    Ethernet(Captured<'a>),
    /// What an `EtherType` names.
    EtherType(EtherType, Captured<'a>),
    /// An IPv4 or IPv6 header.
    Ip(Captured<'a>),
    /// What an IP header left.
    IpPart(IpPart<'a>),
}

/// What a packet says about every segment in it.
#[derive(Clone, Copy, Debug)]
struct Context {
    at: Timestamp,
    interface: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::LinkType;
    use crate::packet::testing::*;

    #[test]
    fn packets_and_their_bytes_on_the_wire_are_counted_whatever_they_hold() {
        let mut probe = Probe::default();
        let frame = frame_v4(PAYLOAD);
        let whole = packet(LinkType::Ethernet, &frame);
        assert!(probe.decode(&RawPacket { data: &frame[..60], ..whole }).is_err());
        assert!(probe.decode(&whole).is_ok());
        // A source that forgot the length on the wire.
        assert!(probe.decode(&RawPacket { wire_length: 0, ..whole }).is_ok());
        let counters = probe.0.counters();
        assert_eq!((counters.packets, counters.segments, counters.discarded(Discard::Truncated)), (3, 2, 1));
        assert_eq!(counters.wire_bytes, 3 * frame.len() as u64);
    }
}
