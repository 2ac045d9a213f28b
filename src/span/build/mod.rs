//! `Exchange` → `Span`: kind, ids, status and attributes by the rules of the conventions.

use std::borrow::Cow;

use self::ids::{exchange_id, span_id, trace_id};
use super::attributes::{AttributeSink, Attributes};
use super::block::{Asked, Held};
use super::draft::{Draft, Source};
use super::redact::{REDACTED, is_secret_header};
use super::sampling::{Decision, decide, without_thresholds};
use super::selection::Reasons;
use super::sockets::{self, Sockets};
use super::target::{Target, default_port};
use super::text::lossy;
use super::workload::Workloads;
use super::{
    EndpointLookup, Ends, Key, Layout, LeftOut, LocalAddresses, Resource, Sampler, Span, SpanKind, SpanSettings,
    Status, forwarded, legacy, names, semconv,
};
use crate::exchange::trace_context::TraceContext;
use crate::exchange::{Exchange, ResponsePart};
use crate::http::{FieldCode, FieldName};

mod ids;

/// OTLP span flags: whether the parent is remote is known, and it is.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;
const SAMPLED: u8 = 0x01;
const RANDOM: u8 = 0x02;

/// Makes spans of exchanges.
#[derive(Debug)]
pub struct SpanBuilder {
    settings: SpanSettings,
    headers: Vec<HeaderKeys>,
    /// Why exchanges may be left out.
    reasons: Reasons,
    /// In [`Layout::Workload`].
    workloads: Option<Workloads>,
}

/// What became of an exchange.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Made {
    /// So many spans.
    Spans(u64),
    /// None: the sampler turned it down.
    SampledOut,
    /// None: both ends are elsewhere, and are reported there.
    InTransit,
    /// None: it is not observed.
    LeftOut(LeftOut),
}

/// A header name, and the attributes that its lines become.
#[derive(Clone, Debug)]
pub(super) struct HeaderKeys {
    pub(super) name: String,
    code: FieldCode,
    is_secret: bool,
    /// Whether it is `User-Agent`.
    is_agent: bool,
    request: Key,
    response: Key,
    pub(super) legacy_request: Key,
    pub(super) legacy_response: Key,
}

/// An exchange with what was read of it once.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) exchange: &'a Exchange,
    ends: &'a Ends,
    pub(super) kind: SpanKind,
    route: Option<&'a str>,
    pub(super) method: Cow<'a, str>,
    /// Whether its method is reported by its own name.
    is_known: bool,
    pub(super) target: &'a Target<'a>,
    pub(super) error: Option<Cow<'a, str>>,
}

impl Reading<'_> {
    /// What decides [`add_server_and_client`] beside the sockets; `None` where more than that does.
    fn asked(&self) -> Option<Asked<'_>> {
        let head = &self.exchange.request.head;
        if self.target.scheme.is_some() || !forwarded::is_missing(head) {
            return None;
        }
        Asked::new(self.target.host.as_deref().unwrap_or_default(), self.target.port)
    }
}

impl SpanBuilder {
    /// A builder for these settings.
    pub fn new(mut settings: SpanSettings) -> Self {
        // Those that most requests have are found first.
        settings.known_methods.sort_by_key(|method| !matches!(method.as_str(), "GET" | "POST"));
        let headers = settings.headers.iter().map(|name| HeaderKeys::new(name)).collect();
        let reasons = settings.selection.reasons();
        Self { settings, headers, reasons, workloads: None }
    }

    /// Where each workload has a resource of its own ([`Layout::Workload`]): the agent's resource for what nobody knows, and
    /// what all of them have in common.
    #[must_use]
    pub fn with_workloads(mut self, own: Resource, further: Resource) -> Self {
        if self.settings.layout == Layout::Workload {
            self.workloads = Some(Workloads::new(own, further, self.settings.names_from_labels));
        }
        self
    }

    /// Which spans it makes of an exchange.
    pub fn layout(&self) -> Layout {
        self.settings.layout
    }

    /// Pods that were given the fallback's `service.name`, because there were too many names.
    pub fn unnamed(&self) -> u64 {
        self.workloads.as_ref().map_or(0, Workloads::unnamed)
    }

    /// How it makes them.
    pub(super) const fn settings(&self) -> &SpanSettings {
        &self.settings
    }

