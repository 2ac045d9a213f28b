//! Properties of the decoder that hold for every packet.

use etherparse::PacketBuilder;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

use super::testing::*;
use super::{Discard, LinkType, RawPacket};

const LINKS: [LinkType; 6] =
    [LinkType::Ethernet, LinkType::Null, LinkType::Loop, LinkType::Raw, LinkType::LinuxSll, LinkType::LinuxSll2];

/// A header put in front of a packet that may not change the segment within.
#[derive(Clone, Copy, Debug)]
enum Wrapping {
    Vlan(u16),
    Mpls,
    Vxlan,
    Geneve(u8),
    GeneveIp,
    Gre(u8),
    GreIp,
    IpInIp,
    IpInIp6,
    Options,
}

impl Wrapping {
    fn is_tunnel(self) -> bool {
        !matches!(self, Self::Vlan(_) | Self::Mpls)
    }

    /// Wraps a body with its `EtherType`; gives the like.
    fn wrap(self, (ether_type, body): (u16, Vec<u8>)) -> (u16, Vec<u8>) {
        let is_ip = [IPV4, IPV6].contains(&ether_type);
        let protocol = if ether_type == IPV4 { 4 } else { 41 };
        match self {
            Self::Vlan(tag) => (tag, vlan(ether_type, &body)),
            Self::Mpls if is_ip => (0x8847, [&[0, 1, 1, 64], body.as_slice()].concat()),
            Self::Vxlan => (IPV4, ipv4(UDP, &vxlan(&ethernet(ether_type, &body)))),
            Self::Geneve(options) => (IPV6, ipv6(UDP, &geneve(options, BRIDGING, &ethernet(ether_type, &body)))),
            Self::GeneveIp => (IPV4, ipv4(UDP, &geneve(8, ether_type, &body))),
            Self::Gre(fields) => {
                let flags = [0, 0x20, 0x30, 0xb0][usize::from(fields)];
                (IPV4, ipv4(GRE, &gre(flags, fields.into(), BRIDGING, &ethernet(ether_type, &body))))
            }
            Self::GreIp => (IPV6, ipv6(GRE, &gre(0, 0, ether_type, &body))),
            Self::IpInIp if is_ip => (IPV4, ipv4(protocol, &body)),
            Self::IpInIp6 if is_ip => (IPV6, ipv6(protocol, &body)),
            Self::Options if is_ip => (IPV6, ipv6(60, &[&[protocol, 0, 1, 4, 0, 0, 0, 0], body.as_slice()].concat())),
            Self::Mpls | Self::IpInIp | Self::IpInIp6 | Self::Options => (ether_type, body),
        }
    }
}

fn wrapping() -> impl Strategy<Value = Wrapping> {
    prop_oneof![
        prop_oneof![Just(0x8100), Just(0x88a8), Just(0x9100)].prop_map(Wrapping::Vlan),
        Just(Wrapping::Mpls),
        Just(Wrapping::Vxlan),
        (0_u8..63).prop_map(|words| Wrapping::Geneve(words * 4)),
        Just(Wrapping::GeneveIp),
        (0_u8..4).prop_map(Wrapping::Gre),
        Just(Wrapping::GreIp),
        Just(Wrapping::IpInIp),
        Just(Wrapping::IpInIp6),
        Just(Wrapping::Options),
    ]
}

/// A packet with a TCP segment in random wrappings of which at most four are tunnels.
fn wrapped() -> impl Strategy<Value = (Seen, Vec<u8>)> {
    (any::<bool>(), vec(any::<u8>(), 0..100), vec(wrapping(), 0..8)).prop_map(|(v6, payload, wrappings)| {
        let (seen, innermost) = if v6 {
            (segment_v6(&payload), (IPV6, ipv6(TCP, &tcp(&payload))))
        } else {
            (segment_v4(&payload), (IPV4, ipv4(TCP, &tcp(&payload))))
        };
        let mut tunnels = 0;
        let fits = |wrapping: &Wrapping| {
            tunnels += usize::from(wrapping.is_tunnel());
            !wrapping.is_tunnel() || tunnels <= 4
        };
        let (ether_type, body) =
            wrappings.into_iter().filter(fits).fold(innermost, |body, wrapping| wrapping.wrap(body));
        (seen, ethernet(ether_type, &body))
    })
}

/// Cuts a datagram at `cuts`, multiples of eight; every piece with its offset.
fn pieces(datagram: &[u8], cuts: &[usize]) -> Vec<(usize, Vec<u8>)> {
    let ends = cuts.iter().copied().chain([datagram.len()]);
    let starts = [0].into_iter().chain(cuts.iter().copied());
    starts.zip(ends).map(|(start, end)| (start, datagram[start..end].to_vec())).collect()
}

/// A payload, the pieces of its datagram in random order, some of them twice.
fn fragmented() -> impl Strategy<Value = (Vec<u8>, Vec<(usize, Vec<u8>)>)> {
    (vec(any::<u8>(), 1..600), any::<bool>())
        .prop_flat_map(|(payload, duplicates)| {
            let length = tcp(&payload).len();
            let cuts: Vec<usize> = (8..length).step_by(8).collect();
            let most = cuts.len();
            (Just(payload), subsequence(cuts, 1..=most), vec(any::<Index>(), if duplicates { 0..10 } else { 0..1 }))
        })
        .prop_flat_map(|(payload, cuts, again)| {
            let mut pieces = pieces(&tcp(&payload), &cuts);
            let copies: Vec<_> = again.iter().map(|index| pieces[index.index(pieces.len())].clone()).collect();
            pieces.extend(copies);
            (Just(payload), Just(pieces).prop_shuffle())
        })
}

