//! `StreamEvent` → `Message`: which bytes are HTTP, where each message begins and ends.

use crate::tcp::Mark;
use crate::time::Timestamp;

mod connection;
mod detect;
pub mod field_name;
mod fields;
mod head;
mod http1;
mod line_feeds;
mod lines;
pub(crate) mod packed;
mod plain;
mod preamble;
mod scan;
#[cfg(test)]
mod tests;

pub use connection::{Connection, Following, Known};
pub use field_name::{FieldCode, FieldName};
pub use fields::{KeptFields, Names};
pub use head::{Headers, RequestHead, ResponseHead, Version};
pub use plain::is_token;

/// What one side of a conversation sends.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Role {
    /// Requests: the client's direction.
    Request,
    /// Responses: the server's direction.
    Response,
}

/// What HTTP reports, in the order of the bytes of each direction.
///
/// ```text
/// Head ((Bytes | LeftOut)* (End | Abort | Lost))     Closed at last
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// A request begins.
    RequestHead(RequestHead, Standing, Opening),
    /// A final response begins: any but 1xx, and 101.
    ResponseHead(ResponseHead),
    /// An interim response (RFC 9110 §15.2): belongs to its request and does not answer it.
    Interim(ResponseHead),
    /// Bytes of the message that was begun last in this direction.
    Bytes {
        /// Whose.
        role: Role,
        /// Bytes on the wire: head, framing, body, trailer section.
        wire: u64,
        /// Of those, bytes of body.
        body: u64,
        /// Packets that carried them, each once; 0 when the capture has lost the bytes and knows only their number.
        packets: u32,
    },
    /// Bytes of its body that the source left out because nobody reads them, of a packet that brought other bytes of it.
    LeftOut {
        /// Whose.
        role: Role,
        /// How many.
        body: u64,
    },
    /// The message is whole.
    End(Role),
    /// The direction ended inside the message.
    Abort(Role),
    /// Bytes are missing, or make no sense, that may hide where messages begin and end; what was open has no known end.
    /// The mark stands at the first byte after them. Comes again with each packet of responses in which no message begins.
    Lost(Role, Lost),
    /// The direction has ended; no message will begin any more.
    Closed(Role),
}

/// What was lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lost {
    /// The end of a segment, cut by the snap length: the end of a message, and further requests of a client that
    /// pipelines.
    Cut,
    /// Whole segments, or bytes that break the syntax: they may hide messages.
    Unknown,
}

/// How sure it is that a message begins where one was read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Standing {
    /// The message before it ended here, or the numbers of both directions prove the boundary.
    #[default]
    Sure,
    /// It looks like a message after a loss that hid what was before; only a response whose numbers fit exactly
    /// proves that it was one. Bodies may hold text that looks like messages.
    Likely,
}

/// Whether both sides had all that the other had sent when a request began.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Opening {
    /// The numbers do not show it.
    #[default]
    Unknown,
    /// Its client had received just what the capture shows of the server's bytes; the server had received just what is
    /// before the request when it sent the last of them.
    InStep,
}

/// What a response answers, as far as framing its body depends on it (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answered {
    /// A HEAD request: no body whatever the head says.
    Head,
    /// A CONNECT request: 2xx turns the connection into a tunnel.
    Connect,
    /// Any other request.
    Other,
    /// The request was not seen.
    Unknown,
}

/// The layer above.
pub trait MessageSink {
    /// Takes one message; `mark` is where its bytes stand, `mark.at` when they came.
    fn message(&mut self, message: Message, mark: &Mark);

    /// What the final response whose head stands at `mark` answers; its head is the next message.
    fn place_response(&mut self, mark: &Mark) -> Answered;

    /// Counts in place of the parsers.
    fn counters(&mut self) -> &mut HttpCounters;

    /// The header fields that it reads of heads.
    fn fields(&self) -> &KeptFields {
        static ALL: KeptFields = KeptFields::All;
        &ALL
    }
}

/// Bounds of the HTTP layer.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Bytes of one head, of one trailer section, of one chunk extension; stops a line or a head without an end.
    pub max_head_bytes: usize,
}

/// What the HTTP layer has counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct HttpCounters {
    /// Request heads.
    pub requests: u64,
    /// Final response heads.
    pub responses: u64,
    /// Interim response heads (1xx but 101).
    pub interim_responses: u64,
    /// Connections found not to be HTTP/1, or no longer.
    pub opaque_connections: u64,
    /// Connections whose client began with a PROXY protocol header or a SOCKS request.
    pub preambles: u64,
    /// Connections that began with the HTTP/2 preface.
    pub http2_connections: u64,
    /// Heads and chunk lines that broke the syntax or the bound; the direction looks for the next provable start line.
    pub malformed_heads: u64,
    /// Heads longer than may be held; what was held of them is reported.
    pub oversized_heads: u64,
    /// Bytes skipped while looking for a start line.
    pub skipped_bytes: u64,
}

impl std::ops::AddAssign for HttpCounters {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.responses += other.responses;
        self.interim_responses += other.interim_responses;
        self.opaque_connections += other.opaque_connections;
        self.preambles += other.preambles;
        self.http2_connections += other.http2_connections;
        self.malformed_heads += other.malformed_heads;
        self.oversized_heads += other.oversized_heads;
        self.skipped_bytes += other.skipped_bytes;
    }
}

/// A mark that has only a time: for what no byte stands for.
fn moment(at: Timestamp) -> Mark {
    Mark { at, ..Mark::default() }
}
