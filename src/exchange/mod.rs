//! `Message` → `Exchange`: which response answers which request.

use std::net::SocketAddr;
use std::time::Duration;

use crate::http::{RequestHead, ResponseHead};
use crate::time::Timestamp;

mod identity;
mod pairing;
mod parcel;
pub mod trace_context;

pub use pairing::{Pairer, Pairing};
pub use parcel::{Packed, Parcel};

/// One request with its response, or without one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Exchange {
    /// Identity `K`, the same for every view of this exchange on every node.
    pub id: ExchangeId,
    /// Tells the request from others, whatever is known of its response; the same for every view.
    pub request_key: u64,
    /// The socket that sent the request, as captured; as the client's side of a translation shows it.
    pub client: SocketAddr,
    /// The socket that received it, likewise: the one that the client addressed.
    pub server: SocketAddr,
    /// How the server's side of an address translation (DNAT, masquerade) shows them, when both sides were captured.
    pub translated: Option<Box<Translated>>,
    /// The interface that saw the request's first byte.
    pub interface: u32,
    /// The request.
    pub request: RequestPart,
    /// The response, once its head was seen.
    pub response: Option<ResponsePart>,
    /// How it ended.
    pub outcome: Outcome,
    /// Bytes of it were missing from the capture, or the capture ended before it did.
    /// Never an error of the application.
    pub incomplete: bool,
    /// Segments sent again by either side while the exchange was open.
    pub retransmits: u32,
    /// SYN to the last acknowledgement of the handshake, when it was seen; a property of the connection.
    pub handshake_rtt: Option<Duration>,
}

impl Exchange {
    /// Time of the packet with the first byte of the request.
    pub const fn start(&self) -> Timestamp {
        self.request.transfer.first_byte
    }

    /// Time of the packet that completed the exchange: the response's last byte, else the last byte of the
    /// request that was seen or the time of the ending. Never before [`Self::start`].
    pub fn end(&self) -> Timestamp {
        let last = match &self.response {
            Some(response) => response.transfer.last_byte,
            None => self.request.ended,
        };
        last.max(self.start())
    }

    /// Both sockets as the server's side sees them: its client, itself.
    pub fn at_server(&self) -> (SocketAddr, SocketAddr) {
        self.translated.as_ref().map_or((self.client, self.server), |there| (there.client, there.server))
    }
}

/// The sockets of an exchange on the server's side of an address translation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Translated {
    /// The socket that the server sees as its client.
    pub client: SocketAddr,
    /// The server's own socket.
    pub server: SocketAddr,
    /// When that side saw the first byte of the request.
    pub seen: Timestamp,
}

/// The request's side of an exchange.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestPart {
    /// Start line and the header lines that are kept.
    pub head: RequestHead,
    /// Times and sizes.
    pub transfer: Transfer,
    /// For an exchange without a response: when the connection told how it ended, else the last byte of the request.
    pub ended: Timestamp,
}

/// The response's side of an exchange.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ResponsePart {
    /// Status line and the header lines that are kept of the final response; interim responses are not kept.
    pub head: ResponseHead,
    /// Times and sizes.
    pub transfer: Transfer,
}

/// Times and sizes of one message.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Transfer {
    /// Time of the packet with the first byte.
    pub first_byte: Timestamp,
    /// Time of the last packet that carried a byte of it.
    pub last_byte: Timestamp,
    /// Bytes of body as transferred (RFC 9112 §6): without chunk framing, with any content coding.
    pub body_bytes: u64,
    /// Bytes of the whole message on the wire: start line, headers, framing, body, trailer section.
    pub wire_bytes: u64,
    /// Segments that carried bytes of it, each once.
    pub packets: u32,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// The response is whole, by its own framing or by the end of the connection.
    Complete,
    /// RST before the response was whole.
    ConnectionReset,
    /// FIN before a response head.
    ConnectionClosed,
    /// FIN inside a response body of known length.
    ResponseIncomplete,
    /// No answer before the connection's idle expiry.
    Timeout,
    /// Not known: the capture ended, or lost what would tell.
    Unknown,
}

impl Outcome {
    /// The value of `error.type`, when the application's exchange failed.
    pub const fn error_type(self) -> Option<&'static str> {
        match self {
            Self::Complete | Self::Unknown => None,
            Self::ConnectionReset => Some("connection_reset"),
            Self::ConnectionClosed => Some("connection_closed"),
            Self::ResponseIncomplete => Some("response_incomplete"),
            Self::Timeout => Some("timeout"),
        }
    }
}

/// Identity `K` of an exchange: 256 bits from the sequence numbers of both heads and the request head's bytes.
///
/// `K[0..16]` is the trace id when the request carries none, `K[16..24]` the CLIENT span's id,
/// `K[24..32]` the SERVER span's, `K[0..8]` the attribute `network_agent.exchange.id`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ExchangeId(pub [u8; 32]);

/// Where finished exchanges go.
pub trait ExchangeSink {
    /// Takes one.
    fn accept(&mut self, exchange: Exchange);
}

impl ExchangeSink for Vec<Exchange> {
    fn accept(&mut self, exchange: Exchange) {
        self.push(exchange);
    }
}

/// Bounds of pairing.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeLimits {
    /// Requests waiting for their response on one connection; stops pipelining without end.
    pub max_open_exchanges: usize,
}

/// What pairing has counted. Invariant: `requests == emitted + open`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ExchangeCounters {
    /// Requests seen.
    pub requests: u64,
    /// Exchanges given to the sink.
    pub emitted: u64,
    /// Requests still open.
    pub open: u64,
    /// Of the emitted: without a response.
    pub unanswered: u64,
    /// Of the emitted: marked incomplete.
    pub incomplete: u64,
    /// Final responses whose request was not seen or cannot be told.
    pub unmatched_responses: u64,
    /// What looked like a request after a loss, and no response proved to be one; not among `requests`.
    pub unproven_requests: u64,
    /// Requests given up unanswered because too many waited on their connection.
    pub overflows: u64,
}

impl std::ops::AddAssign for ExchangeCounters {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.emitted += other.emitted;
        self.open += other.open;
        self.unanswered += other.unanswered;
        self.incomplete += other.incomplete;
        self.unmatched_responses += other.unmatched_responses;
        self.unproven_requests += other.unproven_requests;
        self.overflows += other.overflows;
    }
}
