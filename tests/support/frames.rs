//! TCP segments → link-layer frames with right lengths and checksums.

use std::net::{IpAddr, SocketAddr};

use network_agent::packet::LinkType;

pub struct Segment<'a> {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub flags: u8,
    pub payload: &'a [u8],
}

/// The frame on a link of this type.
pub fn encode(link: LinkType, segment: &Segment<'_>) -> Vec<u8> {
    let ip = ip_packet(segment);
    let is_v4 = segment.source.is_ipv4();
    let ether_type: [u8; 2] = if is_v4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    let family: u8 = if is_v4 { 2 } else { 10 };
    let header: Vec<u8> = match link {
        LinkType::Ethernet => [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &ether_type].concat(),
        LinkType::LinuxSll => [&[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0][..], &ether_type].concat(),
        LinkType::LinuxSll2 => [&ether_type[..], &[0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0]].concat(),
        LinkType::Raw => Vec::new(),
        LinkType::Null => vec![family, 0, 0, 0],
        LinkType::Loop => vec![0, 0, 0, family],
    };
    [header, ip].concat()
}

/// The same frame with 802.1Q tags after the Ethernet addresses.
pub fn tagged(frame: &[u8], tags: &[u16]) -> Vec<u8> {
    let mut out = frame[..12].to_vec();
    for (place, tag) in tags.iter().enumerate() {
        out.extend(if place + 1 < tags.len() { [0x88, 0xa8] } else { [0x81, 0x00] });
        out.extend(tag.to_be_bytes());
    }
    out.extend(&frame[12..]);
    out
}

/// An Ethernet frame inside VXLAN inside UDP over IPv4.
pub fn in_vxlan(frame: &[u8]) -> Vec<u8> {
    let vxlan = [&[8, 0, 0, 0, 0, 0, 42, 0][..], frame].concat();
    let length = u16::try_from(8 + vxlan.len()).unwrap();
    let udp = [&[0xc0, 0x00, 0x12, 0xb5][..], &length.to_be_bytes(), &[0, 0], &vxlan].concat();
    let outer = ipv4([192, 0, 2, 1], [192, 0, 2, 2], 17, &udp);
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0][..], &outer].concat()
}

/// The IP packet of an Ethernet frame inside GTP-U, with a sequence number and an extension header, over IPv4.
pub fn in_gtp_u(frame: &[u8]) -> Vec<u8> {
    let content = [&[0, 1, 0, 0x85, 1, 0, 9, 0][..], &frame[14..]].concat();
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let gtp_u = [&[0x36, 0xff][..], &length, &[0, 0, 0, 42], &content].concat();
    let length = u16::try_from(8 + gtp_u.len()).unwrap();
    let udp = [&[0x08, 0x68, 0x08, 0x68][..], &length.to_be_bytes(), &[0, 0], &gtp_u].concat();
    let outer = ipv4([192, 0, 2, 1], [192, 0, 2, 2], 17, &udp);
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0][..], &outer].concat()
}

/// An Ethernet/IPv4 frame in two fragments, the first with `first` bytes of IP payload (a multiple of 8).
pub fn in_fragments(frame: &[u8], first: usize) -> [Vec<u8>; 2] {
    let (link, ip) = frame.split_at(14);
    let (header, payload) = ip.split_at(20);
    [(0, &payload[..first], true), (first, &payload[first..], false)].map(|(offset, part, more)| {
        let mut header = header.to_vec();
        let length = u16::try_from(20 + part.len()).unwrap();
        header[2..4].copy_from_slice(&length.to_be_bytes());
        let field = u16::try_from(offset / 8).unwrap() | if more { 0x2000 } else { 0 };
        header[6..8].copy_from_slice(&field.to_be_bytes());
        header[10..12].copy_from_slice(&[0, 0]);
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        [link, &header, part].concat()
    })
}

fn ip_packet(segment: &Segment<'_>) -> Vec<u8> {
    let mut tcp = Vec::new();
    tcp.extend(segment.source.port().to_be_bytes());
    tcp.extend(segment.destination.port().to_be_bytes());
    tcp.extend(segment.sequence.to_be_bytes());
    tcp.extend(segment.acknowledgement.to_be_bytes());
    tcp.extend([0x50, segment.flags, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend(segment.payload);
    let length = u32::try_from(tcp.len()).unwrap();
    let pseudo = match (segment.source.ip(), segment.destination.ip()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => [&a.octets()[..], &b.octets(), &[0, 6], &length.to_be_bytes()[2..]].concat(),
        (IpAddr::V6(a), IpAddr::V6(b)) => [&a.octets()[..], &b.octets(), &length.to_be_bytes(), &[0, 0, 0, 6]].concat(),
        _ => unreachable!("both ends have one family"),
    };
    let sum = checksum(&[pseudo, tcp.clone()].concat());
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    match (segment.source.ip(), segment.destination.ip()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => ipv4(a.octets(), b.octets(), 6, &tcp),
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let length = u16::try_from(tcp.len()).unwrap();
            [&[0x60, 0, 0, 0][..], &length.to_be_bytes(), &[6, 64], &a.octets(), &b.octets(), &tcp].concat()
        }
        _ => unreachable!("both ends have one family"),
    }
}

pub fn ipv4(source: [u8; 4], destination: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap();
    let mut header = vec![0x45, 0];
    header.extend(length.to_be_bytes());
    header.extend([0x12, 0x34, 0x00, 0, 64, protocol, 0, 0]);
    header.extend(source);
    header.extend(destination);
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header.extend(payload);
    header
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
