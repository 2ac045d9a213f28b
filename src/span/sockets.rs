//! The sockets of an exchange, and the version of what is spoken there → `source.*`, `destination.*` and `network.*`.

use std::net::{IpAddr, SocketAddr};

use super::attributes::{AttributeSink, Attributes};
use super::block::Asked;
use super::text::AddressText;
use super::{BlockKey, Layout, SpanKind, semconv};
use crate::exchange::Exchange;
use crate::http::Version;

/// The sockets of an exchange, and the version of HTTP that is spoken there.
pub(super) struct Sockets<'a> {
    kind: SpanKind,
    pub(super) client: &'a SocketAddr,
    pub(super) server: &'a SocketAddr,
    /// Of the side that the span is of: the other end, its own.
    peer: &'a SocketAddr,
    own: &'a SocketAddr,
    version: Version,
}

impl<'a> Sockets<'a> {
    pub(super) fn of(exchange: &'a Exchange, kind: SpanKind) -> Self {
        let (client, server) = (&exchange.client, &exchange.server);
        let (peer, own) = match (kind, &exchange.translated) {
            (SpanKind::Server, Some(there)) => (&there.client, &there.server),
            (SpanKind::Server, None) => (client, server),
            (SpanKind::Client, _) => (server, client),
        };
        let version = match &exchange.response {
            Some(part) => part.head.version(),
            None => exchange.request.head.version(),
        };
        Self { kind, client, server, peer, own, version }
    }

    /// The key of the block of what [`Self::add`] adds, and with it what `asked` decides.
    #[inline]
    pub(super) fn key(&self, layout: Layout, asked: Option<Asked<'_>>) -> BlockKey {
        let sockets = [self.client, self.server, self.peer, self.own];
        BlockKey::of_connection(layout == Layout::Agent, self.kind, self.version, sockets, asked)
    }

    #[cold]
    pub(super) fn add<'s, S: AttributeSink<'s>>(&self, list: &mut Attributes<'_, S>, layout: Layout) {
        if layout == Layout::Agent {
            list.address(semconv::SOURCE_ADDRESS, &text(self.client));
            list.int(semconv::SOURCE_PORT, self.client.port());
            list.address(semconv::DESTINATION_ADDRESS, &text(self.server));
            list.int(semconv::DESTINATION_PORT, self.server.port());
        }
        list.address(semconv::NETWORK_PEER_ADDRESS, &text(self.peer));
        list.int(semconv::NETWORK_PEER_PORT, self.peer.port());
        list.address(semconv::NETWORK_LOCAL_ADDRESS, &text(self.own));
        list.int(semconv::NETWORK_LOCAL_PORT, self.own.port());
        list.text(semconv::NETWORK_TRANSPORT, "tcp");
        let is_v4 = matches!(self.peer.ip().to_canonical(), IpAddr::V4(_));
        list.text(semconv::NETWORK_TYPE, if is_v4 { "ipv4" } else { "ipv6" });
        list.text(semconv::NETWORK_PROTOCOL_VERSION, self.version.as_str());
    }
}

/// The address of a socket; an IPv4 address that is mapped to IPv6 is one.
pub(super) fn text(socket: &SocketAddr) -> AddressText {
    AddressText::of(socket.ip().to_canonical())
}
