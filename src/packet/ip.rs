//! An IP packet → its payload: IPv4 and IPv6 headers, extension headers, fragments told apart from whole datagrams.

use std::net::{IpAddr, Ipv6Addr};

use etherparse::err::{ip_auth, ipv4, ipv6};
use etherparse::{
    IpAuthHeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice, Ipv6RawExtHeaderSlice,
    ip_number,
};

use super::Discard;
use super::captured::Captured;
use super::fragment::Fragment;

/// Mobility (RFC 6275), host identity (RFC 7401) and shim6 (RFC 5533) headers, formed like the hop-by-hop header.
const MOBILITY: IpNumber = IpNumber(135);
const HOST_IDENTITY: IpNumber = IpNumber(139);
const SHIM6: IpNumber = IpNumber(140);

/// What an IP header carries, or what is left of it behind an extension header.
#[derive(Clone, Copy, Debug)]
pub(super) struct IpPayload<'a> {
    /// Sender.
    pub(super) source: IpAddr,
    /// Receiver; with a routing header the final one.
    pub(super) destination: IpAddr,
    /// What `body` begins with.
    pub(super) protocol: IpNumber,
    /// Whether `body` still lies in its packet.
    pub(super) origin: Origin,
    /// From here to the end that the IP header names.
    pub(super) body: Captured<'a>,
}

/// Where a payload's bytes come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    /// From one packet.
    Packet,
    /// Put together from fragments.
    Fragments,
}

/// One IP header taken off.
pub(super) enum IpPart<'a> {
    /// More headers, or the payload of a whole datagram.
    Payload(IpPayload<'a>),
    /// A piece of a datagram.
    Fragment(Fragment<'a>),
}

/// Takes the IPv4 or IPv6 header off, whichever the first four bits name.
pub(super) fn open(packet: Captured<'_>) -> Result<IpPart<'_>, Discard> {
    match packet.data().first().map(|first| first >> 4) {
        Some(4) => open_v4(packet),
        Some(6) => open_v6(packet).map(IpPart::Payload),
        Some(_) => Err(Discard::NotIp),
        None => Err(packet.missing(1)),
    }
}

fn open_v4(packet: Captured<'_>) -> Result<IpPart<'_>, Discard> {
    let header = Ipv4HeaderSlice::from_slice(packet.data()).map_err(|error| match error {
        ipv4::HeaderSliceError::Len(short) => packet.missing(short.required_len),
        ipv4::HeaderSliceError::Content(_) => Discard::Malformed,
    })?;
    let packet = match header.total_len() {
        // Longer than the field can say: segmentation or receive offload, BIG TCP.
        0 => packet,
        total => packet.at_most(usize::from(total)),
    };
    let payload = IpPayload {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        protocol: header.protocol(),
        origin: Origin::Packet,
        body: packet.skip(header.slice().len())?,
    };
    if header.is_fragmenting_payload() {
        let offset = header.fragments_offset().byte_offset();
        let identification = u32::from(header.identification());
        return Fragment::new(&payload, identification, offset, header.more_fragments()).map(IpPart::Fragment);
    }
    Ok(IpPart::Payload(payload))
}

fn open_v6(packet: Captured<'_>) -> Result<IpPayload<'_>, Discard> {
    let header = Ipv6HeaderSlice::from_slice(packet.data()).map_err(|error| match error {
        ipv6::HeaderSliceError::Len(short) => packet.missing(short.required_len),
        ipv6::HeaderSliceError::Content(_) => Discard::Malformed,
    })?;
    let rest = packet.skip(header.slice().len())?;
    let protocol = header.next_header();
    let body = match header.payload_length() {
        // Longer than the field can say: in a jumbo payload option, or, as in IPv4, nowhere.
        0 if protocol == ip_number::IPV6_HOP_BY_HOP => rest.at_most(jumbo_payload_length(rest).unwrap_or(usize::MAX)),
        0 => rest,
        length => rest.at_most(usize::from(length)),
    };
    let (source, destination) = (header.source_addr().into(), header.destination_addr().into());
    Ok(IpPayload { source, destination, protocol, origin: Origin::Packet, body })
}

/// The length in a jumbo payload option of the hop-by-hop header at the front of `rest` (RFC 2675 §2), counted
/// like the IPv6 header's own: from behind that header on.
fn jumbo_payload_length(rest: Captured<'_>) -> Option<usize> {
    let header = Ipv6RawExtHeaderSlice::from_slice(rest.data()).ok()?;
    let mut options = header.payload();
    loop {
        options = match options {
            // Pad1 has no length.
            [0, rest @ ..] => rest,
            [0xc2, 4, a, b, c, d, ..] => return usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).ok(),
            [_, length, rest @ ..] => rest.get(usize::from(*length)..)?,
            _ => return None,
        };
    }
}

/// Takes the header that `payload` begins with off; `None` when it is no extension header of its IP version.
pub(super) fn open_extension<'a>(payload: &IpPayload<'a>) -> Option<Result<IpPart<'a>, Discard>> {
    match (payload.protocol, payload.source) {
        (ip_number::AUTH, _) => Some(authentication(payload)),
        (ip_number::IPV6_FRAG, IpAddr::V6(_)) => Some(fragment_header(payload)),
        (ip_number::IPV6_ROUTE, IpAddr::V6(_)) => Some(routing(payload)),
        (
            ip_number::IPV6_HOP_BY_HOP | ip_number::IPV6_DEST_OPTIONS | MOBILITY | HOST_IDENTITY | SHIM6,
            IpAddr::V6(_),
        ) => Some(options(payload).map(|(_, payload)| IpPart::Payload(payload))),
        _ => None,
    }
}

fn authentication<'a>(payload: &IpPayload<'a>) -> Result<IpPart<'a>, Discard> {
    let header = IpAuthHeaderSlice::from_slice(payload.body.data()).map_err(|error| match error {
        ip_auth::HeaderSliceError::Len(short) => payload.body.missing(short.required_len),
        ip_auth::HeaderSliceError::Content(_) => Discard::Malformed,
    })?;
    let body = payload.body.skip(header.slice().len())?;
    Ok(IpPart::Payload(IpPayload { protocol: header.next_header(), body, ..*payload }))
}

