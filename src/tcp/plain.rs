//! Segments as nearly all are, of connections as nearly all are → their events, at a glance.
//!
//! Such a segment brings what is next or nothing, and acknowledges bytes that the capture shows, while nothing waits, is lost
//! or comes to its end. What is anything else goes [the long way](Streams::accept), which makes the same of these, too.

use super::connection::{Context, Handshake, Streams};
use super::{Direction, Mark, StreamHandler};
use crate::packet::{Segment, TcpFlags};

/// The bits that decide what a segment is.
const DECISIVE: u8 = TcpFlags::FIN.0 | TcpFlags::SYN.0 | TcpFlags::RST.0 | TcpFlags::ACK.0;

impl<S> Streams<S> {
    /// Takes a segment of this connection if it is plain; whether it is. If not, nothing has happened.
    pub(super) fn accept_plain<H>(
        &mut self,
        segment: &Segment<'_>,
        direction: Direction,
        cx: &mut Context<'_, H>,
    ) -> bool
    where
        H: StreamHandler<State = S>,
    {
        let (own, peer) = match direction {
            Direction::Up => (&self.up, &mut self.down),
            Direction::Down => (&self.down, &mut self.up),
        };
        let is_plain = segment.flags.0 & DECISIVE == TcpFlags::ACK.0
            && matches!(self.handshake, Handshake::Over)
            && own.is_calm()
            && own.next() == segment.sequence
            && peer.is_calm()
            && peer.acknowledge_shown(segment.acknowledgement);
        if is_plain && segment.payload_length > 0 {
            let mark = Mark {
                at: segment.at,
                sequence: segment.sequence,
                acknowledgement: Some(segment.acknowledgement),
                interface: segment.interface,
            };
            self.deliver(direction, mark, segment.payload, segment.payload_length, cx);
        }
        is_plain
    }
}
