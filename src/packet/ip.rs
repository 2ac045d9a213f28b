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
        total => packet.with_length(usize::from(total)),
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
        0 if protocol == ip_number::IPV6_HOP_BY_HOP => match jumbo_payload_length(rest) {
            Some(length) if length > rest.length() => return Err(Discard::Malformed),
            Some(length) => rest.with_length(length),
            None => rest,
        },
        // Longer than the field can say, as in IPv4.
        0 => rest,
        length => rest.with_length(usize::from(length)),
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
