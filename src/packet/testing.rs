//! Packets for the tests of this folder, built layer by layer, and a decoder that tells what became of each.

use std::net::SocketAddr;

use super::{Decoder, DecoderLimits, Discard, LinkType, RawPacket, Segment, SegmentSink};
use crate::time::Timestamp;

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const GRE: u8 = 47;
pub(super) const FRAGMENT: u8 = 44;
pub(super) const IPV4: u16 = 0x0800;
pub(super) const IPV6: u16 = 0x86dd;
pub(super) const BRIDGING: u16 = 0x6558;

/// What every packet of these tests carries, unless it says otherwise.
pub(super) const PAYLOAD: &[u8] = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n";

/// A segment that outlived its packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Seen {
    pub(super) at: Timestamp,
    pub(super) interface: u32,
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
    pub(super) flags: u8,
    pub(super) payload: Vec<u8>,
    pub(super) payload_length: u32,
}

#[derive(Default)]
struct Recorder(Vec<Seen>);

impl SegmentSink for Recorder {
    fn segment(&mut self, segment: &Segment<'_>) {
        self.0.push(Seen {
            at: segment.at,
            interface: segment.interface,
            source: segment.source,
            destination: segment.destination,
            sequence: segment.sequence.value(),
            acknowledgement: segment.acknowledgement.value(),
            flags: segment.flags.0,
            payload: segment.payload.to_vec(),
            payload_length: segment.payload_length,
        });
    }
}

/// A decoder that checks the sum of its counters after every packet.
#[derive(Debug)]
pub(super) struct Probe(pub(super) Decoder);

impl Default for Probe {
    fn default() -> Self {
        Self(Decoder::new(DecoderLimits::default()))
    }
}

impl Probe {
    /// What `packet` gave: a segment, or the reason that was counted.
    pub(super) fn decode(&mut self, packet: &RawPacket<'_>) -> Result<Seen, Discard> {
        let before = self.0.counters();
        let mut recorder = Recorder::default();
        self.0.decode(packet, &mut recorder);
        let after = self.0.counters();
        assert_eq!(after.packets, before.packets + 1);
        assert_eq!(after.packets, after.segments + after.discards.iter().sum::<u64>());
        assert_eq!(after.segments, before.segments + recorder.0.len() as u64);
        let counted = |reason: &Discard| after.discarded(*reason) > before.discarded(*reason);
        recorder.0.pop().ok_or_else(|| Discard::ALL.into_iter().find(counted).expect("nothing was counted"))
    }

    /// The same for a whole Ethernet frame.
    pub(super) fn frame(&mut self, frame: &[u8]) -> Result<Seen, Discard> {
        self.decode(&packet(LinkType::Ethernet, frame))
    }

    /// The same for a whole Ethernet frame captured `seconds` after the epoch.
    pub(super) fn frame_at(&mut self, seconds: u64, frame: &[u8]) -> Result<Seen, Discard> {
        self.decode(&RawPacket { at: second(seconds), ..packet(LinkType::Ethernet, frame) })
    }
}

/// What a new decoder makes of a whole packet.
pub(super) fn decode(link: LinkType, data: &[u8]) -> Result<Seen, Discard> {
    Probe::default().decode(&packet(link, data))
}

/// What a new decoder makes of an Ethernet frame.
pub(super) fn decode_frame(frame: &[u8]) -> Result<Seen, Discard> {
    decode(LinkType::Ethernet, frame)
}

/// What a new decoder makes of an Ethernet frame of which `captured` bytes were kept.
pub(super) fn decode_cut(frame: &[u8], captured: usize) -> Result<Seen, Discard> {
    let whole = packet(LinkType::Ethernet, frame);
    Probe::default().decode(&RawPacket { data: &frame[..captured], ..whole })
}

/// A whole packet, captured one second after the epoch on interface 7.
pub(super) fn packet(link: LinkType, data: &[u8]) -> RawPacket<'_> {
    RawPacket { at: second(1), data, wire_length: u32::try_from(data.len()).unwrap(), link, interface: 7 }
}

pub(super) fn second(seconds: u64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000)
}

/// The segment in `ethernet(IPV4, &ipv4(TCP, &tcp(payload)))`.
pub(super) fn segment_v4(payload: &[u8]) -> Seen {
    Seen {
        at: second(1),
        interface: 7,
        source: "10.0.0.1:49153".parse().unwrap(),
        destination: "10.0.0.2:8080".parse().unwrap(),
        sequence: 1000,
        acknowledgement: 2000,
        flags: 0x18,
        payload: payload.to_vec(),
        payload_length: u32::try_from(payload.len()).unwrap(),
    }
}

/// The segment in `ethernet(IPV6, &ipv6(TCP, &tcp(payload)))`.
pub(super) fn segment_v6(payload: &[u8]) -> Seen {
    Seen {
        source: "[fd00::1]:49153".parse().unwrap(),
        destination: "[fd00::2]:8080".parse().unwrap(),
        ..segment_v4(payload)
    }
}

