//! What a client sends after CONNECT, or a request to upgrade, before it has an answer: bytes of the tunnel, or HTTP.
//!
//! A client may begin with its tunnel before it knows that it has one (RFC 9110 §9.3.6). Such bytes are no loss.

use super::{At, State, Stream, Turn};
use crate::http::detect::{Detected, detect};
use crate::http::{MessageSink, RequestHead, Role};

/// What the request read last asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Switch {
    /// Nothing.
    None,
    /// Another protocol, if the server wants it too; until then HTTP may go on.
    Upgrade,
    /// CONNECT: what follows at once is no HTTP.
    Tunnel,
    /// Something has followed that is no HTTP.
    Begun,
}

impl Switch {
    /// What `head` asks for; `upgrades` when it has an Upgrade header line.
    pub(super) fn of(head: &RequestHead, upgrades: bool) -> Self {
        match (head.method() == b"CONNECT", upgrades) {
            (true, _) => Self::Tunnel,
            (false, true) => Self::Upgrade,
            (false, false) => Self::None,
        }
    }
}

impl Stream {
    /// At a boundary: the number of bytes at the beginning of `rest` that belong to another protocol. None do when the
    /// client has received something since: then it has been refused, or HTTP ends with the answer.
    pub(super) fn early(&mut self, rest: &[u8], at: &At<'_>, sink: &mut impl MessageSink) -> usize {
        let is_http = |rest: &[u8]| matches!(detect(rest), Detected::StartLine(Role::Request) | Detected::NeedMore);
        match (self.switch, at.turn) {
            (Switch::None, _) => 0,
            (Switch::Begun, Turn::New) => {
                self.switch = Switch::None;
                self.looks = 0;
                self.state = State::Searching;
                0
            }
            (_, Turn::New) => {
                self.switch = Switch::None;
                0
            }
            (Switch::Upgrade, Turn::Same) if is_http(rest) => {
                self.switch = Switch::None;
                0
            }
            (_, Turn::Same) => {
                self.switch = Switch::Begun;
                sink.counters().skipped_bytes += rest.len() as u64;
                rest.len()
            }
        }
    }
}
