//! Bytes that the capture does not have → what is still known of the message they belong to.

use super::body::Framing;
use super::{After, Body, Head, Parsed, State, Stream, Tally};
use crate::http::{Lost, Message, MessageSink, Role, moment};
use crate::tcp::Mark;

impl Stream {
    /// `count` bytes that the capture does not have.
    pub(in crate::http) fn gap(&mut self, count: u64, mark: &Mark, sink: &mut impl MessageSink) -> After {
        self.report_withheld(mark, sink);
        self.note_swallowed();
        let kept = match &mut self.state {
            State::Body(Body::Length { remaining }) => {
                let within = count.min(*remaining);
                *remaining -= within;
                let left = *remaining;
                if left == 0 {
                    self.report_missing(within, mark, sink);
                    self.end(mark, sink);
                } else {
                    self.report_hole(within, mark, sink);
                }
                within == count
            }
            State::Body(Body::Chunked(chunked)) => {
                let kept = chunked.skip(count);
                if kept {
                    self.report_hole(count, mark, sink);
                }
                kept
            }
            State::Body(Body::UntilClose) => {
                self.report_hole(count, mark, sink);
                true
            }
            State::Searching => {
                sink.counters().skipped_bytes += count;
                false
            }
            State::Head => {
                if self.cut_head(sink) == Some(Framing::Tunnel) {
                    self.end(mark, sink);
                    return After::Tunnel;
                }
                false
            }
            State::Boundary => false,
        };
        if !kept {
            let end = mark.sequence.advance(u32::try_from(count).unwrap_or(u32::MAX));
            let lost = if mark.acknowledgement.is_some() { Lost::Cut } else { Lost::Unknown };
            self.lose(lost, &Mark { sequence: end, ..*mark }, sink);
        }
        After::Follow
    }

    /// What is held of a head ends as an incomplete message; how its body would be framed, or `None` when not even its start
    /// line is whole.
    pub(super) fn cut_head(&mut self, sink: &mut impl MessageSink) -> Option<Framing> {
        let held = std::mem::take(&mut self.held);
        self.report_early_loss(sink);
        let parsed = match self.role {
            Some(Role::Request) => self.request(&Head::Cut(&held), sink),
            Some(Role::Response) => self.response(&Head::Cut(&held), sink),
            None => Parsed::Malformed,
        };
        let Parsed::Begun(framing) = parsed else { return None };
        self.tally = Tally { wire: held.len() as u64, body: 0, packets: self.held_packets };
        self.flush(&moment(self.held_last), sink);
        Some(framing)
    }

    /// Bytes of a body that goes on behind them, as far as is known; what the snap length cut is surely no FIN.
    fn report_hole(&mut self, count: u64, mark: &Mark, sink: &mut impl MessageSink) {
        self.withholds_one = mark.acknowledgement.is_none() && count > 0;
        self.report_missing(count - u64::from(self.withholds_one), mark, sink);
    }

    pub(super) fn report_withheld(&mut self, mark: &Mark, sink: &mut impl MessageSink) {
        if std::mem::take(&mut self.withholds_one) {
            self.report_missing(1, mark, sink);
        }
    }

    fn report_missing(&mut self, count: u64, mark: &Mark, sink: &mut impl MessageSink) {
        if let Some(role) = self.role {
            let message = Message::Bytes { role, wire: count, body: count, packets: 0 };
            sink.message(message, mark);
        }
    }
}
