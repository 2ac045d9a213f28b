//! A response's sequence and acknowledgement numbers → the one open request that it can answer, or none.

use super::{Answer, Burst, Hidden, Open, Pairing, Response, modulo};
use crate::http::Standing;
use crate::packet::SequenceNumber;
use crate::tcp::{Mark, Origin};

impl Pairing {
    /// The open exchange that a response at `mark` answers; `None` when there is none, or when it cannot be told.
    pub(super) fn place(&self, mark: &Mark, origin: Origin) -> Option<usize> {
        // Once something was lost, numbers decide for as long as the connection lasts: they are right without loss, too.
        if !self.loss.seen && origin == Origin::Begun {
            let is_it = |open: &&Open| open.answer.is_none() && open.may_be_answered_by(mark);
            return self.open.front().filter(is_it).map(|_| 0);
        }
        let first = self.open.iter().position(|open| open.answer.is_none())?;
        if self.loss.pipelines {
            let surely_next = |open: &&Open| {
                let stands = open.standing == Standing::Sure;
                stands && !open.uncertain && self.came_after_loss(open) && open.may_be_answered_by(mark)
            };
            return self.open.get(first).filter(surely_next).map(|_| first);
        }
        let begins_at = self.interim_start.unwrap_or(mark.sequence);
        let had_come = |open: &Open| mark.acknowledgement.is_none_or(|received| received.is_after(open.mark.sequence));
        let last = self.open.iter().rposition(|open| open.answer.is_none() && had_come(open))?;
        let is_it = |open: &&Open| {
            !open.uncertain
                && open.may_be_answered_by(mark)
                && open.holds(mark, begins_at)
                && open.stands(mark, begins_at)
        };
        self.open.get(last).filter(is_it).map(|_| last)
    }

    /// Whether requests were lost before this one whose responses may still be to come. They are not when the client
    /// had received more than the responses seen when it sent this one: it waits for its answers.
    pub(super) fn is_after_hidden_request(&mut self, mark: &Mark) -> bool {
        if self.loss.requests != Hidden::Now {
            return false;
        }
        let received_more = matches!(
            (self.response_end, mark.acknowledgement),
            (Some(end), Some(received)) if received.is_after(end)
        );
        let was_answered = self.answered_hidden || received_more;
        let is_hidden = self.loss.pipelines || !was_answered;
        if !is_hidden {
            self.loss.requests = Hidden::Before;
        }
        is_hidden
    }

    /// Whether the response to `open` cannot be among the responses that were lost.
    pub(super) fn came_after_loss(&self, open: &Open) -> bool {
        match (self.loss.response, open.mark.acknowledgement) {
            (None, _) => true,
            (Some(loss), Some(received)) => !received.is_before(loss),
            (Some(_), None) => false,
        }
    }

    pub(super) fn was_surely_unanswered(&self, open: &Open) -> bool {
        !open.uncertain && self.came_after_loss(open)
    }

    /// Looks at a request that begins at `mark`: a client that has received nothing since the one before it does not wait
    /// for answers.
    pub(super) fn note_pipelining(&mut self, mark: &Mark, standing: Standing, origin: Origin) -> Burst {
        let Some(last) = self.open.back() else { return Burst::No };
        let received_more = matches!(
            (last.mark.acknowledgement, mark.acknowledgement),
            (Some(before), Some(now)) if now.is_after(before)
        );
        // The client has had an answer that the capture has not.
        self.loss.seen |= received_more && last.answer.is_none();
        let being_answered = last.answer.is_some() && self.response == Response::First;
        if !being_answered && received_more {
            return Burst::No;
        }
        if standing == Standing::Likely || last.standing == Standing::Likely {
            self.loss.seen = true;
            self.open.iter_mut().filter(|open| open.answer.is_none()).for_each(|open| open.uncertain = true);
            return Burst::Unproven;
        }
        self.pipelines(origin);
        Burst::Pipelined
    }