fn fragment_header<'a>(payload: &IpPayload<'a>) -> Result<IpPart<'a>, Discard> {
    let body = payload.body;
    let header = Ipv6FragmentHeaderSlice::from_slice(body.data()).map_err(|short| body.missing(short.required_len))?;
    let payload = IpPayload { protocol: header.next_header(), body: body.skip(header.slice().len())?, ..*payload };
    if !header.is_fragmenting_payload() {
        // An "atomic" fragment is a whole datagram (RFC 6946 §4).
        return Ok(IpPart::Payload(payload));
    }
    if payload.origin == Origin::Fragments {
        // Fragments of fragments: no sender makes them, and each level would cost a reassembly.
        return Err(Discard::Malformed);
    }
    let offset = header.fragment_offset().byte_offset();
    Fragment::new(&payload, header.identification(), offset, header.more_fragments()).map(IpPart::Fragment)
}

fn routing<'a>(payload: &IpPayload<'a>) -> Result<IpPart<'a>, Discard> {
    let (header, mut payload) = options(payload)?;
    if let Some(address) = final_destination(header.payload()) {
        payload.destination = address.into();
    }
    Ok(IpPart::Payload(payload))
}

/// Who the packet is for when the IPv6 header names only the next hop on its way there (RFC 8200 §8.1): the last
/// address of a source route (type 0, RFC 2460 §4.4), the home address (type 2, RFC 6275 §6.4), the first of a
/// segment list, which is kept backwards (type 4, RFC 8754 §2).
fn final_destination(routing: &[u8]) -> Option<Ipv6Addr> {
    let [kind, segments_left, _, _, _, _, addresses @ ..] = routing else { return None };
    if *segments_left == 0 {
        return None;
    }
    let address = match kind {
        0 => addresses.last_chunk::<16>()?,
        2 | 4 => addresses.first_chunk::<16>()?,
        _ => return None,
    };
    Some(Ipv6Addr::from(*address))
}

/// A header with its successor in the first byte and its length in the second.
fn options<'a>(payload: &IpPayload<'a>) -> Result<(Ipv6RawExtHeaderSlice<'a>, IpPayload<'a>), Discard> {
    let body = payload.body;
    let header = Ipv6RawExtHeaderSlice::from_slice(body.data()).map_err(|short| body.missing(short.required_len))?;
    let body = body.skip(header.slice().len())?;
    let protocol = header.next_header();
    Ok((header, IpPayload { protocol, body, ..*payload }))
}

