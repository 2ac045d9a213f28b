//! The identity of a connection: its two endpoints, the same for both directions.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Direction;
use crate::packet::Segment;

/// Two endpoints in order, as numbers, because they are compared with every packet. The family is apart, so that a mapped IPv4
/// address (RFC 4291 §2.5.5.2) is not taken for the address itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FlowKey {
    /// The lower endpoint's address, and the other's; of IPv4 with the port behind it, so that one number is all.
    addresses: [u128; 2],
    /// Likewise; of IPv6 alone.
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
        match (segment.source.ip(), segment.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let place = |address: Ipv4Addr, port: u16| u64::from(address.to_bits()) << 16 | u64::from(port);
                let (source, destination) = (place(source, ports.0), place(destination, ports.1));
                let addresses = [source.min(destination).into(), source.max(destination).into()];
                let direction = if source <= destination { Direction::Up } else { Direction::Down };
                (Self { addresses, ports: [0; 2], family: Family::V4 }, direction)
            }
            (source, destination) => {
                let (source, destination) = (number(source), number(destination));
                if (source, ports.0) <= (destination, ports.1) {
                    let ports = [ports.0, ports.1];
                    (Self { addresses: [source, destination], ports, family: Family::V6 }, Direction::Up)
                } else {
                    let ports = [ports.1, ports.0];
                    (Self { addresses: [destination, source], ports, family: Family::V6 }, Direction::Down)
                }
            }
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
        match self.family {
            Family::V4 => {
                let [.., a, b, c, d, high, low] = address.to_be_bytes();
                SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low]))
            }
            Family::V6 => SocketAddr::new(Ipv6Addr::from_bits(address).into(), port),
        }
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
