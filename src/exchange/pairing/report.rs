//! An open exchange that is over → `Exchange`, counted.

use std::net::SocketAddr;

use super::{Open, Pairer};
use crate::exchange::identity::derive;
use crate::exchange::{Exchange, ExchangeSink, Outcome, RequestPart, ResponsePart};
use crate::http::Standing;
use crate::time::Timestamp;

impl<K: ExchangeSink> Pairer<'_, K> {
    /// Reports the first open exchange; `ended` when the connection told its end.
    pub(super) fn emit_first(&mut self, outcome: Outcome, ended: Option<Timestamp>) {
        self.release_held();
        let Some(mut open) = self.pairing.open.pop_front() else { return };
        self.pairing.head_bytes -= open.head_bytes();
        open.incomplete |= open.answer.is_some() && self.pairing.is_doubtful() && !open.ends_http();
        let retransmits = self.retransmits_of(&open);
        self.report(open, outcome, ended, retransmits);
    }

    /// Segments sent again while it was open.
    pub(super) const fn retransmits_of(&self, open: &Open) -> u32 {
        self.flow.retransmits.saturating_sub(open.retransmits_before)
    }

    /// Counts an exchange that is over, and hands it on.
    pub(super) fn report(&mut self, open: Open, outcome: Outcome, ended: Option<Timestamp>, retransmits: u32) {
        match (open.standing, &open.answer) {
            (Standing::Sure, _) => self.counters.open -= 1,
            // Its response has proven it: it counts from now on.
            (Standing::Likely, Some(_)) => self.counters.requests += 1,
            (Standing::Likely, None) => {
                self.counters.unproven_requests += 1;
                return;
            }
        }
        let (client, server) = self.endpoints();
        let response_sequence = open.answer.as_ref().map(|answer| answer.sequence);
        let incomplete = open.incomplete || outcome == Outcome::Unknown;
        self.counters.emitted += 1;
        self.counters.incomplete += u64::from(incomplete);
        self.counters.unanswered += u64::from(open.answer.is_none());
        let (id, request_key) = derive(open.mark.sequence, response_sequence, open.head.digest());
        self.sink.accept(Exchange {
            id,
            request_key,
            client,
            server,
            translated: None,
            interface: open.mark.interface,
            request: RequestPart {
                head: open.head,
                transfer: open.transfer,
                ended: ended.unwrap_or(open.transfer.last_byte),
            },
            response: open.answer.map(|answer| ResponsePart { head: answer.head, transfer: answer.transfer }),
            outcome,
            incomplete,
            retransmits,
            handshake_rtt: self.flow.handshake_rtt,
        });
    }

    const fn endpoints(&self) -> (SocketAddr, SocketAddr) {
        let direction = match self.pairing.client {
            Some(client) => client,
            None => self.direction,
        };
        (self.flow.source(direction), self.flow.source(direction.opposite()))
    }
}