#[cfg(test)]
mod tests {
    use crate::packet::testing::*;
    use crate::packet::{Discard, LinkType, RawPacket};

    fn decode_v6(next_header: u8, body: &[u8]) -> Result<Seen, Discard> {
        decode(LinkType::Raw, &ipv6(next_header, body))
    }

    #[test]
    fn padding_and_trailers_are_no_payload() {
        let mut short = frame_v4(b"x");
        short.extend([0xaa; 40]);
        assert_eq!(decode_frame(&short), Ok(segment_v4(b"x")));
        let mut short = ethernet(IPV6, &ipv6(TCP, &tcp(b"x")));
        short.extend([0xaa; 40]);
        assert_eq!(decode_frame(&short), Ok(segment_v6(b"x")));
    }

    #[test]
    fn ipv4_options_are_skipped() {
        let mut bytes = ipv4(TCP, &[&[1; 8], tcp(PAYLOAD).as_slice()].concat());
        bytes[0] = 0x47;
        assert_eq!(decode(LinkType::Raw, &bytes), Ok(segment_v4(PAYLOAD)));
    }

    #[test]
    fn an_ipv4_length_of_zero_means_all_that_was_on_the_wire() {
        let payload = vec![b'x'; 70_000];
        let mut bytes = ipv4(TCP, &tcp(&[]));
        bytes[2..4].fill(0);
        bytes.extend(&payload);
        assert_eq!(decode(LinkType::Raw, &bytes), Ok(segment_v4(&payload)));
        let cut = RawPacket { data: &bytes[..1000], wire_length: 70_052, ..packet(LinkType::Raw, &[]) };
        let seen = Probe::default().decode(&cut).unwrap();
        assert_eq!((seen.payload.len(), seen.payload_length), (1000 - 52, 70_000));
    }

    #[test]
    fn an_ipv6_length_of_zero_means_all_that_was_on_the_wire() {
        let payload = vec![b'x'; 70_000];
        let mut bytes = ipv6(TCP, &tcp(&[]));
        bytes[4..6].fill(0);
        bytes.extend(&payload);
        assert_eq!(decode(LinkType::Raw, &bytes), Ok(segment_v6(&payload)));
    }

    #[test]
    fn a_jumbo_payload_option_gives_the_length() {
        let payload = vec![b'x'; 70_000];
        let length = 8 + 32 + 70_000_u32;
        // The option alone, as Linux writes it, and behind padding of both kinds.
        let plain = [&[TCP, 0, 0xc2, 4], length.to_be_bytes().as_slice()].concat();
        let padded = [&[TCP, 1, 0, 1, 3, 9, 9, 9, 0xc2, 4], (length + 8).to_be_bytes().as_slice(), &[1, 0]].concat();
        for options in [plain, padded] {
            let mut bytes = ipv6(0, &[options, tcp(&[])].concat());
            bytes[4..6].fill(0);
            bytes.extend(&payload);
            bytes.extend([0xaa; 6]);
            assert_eq!(decode(LinkType::Raw, &bytes), Ok(segment_v6(&payload)));
        }
    }

    #[test]
    fn a_jumbo_payload_longer_than_the_packet_ends_with_it() {
        let options = [&[TCP, 0, 0xc2, 4], 0xffff_ffff_u32.to_be_bytes().as_slice()].concat();
        let mut bytes = ipv6(0, &[options, tcp(PAYLOAD)].concat());
        bytes[4..6].fill(0);
        assert_eq!(decode(LinkType::Raw, &bytes), Ok(segment_v6(PAYLOAD)));
    }

    #[test]
    fn hop_by_hop_options_without_a_jumbo_length_end_well() {
        for options in [[0xc2, 4, 0, 0, 0, 0], [5, 200, 0, 0, 0, 0], [1, 4, 0, 0, 0, 0], [0; 6]] {
            let mut bytes = ipv6(0, &[[TCP, 0].as_slice(), &options, &tcp(PAYLOAD)].concat());
            bytes[4..6].fill(0);
            let seen = decode(LinkType::Raw, &bytes);
            // A jumbo length of zero leaves no room for the option itself.
            let expected = if options[0] == 0xc2 { Err(Discard::Malformed) } else { Ok(segment_v6(PAYLOAD)) };
            assert_eq!(seen, expected, "{options:?}");
        }
    }

