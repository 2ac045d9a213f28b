//! `Exchange` → `Span`: names, kind, ids, status and attributes of the semantic conventions.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::time::Timestamp;

mod attributes;
mod block;
mod build;
mod draft;
mod endpoint;
mod ends;
mod fields;
mod forwarded;
mod key;
mod legacy;
mod names;
mod redact;
mod routes;
mod sampling;
mod selection;
mod semconv;
mod sockets;
mod target;
mod text;
mod workload;

pub use attributes::{AttributeSink, Part};
pub use block::{BlockKey, Held};
pub use build::{Made, SpanBuilder};
pub use draft::Draft;
pub use endpoint::{
    Container, Endpoint, EndpointLookup, Label, Labels, Node, Owner, OwnerKind, Pod, Service, ServicePort, TargetPort,
    Template, Uid,
};
pub use ends::{End, Ends, Layout, NoNames};
pub use key::Key;
pub use routes::{Route, Routes};
pub use selection::{LeftOut, Selection, Traits};
pub use workload::MOST_NAMES;

pub use crate::exchange::trace_context::Propagator;

/// A span, neutral of any wire format; borrows its strings from the exchange and the settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Span<'a> {
    /// `{method}`, or `HTTP` for a method outside the known set; never the path.
    pub name: Cow<'a, str>,
    /// Which side's span it is.
    pub kind: SpanKind,
    /// Never all zero.
    pub trace_id: [u8; 16],
    /// Never all zero.
    pub span_id: [u8; 8],
    /// The caller's span.
    pub parent: Option<[u8; 8]>,
    /// W3C `tracestate`; empty when there is none.
    pub trace_state: Cow<'a, str>,
    /// W3C trace flags in the low byte, `HAS_IS_REMOTE` 0x100 and `IS_REMOTE` 0x200 (OTLP `SpanFlags`).
    pub flags: u32,
    /// First byte of the request.
    pub start: Timestamp,
    /// Last byte of the response. Invariant: `end >= start`.
    pub end: Timestamp,
    /// Whether the exchange failed, by the rule for the kind; never OK.
    pub status: Status,
    /// Names and values, each name once.
    pub attributes: Vec<Attribute<'a>>,
    /// Attributes left out because of the limit on their number.
    pub dropped_attributes: u32,
    /// Whose it is; `None` is the agent's own.
    pub resource: Option<Arc<Resource>>,
    /// Neither end is on this machine: somebody's traffic, seen on its way. Not written anywhere.
    pub in_transit: bool,
}

/// Which side of the exchange a span describes. The numbers are OTLP's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(i32)]
pub enum SpanKind {
    /// The side that received the request.
    Server = 2,
    /// The side that sent the request.
    Client = 3,
}

/// A span's status; the numbers are OTLP's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(i32)]
pub enum Status {
    /// Nothing is said.
    Unset = 0,
    /// The exchange failed.
    Error = 2,
}

/// One attribute.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute<'a> {
    /// Its name.
    pub key: Cow<'a, str>,
    /// Its value.
    pub value: Value<'a>,
}

/// An attribute's value, of the types that the conventions use.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Text, valid UTF-8, at most 64 KiB.
    String(Cow<'a, str>),
    /// A signed integer.
    Int(i64),
    /// A floating-point number.
    Double(f64),
    /// A truth value.
    Bool(bool),
    /// A list of texts, as header values are.
    Strings(SmallVec<[Cow<'a, str>; 1]>),
}

/// What a batch of spans has in common: who observed them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    /// `service.name`, `host.name` and so on, each name once.
    pub attributes: Vec<Attribute<'static>>,
}

/// The schema whose names the spans use.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// The instrumentation scope's name; its version is the package's.
pub const SCOPE_NAME: &str = "network-agent";

/// Bytes that a text has at most: the limit of Honeycomb's columns.
pub const MAX_TEXT: usize = 65_535;

/// Tells which addresses are this machine's, to choose the span's kind, and which are another's, to choose its parent.
pub trait LocalAddresses {
    /// Whether `address` is one of this machine's. Nothing is local to a capture file.
    fn is_local(&self, address: std::net::IpAddr) -> bool;

    /// Whether `address` is another machine's, whose agent reports what is sent from there as CLIENT spans.
    fn is_reported_elsewhere(&self, _address: std::net::IpAddr) -> bool {
        false
    }

    /// Whether any address can be local: without one, being in transit says nothing.
    fn is_known(&self) -> bool {
        true
    }
}

/// How spans are made from exchanges.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting that is on or off")]
pub struct SpanSettings {
    /// `INCLUDE_REQUEST_URL`: `url.path` and `url.full`.
    pub include_url: bool,
    /// `AGENT_INCLUDE_QUERY`: `url.query`, and the query in `url.full`.
    pub include_query: bool,
    /// `HTTP_HEADERS`: names to report, lower case.
    pub headers: Vec<String>,
    /// `AGENT_UNSAFE_HEADERS`: credentials are reported as they are.
    pub unsafe_headers: bool,
    /// `AGENT_LEGACY_ATTRIBUTES`: also the names of the old agent.
    pub legacy_attributes: bool,
    /// `OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS`: methods reported by their own name.
    pub known_methods: Vec<String>,
    /// Attributes a span has at most.
    pub attribute_count_limit: usize,
    /// Bytes a text has at most, cut at a character's boundary; never more than 64 KiB.
    pub attribute_value_length_limit: usize,
    /// `OTEL_TRACES_SAMPLER` and its argument.
    pub sampler: Sampler,
    /// `OTEL_PROPAGATORS`: formats of trace context that are read, in this order.
    pub propagators: Vec<Propagator>,
    /// `AGENT_SPAN_LAYOUT`.
    pub layout: Layout,
    /// `AGENT_SERVICE_NAME_FROM_LABELS`: labels of pods name services.
    pub names_from_labels: bool,
    /// `AGENT_ROUTES`.
    pub routes: Routes,
    /// `AGENT_INCLUDE_…` and `AGENT_EXCLUDE_…`.
    pub selection: Selection,
}

/// Which exchanges become spans.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampler {
    /// Every one: the network shows what happened.
    AlwaysOn,
    /// None.
    AlwaysOff,
    /// This share of trace ids, 0 to 1.
    TraceIdRatio(f64),
    /// As the caller's sampled flag says; without a caller, as `root` says.
    ParentBased {
        /// What decides for traces that begin here.
        root: RootSampler,
    },
}

/// What decides for a trace without a caller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RootSampler {
    /// Every one.
    AlwaysOn,
    /// None.
    AlwaysOff,
    /// This share of trace ids, 0 to 1.
    TraceIdRatio(f64),
}

impl Default for SpanSettings {
    fn default() -> Self {
        Self {
            include_url: true,
            include_query: false,
            headers: vec!["user-agent".to_owned()],
            unsafe_headers: false,
            legacy_attributes: false,
            known_methods: semconv::KNOWN_METHODS.map(str::to_owned).to_vec(),
            attribute_count_limit: 128,
            attribute_value_length_limit: MAX_TEXT,
            sampler: Sampler::AlwaysOn,
            propagators: vec![Propagator::TraceContext],
            layout: Layout::Agent,
            names_from_labels: false,
            routes: Routes::default(),
            selection: Selection::default(),
        }
    }
}

impl Resource {
    /// Gives `key` this value, whatever it had before.
    pub fn set(&mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, str>>) {
        let (key, value) = (key.into(), Value::String(value.into()));
        match self.attributes.iter_mut().find(|attribute| attribute.key == key) {
            Some(attribute) => attribute.value = value,
            None => self.attributes.push(Attribute { key, value }),
        }
    }
}