/// Fragments give the whole datagram once, and everything but its last piece is held or dropped.
fn check_fragments(frames: &[Vec<u8>], expected: &Seen) -> Result<(), TestCaseError> {
    let mut probe = Probe::default();
    let mut seen = Vec::new();
    for frame in frames {
        match probe.frame(frame) {
            Ok(segment) => seen.push(segment),
            Err(discard) => prop_assert!(matches!(discard, Discard::FragmentHeld | Discard::FragmentDropped)),
        }
    }
    // Copies that come after the datagram was complete may even complete it again.
    prop_assert!(!seen.is_empty());
    prop_assert!(seen.iter().all(|segment| segment == expected));
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_on_any_link_are_a_segment_or_a_discard(
        packets in vec((0..LINKS.len(), vec(any::<u8>(), 0..200), 0_u32..300, any::<u64>()), 1..20),
    ) {
        let mut probe = Probe::default();
        for (link, data, wire_length, nanos) in &packets {
            let at = crate::time::Timestamp::from_nanos(*nanos);
            let _ = probe.decode(&RawPacket { at, data, wire_length: *wire_length, link: LINKS[*link], interface: 0 });
        }
    }

    #[test]
    fn a_packet_with_any_bytes_changed_is_a_segment_or_a_discard(
        packets in vec((wrapped(), vec((any::<Index>(), any::<u8>()), 0..6), any::<Index>()), 1..10),
    ) {
        let mut probe = Probe::default();
        for ((_, mut frame), changes, cut) in packets {
            for (at, value) in changes {
                let at = at.index(frame.len());
                frame[at] = value;
            }
            let whole = packet(LinkType::Ethernet, &frame);
            let _ = probe.decode(&RawPacket { data: &frame[..cut.index(frame.len() + 1)], ..whole });
        }
    }

    #[test]
    fn any_fragments_are_held_within_the_bounds(
        fragments in vec((any::<bool>(), 0_u16..3, 0_usize..40, any::<bool>(), 1_usize..10, 0_u64..100), 1..200),
    ) {
        let mut probe = Probe(super::Decoder::new(super::DecoderLimits { fragment_bytes: 2000, fragment_sets: 2 }));
        for (v6, id, offset, more, length, seconds) in fragments {
            let body = vec![0x50; length * 8];
            let frame = if v6 {
                ethernet(IPV6, &ipv6_fragment(id.into(), offset * 8, more, TCP, &body))
            } else {
                ethernet(IPV4, &ipv4_fragment(id, offset * 8, more, TCP, &body))
            };
            let _ = probe.frame_at(seconds, &frame);
            let counters = probe.0.counters();
            prop_assert!(counters.abandoned_datagrams.iter().sum::<u64>() <= counters.packets);
        }
    }

    #[test]
    fn ipv4_fragments_in_any_order_with_duplicates_give_the_segment((payload, pieces) in fragmented()) {
        let length = tcp(&payload).len();
        let frame = |(offset, piece): &(usize, Vec<u8>)| {
            ethernet(IPV4, &ipv4_fragment(77, *offset, offset + piece.len() < length, TCP, piece))
        };
        check_fragments(&pieces.iter().map(frame).collect::<Vec<_>>(), &segment_v4(&payload))?;
    }

    #[test]
    fn ipv6_fragments_in_any_order_with_duplicates_give_the_segment((payload, pieces) in fragmented()) {
        let length = tcp(&payload).len();
        let frame = |(offset, piece): &(usize, Vec<u8>)| {
            ethernet(IPV6, &ipv6_fragment(77, *offset, offset + piece.len() < length, TCP, piece))
        };
        check_fragments(&pieces.iter().map(frame).collect::<Vec<_>>(), &segment_v6(&payload))?;
    }

    #[test]
    fn tunnels_and_tags_do_not_change_the_segment((seen, frame) in wrapped()) {
        prop_assert_eq!(decode_frame(&frame), Ok(seen));
    }

    #[test]
    fn every_prefix_of_a_packet_gives_the_segment_or_is_truncated((seen, frame) in wrapped()) {
        let headers = frame.len() - seen.payload.len();
        for captured in 0..=frame.len() {
            let expected = match captured.checked_sub(headers) {
                Some(kept) => Ok(Seen { payload: seen.payload[..kept].to_vec(), ..seen.clone() }),
                None => Err(Discard::Truncated),
            };
            prop_assert_eq!(decode_cut(&frame, captured), expected);
        }
    }

    #[test]
    fn packets_built_by_etherparse_are_read_alike(
        ports in any::<(u16, u16)>(), sequence in any::<u32>(), acknowledgement in any::<u32>(), window in any::<u16>(),
        payload in vec(any::<u8>(), 0..300), source in any::<[u8; 16]>(), destination in any::<[u8; 16]>(),
    ) {
        let builder = PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv6(source, destination, 64)
            .tcp(ports.0, ports.1, sequence, window)
            .ack(acknowledgement)
            .fin();
        let mut frame = Vec::with_capacity(builder.size(payload.len()));
        builder.write(&mut frame, &payload).unwrap();
        let expected = Seen {
            source: (source, ports.0).into(),
            destination: (destination, ports.1).into(),
            sequence,
            acknowledgement,
            flags: 0x11,
            ..segment_v4(&payload)
        };
        prop_assert_eq!(decode_frame(&frame), Ok(expected));
    }
}
