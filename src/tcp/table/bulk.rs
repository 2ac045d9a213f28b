//! Entries of the table that bring much and are not read → what a source may leave out.

use super::{ConnectionTable, EntryState};
use crate::tcp::{Bulk, Direction};

impl<S> ConnectionTable<S> {
    /// The streams that are heavy at present and whose payload nobody reads; a few at most.
    pub fn bulk(&mut self) -> impl Iterator<Item = Bulk> {
        let entries = &mut self.entries;
        self.heavy.all().filter_map(|(id, part)| {
            let entry = entries.get_mut(id.index).filter(|entry| entry.birth == id.birth)?;
            let (low, high) = (entry.key.low(), entry.key.high());
            let (source, destination) = match id.direction {
                Direction::Up => (low, high),
                Direction::Down => (high, low),
            };
            match &mut entry.state {
                EntryState::Followed(streams) => streams.leave_out(id.direction, part),
                EntryState::Ignored { .. } => {}
                EntryState::Over { .. } => return None,
            }
            Some(Bulk { source, destination, from: part.from, length: part.length })
        })
    }

    /// Whether [`Self::bulk`] has become more since this was asked last.
    pub const fn has_new_bulk(&mut self) -> bool {
        self.heavy.has_news()
    }

    /// Forgets of [`Self::bulk`] what has brought little since the last call.
    pub fn renew_bulk(&mut self) {
        self.heavy.renew();
    }
}
