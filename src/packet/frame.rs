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
    let payload = payload.with_length(usize::from(u16::from_be_bytes([*high, *low])));
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
