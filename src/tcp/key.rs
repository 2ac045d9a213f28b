//! The identity of a connection: its two endpoints, the same for both directions.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::Direction;
use crate::packet::Segment;

/// Two endpoints in order. Addresses are kept as 128-bit numbers, IPv4 as IPv4-mapped IPv6, with the family
/// apart so that a real mapped address is not taken for an IPv4 one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FlowKey {
    addresses: [u128; 2],
    ports: [u16; 2],
    family: Family,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Family {
    V4,
    V6,
}

impl FlowKey {
    /// The key of a segment's connection, and the direction the segment goes.
    pub(super) fn of(segment: &Segment<'_>) -> (Self, Direction) {
        let family = if segment.source.is_ipv4() { Family::V4 } else { Family::V6 };
        let source = (number(segment.source.ip()), segment.source.port());
        let destination = (number(segment.destination.ip()), segment.destination.port());
        let (low, high, direction) = if source <= destination {
            (source, destination, Direction::Up)
        } else {
            (destination, source, Direction::Down)
        };
        (Self { addresses: [low.0, high.0], ports: [low.1, high.1], family }, direction)
    }

    /// The endpoint that sorts lower.
    pub(super) fn low(&self) -> SocketAddr {
        self.endpoint(self.addresses[0], self.ports[0])
    }

    /// The endpoint that sorts higher.
    pub(super) fn high(&self) -> SocketAddr {
        self.endpoint(self.addresses[1], self.ports[1])
    }

    fn endpoint(&self, address: u128, port: u16) -> SocketAddr {
        let v6 = Ipv6Addr::from_bits(address);
        let ip = match (self.family, v6.to_ipv4_mapped()) {
            (Family::V4, Some(v4)) => IpAddr::V4(v4),
            _ => IpAddr::V6(v6),
        };
        SocketAddr::new(ip, port)
    }
}

impl Hash for FlowKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.addresses[0]);
        state.write_u128(self.addresses[1]);
        state.write_u32(u32::from(self.ports[0]) << 16 | u32::from(self.ports[1]));
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{SequenceNumber, TcpFlags};
    use crate::time::Timestamp;

    fn segment<'a>(source: &str, destination: &str) -> Segment<'a> {
        Segment {
            at: Timestamp::default(),
            interface: 0,
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            sequence: SequenceNumber::default(),
            acknowledgement: SequenceNumber::default(),
            flags: TcpFlags::ACK,
            payload: &[],
            payload_length: 0,
        }
    }

    #[test]
    fn both_directions_have_one_key() {
        for (a, b) in [("10.0.0.2:80", "10.0.0.1:9000"), ("[fd00::1]:80", "[fd00::1]:81")] {
            let (there, forth) = FlowKey::of(&segment(a, b));
            let (back, opposite) = FlowKey::of(&segment(b, a));
            assert_eq!(there, back);
            assert_eq!(forth, opposite.opposite());
            let mut ends = [there.low().to_string(), there.high().to_string()];
            ends.sort();
            let mut wanted = [a.to_owned(), b.to_owned()];
            wanted.sort();
            assert_eq!(ends, wanted);
        }
    }

    #[test]
    fn a_mapped_address_is_not_the_ipv4_address() {
        let (v4, _) = FlowKey::of(&segment("10.0.0.2:80", "10.0.0.1:9000"));
        let (v6, _) = FlowKey::of(&segment("[::ffff:10.0.0.2]:80", "[::ffff:10.0.0.1]:9000"));
        assert_ne!(v4, v6);
        assert!(v6.low().is_ipv6());
    }
}
