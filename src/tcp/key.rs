//! The identity of a connection: its two endpoints, the same for both directions.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Direction;
use crate::packet::Segment;

/// Two endpoints in order, as numbers, because they are compared with every packet. The family is apart, so that a mapped IPv4
/// address (RFC 4291 §2.5.5.2) is not taken for the address itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FlowKey {
    addresses: [u128; 2],
    /// The lower endpoint's, and the other's.
    ports: [u16; 2],
    family: Family,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
enum Family {
    V4,
    V6,
}

impl FlowKey {
    /// The key of a segment's connection, and the direction the segment goes.
    #[inline]
    pub(super) fn of(segment: &Segment<'_>) -> (Self, Direction) {
        let ports = (segment.source.port(), segment.destination.port());
        let (family, source, destination, is_up) = match (segment.source.ip(), segment.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let (source, destination) = (source.to_bits(), destination.to_bits());
                let place = |address: u32, port: u16| u64::from(address) << 16 | u64::from(port);
                let is_up = place(source, ports.0) <= place(destination, ports.1);
                (Family::V4, source.into(), destination.into(), is_up)
            }
            (source, destination) => {
                let (source, destination) = (number(source), number(destination));
                (Family::V6, source, destination, (source, ports.0) <= (destination, ports.1))
            }
        };
        if is_up {
            (Self { addresses: [source, destination], ports: [ports.0, ports.1], family }, Direction::Up)
        } else {
            (Self { addresses: [destination, source], ports: [ports.1, ports.0], family }, Direction::Down)
        }
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
        let ip = match (self.family, u32::try_from(address)) {
            (Family::V4, Ok(v4)) => IpAddr::V4(Ipv4Addr::from_bits(v4)),
            _ => IpAddr::V6(Ipv6Addr::from_bits(address)),
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
