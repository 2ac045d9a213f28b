//! What tells a new connection from the one before it with the same addresses and ports.

use crate::packet::{Segment, SequenceNumber, TcpFlags};
use crate::tcp::Direction;
use crate::tcp::connection::Streams;

/// One value for each direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends<T> {
    up: T,
    down: T,
}

impl<T: Copy> Ends<T> {
    pub(super) fn new(value: impl Fn(Direction) -> T) -> Self {
        Self { up: value(Direction::Up), down: value(Direction::Down) }
    }

    pub(super) const fn of(&self, direction: Direction) -> T {
        match direction {
            Direction::Up => self.up,
            Direction::Down => self.down,
        }
    }
}

pub(super) fn initials<S>(streams: &Streams<S>) -> Ends<Option<SequenceNumber>> {
    Ends::new(|direction| streams.half(direction).initial())
}

/// A SYN that is no copy of the one that began the connection.
pub(super) fn is_new_syn(initial: &Ends<Option<SequenceNumber>>, segment: &Segment<'_>, direction: Direction) -> bool {
    segment.flags.contains(TcpFlags::SYN) && initial.of(direction) != Some(segment.sequence)
}
