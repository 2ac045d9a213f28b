//! The first answer after requests that were not captured → held back until the next turn shows whose it is.
//!
//! Where a capture joins a connection, or has lost requests, others may be under way whose answers come first. Most clients
//! wait for each answer, and then there are none. Of a client that does not, the last request of a burst alone may be seen:
//! the answer to the first of the burst begins where that request's sender had received to, from a server that had received
//! just that request, as if it were its own. What follows tells them apart:
//!
//! - The next response was begun when its sender had received no more: it is the next of the burst, so the client does not
//!   wait, and the answer is not known to be this request's.
//! - A client that asks again before it has received the whole answer, or twice at once, does not wait either; nor does one
//!   that gets, where the answer to a request would begin, what a server began that had not received just this request.
//! - A server that had received more answers something newer: no burst was under way, as far as numbers can tell.
//!
//! So one answered exchange is held back, for [`PATIENCE`] at most. When it goes without proof it is marked incomplete. After
//! a turn that fits, the connection is trusted as one that was seen from its beginning.

use std::time::Duration;

use super::{Open, Pairer, Pairing};
use crate::exchange::{ExchangeSink, Outcome};
use crate::http::Opening;
use crate::tcp::{Flow, Mark, Origin, Past};
use crate::time::Timestamp;

/// How long an exchange is held back, by packet time, after its last byte: within the time that views wait for each other.
const PATIENCE: Duration = Duration::from_millis(500);

/// Whether requests may be under way that the capture has not shown.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Trust {
    /// No request was seen yet.
    #[default]
    Unseen,
    /// None are: all were captured, or a whole turn has shown it.
    Sure,
    /// They may be.
    Doubtful,
}

/// An answered exchange that is held back.
#[derive(Debug)]
pub(super) struct Held {
    open: Open,
    /// When it is waited for no longer.
    until: Timestamp,
    retransmits: u32,
    /// It began, or the client went on after it, when the client had received just what the capture shows.
    is_followed: bool,
}

/// What became known of an exchange that is held back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Finding {
    /// It was answered by what was taken for its answer.
    Proven,
    /// Nothing speaks for that, nor against it.
    Undecided,
    /// The client does not wait for its answers: whose this one is nobody can tell.
    Refuted,
}

impl Pairing {
    /// Bytes that are held back.
    pub(super) fn held_bytes(&self) -> usize {
        self.held.as_ref().map_or(0, |held| size_of::<Held>() + held.open.head_bytes())
    }

    /// Whether an answer may be another request's although it fits. Of a client that is known not to wait for its answers
    /// only those are taken that surely are the next.
    pub(super) fn is_doubtful(&self) -> bool {
        self.trust == Trust::Doubtful && !self.loss.pipelines
    }

    /// Looks at a request that begins at `mark`: whether its client had received just the responses that were seen, and
    /// nothing is missing between it and what they answered; and what it tells of the exchange that is held back.
    pub(super) fn note_turn(&mut self, mark: &Mark, opening: Opening, flow: &Flow) -> (Opening, Option<Finding>) {
        if self.trust == Trust::Unseen {
            let may_be_late = flow.origin == Origin::Joined && flow.past == Past::Unknown;
            self.trust = if may_be_late { Trust::Doubtful } else { Trust::Sure };
        }
        let goes_on = std::mem::replace(&mut self.unbroken, true);
        let had_just_this = self.response_end.is_some() && self.response_end == mark.acknowledgement;
        let opening = if goes_on && had_just_this { Opening::InStep } else { opening };
        let had_less = matches!(
            (self.response_end, mark.acknowledgement),
            (Some(end), Some(received)) if end.is_after(received)
        );
        // What was lost of its head may hide what the server said in between.
        if had_less && goes_on {
            self.pipelines(flow.origin);
        }
        let Some(held) = &mut self.held else { return (opening, None) };
        if had_less {
            return (opening, Some(Finding::Refuted));
        }
        held.is_followed |= had_just_this;
        (opening, None)
    }

    /// Requests were lost, or what was read was none.
    pub(super) const fn doubt(&mut self) {
        self.trust = Trust::Doubtful;
        self.unbroken = false;
        self.has_answered = false;
    }

    /// A response fits the first open exchange: together with the one before it, it makes a turn.
    pub(super) fn note_answered(&mut self) {
        // The head of an answer to a request from before a loss may end after it.
        let makes_turn = std::mem::replace(&mut self.has_answered, self.unbroken);
        if makes_turn
            && self.trust == Trust::Doubtful
            && self.open.front().is_some_and(|first| first.opening == Opening::InStep)
        {
            self.trust = Trust::Sure;
        }
    }
}

impl<K: ExchangeSink> Pairer<'_, K> {
    /// Holds back the first open exchange, which was answered.
    pub(super) fn hold(&mut self) {
        let Some(open) = self.pairing.open.pop_front() else { return };
        self.pairing.head_bytes -= open.head_bytes();
        let answered = open.answer.as_ref().map_or(open.transfer.last_byte, |answer| answer.transfer.last_byte);
        let until = answered.max(open.transfer.last_byte).saturating_add(PATIENCE);
        let retransmits = self.retransmits_of(&open);
        let is_followed = open.opening == Opening::InStep;
        self.pairing.held = Some(Box::new(Held { open, until, retransmits, is_followed }));
    }

    /// A final response begins at `mark`, and was looked at: it tells whose the one before it was, if it is the next.
    pub(super) fn settle_held(&mut self, mark: &Mark) {
        let begins_at = self.pairing.interim_start.unwrap_or(mark.sequence);
        self.release(match self.pairing.loss.pipelines {
            true => Finding::Refuted,
            false if self.pairing.response_end == Some(begins_at) => Finding::Proven,
            // What was lost between them may be the next of a burst.
            false => Finding::Undecided,
        });
    }

    /// The client goes: it is content with what it has, if the capture has missed nothing of it.
    pub(super) fn client_closed(&mut self) {
        let had_more = matches!(
            (self.pairing.response_end, self.pairing.loss.response),
            (Some(end), Some(lost)) if lost.is_after(end)
        );
        self.release(if had_more || self.flow.ends_ahead { Finding::Undecided } else { Finding::Proven });
    }

    /// Time has come to `now`: what was held back for long goes.
    pub(super) fn release_overdue(&mut self, now: Timestamp) {
        if self.pairing.held.as_ref().is_some_and(|held| held.until <= now) {
            self.release_held();
        }
    }

    /// Reports what is held back, as what it is by what is known.
    pub(super) fn release_held(&mut self) {
        self.release(Finding::Undecided);
    }

    /// Reports what is held back, if anything is.
    pub(super) fn release(&mut self, finding: Finding) {
        let Some(held) = self.pairing.held.take() else { return };
        let Held { mut open, retransmits, is_followed, .. } = *held;
        match finding {
            Finding::Proven => {}
            Finding::Undecided => open.incomplete |= !is_followed,
            Finding::Refuted => {
                open.answer = None;
                self.counters.unmatched_responses += 1;
            }
        }
        let outcome = if open.answer.is_some() { Outcome::Complete } else { Outcome::Unknown };
        self.report(open, outcome, None, retransmits);
    }
}
