//! The messages of one connection → `Exchange`s: which response answers which request.
//!
//! Without loss, responses come in the order of their requests (RFC 9112 §9.3.2). After a loss that may have hidden
//! a message, order alone proves nothing; then sequence and acknowledgement numbers decide, or nobody does:
//!
//! - On a connection that does not pipeline, a response answers the last request that its sender had received when
//!   it began to answer: the acknowledgement on its first segment lies within that request. When it lies beyond the
//!   end of the last request that was captured, the request is one that was lost.
//! - On a connection that pipelines, only a request sent after all that was lost had been received is surely next.
//! - A response that begins before what the client had received when it sent the request was sent before it.
//!
//! What is left undecided is reported as incomplete, never guessed.

mod doubt;
mod place;
mod report;

use std::collections::VecDeque;

use doubt::{Finding, Held, Trust};

use super::{ExchangeCounters, ExchangeLimits, ExchangeSink, Outcome, Transfer};
use crate::http::{
    Answered, HttpCounters, KeptFields, Lost, Message, MessageSink, Opening, RequestHead, ResponseHead, Role, Standing,
};
use crate::packet::SequenceNumber;
use crate::tcp::{Direction, Finish, Flow, Mark};
use crate::time::Timestamp;

/// The open exchanges of one connection, in the order of their requests.
#[derive(Debug, Default)]
pub struct Pairing {
    open: VecDeque<Open>,
    /// The direction of the requests.
    client: Option<Direction>,
    /// What the present response is to `open`.
    response: Response,
    /// Where the interim responses before the next final one begin.
    interim_start: Option<SequenceNumber>,
    /// The end of the responses seen so far.
    response_end: Option<SequenceNumber>,
    /// What the server had received when it began the final response seen last.
    answered_to: Option<SequenceNumber>,
    /// Whether a response to a request that was lost has been seen since the loss.
    answered_hidden: bool,
    loss: Loss,
    /// Whether requests may be under way that the capture has not shown.
    trust: Trust,
    /// No request was lost since the one seen last.
    unbroken: bool,
    /// A request was answered since then, and its answer is the response seen last.
    has_answered: bool,
    /// The answered exchange that still has to be proven; it was before all that are open.
    held: Option<Box<Held>>,
    /// Bytes of the heads and answers of `open`.
    head_bytes: usize,
}

/// A request that was seen and not yet reported.
#[derive(Debug)]
struct Open {
    head: RequestHead,
    mark: Mark,
    transfer: Transfer,
    receiving: Receiving,
    /// A loss hides where it ends.
    is_cut: bool,
    /// Boxed, so that a request that waits takes no room for it.
    answer: Option<Box<Answer>>,
    incomplete: bool,
    /// Whether it is a request at all.
    standing: Standing,
    /// A loss before it may have hidden other requests whose responses are still to come.
    uncertain: bool,
    /// Its client had received just the responses that were seen, and nothing before it is missing.
    opening: Opening,
    retransmits_before: u32,
}

#[derive(Debug)]
struct Answer {
    head: ResponseHead,
    sequence: SequenceNumber,
    transfer: Transfer,
    receiving: Receiving,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Receiving {
    Going,
    Done,
}

/// What the response that is being received belongs to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Response {
    /// None is being received.
    #[default]
    None,
    /// It answers the first of the open exchanges.
    First,
    /// Its request was not seen, or cannot be told.
    Unmatched,
}

/// What the capture has lost that may have hidden messages.
#[derive(Clone, Copy, Debug, Default)]
struct Loss {
    /// Where the last loss among the responses ended.
    response: Option<SequenceNumber>,
    /// Whether requests may be hidden.
    requests: Hidden,
    /// Several requests were under way at once.
    pipelines: bool,
    /// Anything was lost at all.
    seen: bool,
}

/// Whether requests may be hidden whose responses were not seen yet.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
enum Hidden {
    /// None ever were.
    #[default]
    Never,
    /// They were, and have been answered.
    Before,
    /// They may be.
    Now,
}

/// What a request that follows another is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Burst {
    /// Sent after the answer to the one before.
    No,
    /// Sent before it.
    Pipelined,
    /// As `Pipelined`, but nothing proves that both are requests: they may be text in a body.
    Unproven,
}

