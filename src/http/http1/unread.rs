//! Bodies of which only the number of bytes is wanted: how far ahead that is sure, and bytes that were left out of them.

use super::body::Chunked;
use super::{After, Body, Doubt, State, Stream, Tally};
use crate::http::{Message, MessageSink};
use crate::tcp::Mark;

impl Stream {
    /// Bytes have come, or were lost, where the body is of a response that may have none.
    pub(super) const fn note_swallowed(&mut self) {
        if matches!(self.doubt, Doubt::OfBody) {
            self.doubt = Doubt::Swallowed;
        }
    }

    /// How many of the next bytes are body whatever they are.
    pub(in crate::http) const fn unread(&self) -> u64 {
        match self.state {
            // Its next byte may begin a message.
            State::Body(_) if !matches!(self.doubt, Doubt::None) => 0,
            State::Body(Body::Length { remaining } | Body::Chunked(Chunked::Data { remaining })) => remaining,
            State::Body(Body::UntilClose) => u64::MAX,
            State::Boundary | State::Head | State::Body(Body::Chunked(_)) | State::Searching => 0,
        }
    }

    /// `count` bytes of one packet that are body, with more to come: fewer than [`Self::unread`] says.
    pub(in crate::http) fn pass(&mut self, count: u64, mark: &Mark, sink: &mut impl MessageSink) {
        self.report_withheld(mark, sink);
        match &mut self.state {
            State::Body(Body::Length { remaining }) => *remaining -= count,
            State::Body(Body::Chunked(chunked)) => _ = chunked.skip(count),
            _ => {}
        }
        self.tally = Tally { wire: count, body: count, packets: 1 };
        self.flush(mark, sink);
    }

    /// `count` bytes that the source left out because they are body.
    pub(in crate::http) fn left_out(&mut self, count: u64, mark: &Mark, sink: &mut impl MessageSink) -> After {
        let Some(role) = self.role.filter(|_| count <= self.unread()) else {
            return self.gap(count, mark, sink);
        };
        let is_whole = match &mut self.state {
            State::Body(Body::Length { remaining }) => {
                *remaining -= count;
                *remaining == 0
            }
            State::Body(Body::Chunked(chunked)) => {
                chunked.skip(count);
                false
            }
            _ => false,
        };
        sink.message(Message::LeftOut { role, body: count }, mark);
        if is_whole {
            self.end(mark, sink);
        }
        After::Follow
    }
}
