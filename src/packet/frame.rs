//! A frame as captured → the IP packet in it: link headers, VLAN tags, `PPPoE`, MPLS.

use etherparse::{EtherType, Ethernet2HeaderSlice, SingleVlanHeaderSlice, ether_type};

use super::captured::Captured;
use super::decoder::Layer;
use super::{Discard, LinkType, RawPacket};

/// Transparent Ethernet bridging: an Ethernet frame inside a tunnel.
const ETHERNET_FRAME: EtherType = EtherType(0x6558);
/// A `PPPoE` frame of the session stage (RFC 2516 §4).
const PPPOE_SESSION: EtherType = EtherType(0x8864);
/// MPLS label stacks (RFC 3032 §5; the second once meant multicast, RFC 5332).
const MPLS: EtherType = EtherType(0x8847);
const MPLS_UPSTREAM: EtherType = EtherType(0x8848);

/// Link-layer address families of IPv4 and, by system, of IPv6 (Linux, NetBSD, FreeBSD, macOS).
const FAMILY_IPV4: u32 = 2;
const FAMILIES_IPV6: [u32; 4] = [10, 24, 28, 30];

/// "Cooked" hardware types whose protocol field is no `EtherType`: frame relay, radiotap, netlink.
const FOREIGN_HARDWARE: [u16; 3] = [770, 803, 824];

/// Takes the link header off: what follows it, and the interface that saw the packet.
#[inline]
pub(super) fn open<'a>(packet: &RawPacket<'a>, bytes: Captured<'a>) -> Result<(Layer<'a>, u32), Discard> {
    let layer = match packet.link {
        LinkType::Ethernet => Layer::Ethernet(bytes),
        LinkType::Raw => Layer::Ip(bytes),
        LinkType::Null => null(bytes)?,
        LinkType::Loop => loopback(bytes)?,
        LinkType::LinuxSll => cooked(bytes)?,
        LinkType::LinuxSll2 => return cooked_v2(bytes),
    };
    Ok((layer, packet.interface))
}

