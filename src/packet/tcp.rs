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

#[cfg(test)]
mod tests {
    use crate::packet::testing::*;
    use crate::packet::{Discard, LinkType};

    #[test]
    fn all_fields_of_the_header_are_told() {
        let seen = decode(LinkType::Raw, &ipv4(TCP, &tcp(PAYLOAD)));
        assert_eq!(seen, Ok(segment_v4(PAYLOAD)));
    }

    #[test]
    fn every_control_bit_is_told() {
        for bit in 0..8 {
            let mut segment = tcp(&[]);
            segment[13] = 1 << bit;
            assert_eq!(decode(LinkType::Raw, &ipv4(TCP, &segment)).map(|seen| seen.flags), Ok(1 << bit));
        }
    }

    #[test]
    fn a_data_offset_below_five_or_beyond_the_segment_is_malformed() {
        for (words, length) in [(0, 60), (4, 60), (15, 56), (6, 20)] {
            let mut segment = vec![0; length];
            segment[12] = words << 4;
            assert_eq!(decode(LinkType::Raw, &ipv4(TCP, &segment)), Err(Discard::Malformed), "{words} in {length}");
        }
    }

    #[test]
    fn a_segment_shorter_than_a_header_is_malformed() {
        assert_eq!(decode(LinkType::Raw, &ipv4(TCP, &[0; 19])), Err(Discard::Malformed));
        assert_eq!(decode(LinkType::Raw, &ipv4(TCP, &[])), Err(Discard::Malformed));
    }

    #[test]
    fn a_payload_cut_by_the_snap_length_keeps_its_length() {
        let frame = frame_v4(PAYLOAD);
        let headers = frame.len() - PAYLOAD.len();
        for kept in 0..=PAYLOAD.len() {
            let payload_length = u32::try_from(PAYLOAD.len()).unwrap();
            let expected = Seen { payload_length, ..segment_v4(&PAYLOAD[..kept]) };
            assert_eq!(decode_cut(&frame, headers + kept), Ok(expected));
        }
    }

    #[test]
    fn a_header_cut_by_the_snap_length_is_truncated() {
        let frame = frame_v4(PAYLOAD);
        for captured in 0..frame.len() - PAYLOAD.len() {
            assert_eq!(decode_cut(&frame, captured), Err(Discard::Truncated), "{captured}");
        }
    }
}
