//! What goes when all connections together hold too much.

use super::{ConnectionTable, EntryState, Overflow};
use crate::tcp::connection::Context;
use crate::tcp::{Finish, StreamHandler};
use crate::time::Timestamp;

impl<S> ConnectionTable<S> {
    /// While all together hold too much out of order, the costliest gives up a hole, whoever came last.
    pub(super) fn relieve<H: StreamHandler<State = S>>(&mut self, handler: &mut H) {
        while self.holders.bytes() > self.limits.max_total_pending_bytes {
            let Some(index) = self.holders.costliest(self.limits.max_total_pending_bytes / 8) else { return };
            let Some(entry) = self.entries.get_mut(index) else { return };
            let EntryState::Followed(streams) = &mut entry.state else { return };
            self.counters.count_overflow(Overflow::Total);
            let before = streams.pending_bytes();
            let mut cx = Context { handler, counters: &mut self.counters, limits: &self.limits };
            let verdict = streams.relieve(self.now, &mut cx);
            // It was no packet of this connection: that must not look used.
            let birth = entry.birth;
            self.book(index, birth, before, verdict, Timestamp::default(), handler);
        }
    }

    /// Forgets the least valuable connections while memory is short.
    pub(super) fn shed<H: StreamHandler<State = S>>(&mut self, handler: &mut H) {
        let bytes = self.recency.bytes();
        self.counters.memory_peak = self.counters.memory_peak.max(bytes as u64);
        if bytes <= self.limits.max_memory / 2 {
            return;
        }
        // What the table once needed and keeps for the next ones is memory as well.
        let spare = (self.entries.capacity() as usize - self.entries.len()) * Self::ENTRY;
        let allowed = (self.limits.max_memory / 8 * 7).saturating_sub(spare).max(self.limits.max_memory / 2);
        while self.recency.bytes() > allowed {
            let Some(index) = self.recency.dearest(self.limits.max_memory / 16) else { return };
            self.counters.shed += 1;
            self.end(index, Finish::Evicted, handler);
        }
    }
}