/// Takes an Ethernet II header off.
pub(super) fn ethernet(frame: Captured<'_>) -> Result<Layer<'_>, Discard> {
    let header = Ethernet2HeaderSlice::from_slice(frame.data()).map_err(|short| frame.missing(short.required_len))?;
    Ok(Layer::EtherType(header.ether_type(), frame.skip(header.slice().len())?))
}

/// Takes one header of the kind `ether_type` off.
pub(super) fn ether_type(ether_type: EtherType, body: Captured<'_>) -> Result<Layer<'_>, Discard> {
    match ether_type {
        ether_type::IPV4 | ether_type::IPV6 => Ok(Layer::Ip(body)),
        ether_type::VLAN_TAGGED_FRAME | ether_type::PROVIDER_BRIDGING | ether_type::VLAN_DOUBLE_TAGGED_FRAME => {
            let tag =
                SingleVlanHeaderSlice::from_slice(body.data()).map_err(|short| body.missing(short.required_len))?;
            Ok(Layer::EtherType(tag.ether_type(), body.skip(tag.slice().len())?))
        }
        ETHERNET_FRAME => Ok(Layer::Ethernet(body)),
        PPPOE_SESSION => pppoe(body),
        MPLS | MPLS_UPSTREAM => mpls(body),
        _ => Err(Discard::NotIp),
    }
}

/// Version, type and code, session, length; then the PPP protocol (RFC 2516 §4, numbers of RFC 1661 §2).
fn pppoe(body: Captured<'_>) -> Result<Layer<'_>, Discard> {
    let ([kind, code, _, _, high, low], payload) = body.split()?;
    if (*kind, *code) != (0x11, 0) {
        return Err(Discard::Malformed);
    }
    let payload = payload.at_most(usize::from(u16::from_be_bytes([*high, *low])));
    match payload.split()? {
        ([0x00, 0x21 | 0x57], packet) => Ok(Layer::Ip(packet)),
        _ => Err(Discard::NotIp),
    }
}

/// Labels up to the bottom of the stack (RFC 3032 §2.1). Nothing names what follows: it is IP when it begins like IP.
fn mpls(mut body: Captured<'_>) -> Result<Layer<'_>, Discard> {
    loop {
        let ([_, _, bottom_of_stack, _], rest) = body.split()?;
        if bottom_of_stack & 1 == 1 {
            return Ok(Layer::Ip(rest));
        }
        body = rest;
    }
}

/// The family was written in the byte order of a machine we do not know, and all families are small.
fn null(bytes: Captured<'_>) -> Result<Layer<'_>, Discard> {
    let (family, packet) = bytes.split()?;
    family_of_ip(u32::from_le_bytes(*family)).or_else(|_| family_of_ip(u32::from_be_bytes(*family)))?;
    Ok(Layer::Ip(packet))
}

fn loopback(bytes: Captured<'_>) -> Result<Layer<'_>, Discard> {
    let (family, packet) = bytes.split()?;
    family_of_ip(u32::from_be_bytes(*family))?;
    Ok(Layer::Ip(packet))
}

fn family_of_ip(family: u32) -> Result<(), Discard> {
    if family == FAMILY_IPV4 || FAMILIES_IPV6.contains(&family) { Ok(()) } else { Err(Discard::NotIp) }
}

/// Packet type, hardware type, address length, address, protocol (`LINKTYPE_LINUX_SLL`). Read here because
/// etherparse refuses packet and hardware types that it has no name for.
fn cooked(bytes: Captured<'_>) -> Result<Layer<'_>, Discard> {
    let (header, body) = bytes.split::<16>()?;
    let [_, _, hardware_high, hardware_low, .., protocol_high, protocol_low] = *header;
    cooked_body([hardware_high, hardware_low], [protocol_high, protocol_low], body)
}

/// Protocol, reserved, interface index, hardware type, packet type, address (`LINKTYPE_LINUX_SLL2`).
fn cooked_v2(bytes: Captured<'_>) -> Result<(Layer<'_>, u32), Discard> {
    let (header, body) = bytes.split::<20>()?;
    let [protocol_high, protocol_low, _, _, a, b, c, d, hardware_high, hardware_low, ..] = *header;
    let layer = cooked_body([hardware_high, hardware_low], [protocol_high, protocol_low], body)?;
    Ok((layer, u32::from_be_bytes([a, b, c, d])))
}

fn cooked_body(hardware: [u8; 2], protocol: [u8; 2], body: Captured<'_>) -> Result<Layer<'_>, Discard> {
    if FOREIGN_HARDWARE.contains(&u16::from_be_bytes(hardware)) {
        return Err(Discard::NotIp);
    }
    Ok(Layer::EtherType(EtherType(u16::from_be_bytes(protocol)), body))
}

#[cfg(test)]
mod tests {
    use crate::packet::testing::*;
    use crate::packet::{Discard, LinkType};

    fn packet_v4() -> Vec<u8> {
        ipv4(TCP, &tcp(PAYLOAD))
    }

    #[test]
    fn ethernet_carries_both_ip_versions() {
        assert_eq!(decode_frame(&frame_v4(PAYLOAD)), Ok(segment_v4(PAYLOAD)));
        assert_eq!(decode_frame(&ethernet(IPV6, &ipv6(TCP, &tcp(PAYLOAD)))), Ok(segment_v6(PAYLOAD)));
    }

    #[test]
    fn vlan_tags_of_every_kind_are_taken_off_in_any_number() {
        let mut body = vlan(IPV4, &packet_v4());
        for (inner, outer) in [(0x8100, 0x88a8), (0x88a8, 0x9100), (0x9100, 0x8100)] {
            assert_eq!(decode_frame(&ethernet(inner, &body)), Ok(segment_v4(PAYLOAD)), "{inner:#x}");
            body = vlan(inner, &body);
            assert_eq!(decode_frame(&ethernet(outer, &body)), Ok(segment_v4(PAYLOAD)), "{outer:#x}");
        }
    }

    #[test]
    fn other_ether_types_and_length_frames_are_not_ip() {
        for ether_type in [0x0806, 0x88cc, 0x0026, 0x05dc] {
            assert_eq!(decode_frame(&ethernet(ether_type, &[0; 46])), Err(Discard::NotIp), "{ether_type:#x}");
        }
    }

    #[test]
    fn a_frame_too_short_for_its_header_is_malformed() {
        assert_eq!(decode_frame(&[0; 13]), Err(Discard::Malformed));
        assert_eq!(decode_frame(&[]), Err(Discard::Malformed));
        assert_eq!(decode_frame(&ethernet(0x8100, &[0; 3])), Err(Discard::Malformed));
    }

    #[test]
    fn pppoe_sessions_carry_both_ip_versions() {
        let session = |protocol: u8, packet: &[u8]| {
            let [high, low] = u16::try_from(packet.len() + 2).unwrap().to_be_bytes();
            ethernet(0x8864, &[&[0x11, 0, 0, 9, high, low, 0, protocol], packet, &[0xee; 6]].concat())
        };
        assert_eq!(decode_frame(&session(0x21, &packet_v4())), Ok(segment_v4(PAYLOAD)));
        assert_eq!(decode_frame(&session(0x57, &ipv6(TCP, &tcp(PAYLOAD)))), Ok(segment_v6(PAYLOAD)));
        assert_eq!(decode_frame(&session(0x2b, &packet_v4())), Err(Discard::NotIp));
        assert_eq!(decode_frame(&ethernet(0x8864, &[0x21, 0, 0, 9, 0, 2, 0, 0x21])), Err(Discard::Malformed));
        assert_eq!(decode_frame(&ethernet(0x8863, &[0x11, 9, 0, 0, 0, 0])), Err(Discard::NotIp));
    }

    #[test]
    fn mpls_labels_are_taken_off_to_the_bottom_of_the_stack() {
        let stack = [&[0, 1, 0x00, 64, 0, 2, 0x00, 64, 0, 3, 0x01, 64], packet_v4().as_slice()].concat();
        assert_eq!(decode_frame(&ethernet(0x8847, &stack)), Ok(segment_v4(PAYLOAD)));
        assert_eq!(decode_frame(&ethernet(0x8847, &[0, 3, 1, 64, 0, 0, 0, 0])), Err(Discard::NotIp));
        assert_eq!(decode_frame(&ethernet(0x8847, &[0, 3, 0, 64])), Err(Discard::Malformed));
    }

    #[test]
    fn raw_packets_tell_their_version_themselves() {
        assert_eq!(decode(LinkType::Raw, &packet_v4()), Ok(segment_v4(PAYLOAD)));
        assert_eq!(decode(LinkType::Raw, &ipv6(TCP, &tcp(PAYLOAD))), Ok(segment_v6(PAYLOAD)));
        assert_eq!(decode(LinkType::Raw, &[0x50; 60]), Err(Discard::NotIp));
    }

    #[test]
    fn null_frames_are_read_in_both_byte_orders() {
        for family in [2_u32, 10, 24, 28, 30] {
            for order in [family.to_le_bytes(), family.to_be_bytes()] {
                let frame = [order.as_slice(), &packet_v4()].concat();
                assert_eq!(decode(LinkType::Null, &frame), Ok(segment_v4(PAYLOAD)), "{order:?}");
            }
        }
        assert_eq!(decode(LinkType::Null, &[7, 0, 0, 0, 0x45]), Err(Discard::NotIp));
    }

    #[test]
    fn loop_frames_are_read_in_network_order_only() {
        let frame = |family: [u8; 4]| [family.as_slice(), &packet_v4()].concat();
        assert_eq!(decode(LinkType::Loop, &frame([0, 0, 0, 24])), Ok(segment_v4(PAYLOAD)));
        assert_eq!(decode(LinkType::Loop, &frame([24, 0, 0, 0])), Err(Discard::NotIp));
    }

    fn sll(hardware: u16, protocol: u16, body: &[u8]) -> Vec<u8> {
        let (hardware, protocol) = (hardware.to_be_bytes(), protocol.to_be_bytes());
        [&[0, 4], hardware.as_slice(), &[0, 6, 2, 0, 0, 0, 0, 1, 0, 0], &protocol, body].concat()
    }

    fn sll2(interface: u32, hardware: u16, protocol: u16, body: &[u8]) -> Vec<u8> {
        let (hardware, protocol) = (hardware.to_be_bytes(), protocol.to_be_bytes());
        let end = [4, 6, 2, 0, 0, 0, 0, 1, 0, 0];
        [protocol.as_slice(), &[0, 0], &interface.to_be_bytes(), &hardware, &end, body].concat()
    }

    #[test]
    fn cooked_frames_are_read_for_any_hardware_that_carries_ip() {
        // Ethernet, PPP, IPv4 tunnel, loopback, 6in4, GRE, no header at all, and a type that nobody knows.
        for hardware in [1, 512, 768, 772, 776, 778, 65534, 4711] {
            let frame = sll(hardware, IPV4, &packet_v4());
            assert_eq!(decode(LinkType::LinuxSll, &frame), Ok(segment_v4(PAYLOAD)), "{hardware}");
        }
    }

    #[test]
    fn cooked_frames_may_carry_vlan_tags() {
        let frame = sll(1, 0x8100, &vlan(IPV6, &ipv6(TCP, &tcp(PAYLOAD))));
        assert_eq!(decode(LinkType::LinuxSll, &frame), Ok(segment_v6(PAYLOAD)));
    }

    #[test]
    fn cooked_frames_of_hardware_without_ether_types_are_not_ip() {
        for hardware in [770, 803, 824] {
            assert_eq!(decode(LinkType::LinuxSll, &sll(hardware, IPV4, &packet_v4())), Err(Discard::NotIp));
            assert_eq!(decode(LinkType::LinuxSll2, &sll2(1, hardware, IPV4, &packet_v4())), Err(Discard::NotIp));
        }
        assert_eq!(decode(LinkType::LinuxSll, &sll(1, 4, &packet_v4())), Err(Discard::NotIp));
    }

    #[test]
    fn cooked_frames_of_version_two_name_the_interface() {
        let seen = decode(LinkType::LinuxSll2, &sll2(0x0102_0304, 1, IPV4, &packet_v4()));
        assert_eq!(seen, Ok(Seen { interface: 0x0102_0304, ..segment_v4(PAYLOAD) }));
        let tagged = sll2(9, 1, 0x8100, &vlan(IPV4, &packet_v4()));
        assert_eq!(decode(LinkType::LinuxSll2, &tagged), Ok(Seen { interface: 9, ..segment_v4(PAYLOAD) }));
    }
}
