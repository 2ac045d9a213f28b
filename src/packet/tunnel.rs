//! A tunnel packet → the inner packet: VXLAN, Geneve, GRE, IP in IP.

use etherparse::{EtherType, UdpHeaderSlice, ip_number};

use super::Discard;
use super::captured::Captured;
use super::decoder::Layer;
use super::ip::IpPayload;

/// Destination ports of VXLAN: the registered one (RFC 7348 §5) and the Linux kernel's older default.
const VXLAN_PORTS: [u16; 2] = [4789, 8472];
/// Destination port of Geneve (RFC 8926 §3.3).
const GENEVE_PORT: u16 = 6081;
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