/// Pairing at work on one event: the open exchanges of the connection, and where results go.
#[derive(Debug)]
pub struct Pairer<'a, K> {
    /// The connection's open exchanges.
    pub pairing: &'a mut Pairing,
    /// The connection.
    pub flow: &'a Flow,
    /// The direction of the event.
    pub direction: Direction,
    /// Bounds.
    pub limits: &'a ExchangeLimits,
    /// The header fields that exchanges keep.
    pub fields: &'a KeptFields,
    /// Counts of pairing.
    pub counters: &'a mut ExchangeCounters,
    /// Counts of the layer below.
    pub http: &'a mut HttpCounters,
    /// Where exchanges go.
    pub sink: &'a mut K,
}

impl Pairing {
    /// Bytes allocated.
    pub fn heap_bytes(&self) -> usize {
        self.open.capacity() * size_of::<Open>() + self.head_bytes + self.held_bytes()
    }

    /// Counts bytes of the message that is being received; gives it, and whether its exchange is incomplete.
    fn count(&mut self, role: Role, wire: u64, body: u64) -> Option<(&mut Transfer, &mut bool)> {
        if let (Role::Response, Some(end)) = (role, self.response_end.as_mut()) {
            *end = end.advance(modulo(wire));
        }
        let (transfer, incomplete) = match role {
            Role::Request => match self.open.back_mut()? {
                Open { transfer, incomplete, receiving: Receiving::Going, .. } => (transfer, incomplete),
                _ => return None,
            },
            Role::Response if self.response == Response::First => match self.open.front_mut()? {
                Open { answer: Some(answer), incomplete, .. } => (&mut answer.transfer, incomplete),
                _ => return None,
            },
            Role::Response => return None,
        };
        transfer.wire_bytes = transfer.wire_bytes.saturating_add(wire);
        transfer.body_bytes = transfer.body_bytes.saturating_add(body);
        Some((transfer, incomplete))
    }

    /// Whether a request waits, or an exchange for its proof.
    pub fn is_open(&self) -> bool {
        !self.open.is_empty() || self.is_waiting()
    }

    /// Whether [`Pairer::overdue`] is wanted in a while.
    pub const fn is_waiting(&self) -> bool {
        self.held.is_some()
    }
}

impl<K: ExchangeSink> MessageSink for Pairer<'_, K> {
    /// Inlined, so that who knows what a message is comes to the right place at once, and no head is moved into a message.
    #[expect(clippy::inline_always, reason = "it is one call, where it is known what the message is")]
    #[inline(always)]
    fn message(&mut self, message: Message, mark: &Mark) {
        match message {
            Message::RequestHead(head, standing, opening) => self.begin(head, (standing, opening), mark),
            Message::ResponseHead(head) => self.answer(head, mark),
            Message::Interim(_) => {
                self.pairing.interim_start.get_or_insert(mark.sequence);
            }
            Message::Bytes { role, wire, body, packets } => self.transfer(role, wire, body, packets, mark.at),
            Message::LeftOut { role, body } => self.left_out(role, body),
            Message::End(Role::Request) => self.request_done(),
            Message::End(Role::Response) => self.response_done(),
            // The request ended early, by its sender's will.
            Message::Abort(Role::Request) => self.request_done(),
            Message::Abort(Role::Response) => self.response_aborted(),
            Message::Lost(Role::Request, lost) => self.requests_lost(lost, mark),
            Message::Lost(Role::Response, _) => self.responses_lost(mark.sequence),
            Message::Closed(Role::Request) => self.client_closed(),
            Message::Closed(Role::Response) => self.responses_closed(mark.at),
        }
    }

    fn place_response(&mut self, mark: &Mark) -> Answered {
        self.release_overdue(mark.at);
        self.pairing.note_response(mark, self.flow.origin);
        self.settle_held(mark);
        let Some(index) = self.pairing.place(mark, self.flow.origin) else {
            self.pairing.response = Response::Unmatched;
            self.pairing.has_answered = false;
            return Answered::Unknown;
        };
        for _ in 0..index {
            self.emit_first(Outcome::Unknown, None);
        }
        self.pairing.response = Response::First;
        self.pairing.note_answered();
        match self.pairing.open.front().map(|open| open.head.method()) {
            Some(b"HEAD") => Answered::Head,
            Some(b"CONNECT") => Answered::Connect,
            _ => Answered::Other,
        }
    }

    fn counters(&mut self) -> &mut HttpCounters {
        self.http
    }

    fn fields(&self) -> &KeptFields {
        self.fields
    }
}

