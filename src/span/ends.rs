//! An exchange → who is at both ends of it, which of them are here, and which spans this agent makes of it.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Endpoint, EndpointLookup, LocalAddresses, Node, Pod, Service, SpanKind};
use crate::exchange::Exchange;
use crate::time::Timestamp;

/// Who is at both ends of an exchange, at the time of the exchange.
#[derive(Clone, Debug)]
pub struct Ends {
    /// Who asked.
    pub client: End,
    /// Who was asked.
    pub server: End,
    /// Whether the places of addresses are known: then what is on neither end's node is reported by those.
    pub places_are_known: bool,
    /// Whether another agent makes a span of the client's side.
    pub client_is_reported_elsewhere: bool,
}

/// One end of an exchange.
#[derive(Clone, Debug)]
pub struct End {
    /// Its own socket, before any translation on the client's side and behind every one on the server's.
    pub socket: SocketAddr,
    /// What stands there.
    pub endpoint: Option<Endpoint>,
    /// The Service that was asked, or that leads there.
    pub service: Option<Arc<Service>>,
    /// The pod's node.
    pub node: Option<Arc<Node>>,
    /// Whether it is on this node.
    pub is_here: bool,
}

/// Which spans are made of an exchange (`AGENT_SPAN_LAYOUT`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Layout {
    /// One, of the agent: it holds both ends.
    #[default]
    Agent,
    /// One of each end that is here, of its own workload.
    Workload,
}

impl Ends {
    /// Looks both ends up.
    pub fn of(exchange: &Exchange, local: &dyn LocalAddresses, names: &dyn EndpointLookup) -> Self {
        if !names.knows_any() {
            return Self::without_names(exchange, local);
        }
        let at = exchange.start();
        let client = End::find(exchange.client, at, local, names);
        let server = Self::server(exchange, at, local, names);
        let places_are_known = names.knows_places();
        let is_reported = match (&client.endpoint, &server.endpoint) {
            (Some(Endpoint::Pod(_)), _) => true,
            // Its own processes, and its pods when it masquerades them; but what it only passes on it does not report.
            (Some(Endpoint::Node(_)), Some(Endpoint::Pod(pod))) => !names.is_exposed(pod, server.socket.port(), at),
            (Some(Endpoint::Node(_)), _) => true,
            _ => false,
        };
        let client_is_reported_elsewhere =
            !client.is_here && (places_are_known && is_reported || local.is_reported_elsewhere(exchange.client.ip()));
        Self { client, server, places_are_known, client_is_reported_elsewhere }
    }

    fn without_names(exchange: &Exchange, local: &dyn LocalAddresses) -> Self {
        let (client, asked) = (&exchange.client, &exchange.server);
        let answering = exchange.translated.as_ref().map_or(asked, |there| &there.server);
        let is_known = local.is_known();
        let client_is_here = is_known && local.is_local(client.ip());
        let is_asked_here = || asked.ip() != answering.ip() && local.is_local(asked.ip());
        let server_is_here = is_known && (local.is_local(answering.ip()) || is_asked_here());
        let end = |socket: &SocketAddr, is_here: bool| End {
            socket: *socket,
            endpoint: None,
            service: None,
            node: None,
            is_here,
        };
        Self {
            client: end(client, client_is_here),
            server: end(answering, server_is_here),
            places_are_known: false,
            client_is_reported_elsewhere: !client_is_here && local.is_reported_elsewhere(client.ip()),
        }
    }

    fn server(exchange: &Exchange, at: Timestamp, local: &dyn LocalAddresses, names: &dyn EndpointLookup) -> End {
        let (asked, answering) = (exchange.server, exchange.at_server().1);
        let mut server = End::find(answering, at, local, names);
        if server.endpoint.is_none() && asked != answering {
            server.endpoint = names.endpoint(asked, at);
        }
        // What the client asked beats what the answering pod's labels let guess.
        let dialled = names.dialled(asked, at);
        server.service = dialled.or_else(|| match &server.endpoint {
            Some(Endpoint::Pod(pod)) => names.service_of(pod, Some(answering.port()), at),
            Some(Endpoint::Service(service)) => Some(service.clone()),
            _ => None,
        });
        // A node that passes on what is asked at its address is not where it is answered; without knowing more, it is.
        if !names.knows_places() && asked.ip() != answering.ip() {
            server.is_here |= local.is_local(asked.ip());
        }
        server
    }

    /// The sides of which this agent makes a span; none of what is only passing.
    pub fn sides(&self, layout: Layout) -> &'static [SpanKind] {
        match (layout, self.client.is_here, self.server.is_here) {
            (Layout::Agent, _, true) | (Layout::Workload, false, true) => &[SpanKind::Server],
            (_, true, false) => &[SpanKind::Client],
            (Layout::Workload, true, true) => &[SpanKind::Client, SpanKind::Server],
            (_, false, false) if self.places_are_known => &[],
            (_, false, false) => &[SpanKind::Server],
        }
    }

    /// Whether neither is here.
    pub fn is_in_transit(&self) -> bool {
        !self.client.is_here && !self.server.is_here
    }

    /// Whether somebody makes the client's span, to be the parent of the server's.
    pub fn has_client_span(&self, layout: Layout) -> bool {
        self.client_is_reported_elsewhere || self.sides(layout).contains(&SpanKind::Client)
    }

    /// The end of which a span of `kind` tells, and the other.
    pub fn own_and_peer(&self, kind: SpanKind) -> (&End, &End) {
        match kind {
            SpanKind::Server => (&self.server, &self.client),
            SpanKind::Client => (&self.client, &self.server),
        }
    }

    /// Whether nobody knows who is at either.
    pub fn are_unknown(&self) -> bool {
        [&self.client, &self.server].iter().all(|end| end.endpoint.is_none() && end.service.is_none())
    }

    /// Pods at either end.
    pub fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        [&self.client, &self.server].into_iter().filter_map(End::pod)
    }
}

impl End {
    fn find(socket: SocketAddr, at: Timestamp, local: &dyn LocalAddresses, names: &dyn EndpointLookup) -> Self {
        let endpoint = names.endpoint(socket, at);
        let is_here = endpoint.as_ref().is_some_and(|endpoint| names.is_here(endpoint)) || local.is_local(socket.ip());
        let mut end = Self { socket, endpoint, service: None, node: None, is_here };
        if let Some(Endpoint::Pod(pod)) = &end.endpoint {
            end.node = names.node(&pod.node, at);
            end.service = names.service_of(pod, None, at);
        }
        end
    }

    /// The pod there.
    pub fn pod(&self) -> Option<&Arc<Pod>> {
        match &self.endpoint {
            Some(Endpoint::Pod(pod)) => Some(pod),
            _ => None,
        }
    }
}

/// Nobody knows any names: what is not in a cluster.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNames;

impl EndpointLookup for NoNames {
    fn endpoint(&self, _: SocketAddr, _: Timestamp) -> Option<Endpoint> {
        None
    }

    fn node(&self, _: &str, _: Timestamp) -> Option<Arc<Node>> {
        None
    }

    fn dialled(&self, _: SocketAddr, _: Timestamp) -> Option<Arc<Service>> {
        None
    }

    fn service_of(&self, _: &Pod, _: Option<u16>, _: Timestamp) -> Option<Arc<Service>> {
        None
    }

    fn is_exposed(&self, _: &Pod, _: u16, _: Timestamp) -> bool {
        false
    }

    fn knows_places(&self) -> bool {
        false
    }

    fn is_here(&self, _: &Endpoint) -> bool {
        false
    }

    fn knows_any(&self) -> bool {
        false
    }
}
