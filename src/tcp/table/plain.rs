//! Packets as nearly all are: their books are kept at a glance, too.

use super::{ConnectionTable, Entry, EntryState, Rank};
use crate::packet::Segment;
use crate::tcp::bulk::{LARGE_OF_BODY, Part, StreamId};
use crate::tcp::connection::{Context, Streams, Verdict};
use crate::tcp::{Direction, Interest, StreamHandler};

impl<S> ConnectionTable<S> {
    /// Takes a segment that is plain of a connection that is followed; whether it is one. If not, nothing has happened.
    pub(super) fn follow_plain<H>(
        &mut self,
        index: u32,
        segment: &Segment<'_>,
        direction: Direction,
        handler: &mut H,
    ) -> bool
    where
        H: StreamHandler<State = S>,
    {
        let Some(Entry { birth, state: EntryState::Followed(streams), .. }) = self.entries.get_mut(index) else {
            return false;
        };
        let birth = *birth;
        let mut cx = Context { handler, counters: &mut self.counters, limits: &self.limits };
        if !streams.accept_plain(segment, direction, &mut cx) {
            return false;
        }
        if segment.payload_length == 0 {
            self.recency.touch_alone(index, segment.at);
            return true;
        }
        if segment.payload_length >= LARGE_OF_BODY
            && let Some(part) = Part::of_body(streams.half(direction).next(), H::unread(&streams.state, direction))
        {
            self.heavy.note(StreamId { index, birth, direction }, segment.payload_length, part);
        }
        let (interest, waits) = (streams.interest, H::waits(&streams.state));
        let rank = match interest {
            Interest::Busy if !waits => Rank::Busy,
            Interest::Quiet if !waits => Rank::Quiet,
            _ => {
                self.after(index, birth, 0, Verdict::Open(interest), segment.at, handler);
                return true;
            }
        };
        let bytes = Self::ENTRY + size_of::<Streams<S>>() + H::heap_bytes(&streams.state);
        self.recency.touch(index, rank, segment.at, bytes);
        self.shed(handler);
        true
    }
}
