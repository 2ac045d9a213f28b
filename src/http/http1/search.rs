//! After a loss, or a join in the middle: bytes → the next start line that is provably one.

use super::{After, At, Proof, State, Stream, Turn, number};
use crate::http::detect::{Detected, detect_strictly};
use crate::http::{Lost, Message, MessageSink, Role, Standing};
use crate::tcp::Mark;

/// So often a turn of the conversation may begin with something else than a start line before the search is given up.
const MAX_LOOKS: u32 = 64;

impl Stream {
    /// The first bytes are no start line, but may be the middle of a message: looks for the next one.
    pub(in crate::http) fn search_on(&mut self, bytes: &[u8], sink: &mut impl MessageSink) -> After {
        if self.looks > MAX_LOOKS || is_tls_record(bytes) {
            return After::NotHttp;
        }
        sink.counters().skipped_bytes += bytes.len() as u64;
        self.held = Vec::new();
        self.held_packets = 0;
        self.looks += 1;
        self.state = State::Searching;
        After::Follow
    }

    /// Looks whether a message begins here; the bytes of a packet that does not begin with one are skipped.
    ///
    /// A start line is a boundary only at a segment's first byte, and only where the numbers of both directions agree:
    /// a body that merely holds such text stands elsewhere. Empty lines before it prove nothing: they are the middle of
    /// a body as well.
    pub(super) fn search(&mut self, rest: &[u8], at: &At<'_>, sink: &mut impl MessageSink) -> (usize, After) {
        if at.proof != Proof::None {
            match (detect_strictly(rest), at.expected) {
                (Detected::StartLine(found), role) if role.is_none_or(|role| role == found) => {
                    return self.resume(at.proof);
                }
                (Detected::NeedMore, _) if rest.contains(&b' ') || self.is_surely_response(at) => {
                    return self.resume(at.proof);
                }
                (Detected::Http2, None) => return (rest.len(), After::Http2),
                _ => {}
            }
        }
        if at.turn == Turn::New {
            if is_tls_record(rest) {
                return (rest.len(), After::NotHttp);
            }
            self.looks += 1;
        }
        sink.counters().skipped_bytes += rest.len() as u64;
        if self.role == Some(Role::Response) {
            // They may hold responses.
            let end = at.mark.sequence.advance(number(rest.len()));
            sink.message(Message::Lost(Role::Response, Lost::Unknown), &Mark { sequence: end, ..*at.mark });
        }
        let after = if self.looks > MAX_LOOKS { After::NotHttp } else { After::Follow };
        (rest.len(), after)
    }

    /// Whether a response begins here, of however little is known: that is where one must begin.
    fn is_surely_response(&self, at: &At<'_>) -> bool {
        at.proof == Proof::Proven && self.role == Some(Role::Response)
    }

    const fn resume(&mut self, proof: Proof) -> (usize, After) {
        self.state = State::Boundary;
        self.standing = match proof {
            Proof::Proven => Standing::Sure,
            Proof::Likely | Proof::None => Standing::Likely,
        };
        (0, After::Follow)
    }

    pub(super) fn malformed(&mut self, mark: &Mark, sink: &mut impl MessageSink) {
        sink.counters().malformed_heads += 1;
        self.lose(Lost::Unknown, mark, sink);
    }

    pub(super) fn lose(&mut self, lost: Lost, mark: &Mark, sink: &mut impl MessageSink) {
        self.flush(mark, sink);
        self.held = Vec::new();
        self.held_packets = 0;
        self.state = State::Searching;
        match self.role {
            Some(role) => {
                self.looks = 0;
                sink.message(Message::Lost(role, lost), mark);
            }
            None => self.unreported_loss = Some(Box::new((lost, *mark))),
        }
    }

    pub(super) fn report_early_loss(&mut self, sink: &mut impl MessageSink) {
        let Some(role) = self.role else { return };
        if let Some(loss) = self.unreported_loss.take() {
            let (lost, mark) = *loss;
            sink.message(Message::Lost(role, lost), &mark);
        }
    }
}

/// A TLS record header (RFC 8446 §5.1): handshake, alert, application data or change of cipher, version 3.x.
fn is_tls_record(bytes: &[u8]) -> bool {
    matches!(bytes, [20..=23, 3, 0..=4, ..])
}
