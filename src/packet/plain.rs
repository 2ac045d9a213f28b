//! Packets as nearly all are → their segment, at a glance: IPv4 without options, whole, with TCP.
//!
//! What is anything else, or too short, is `None` here and looked at layer by layer, which reads all that is read here in
//! the same way.

use std::net::{Ipv4Addr, SocketAddr};

use etherparse::ether_type;

use super::decoder::Layer;
use super::{Segment, SequenceNumber, TcpFlags};
use crate::time::Timestamp;

const ETHERNET_HEADER: usize = 14;
const IPV4_HEADER: usize = 20;
const TCP_HEADER: usize = 20;
/// Both, without options.
const HEADERS: usize = IPV4_HEADER + TCP_HEADER;
/// More fragments, and the fragment's offset.
const FRAGMENT: u16 = 0x3fff;
const TCP: u8 = 6;

/// The segment in what follows a link header, or an Ethernet frame.
pub(super) fn segment<'a>(layer: &Layer<'a>, at: Timestamp, interface: u32) -> Option<Segment<'a>> {
    let packet = match layer {
        Layer::Ethernet(frame) if frame.data().get(12..ETHERNET_HEADER) == Some(&[8, 0]) => {
            frame.skip(ETHERNET_HEADER).ok()?
        }
        Layer::EtherType(ether_type::IPV4, packet) | Layer::Ip(packet) => *packet,
        _ => return None,
    };
    let (ip, tcp) = packet.data().first_chunk::<HEADERS>()?.split_first_chunk::<IPV4_HEADER>()?;
    let [0x45, _, length_high, length_low, _, _, part_high, part_low, _, TCP, _, _, s0, s1, s2, s3, d0, d1, d2, d3] =
        ip
    else {
        return None;
    };
    let [a, b, c, d, n0, n1, n2, n3, a0, a1, a2, a3, offset, flags, ..] = tcp.first_chunk::<TCP_HEADER>()?;
    let headers = IPV4_HEADER + usize::from(offset >> 4) * 4;
    if u16::from_be_bytes([*part_high, *part_low]) & FRAGMENT != 0 || headers < HEADERS {
        return None;
    }
    let packet = match u16::from_be_bytes([*length_high, *length_low]) {
        // Longer than the field can say.
        0 => packet,
        total => packet.at_most(usize::from(total)),
    };
    // Perhaps less than the headers.
    let payload = packet.skip(headers).ok()?;
    Some(Segment {
        at,
        interface,
        source: SocketAddr::new(Ipv4Addr::new(*s0, *s1, *s2, *s3).into(), u16::from_be_bytes([*a, *b])),
        destination: SocketAddr::new(Ipv4Addr::new(*d0, *d1, *d2, *d3).into(), u16::from_be_bytes([*c, *d])),
        sequence: SequenceNumber::new(u32::from_be_bytes([*n0, *n1, *n2, *n3])),
        acknowledgement: SequenceNumber::new(u32::from_be_bytes([*a0, *a1, *a2, *a3])),
        flags: TcpFlags(*flags),
        payload: payload.data(),
        payload_length: u32::try_from(payload.length()).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use crate::packet::testing::*;
    use crate::packet::{LinkType, RawPacket};

    #[test]
    fn any_header_is_read_as_layer_by_layer() {
        let whole = ipv4(TCP, &tcp(PAYLOAD));
        for (place, value) in (0..44).flat_map(|place| (0..=255).map(move |value| (place, value))) {
            let mut plain = whole.clone();
            plain[place] = value;
            // A tag hides it from the glance.
            let mut tagged = vec![0; 12];
            tagged.extend_from_slice(&[0x81, 0, 0, 5, 8, 0]);
            tagged.extend_from_slice(&plain);
            for captured in [whole.len(), 41, 40, 39, 20, 19] {
                let [plain, tagged] = [(LinkType::Raw, &plain, captured), (LinkType::Ethernet, &tagged, captured + 18)]
                    .map(|(link, bytes, captured)| {
                        Probe::default().decode(&RawPacket { data: &bytes[..captured], ..packet(link, bytes) })
                    });
                assert_eq!(plain, tagged, "{value} at {place}, {captured} captured");
            }
        }
    }
}