    #[test]
    fn ipv6_extension_headers_are_skipped_in_any_order() {
        let generic = |next: u8, body: &[u8]| [&[next, 1], [0; 14].as_slice(), body].concat();
        let authentication = |next: u8, body: &[u8]| [&[next, 4], [0; 22].as_slice(), body].concat();
        let inner = authentication(TCP, &tcp(PAYLOAD));
        for kind in [0, 43, 60, 135, 139, 140] {
            let body = generic(60, &generic(51, &inner));
            assert_eq!(decode_v6(kind, &body), Ok(segment_v6(PAYLOAD)), "{kind}");
        }
    }

    #[test]
    fn an_authentication_header_is_skipped_in_ipv4_and_others_are_not_ipv4() {
        let body = [&[TCP, 4], [0; 22].as_slice(), &tcp(PAYLOAD)].concat();
        assert_eq!(decode(LinkType::Raw, &ipv4(51, &body)), Ok(segment_v4(PAYLOAD)));
        assert_eq!(decode(LinkType::Raw, &ipv4(51, &[TCP, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])), Err(Discard::Malformed));
        for other in [0, 43, 44, 60, 135] {
            assert_eq!(decode(LinkType::Raw, &ipv4(other, &body)), Err(Discard::NotTcp), "{other}");
        }
    }

    #[test]
    fn extension_headers_longer_than_the_packet_are_malformed() {
        assert_eq!(decode_v6(60, &[TCP, 9, 0, 0, 0, 0, 0, 0]), Err(Discard::Malformed));
        assert_eq!(decode_v6(0, &[TCP, 0]), Err(Discard::Malformed));
        assert_eq!(decode_v6(44, &[TCP, 0, 0, 0]), Err(Discard::Malformed));
    }

    #[test]
    fn a_routing_header_names_the_final_destination() {
        let route = |kind: u8, left: u8, addresses: &[&str]| {
            let addresses: Vec<u8> = addresses.iter().flat_map(|address| address_v6(address)).collect();
            let units = u8::try_from(addresses.len() / 8).unwrap();
            let body = [&[TCP, units, kind, left, 0, 0, 0, 0], addresses.as_slice(), &tcp(PAYLOAD)].concat();
            decode_v6(43, &body).unwrap().destination.ip().to_string()
        };
        assert_eq!(route(0, 1, &["fd00::a", "fd00::b"]), "fd00::b");
        assert_eq!(route(2, 1, &["fd00::a"]), "fd00::a");
        assert_eq!(route(4, 1, &["fd00::a", "fd00::b"]), "fd00::a");
        assert_eq!(route(4, 0, &["fd00::a", "fd00::b"]), "fd00::2");
        assert_eq!(route(3, 1, &["fd00::a"]), "fd00::2");
    }

    #[test]
    fn impossible_headers_are_malformed() {
        let change = |at: usize, value: u8| {
            let mut frame = frame_v4(PAYLOAD);
            frame[14 + at] = value;
            decode_frame(&frame)
        };
        assert_eq!(change(0, 0x44), Err(Discard::Malformed), "header length below 20");
        assert_eq!(change(0, 0x4f), Err(Discard::Malformed), "header length that reaches into the payload");
        assert_eq!(change(3, 19), Err(Discard::Malformed), "total length below the header's");
        assert_eq!(change(0, 0x15), Err(Discard::NotIp), "version 1");
    }

    #[test]
    fn other_protocols_are_not_tcp() {
        for protocol in [1, 2, 50, 58, 59, 132, 255] {
            assert_eq!(decode(LinkType::Raw, &ipv4(protocol, &[0; 40])), Err(Discard::NotTcp), "{protocol}");
            assert_eq!(decode_v6(protocol, &[0; 40]), Err(Discard::NotTcp), "{protocol}");
        }
    }

    #[test]
    fn a_length_beyond_the_wire_adds_no_payload() {
        for (mut frame, expected) in
            [(frame_v4(PAYLOAD), segment_v4(PAYLOAD)), (ethernet(IPV6, &ipv6(TCP, &tcp(PAYLOAD))), segment_v6(PAYLOAD))]
        {
            frame[if expected.source.is_ipv4() { 14 + 2 } else { 14 + 4 }] = 0x10;
            assert_eq!(decode_frame(&frame), Ok(expected));
        }
    }
}