    /// Makes the spans of `exchange` that are this agent's to make, and gives them to `take`.
    pub fn spans(
        &self,
        exchange: &Exchange,
        local: &dyn LocalAddresses,
        lookup: &dyn EndpointLookup,
        take: &mut dyn FnMut(&Span<'_>),
    ) -> Made {
        self.drafts(exchange, local, lookup, &mut |draft| take(&draft.to_span()))
    }

    /// The same, with attributes that are still to be written.
    pub fn drafts(
        &self,
        exchange: &Exchange,
        local: &dyn LocalAddresses,
        lookup: &dyn EndpointLookup,
        take: &mut dyn FnMut(&Draft<'_>),
    ) -> Made {
        let ends = Ends::of(exchange, local, lookup);
        let sides = ends.sides(self.settings.layout);
        if sides.is_empty() {
            return Made::InTransit;
        }
        let target = Target::of(&exchange.request.head);
        if let Some(reason) = self.settings.selection.leaves_out(&self.reasons, exchange, &ends, &target.path) {
            return Made::LeftOut(reason);
        }
        let route = self.settings.routes.of(&target.path);
        for kind in sides {
            if !self.draft(exchange, &ends, *kind, &target, route, take) {
                return Made::SampledOut;
            }
        }
        Made::Spans(sides.len() as u64)
    }

    /// Gives the span of one side to `take`; `false` when the exchange is not sampled.
    fn draft<'a>(
        &'a self,
        exchange: &'a Exchange,
        ends: &'a Ends,
        kind: SpanKind,
        target: &'a Target<'a>,
        route: Option<&'a str>,
        take: &mut dyn FnMut(&Draft<'_>),
    ) -> bool {
        let head = &exchange.request.head;
        let caller = TraceContext::of(head, &self.settings.propagators);
        let trace_id = caller.as_ref().map_or_else(|| trace_id(exchange.id), |caller| caller.trace_id);
        let Decision::Keep { rate } = decide(self.settings.sampler, trace_id, caller.as_ref()) else { return false };
        let known = self.settings.known_methods.iter().find(|known| known.as_bytes() == head.method());
        let method = known.map_or_else(|| lossy(head.method()), |known| Cow::Borrowed(known.as_str()));
        let error = error_type(exchange, kind);
        let is_child = kind == SpanKind::Server && ends.has_client_span(self.settings.layout);
        let derived = || is_child.then(|| span_id(exchange.id, SpanKind::Client));
        let parent = caller.as_ref().map(|caller| caller.span_id).or_else(derived);
        let remote = if parent.is_some() { IS_REMOTE } else { 0 };
        let random = caller.as_ref().map_or(0, |caller| caller.flags & RANDOM);
        let flags = HAS_IS_REMOTE | remote | u32::from(random | SAMPLED);
        let trace_state = caller.map_or(Cow::Borrowed(""), |caller| match self.settings.sampler {
            Sampler::ParentBased { .. } => caller.trace_state,
            _ => without_thresholds(caller.trace_state),
        });
        let span = Span {
            name: name(known.map_or("HTTP", String::as_str), route),
            kind,
            trace_id,
            span_id: span_id(exchange.id, kind),
            parent,
            trace_state,
            flags,
            start: exchange.start(),
            end: exchange.end(),
            status: if error.is_some() { Status::Error } else { Status::Unset },
            attributes: Vec::new(),
            dropped_attributes: 0,
            resource: self.workloads.as_ref().map(|workloads| {
                let (own, _) = ends.own_and_peer(kind);
                workloads.resource(own, port_of(kind, own))
            }),
            in_transit: ends.is_in_transit(),
        };
        let reading = Reading { exchange, ends, kind, route, method, is_known: known.is_some(), target, error };
        take(&Draft { span, source: Some(Source { builder: self, reading, rate }) });
        true
    }

    /// The most telling attributes come first: a low limit on their number keeps them.
    pub(super) fn attributes<'a, S: AttributeSink<'a>>(
        &'a self,
        list: &mut Attributes<'_, S>,
        reading: &Reading<'a>,
        rate: u64,
    ) {
        let settings = &self.settings;
        let sockets = Sockets::of(reading.exchange, reading.kind);
        add_http(list, reading);
        if settings.include_url {
            self.add_url(list, reading, &sockets);
        }
        let asked = reading.asked();
        if asked.is_none() {
            add_server_and_client(list, reading, &sockets);
        }
        let key = sockets.key(settings.layout, asked);
        let add_asked = |list: &mut Attributes<'_, S>| {
            if asked.is_some() {
                add_server_and_client(list, reading, &sockets);
            }
        };
        let add_connection = |list: &mut Attributes<'_, S>| sockets.add(list, settings.layout);
        if reading.ends.are_unknown() {
            list.block(key.in_one_part(), Held::default, |list| {
                add_asked(list);
                add_connection(list);
            });
        } else {
            list.around(key, add_asked, |list| self.add_ends(list, reading), add_connection);
        }
        add_sizes_and_times(list, reading.exchange);
        if rate > 1 {
            list.int(semconv::SAMPLE_RATE, rate);
        }
        self.add_headers(list, reading);
        if settings.legacy_attributes {
            legacy::add(list, reading, &self.headers, settings);
        }
    }

    /// Who is at both ends, or at the other one.
    fn add_ends<'a, S: AttributeSink<'a>>(&self, list: &mut Attributes<'_, S>, reading: &Reading<'a>) {
        let ends = reading.ends;
        match self.settings.layout {
            Layout::Agent => {
                names::add_end(list, names::SOURCE, &ends.client, None);
                names::add_end(list, names::DESTINATION, &ends.server, Some(ends.server.socket.port()));
            }
            Layout::Workload => {
                let (_, peer) = ends.own_and_peer(reading.kind);
                let port = (reading.kind == SpanKind::Client).then(|| peer.socket.port());
                names::add_peer(list, peer, port, self.settings.names_from_labels);
            }
        }
    }

    fn add_url<'a, S: AttributeSink<'a>>(
        &self,
        list: &mut Attributes<'_, S>,
        reading: &Reading<'a>,
        sockets: &Sockets<'_>,
    ) {
        let Reading { kind, target, .. } = reading;
        let settings = &self.settings;
        // A client's path is in its `url.full`; one table for both kinds wants it in one column.
        let is_apart = *kind == SpanKind::Server || settings.layout == Layout::Agent;
        if is_apart && !target.path.is_empty() {
            list.usual(semconv::URL_PATH, &target.path);
        }
        if is_apart
            && settings.include_query
            && let Some(query) = target.query()
        {
            list.shared(semconv::URL_QUERY, &query);
        }
        if *kind == SpanKind::Client {
            let full = |host: &str| target.full(target.immediate_scheme(), host, settings.include_query);
            let full = match &target.host {
                Some(host) => full(host),
                None => full(sockets::text(sockets.server).as_str()),
            };
            list.text(semconv::URL_FULL, full);
        }
    }

    fn add_headers<'a, S: AttributeSink<'a>>(&'a self, list: &mut Attributes<'_, S>, reading: &Reading<'a>) {
        let request = &reading.exchange.request.head;
        for keys in &self.headers {
            if !request.lacks(keys.field()) {
                let mut lines = request.lines(keys.field());
                if let Some(first) = lines.next().map(lossy) {
                    if keys.is_agent && reading.kind == SpanKind::Server {
                        list.usual(semconv::USER_AGENT_ORIGINAL, &first);
                    }
                    self.add_header(list, &keys.request, keys, first, lines);
                }
            }
            if let Some(ResponsePart { head, .. }) = &reading.exchange.response
                && !head.lacks(keys.field())
            {
                let mut lines = head.lines(keys.field());
                if let Some(first) = lines.next().map(lossy) {
                    self.add_header(list, &keys.response, keys, first, lines);
                }
            }
        }
    }

    fn add_header<'a, S: AttributeSink<'a>>(
        &self,
        list: &mut Attributes<'_, S>,
        key: &'a Key,
        keys: &HeaderKeys,
        first: Cow<'a, str>,
        further: impl Iterator<Item = &'a [u8]>,
    ) {
        if keys.is_secret && !self.settings.unsafe_headers {
            list.texts(key, Cow::Borrowed(REDACTED), std::iter::empty());
        } else {
            list.texts(key, first, further.map(lossy));
        }
    }
}

impl HeaderKeys {
    fn new(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let snake = name.replace('-', "_");
        Self {
            request: format!("http.request.header.{name}").into(),
            response: format!("http.response.header.{name}").into(),
            legacy_request: format!("http.request.header.{snake}").into(),
            legacy_response: format!("http.response.header.{snake}").into(),
            code: FieldName::from(&*name).code(),
            is_secret: is_secret_header(&name),
            is_agent: name == "user-agent",
            name,
        }
    }

