//! A tunnel packet → the inner packet: VXLAN, Geneve, GTP-U, MPLS in UDP, GRE, IP in IP.

use etherparse::{EtherType, UdpHeaderSlice, ip_number};

use super::Discard;
use super::captured::Captured;
use super::decoder::Layer;
use super::ip::IpPayload;

/// Destination ports of VXLAN: the registered one (RFC 7348 §5) and the Linux kernel's older default.
const VXLAN_PORTS: [u16; 2] = [4789, 8472];
/// Destination port of Geneve (RFC 8926 §3.3).
const GENEVE_PORT: u16 = 6081;
/// Destination port of GTP-U (3GPP TS 29.281 §4.4.2.3): the traffic of mobile phones, between base station and core.
const GTP_U_PORT: u16 = 2152;
/// Destination port of MPLS in UDP (RFC 7510 §3).
const MPLS_PORT: u16 = 6635;
const MPLS: EtherType = EtherType(0x8847);
/// GRE protocol type of mirrored Ethernet frames (ERSPAN types I and II).
const ERSPAN: EtherType = EtherType(0x88be);

/// Takes the tunnel's header off; [`Discard::NotTcp`] when `payload` is no tunnel.
pub(super) fn open<'a>(payload: &IpPayload<'a>) -> Result<Layer<'a>, Discard> {
    match payload.protocol {
        ip_number::IPV4 | ip_number::IPV6 => Ok(Layer::Ip(payload.body)),
        ip_number::GRE => or_no_tunnel(gre(payload.body)),
        ip_number::UDP => udp(payload.body),
        _ => Err(Discard::NotTcp),
    }
}

