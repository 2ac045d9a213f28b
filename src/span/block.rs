//! Attributes that many spans have in common, as those of a connection or of a pod → a key, so that who encodes them can do it
//! once.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::ends::End;
use super::{Endpoint, Node, Service, SpanKind};
use crate::http::Version;

/// What decides the attributes of a block: equal keys, equal attributes, as long as what [`Held`] has is held.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BlockKey([u64; Self::WORDS]);

/// Keeps what a key names where it is, by whose place in memory it is known.
#[derive(Clone, Debug, Default)]
#[expect(dead_code, reason = "held, not read")]
pub struct Held {
    endpoint: Option<Endpoint>,
    node: Option<Arc<Node>>,
    service: Option<Arc<Service>>,
}

/// Who was asked, as a request says it: without more than that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// Empty when it is not said.
    host: &'a str,
    port: Option<u16>,
}

impl<'a> Asked<'a> {
    /// `None` for a host that is too long for a key.
    pub(super) fn new(host: &'a str, port: Option<u16>) -> Option<Self> {
        (host.len() <= BlockKey::HOST).then_some(Self { host, port })
    }

    /// How long the host is, and the port; the host with zeros behind it. Of the first, bits 20 to 31 and those from 48 on.
    fn words(self) -> (u64, [u64; 4]) {
        const IS_SAID: u64 = 1 << 20;
        let mut host = [[0; 8]; 4];
        if let Some(place) = host.as_flattened_mut().get_mut(..self.host.len()) {
            place.copy_from_slice(self.host.as_bytes());
        }
        let length = (self.host.len() as u64) << 22;
        let port = self.port.map_or(0, |port| 1 << 21 | u64::from(port) << 48);
        (IS_SAID | length | port, host.map(u64::from_ne_bytes))
    }
}

/// Which block it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Block {
    /// Of a connection: all of [`super::sockets`] in one layout or the other, and maybe who was asked by whom.
    Connection { all: bool },
    /// Of the client's end.
    Source,
    /// Of the server's end.
    Destination,
}

impl BlockKey {
    const WORDS: usize = 14;
    /// Bytes of a host that it can have in it.
    const HOST: usize = 32;

    /// Of a connection: the version that is spoken there; its sockets, as its client's side has them, as the side has them that the
    /// span is of; who was asked, if that is part of the block.
    #[inline]
    pub(super) fn of_connection(
        all: bool,
        kind: SpanKind,
        version: Version,
        sockets: [&SocketAddr; 4],
        asked: Option<Asked<'_>>,
    ) -> Self {
        let (said, host) = asked.map_or((0, [0; 4]), Asked::words);
        let which = Block::Connection { all }.number() | (version as u64) << 2 | (kind as u64) << 8 | said;
        let [a, b, c, d] = host;
        match sockets.map(short) {
            [Some(client), Some(server), Some(peer), Some(own)] => {
                Self([which, client, server, peer, own, a, b, c, d, 0, 0, 0, 0, 0])
            }
            _ => Self::of_long_sockets(which, sockets, host),
        }
    }