    fn field(&self) -> FieldName<'_> {
        FieldName::coded(&self.name, self.code)
    }
}

/// `{method}`, and the route if there is one; never the path.
fn name<'a>(method: &'a str, route: Option<&str>) -> Cow<'a, str> {
    route.map_or(Cow::Borrowed(method), |route| Cow::Owned(format!("{method} {route}")))
}

/// The port that tells which container a side is: that of the server.
fn port_of(kind: SpanKind, own: &super::End) -> Option<u16> {
    (kind == SpanKind::Server).then(|| own.socket.port())
}

/// The conventions' rule: 5xx is an error of both sides, 4xx of the client alone.
fn error_type(exchange: &Exchange, kind: SpanKind) -> Option<Cow<'static, str>> {
    if let Some(ending) = exchange.outcome.error_type() {
        return Some(Cow::Borrowed(ending));
    }
    let status = exchange.response.as_ref()?.head.status();
    let is_error = status >= 500 || (status >= 400 && kind == SpanKind::Client);
    is_error.then(|| status_text(status))
}

#[cold]
fn status_text(status: u16) -> Cow<'static, str> {
    Cow::Owned(status.to_string())
}

fn add_http<'a, S: AttributeSink<'a>>(list: &mut Attributes<'_, S>, reading: &Reading<'a>) {
    if reading.is_known {
        list.usual(semconv::HTTP_REQUEST_METHOD, &reading.method);
    } else {
        list.text(semconv::HTTP_REQUEST_METHOD, "_OTHER");
        list.shared(semconv::HTTP_REQUEST_METHOD_ORIGINAL, &reading.method);
    }
    if let Some(response) = &reading.exchange.response {
        list.ints([(semconv::HTTP_RESPONSE_STATUS_CODE, response.head.status().into())]);
    }
    if let Some(error) = &reading.error {
        list.shared(semconv::ERROR_TYPE, error);
    }
    if let Some(route) = reading.route {
        // Only a server has routes (conventions, HTTP spans).
        let key = if reading.kind == SpanKind::Server { semconv::HTTP_ROUTE } else { semconv::URL_TEMPLATE };
        list.text(key, route);
    }
    list.letters(semconv::EXCHANGE_ID, &exchange_id(reading.exchange.id));
    if reading.exchange.incomplete {
        list.bool(semconv::CAPTURE_INCOMPLETE, true);
    }
}