/// A segment with 12 bytes of options.
pub(super) fn tcp(payload: &[u8]) -> Vec<u8> {
    let mut segment = vec![0xc0, 0x01, 0x1f, 0x90, 0, 0, 0x03, 0xe8, 0, 0, 0x07, 0xd0, 0x80, 0x18, 1, 0, 0, 0, 0, 0];
    segment.extend([1; 12]);
    segment.extend(payload);
    segment
}

pub(super) fn udp(port: u16, body: &[u8]) -> Vec<u8> {
    [&[0xd0, 0], port.to_be_bytes().as_slice(), &length_bytes(body.len() + 8), &[0, 0], body].concat()
}

pub(super) fn ipv4(protocol: u8, body: &[u8]) -> Vec<u8> {
    let start = [&[0x45, 0], length_bytes(body.len() + 20).as_slice(), &[0, 1, 0, 0, 64, protocol, 0, 0]].concat();
    [&start, [10, 0, 0, 1, 10, 0, 0, 2].as_slice(), body].concat()
}

/// A piece of an IPv4 datagram, `offset` bytes into it.
pub(super) fn ipv4_fragment(id: u16, offset: usize, more: bool, protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = ipv4(protocol, body);
    let flags = u16::try_from(offset / 8).unwrap() | if more { 0x2000 } else { 0 };
    packet[4..6].copy_from_slice(&id.to_be_bytes());
    packet[6..8].copy_from_slice(&flags.to_be_bytes());
    packet
}

pub(super) fn ipv6(next_header: u8, body: &[u8]) -> Vec<u8> {
    let start = [&[0x60, 0, 0, 0], length_bytes(body.len()).as_slice(), &[next_header, 64]].concat();
    let (source, destination) = (address_v6("fd00::1"), address_v6("fd00::2"));
    [&start, source.as_slice(), &destination, body].concat()
}

pub(super) fn address_v6(address: &str) -> [u8; 16] {
    address.parse::<std::net::Ipv6Addr>().unwrap().octets()
}

/// A fragment header and a piece of an IPv6 datagram, `offset` bytes into it.
pub(super) fn fragment_header(id: u32, offset: usize, more: bool, next_header: u8, body: &[u8]) -> Vec<u8> {
    let place = u16::try_from(offset).unwrap() | u16::from(more);
    [&[next_header, 0], place.to_be_bytes().as_slice(), &id.to_be_bytes(), body].concat()
}

/// A piece of an IPv6 datagram, `offset` bytes into it.
pub(super) fn ipv6_fragment(id: u32, offset: usize, more: bool, next_header: u8, body: &[u8]) -> Vec<u8> {
    ipv6(FRAGMENT, &fragment_header(id, offset, more, next_header, body))
}

pub(super) fn ethernet(ether_type: u16, body: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1], ether_type.to_be_bytes().as_slice(), body].concat()
}

/// The inside of a VLAN tag: its number, the type and the bytes behind it.
pub(super) fn vlan(ether_type: u16, body: &[u8]) -> Vec<u8> {
    [&[0x20, 0x05], ether_type.to_be_bytes().as_slice(), body].concat()
}

pub(super) fn vxlan(frame: &[u8]) -> Vec<u8> {
    udp(4789, &[&[0x08, 0, 0, 0, 0, 0, 42, 0], frame].concat())
}

/// A Geneve packet with `options` bytes of options, a multiple of four.
pub(super) fn geneve(options: u8, protocol: u16, body: &[u8]) -> Vec<u8> {
    let [high, low] = protocol.to_be_bytes();
    udp(6081, &[&[options / 4, 0, high, low, 0, 0, 42, 0], vec![0x11; options.into()].as_slice(), body].concat())
}

/// A GTP-U packet, with what its first byte promises between its header and its content.
pub(super) fn gtp_u(first: u8, fields: &[u8], body: &[u8]) -> Vec<u8> {
    let [high, low] = length_bytes(fields.len() + body.len());
    udp(2152, &[&[first, 255, high, low, 0, 0, 0, 42], fields, body].concat())
}

/// A GRE packet whose `flags` promise `fields` fields of four bytes.
pub(super) fn gre(flags: u8, fields: usize, protocol: u16, body: &[u8]) -> Vec<u8> {
    [&[flags, 0], protocol.to_be_bytes().as_slice(), &vec![0x22; fields * 4], body].concat()
}

/// An Ethernet frame with a TCP segment over IPv4, the most common packet there is.
pub(super) fn frame_v4(payload: &[u8]) -> Vec<u8> {
    ethernet(IPV4, &ipv4(TCP, &tcp(payload)))
}

fn length_bytes(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap().to_be_bytes()
}