    /// Looks at a final response that begins at `mark`: two that a server sent when it had received the same answer requests
    /// of a client that does not wait, whether they were seen or not. So does one that a client that waits would have got
    /// for a request, from a server that had not received it, or more than it.
    pub(super) fn note_response(&mut self, mark: &Mark, origin: Origin) {
        let is_next_of_burst = mark.acknowledgement.is_some() && self.answered_to == mark.acknowledgement;
        let begins_at = self.interim_start.unwrap_or(mark.sequence);
        let is_out_of_turn = |open: &Open| open.was_out_of_turn(mark, begins_at);
        if !self.loss.pipelines && (is_next_of_burst || self.open.iter().any(is_out_of_turn)) {
            self.pipelines(origin);
        }
        self.answered_to = mark.acknowledgement;
    }

    /// The client does not wait for answers.
    pub(super) fn pipelines(&mut self, origin: Origin) {
        self.loss.pipelines = true;
        if origin == Origin::Joined || self.loss.requests != Hidden::Never {
            // Requests that were not captured may be under way as well: whose responses come next nobody can tell.
            self.loss.requests = Hidden::Now;
            self.loss.seen = true;
            for open in self.open.iter_mut().filter(|open| open.answer.is_none()) {
                open.uncertain = true;
            }
        }
    }
}

impl Open {
    /// Bytes of its heads and its answer.
    pub(super) fn head_bytes(&self) -> usize {
        self.head.bytes().len()
            + self.answer.as_ref().map_or(0, |answer| size_of::<Answer>() + answer.head.bytes().len())
    }

    /// Whether its answer ends HTTP on the connection: no other request was under way.
    pub(super) fn ends_http(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| match answer.head.status() {
            101 => true,
            200..300 => self.head.method() == b"CONNECT",
            _ => false,
        })
    }

    /// Whether a response at `mark` was begun when its sender had received this request, or part of it, and no more;
    /// a FIN takes a number, too. Where it ends is not known when a loss hides it, nor after CONNECT, when a client may
    /// have begun with its tunnel (RFC 9110 §9.3.6): then the response begins, with its interim responses, where the
    /// client had received to when it asked. A client that waits for its answers gets none to a later request there.
    fn holds(&self, mark: &Mark, begins_at: SequenceNumber) -> bool {
        let end = self.mark.sequence.advance(modulo(self.transfer.wire_bytes)).advance(1);
        let may_be_longer = self.is_cut || self.head.method() == b"CONNECT";
        let is_next = self.mark.acknowledgement.is_none_or(|next| next == begins_at);
        (may_be_longer && is_next) || mark.acknowledgement.is_none_or(|received| !received.is_after(end))
    }

    /// Whether a response at `mark` begins, with its interim responses, where the client had received to when it asked, but
    /// was not begun when its sender had received this request and no more.
    fn was_out_of_turn(&self, mark: &Mark, begins_at: SequenceNumber) -> bool {
        let is_next = self.standing == Standing::Sure && self.mark.acknowledgement == Some(begins_at);
        is_next && !(self.may_be_answered_by(mark) && self.holds(mark, begins_at))
    }

    /// Whether it is a request, or a response at `mark` proves it: one that begins, with its interim responses, where
    /// the client had received to, from a server that had received just this. Nobody answers half a head.
    fn stands(&self, mark: &Mark, begins_at: SequenceNumber) -> bool {
        let end = self.mark.sequence.advance(modulo(self.transfer.wire_bytes));
        let fits = self.mark.acknowledgement == Some(begins_at) && mark.acknowledgement == Some(end);
        self.standing == Standing::Sure || (fits && self.head.is_complete())
    }

    /// Whether sequence and acknowledgement numbers allow that a response at `mark` answers it.
    fn may_be_answered_by(&self, mark: &Mark) -> bool {
        let server_had_it = mark.acknowledgement.is_none_or(|received| received.is_after(self.mark.sequence));
        server_had_it && self.was_sent_before(mark)
    }

    /// Whether its client had received nothing of a response that begins at `mark` when it sent this request.
    fn was_sent_before(&self, mark: &Mark) -> bool {
        self.mark.acknowledgement.is_none_or(|received| !received.is_after(mark.sequence))
    }
}