    /// Of sockets with an IPv6 address.
    #[inline(never)]
    fn of_long_sockets(which: u64, sockets: [&SocketAddr; 4], [a, b, c, d]: [u64; 4]) -> Self {
        let number = |socket: &SocketAddr| match socket.ip() {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        let families = sockets.iter().fold(0, |all, socket| all << 1 | u64::from(socket.is_ipv6()));
        let ports = sockets.iter().fold(0, |all, socket| all << 16 | u64::from(socket.port()));
        let [client, server, peer, own] = sockets.map(|socket| halves(number(socket)));
        // The lower halves first, which differ more.
        let ([high, low], [above, below]) = (client, server);
        let which = which | families << 16;
        Self([which, ports, low, below, high, above, peer[0], peer[1], own[0], own[1], a, b, c, d])
    }

    /// Of an end: of who is there.
    pub(super) fn of_end(block: Block, end: &End, port: Option<u16>) -> Self {
        let endpoint = match &end.endpoint {
            None => 0,
            Some(Endpoint::Pod(pod)) => place(pod),
            Some(Endpoint::Service(service)) => place(service),
            Some(Endpoint::Node(node)) => place(node),
        };
        let (node, service) = (end.node.as_ref().map_or(0, place), end.service.as_ref().map_or(0, place));
        let port = port.map_or(u64::MAX, u64::from);
        Self([block.number(), port, endpoint, node, service, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    }

    /// Of the same without a gap in the middle: all of it is one part.
    #[inline]
    pub(super) fn in_one_part(mut self) -> Self {
        if let Some(first) = self.0.first_mut() {
            *first |= 1 << 3;
        }
        self
    }

    /// Where no text is longer than `limit` bytes, which are fewer than 2¹⁶ ([`MAX_TEXT`](super::MAX_TEXT)).
    #[inline]
    pub(super) fn within(mut self, limit: usize) -> Self {
        if let Some(first) = self.0.first_mut() {
            *first |= (limit as u64) << 32;
        }
        self
    }

    /// A number below 2⁶⁴, about the same chance for each. The first words are enough to tell most keys apart.
    pub fn hash(&self) -> u64 {
        const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
        self.0.iter().take(5).fold(0_u64, |hash, word| (hash.rotate_left(5) ^ word).wrapping_mul(MIX))
    }
}

#[cfg(test)]
impl BlockKey {
    /// One of many that differ.
    pub(crate) fn numbered(number: u32) -> Self {
        let socket = SocketAddr::from((number.to_be_bytes(), 80));
        Self::of_connection(true, SpanKind::Server, Version::Http11, [&socket; 4], None)
    }
}

impl Held {
    /// Who is at an end.
    pub(super) fn of(end: &End) -> Self {
        Self { endpoint: end.endpoint.clone(), node: end.node.clone(), service: end.service.clone() }
    }
}

impl Block {
    const fn number(self) -> u64 {
        match self {
            Self::Connection { all: false } => 0,
            Self::Connection { all: true } => 1,
            Self::Source => 2,
            Self::Destination => 3,
        }
    }
}

/// An IPv4 socket as a number below 2⁴⁸.
#[inline]
fn short(socket: &SocketAddr) -> Option<u64> {
    let SocketAddr::V4(socket) = socket else { return None };
    Some(u64::from(socket.ip().to_bits()) << 16 | u64::from(socket.port()))
}

fn halves(number: u128) -> [u64; 2] {
    let half = |number: u128| u64::try_from(number & u128::from(u64::MAX)).unwrap_or_default();
    [half(number >> 64), half(number)]
}

/// Where a record is in memory.
fn place<T>(record: &Arc<T>) -> u64 {
    Arc::as_ptr(record) as usize as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_differ_in_anything_have_keys_that_differ() {
        let sockets = ["10.0.0.1:80", "10.0.0.1:81", "10.0.1.0:80", "[::a00:1]:80", "[::1:0:0:a00:1]:80"];
        let sockets = sockets.map(|socket| socket.parse::<SocketAddr>().unwrap());
        let hosts = ["", "a", "b", "ab", "a\0", &"a".repeat(31), &"a".repeat(32)];
        let ports = [None, Some(0), Some(1), Some(80), Some(u16::MAX)];
        let said = hosts.into_iter().flat_map(|host| ports.map(|port| Asked::new(host, port)));
        let said: Vec<_> = said.chain([None]).collect();
        let mut keys = Vec::new();
        for place in 0..4 {
            // The first is what all four are otherwise.
            for socket in sockets.iter().skip(usize::from(place != 0)) {
                let mut four = [&sockets[0]; 4];
                four[place] = socket;
                for asked in &said {
                    for (all, kind, version) in [
                        (true, SpanKind::Server, Version::Http11),
                        (true, SpanKind::Server, Version::Http10),
                        (false, SpanKind::Server, Version::Http11),
                        (true, SpanKind::Client, Version::Http11),
                    ] {
                        let key = BlockKey::of_connection(all, kind, version, four, *asked);
                        let both = [key, key.in_one_part()];
                        keys.extend(both.into_iter().flat_map(|key| [0, 1, 65_535].map(|limit| key.within(limit).0)));
                    }
                }
            }
        }
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!((keys.len(), count), (count, 17 * 36 * 4 * 2 * 3));
        assert!(Asked::new(&"a".repeat(33), None).is_none());
    }
}
