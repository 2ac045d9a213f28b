//! The sockets of an exchange → `source.*`, `destination.*` and `network.*`.

use std::net::{IpAddr, SocketAddr};

use super::attributes::{AddressText, AttributeSink, Attributes};
use super::{Layout, SpanKind, semconv};
use crate::exchange::Exchange;

/// The sockets of an exchange, and the texts of their addresses.
pub(super) struct Sockets {
    pub(super) client: AddressText,
    pub(super) server: AddressText,
    ports: (u16, u16),
    /// Of the side that the span is of: the other end, its own.
    peer: AddressText,
    own: AddressText,
    peer_and_own_port: (u16, u16),
    network_type: &'static str,
}

impl Sockets {
    pub(super) fn of(exchange: &Exchange, kind: SpanKind) -> Self {
        let text = |socket: SocketAddr| AddressText::of(socket.ip().to_canonical());
        let (client, server) = (text(exchange.client), text(exchange.server));
        let (near, far) = match (kind, &exchange.translated) {
            (SpanKind::Server, Some(there)) => (there.client, there.server),
            (SpanKind::Server, None) => (exchange.client, exchange.server),
            (SpanKind::Client, _) => (exchange.server, exchange.client),
        };
        let (peer, own) = match (kind, &exchange.translated) {
            (SpanKind::Server, Some(_)) => (text(near), text(far)),
            (SpanKind::Server, None) => (client, server),
            (SpanKind::Client, _) => (server, client),
        };
        Self {
            client,
            server,
            ports: (exchange.client.port(), exchange.server.port()),
            peer,
            own,
            peer_and_own_port: (near.port(), far.port()),
            network_type: if matches!(near.ip().to_canonical(), IpAddr::V4(_)) { "ipv4" } else { "ipv6" },
        }
    }

    pub(super) fn add<'a, S: AttributeSink<'a>>(&self, list: &mut Attributes<'_, S>, layout: Layout) {
        if layout == Layout::Agent {
            list.address(semconv::SOURCE_ADDRESS, &self.client);
            list.int(semconv::SOURCE_PORT, self.ports.0);
            list.address(semconv::DESTINATION_ADDRESS, &self.server);
            list.int(semconv::DESTINATION_PORT, self.ports.1);
        }
        list.address(semconv::NETWORK_PEER_ADDRESS, &self.peer);
        list.int(semconv::NETWORK_PEER_PORT, self.peer_and_own_port.0);
        list.address(semconv::NETWORK_LOCAL_ADDRESS, &self.own);
        list.int(semconv::NETWORK_LOCAL_PORT, self.peer_and_own_port.1);
        list.text(semconv::NETWORK_TRANSPORT, "tcp");
        list.text(semconv::NETWORK_TYPE, self.network_type);
    }
}