#[cold]
fn add_server_and_client<'a, S: AttributeSink<'a>>(
    list: &mut Attributes<'_, S>,
    reading: &Reading<'a>,
    sockets: &Sockets<'_>,
) {
    let Reading { exchange, kind, target, .. } = reading;
    let immediate = target.immediate_scheme();
    if *kind == SpanKind::Server {
        let scheme = forwarded::scheme(&exchange.request.head);
        list.passing(semconv::URL_SCHEME, scheme.as_deref().unwrap_or(immediate));
    }
    let port = match &target.host {
        Some(_) => target.port.or_else(|| default_port(immediate)),
        None => Some(sockets.server.port()),
    };
    match &target.host {
        Some(host) => list.shared(semconv::SERVER_ADDRESS, host),
        None => list.address(semconv::SERVER_ADDRESS, &sockets::text(sockets.server)),
    }
    if let Some(port) = port {
        list.int(semconv::SERVER_PORT, port);
    }
    if *kind == SpanKind::Server {
        add_client(list, exchange, sockets);
    }
}

fn add_client<'a, S: AttributeSink<'a>>(list: &mut Attributes<'_, S>, exchange: &'a Exchange, sockets: &Sockets<'_>) {
    if let Some((address, port)) = forwarded::client(&exchange.request.head) {
        list.text(semconv::CLIENT_ADDRESS, address);
        if let Some(port) = port {
            list.int(semconv::CLIENT_PORT, port);
        }
    } else {
        list.address(semconv::CLIENT_ADDRESS, &sockets::text(sockets.client));
        list.int(semconv::CLIENT_PORT, sockets.client.port());
    }
}

fn add_sizes_and_times<'a, S: AttributeSink<'a>>(list: &mut Attributes<'_, S>, exchange: &Exchange) {
    let request = &exchange.request.transfer;
    let sent =
        [(semconv::HTTP_REQUEST_BODY_SIZE, request.body_bytes), (semconv::HTTP_REQUEST_SIZE, request.wire_bytes)];
    list.ints(sent);
    let mut packets = 0;
    if let Some(response) = exchange.response.as_ref().map(|part| &part.transfer) {
        packets = response.packets;
        list.ints([
            (semconv::HTTP_RESPONSE_BODY_SIZE, response.body_bytes),
            (semconv::HTTP_RESPONSE_SIZE, response.wire_bytes),
        ]);
        list.millis(semconv::TIME_TO_FIRST_BYTE_MS, response.first_byte.saturating_since(request.first_byte));
    }
    if let Some(rtt) = exchange.handshake_rtt {
        list.millis(semconv::HANDSHAKE_RTT_MS, rtt);
    }
    list.ints([(semconv::REQUEST_PACKETS, request.packets.into()), (semconv::RESPONSE_PACKETS, packets.into())]);
    if exchange.retransmits > 0 {
        list.int(semconv::RETRANSMITS, exchange.retransmits);
    }
}

#[cfg(test)]
mod tests;