/// Only the destination port tells: the source port is a hash of the inner flow.
fn udp(body: Captured<'_>) -> Result<Layer<'_>, Discard> {
    let header = UdpHeaderSlice::from_slice(body.data()).map_err(|short| body.missing(short.required_len))?;
    let body = body.skip(header.slice().len())?;
    match header.destination_port() {
        port if VXLAN_PORTS.contains(&port) => or_no_tunnel(vxlan(body)),
        GENEVE_PORT => or_no_tunnel(geneve(body)),
        GTP_U_PORT => or_no_tunnel(gtp_u(body)),
        MPLS_PORT => Ok(Layer::EtherType(MPLS, body)),
        _ => Err(Discard::NotTcp),
    }
}

/// A datagram on a tunnel's port that is too short to be one is something else.
fn or_no_tunnel(inner: Result<Layer<'_>, Discard>) -> Result<Layer<'_>, Discard> {
    inner.map_err(|discard| if discard == Discard::Malformed { Discard::NotTcp } else { discard })
}

/// Flags, group, network identifier; the flag `I` is always set (RFC 7348 §5).
fn vxlan(body: Captured<'_>) -> Result<Layer<'_>, Discard> {
    let (header, frame) = body.split::<8>()?;
    let [flags, ..] = *header;
    if flags & 0x08 == 0 {
        return Err(Discard::NotTcp);
    }
    Ok(Layer::Ethernet(frame))
}

/// Version and length of the options in units of four bytes, flags, protocol type, network identifier
/// (RFC 8926 §3.4).
fn geneve(body: Captured<'_>) -> Result<Layer<'_>, Discard> {
    let (header, rest) = body.split::<8>()?;
    let [version_and_length, _, high, low, ..] = *header;
    if version_and_length >> 6 != 0 {
        return Err(Discard::NotTcp);
    }
    let options = usize::from(version_and_length & 0x3f) * 4;
    Ok(Layer::EtherType(EtherType(u16::from_be_bytes([high, low])), rest.skip(options)?))
}

/// Version, kind and flags, message type, length behind the first eight bytes, tunnel identifier; when a flag is set
/// four bytes more, the last of which names an extension header (3GPP TS 29.281 §5.1).
///
/// Only the message "G-PDU" carries a packet. Nothing names its kind: it is IP when it begins like IP, and otherwise
/// the Ethernet frame or the data of another kind that the two ends have agreed upon.
fn gtp_u(body: Captured<'_>) -> Result<Layer<'_>, Discard> {
    /// Version 1, and GTP rather than GTP' (charging).
    const VERSION: u8 = 0x30;
    const EXTENSION: u8 = 0x04;
    const ANY_FLAG: u8 = 0x07;
    const G_PDU: u8 = 255;

    let ([first, kind, high, low, ..], rest) = body.split::<8>()?;
    if first & 0xf0 != VERSION || *kind != G_PDU {
        return Err(Discard::NotTcp);
    }
    let rest = rest.at_most(usize::from(u16::from_be_bytes([*high, *low])));
    if first & ANY_FLAG == 0 {
        return Ok(Layer::Ip(rest));
    }
    let ([_, _, _, next], rest) = rest.split()?;
    // Without the flag the byte means nothing.
    let next = if first & EXTENSION == 0 { 0 } else { *next };
    gtp_u_extensions(next, rest)
}

/// Past extension headers: length in units of four bytes, content, the type of the next one, 0 for none
/// (3GPP TS 29.281 §5.2.1). Ends, as each takes at least four bytes off.
fn gtp_u_extensions(mut next: u8, mut rest: Captured<'_>) -> Result<Layer<'_>, Discard> {
    while next != 0 {
        let ([units], _) = rest.split()?;
        let length = usize::from(*units) * 4;
        let Some(last) = length.checked_sub(1) else { return Err(Discard::NotTcp) };
        let ([kind], behind) = rest.skip(last)?.split()?;
        (next, rest) = (*kind, behind);
    }
    Ok(Layer::Ip(rest))
}

/// Flags and version, protocol type, then the fields that the flags name: checksum, key, sequence number
/// (RFC 2784 §2, RFC 2890 §2). Version 1 is PPTP, routing was withdrawn.
fn gre(body: Captured<'_>) -> Result<Layer<'_>, Discard> {
    const CHECKSUM: u8 = 0x80;
    const ROUTING: u8 = 0x40;
    const KEY: u8 = 0x20;
    const SEQUENCE: u8 = 0x10;

    let ([flags, version, high, low], rest) = body.split()?;
    if flags & ROUTING != 0 || version & 0x07 != 0 {
        return Err(Discard::NotTcp);
    }
    let fields = [CHECKSUM, KEY, SEQUENCE].iter().filter(|flag| flags & **flag != 0).count();
    let rest = rest.skip(fields * 4)?;
    match EtherType(u16::from_be_bytes([*high, *low])) {
        // Type I has no header of its own, type II eight bytes; the sequence number tells which.
        ERSPAN if flags & SEQUENCE == 0 => Ok(Layer::Ethernet(rest)),
        ERSPAN => Ok(Layer::Ethernet(rest.skip(8)?)),
        protocol => Ok(Layer::EtherType(protocol, rest)),
    }
}

#[cfg(test)]
mod tests {
    use crate::packet::testing::*;
    use crate::packet::{Discard, LinkType};

    /// What comes out of `body` in an IPv4 packet of this protocol.
    fn decode_v4(protocol: u8, body: &[u8]) -> Result<Seen, Discard> {
        decode_frame(&ethernet(IPV4, &ipv4(protocol, body)))
    }

    fn packet_v6() -> Vec<u8> {
        ipv6(TCP, &tcp(PAYLOAD))
    }

    #[test]
    fn vxlan_carries_ethernet_frames_on_both_ports() {
        for port in [4789, 8472] {
            // With the group policy extension, too.
            for flags in [0x08, 0x88] {
                let frame = ethernet(IPV6, &packet_v6());
                let datagram = udp(port, &[&[flags, 0, 0, 1, 0, 0, 42, 0], frame.as_slice()].concat());
                assert_eq!(decode_v4(UDP, &datagram), Ok(segment_v6(PAYLOAD)));
            }
        }
    }

    #[test]
    fn geneve_carries_frames_and_packets_behind_any_options() {
        for options in [0, 4, 252] {
            let frame = ethernet(IPV6, &packet_v6());
            assert_eq!(decode_v4(UDP, &geneve(options, BRIDGING, &frame)), Ok(segment_v6(PAYLOAD)));
            assert_eq!(decode_v4(UDP, &geneve(options, IPV6, &packet_v6())), Ok(segment_v6(PAYLOAD)));
            let packet = ipv4(TCP, &tcp(PAYLOAD));
            assert_eq!(decode_v4(UDP, &geneve(options, IPV4, &packet)), Ok(segment_v4(PAYLOAD)));
        }
    }

    #[test]
    fn gtp_u_carries_packets_of_both_versions() {
        assert_eq!(decode_v4(UDP, &gtp_u(0x30, &[], &packet_v6())), Ok(segment_v6(PAYLOAD)));
        let packet = ipv4(TCP, &tcp(PAYLOAD));
        assert_eq!(decode_v4(UDP, &gtp_u(0x30, &[], &packet)), Ok(segment_v4(PAYLOAD)));
    }

    #[test]
    fn gtp_u_fields_are_there_when_any_flag_is_set() {
        for flags in 1..=3 {
            // Without the flag for it, the byte that would name an extension header names none.
            let fields = [0x12, 0x34, 0x56, 0x85];
            assert_eq!(decode_v4(UDP, &gtp_u(0x30 | flags, &fields, &packet_v6())), Ok(segment_v6(PAYLOAD)), "{flags}");
        }
    }

    #[test]
    fn gtp_u_extension_headers_are_skipped_in_any_number_and_size() {
        for sizes in [&[][..], &[1], &[2], &[255], &[1, 1], &[3, 1, 40]] {
            let mut fields = vec![0, 0, 0];
            for units in sizes {
                // The type of this one, its length, its content.
                fields.extend([0x85, *units]);
                fields.extend(vec![0x33; usize::from(*units) * 4 - 2]);
            }
            fields.push(0);
            for flags in [0x34, 0x35, 0x36, 0x37] {
                assert_eq!(decode_v4(UDP, &gtp_u(flags, &fields, &packet_v6())), Ok(segment_v6(PAYLOAD)), "{sizes:?}");
            }
        }
    }

    #[test]
    fn gtp_u_padding_behind_its_length_is_left_out() {
        let packet = ipv4(TCP, &tcp(PAYLOAD));
        // Without a length of its own.
        let unknown = [&packet[..2], &[0, 0], &packet[4..]].concat();
        let mut padded = gtp_u(0x32, &[0; 4], &unknown);
        padded.extend([0; 9]);
        assert_eq!(decode_v4(UDP, &padded), Ok(segment_v4(PAYLOAD)));
    }

    #[test]
    fn gtp_u_of_another_kind_is_not_tcp() {
        let change = |place: usize, value: u8| {
            let mut datagram = gtp_u(0x34, &[0, 0, 0, 0x85, 1, 0, 0, 0], &packet_v6());
            datagram[8 + place] = value;
            decode_v4(UDP, &datagram)
        };
        assert_eq!(change(1, 255), Ok(segment_v6(PAYLOAD)), "a packet");
        assert_eq!(change(1, 1), Err(Discard::NotTcp), "an echo request");
        assert_eq!(change(0, 0x14), Err(Discard::NotTcp), "version 0");
        assert_eq!(change(0, 0x54), Err(Discard::NotTcp), "version 2");
        assert_eq!(change(0, 0x24), Err(Discard::NotTcp), "charging");
        assert_eq!(change(12, 0), Err(Discard::NotTcp), "an extension header of no length");
        assert_eq!(change(12, 255), Err(Discard::NotTcp), "one that is longer than the datagram");
        assert_eq!(decode_v4(UDP, &gtp_u(0x30, &[], &frame_v4(PAYLOAD))), Err(Discard::NotIp), "an Ethernet frame");
    }

    #[test]
    fn no_prefix_of_a_gtp_u_packet_is_more_than_it() {
        let fields = [0, 0, 0, 0x85, 1, 0, 0, 0xc0, 2, 0, 0, 0, 0, 0, 0, 0];
        let whole = gtp_u(0x34, &fields, &packet_v6());
        let header = 8 + 8 + fields.len();
        let frame = ethernet(IPV4, &ipv4(UDP, &whole));
        for end in 0..whole.len() {
            let short = decode_v4(UDP, &[&whole[..end.min(8)], whole.get(8..end).unwrap_or_default()].concat());
            let cut = decode_cut(&frame, 34 + end);
            if end < 8 + 8 + fields.len() {
                assert!(matches!(short, Err(Discard::NotTcp | Discard::Malformed)), "{end}: {short:?}");
            }
            if end < header + 40 + 32 {
                assert_eq!(cut, Err(Discard::Truncated), "{end}");
                assert!(short.is_err(), "{end}");
            } else {
                let payload = &PAYLOAD[..end - header - 40 - 32];
                assert_eq!(short, Ok(segment_v6(payload)), "{end}");
                assert_eq!(cut.map(|seen| seen.payload), Ok(payload.to_vec()), "{end}");
            }
        }
    }

    #[test]
    fn mpls_in_udp_carries_packets_behind_any_labels() {
        for labels in [&[0, 1, 0x11, 64][..], &[0, 1, 0x10, 64, 0, 2, 0x21, 64]] {
            let datagram = udp(6635, &[labels, &packet_v6()].concat());
            assert_eq!(decode_v4(UDP, &datagram), Ok(segment_v6(PAYLOAD)));
        }
        assert_eq!(decode_v4(UDP, &udp(6635, &[0, 1, 0x10, 64])), Err(Discard::Malformed), "no last label");
    }

    #[test]
    fn ip_in_ip_carries_either_version_in_either() {
        let (v4, v6) = (ipv4(TCP, &tcp(PAYLOAD)), packet_v6());
        assert_eq!(decode(LinkType::Raw, &ipv4(4, &v4)), Ok(segment_v4(PAYLOAD)));
        assert_eq!(decode(LinkType::Raw, &ipv4(41, &v6)), Ok(segment_v6(PAYLOAD)));
        assert_eq!(decode(LinkType::Raw, &ipv6(4, &v4)), Ok(segment_v4(PAYLOAD)));
        assert_eq!(decode(LinkType::Raw, &ipv6(41, &v6)), Ok(segment_v6(PAYLOAD)));
    }

    #[test]
    fn gre_fields_are_skipped_as_the_flags_say() {
        for (flags, fields) in [(0, 0), (0x80, 1), (0x20, 1), (0x10, 1), (0x30, 2), (0xa0, 2), (0xb0, 3)] {
            let body = gre(flags, fields, IPV6, &packet_v6());
            assert_eq!(decode_v4(GRE, &body), Ok(segment_v6(PAYLOAD)), "{flags:#x}");
        }
    }

    #[test]
    fn gre_carries_packets_frames_and_mirrored_frames() {
        let frame = frame_v4(PAYLOAD);
        assert_eq!(decode_v4(GRE, &gre(0, 0, IPV4, &ipv4(TCP, &tcp(PAYLOAD)))), Ok(segment_v4(PAYLOAD)));
        assert_eq!(decode_v4(GRE, &gre(0, 0, BRIDGING, &frame)), Ok(segment_v4(PAYLOAD)));
        assert_eq!(decode_v4(GRE, &gre(0, 0, 0x88be, &frame)), Ok(segment_v4(PAYLOAD)));
        let with_header = [[0x10; 8].as_slice(), &frame].concat();
        assert_eq!(decode_v4(GRE, &gre(0x10, 1, 0x88be, &with_header)), Ok(segment_v4(PAYLOAD)));
    }

    #[test]
    fn gre_of_another_kind_is_not_tcp() {
        assert_eq!(decode_v4(GRE, &[0x30, 0x01, 0x88, 0x0b, 0, 0, 0, 0]), Err(Discard::NotTcp), "PPTP");
        assert_eq!(decode_v4(GRE, &gre(0x40, 1, IPV6, &packet_v6())), Err(Discard::NotTcp), "routing");
        assert_eq!(decode_v4(GRE, &[0, 0, 8]), Err(Discard::NotTcp), "too short");
        assert_eq!(decode_v4(GRE, &[0xb0, 0, 8, 0, 0, 0, 0, 0]), Err(Discard::NotTcp), "too short for its fields");
    }

    #[test]
    fn datagrams_on_a_tunnel_port_that_are_no_tunnel_are_not_tcp() {
        assert_eq!(decode_v4(UDP, &udp(4789, &[0; 60])), Err(Discard::NotTcp), "VXLAN without its flag");
        assert_eq!(decode_v4(UDP, &udp(8472, &[8, 0, 0])), Err(Discard::NotTcp), "VXLAN cut short");
        assert_eq!(decode_v4(UDP, &udp(6081, &[0x40; 60])), Err(Discard::NotTcp), "Geneve of version 1");
        assert_eq!(decode_v4(UDP, &udp(6081, &[0x3f, 0, 8, 0, 0, 0, 0, 0])), Err(Discard::NotTcp), "Geneve too short");
        assert_eq!(decode_v4(UDP, &udp(6081, &[])), Err(Discard::NotTcp), "nothing");
    }

    #[test]
    fn a_tunnel_from_a_tunnel_port_to_another_is_not_tcp() {
        let mut datagram = vxlan(&frame_v4(PAYLOAD));
        datagram[..4].copy_from_slice(&[0x12, 0xb5, 0xd0, 0]);
        assert_eq!(decode_v4(UDP, &datagram), Err(Discard::NotTcp));
    }

    #[test]
    fn a_tunnel_header_cut_by_the_snap_length_is_truncated() {
        let frame = ethernet(IPV4, &ipv4(UDP, &vxlan(&frame_v4(PAYLOAD))));
        for captured in [14 + 20 + 7, 14 + 20 + 8, 14 + 20 + 8 + 7] {
            assert_eq!(decode_cut(&frame, captured), Err(Discard::Truncated), "{captured}");
        }
    }

    #[test]
    fn what_a_tunnel_carries_is_judged_like_any_packet() {
        let arp = ethernet(0x0806, &[0; 28]);
        assert_eq!(decode_v4(UDP, &vxlan(&arp)), Err(Discard::NotIp));
        assert_eq!(decode_v4(4, &ipv4(1, &[0; 8])), Err(Discard::NotTcp));
        assert_eq!(decode_v4(UDP, &vxlan(&[0; 10])), Err(Discard::Malformed));
    }

    #[test]
    fn four_tunnels_are_followed_and_no_more() {
        let mut packet = ipv4(TCP, &tcp(PAYLOAD));
        for _ in 0..4 {
            packet = ipv4(4, &packet);
            assert_eq!(decode(LinkType::Raw, &packet), Ok(segment_v4(PAYLOAD)));
        }
        assert_eq!(decode(LinkType::Raw, &ipv4(4, &packet)), Err(Discard::TunnelTooDeep));
    }

    #[test]
    fn a_fragmented_tunnel_is_put_together_and_then_opened() {
        let datagram = vxlan(&frame_v4(PAYLOAD));
        let mut probe = Probe::default();
        let first = ethernet(IPV4, &ipv4_fragment(9, 0, true, UDP, &datagram[..64]));
        let last = ethernet(IPV4, &ipv4_fragment(9, 64, false, UDP, &datagram[64..]));
        assert_eq!(probe.frame(&last), Err(Discard::FragmentHeld));
        assert_eq!(probe.frame(&first), Ok(segment_v4(PAYLOAD)));
    }

    #[test]
    fn fragments_within_fragmented_tunnels_are_put_together() {
        let datagram = tcp(PAYLOAD);
        let mut probe = Probe::default();
        let mut id = 10;
        let mut send = |inner: &[u8]| {
            id += 1;
            let outer = vxlan(&ethernet(IPV4, inner));
            let first = probe.frame(&ethernet(IPV4, &ipv4_fragment(id, 0, true, UDP, &outer[..32])));
            assert_eq!(first, Err(Discard::FragmentHeld));
            probe.frame(&ethernet(IPV4, &ipv4_fragment(id, 32, false, UDP, &outer[32..])))
        };
        assert_eq!(send(&ipv4_fragment(1, 0, true, TCP, &datagram[..40])), Err(Discard::FragmentHeld));
        assert_eq!(send(&ipv4_fragment(1, 40, false, TCP, &datagram[40..])), Ok(segment_v4(PAYLOAD)));
    }
}
