//! The payload of an IP datagram → the TCP segment in it.

use std::net::SocketAddr;

use etherparse::TcpHeaderSlice;
use etherparse::err::tcp::HeaderSliceError;

use super::ip::IpPayload;
use super::{Discard, Segment, SequenceNumber, TcpFlags};
use crate::time::Timestamp;

/// Takes the TCP header off. The payload's length is what the IP header leaves for it, whatever was captured.
pub(super) fn open<'a>(payload: &IpPayload<'a>, at: Timestamp, interface: u32) -> Result<Segment<'a>, Discard> {
    let header = TcpHeaderSlice::from_slice(payload.body.data()).map_err(|error| match error {
        HeaderSliceError::Len(short) => payload.body.missing(short.required_len),
        HeaderSliceError::Content(_) => Discard::Malformed,
    })?;
    let body = payload.body.skip(header.slice().len())?;
    Ok(Segment {
        at,
        interface,
        source: SocketAddr::new(payload.source, header.source_port()),
        destination: SocketAddr::new(payload.destination, header.destination_port()),
        sequence: SequenceNumber::new(header.sequence_number()),
        acknowledgement: SequenceNumber::new(header.acknowledgment_number()),
        flags: flags(&header),
        payload: body.data(),
        payload_length: u32::try_from(body.length()).map_err(|_| Discard::Malformed)?,
    })
}

/// The whole octet of control bits (RFC 9293 §3.1).
fn flags(header: &TcpHeaderSlice<'_>) -> TcpFlags {
    TcpFlags(header.slice().get(13).copied().unwrap_or_default())
}