impl<K: ExchangeSink> Pairer<'_, K> {
    /// No more messages will come: reports what is open.
    pub fn finish(&mut self, finish: Finish) {
        let (outcome, at) = match finish {
            Finish::Closed(at) => (Outcome::ConnectionClosed, Some(at)),
            Finish::Reset(at) => (Outcome::ConnectionReset, Some(at)),
            Finish::Idle => (Outcome::Timeout, None),
            Finish::Evicted | Finish::Replaced | Finish::CaptureEnded => (Outcome::Unknown, None),
        };
        self.release_held();
        let is_cut = matches!(finish, Finish::Evicted | Finish::Replaced | Finish::CaptureEnded);
        if let Some(last) = self.pairing.open.back_mut() {
            last.incomplete |= is_cut && last.receiving == Receiving::Going;
        }
        while let Some(first) = self.pairing.open.front() {
            let outcome = match &first.answer {
                Some(answer) if answer.receiving == Receiving::Done => Outcome::Complete,
                Some(_) if outcome == Outcome::ConnectionReset => outcome,
                Some(_) if outcome == Outcome::ConnectionClosed => Outcome::ResponseIncomplete,
                Some(_) => Outcome::Unknown,
                None if self.pairing.was_surely_unanswered(first) => outcome,
                None => Outcome::Unknown,
            };
            self.emit_first(outcome, at);
        }
    }

    /// Time has come to `now` without a packet.
    pub fn overdue(&mut self, now: Timestamp) {
        self.release_overdue(now);
    }

    #[inline(never)]
    fn begin(&mut self, head: RequestHead, (standing, opening): (Standing, Opening), mark: &Mark) {
        self.release_overdue(mark.at);
        if standing == Standing::Sure {
            self.counters.requests += 1;
            self.counters.open += 1;
        }
        self.pairing.client = Some(self.direction);
        self.request_done();
        let (opening, finding) = self.pairing.note_turn(mark, opening, self.flow);
        if let Some(finding) = finding {
            self.release(finding);
        }
        let limit = self.limits.max_open_exchanges.max(1);
        if self.pairing.is_waiting() && self.pairing.open.len() + 1 >= limit {
            // It is one of them.
            self.release(Finding::Undecided);
        }
        if self.pairing.open.len() >= limit {
            // Its response is still to come and must not be taken for another's.
            self.counters.overflows += 1;
            self.pairing.loss.requests = Hidden::Now;
            self.pairing.loss.seen = true;
            self.pairing.answered_hidden = false;
            self.emit_first(Outcome::Unknown, None);
        }
        let burst = self.pairing.note_pipelining(mark, standing, self.flow.origin);
        if burst == Burst::Pipelined {
            self.release(Finding::Refuted);
        }
        let had_hidden = self.pairing.loss.requests == Hidden::Now;
        let uncertain = self.pairing.is_after_hidden_request(mark) || burst == Burst::Unproven;
        if had_hidden && !uncertain {
            // The client has its answers: those to what is still open were among what could not be told.
            while !self.pairing.open.is_empty() {
                self.emit_first(Outcome::Unknown, None);
            }
        }
        let incomplete = !head.is_complete();
        self.pairing.head_bytes += head.bytes().len();
        if self.pairing.open.capacity() == 0 {
            // Most clients wait for each answer: room for one, not for the four that a list begins with.
            self.pairing.open.reserve_exact(1);
        }
        self.pairing.open.push_back(Open {
            head,
            mark: *mark,
            transfer: Transfer { first_byte: mark.at, last_byte: mark.at, ..Transfer::default() },
            receiving: Receiving::Going,
            is_cut: false,
            answer: None,
            incomplete,
            standing,
            uncertain,
            opening,
            retransmits_before: self.flow.retransmits,
        });
    }

    #[inline(never)]
    fn answer(&mut self, head: ResponseHead, mark: &Mark) {
        self.pairing.response_end = Some(mark.sequence);
        self.pairing.interim_start = None;
        let Some(first) = self.pairing.open.front_mut().filter(|_| self.pairing.response == Response::First) else {
            self.counters.unmatched_responses += 1;
            self.pairing.answered_hidden = true;
            // Its request was not captured, or comes late: from now on order proves nothing, and who had received no more
            // when it asked may be whom it answered.
            self.pairing.loss.seen = true;
            self.pairing.loss.response = Some(mark.sequence.advance(1));
            return;
        };
        first.incomplete |= !head.is_complete();
        self.pairing.head_bytes += size_of::<Answer>() + head.bytes().len();
        first.answer = Some(Box::new(Answer {
            head,
            sequence: mark.sequence,
            transfer: Transfer { first_byte: mark.at, last_byte: mark.at, ..Transfer::default() },
            receiving: Receiving::Going,
        }));
    }

    #[inline(never)]
    fn transfer(&mut self, role: Role, wire: u64, body: u64, packets: u32, at: Timestamp) {
        let is_matched = self.pairing.response == Response::First;
        let Some((transfer, incomplete)) = self.pairing.count(role, wire, body) else {
            if role == Role::Response && !is_matched && packets == 0 {
                // Without its request nobody knows where it ends: what was lost may hold other responses.
                self.pairing.loss.response = self.pairing.response_end;
            }
            return;
        };
        transfer.packets = transfer.packets.saturating_add(packets);
        if packets > 0 {
            transfer.last_byte = transfer.last_byte.max(at);
        } else {
            *incomplete = true;
        }
    }

    /// Nothing is missing: how many there are is all that is wanted of a body's bytes.
    #[inline(never)]
    fn left_out(&mut self, role: Role, body: u64) {
        self.pairing.count(role, body, body);
    }

    fn request_done(&mut self) {
        if let Some(last) = self.pairing.open.back_mut() {
            last.receiving = Receiving::Done;
        }
        self.emit_answered();
    }

    fn response_done(&mut self) {
        if self.pairing.response == Response::First
            && let Some(answer) = self.pairing.open.front_mut().and_then(|first| first.answer.as_mut())
        {
            answer.receiving = Receiving::Done;
        }
        self.pairing.response = Response::None;
        self.emit_answered();
    }

    /// An exchange is over when its response is whole and its request is, too: a server may answer early.
    fn emit_answered(&mut self) {
        let is_over = |first: &Open| {
            first.receiving == Receiving::Done
                && first.answer.as_ref().is_some_and(|answer| answer.receiving == Receiving::Done)
        };
        while let Some(first) = self.pairing.open.front().filter(|first| is_over(first)) {
            if self.pairing.is_doubtful() && !first.ends_http() {
                self.hold();
            } else {
                self.emit_first(Outcome::Complete, None);
            }
        }
    }

    #[inline(never)]
    fn response_aborted(&mut self) {
        if self.pairing.response == Response::First {
            self.emit_first(Outcome::ResponseIncomplete, None);
        }
        self.pairing.response = Response::None;
    }

    #[inline(never)]
    fn requests_lost(&mut self, lost: Lost, mark: &Mark) {
        self.pairing.loss.seen = true;
        if lost == Lost::Unknown {
            self.pairing.doubt();
            self.pairing.loss.requests = Hidden::Now;
            // The next request begins where the numbers show that the server had answered all before it.
            self.pairing.answered_hidden = true;
        } else {
            // The end of a segment holds another request only of a client that does not wait for its answers.
            let hidden = if self.pairing.loss.pipelines { Hidden::Now } else { Hidden::Before };
            self.pairing.loss.requests = self.pairing.loss.requests.max(hidden);
        }
        if let Some(last) = self.pairing.open.back_mut().filter(|last| last.receiving == Receiving::Going) {
            last.incomplete = true;
            last.is_cut = true;
            if lost == Lost::Cut {
                last.transfer.wire_bytes = u64::from(distance(mark.sequence, last.mark.sequence));
            }
        }
        self.request_done();
    }

    #[inline(never)]
    fn responses_lost(&mut self, end: SequenceNumber) {
        self.pairing.loss.response = Some(end);
        self.pairing.interim_start = None;
        self.pairing.loss.seen = true;
        if self.pairing.response == Response::First {
            if let Some(first) = self.pairing.open.front_mut() {
                first.incomplete = true;
            }
            self.emit_first(Outcome::Unknown, None);
        }
        self.pairing.response = Response::None;
    }

    #[inline(never)]
    fn responses_closed(&mut self, at: Timestamp) {
        self.release_held();
        while let Some(first) = self.pairing.open.front() {
            let outcome = match first.answer {
                // An early answer: what its client still sends belongs to the request.
                Some(_) if first.receiving == Receiving::Going => return,
                Some(_) => Outcome::Complete,
                None if self.pairing.was_surely_unanswered(first) => Outcome::ConnectionClosed,
                None => Outcome::Unknown,
            };
            self.emit_first(outcome, Some(at));
        }
    }
}

/// A count of bytes as sequence numbers count them.
const fn modulo(bytes: u64) -> u32 {
    let [.., a, b, c, d] = bytes.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// `later - earlier`, zero when it is not later.
fn distance(later: SequenceNumber, earlier: SequenceNumber) -> u32 {
    u32::try_from(later.distance_from(earlier)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
