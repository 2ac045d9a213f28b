//! Packets as nearly all are: their books are kept at a glance, too.

use super::{ConnectionTable, Entry, EntryState, Rank};
use crate::packet::Segment;
use crate::tcp::bulk::StreamId;
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
        #[cfg(test)]
        if self.goes_the_long_way {
            return false;
        }
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
        self.heavy.note_body(segment.payload_length, || {
            let id = StreamId { index, birth, direction };
            (id, streams.half(direction).next(), H::unread(&streams.state, direction))
        });
        let interest = streams.interest;
        if !matches!(interest, Interest::Busy | Interest::Quiet) || H::waits(&streams.state) {
            self.after(index, birth, 0, Verdict::Open(interest), segment.at, handler);
            return true;
        }
        let bytes = Self::ENTRY + size_of::<Streams<S>>() + H::heap_bytes(&streams.state);
        self.recency.touch(index, Rank::of(interest), segment.at, bytes);
        self.shed(handler);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::packet::{SequenceNumber, TcpFlags};
    use crate::tcp::{Finish, Flow, StreamEvent, TcpLimits};
    use crate::time::Timestamp;

    /// Writes down all that it is told. What the last byte of data is decides what it makes of the connection.
    #[derive(Debug, Default)]
    struct Diary(Vec<String>);

    #[derive(Debug, Default)]
    struct State {
        bytes: usize,
        waits: bool,
    }

    impl StreamHandler for Diary {
        type State = State;

        fn heap_bytes(state: &State) -> usize {
            state.bytes
        }

        fn unread(state: &State, _: Direction) -> u64 {
            state.bytes as u64 * 1000
        }

        fn waits(state: &State) -> bool {
            state.waits
        }

        fn overdue(&mut self, state: &mut State, flow: &Flow, now: Timestamp, interest: Interest) -> Interest {
            state.waits = false;
            self.0.push(format!("overdue {flow:?} {now:?}"));
            interest
        }

        fn begin(&mut self) -> State {
            State::default()
        }

        fn event(&mut self, state: &mut State, flow: &Flow, direction: Direction, event: StreamEvent<'_>) -> Interest {
            self.0.push(format!("{flow:?} {direction:?} {event:?}"));
            let StreamEvent::Data(bytes, _) = event else { return Interest::Quiet };
            let last = bytes.last().copied().unwrap_or_default();
            state.bytes = usize::from(last) * 100;
            state.waits = last % 3 == 0;
            match last {
                0..100 => Interest::Busy,
                100..200 => Interest::Quiet,
                200..253 => Interest::Undecided,
                _ => Interest::None,
            }
        }

        fn finish(&mut self, state: State, flow: &Flow, finish: Finish) {
            self.0.push(format!("{state:?} {flow:?} {finish:?}"));
        }
    }

    /// One packet of a conversation in which most goes on as it should.
    #[derive(Clone, Debug)]
    struct Step {
        from_client: bool,
        payload: Vec<u8>,
        repeated: usize,
        cut: usize,
        /// How far the numbers are from what they should be, mostly not at all.
        sequence: i32,
        acknowledgement: i32,
        flags: TcpFlags,
        interface: u32,
        millis: u64,
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let off = || prop_oneof![20 => Just(0), 2 => -8_i32..8, 1 => any::<i32>()];
        let ack = TcpFlags::ACK;
        let flags = prop_oneof![
            40 => Just(ack),
            10 => Just(ack.union(TcpFlags(8))),
            2 => Just(ack.union(TcpFlags::FIN)),
            1 => Just(TcpFlags::SYN),
            1 => Just(ack.union(TcpFlags::SYN)),
            1 => Just(ack.union(TcpFlags::RST)),
            1 => any::<u8>().prop_map(TcpFlags),
        ];
        let payload = prop_oneof![Just(Vec::new()), proptest::collection::vec(any::<u8>(), 1..9)];
        let repeated = prop_oneof![30 => Just(1_usize), 1 => 500_usize..3000];
        let numbers = (off(), off(), prop_oneof![20 => Just(0_usize), 1 => 1_usize..4], 0_u32..2);
        let millis = prop_oneof![20 => 0_u64..3, 3 => 100_u64..400, 1 => 20_000_u64..400_000];
        (any::<bool>(), payload, repeated, flags, numbers, millis).prop_map(
            |(from_client, payload, repeated, flags, (sequence, acknowledgement, cut, interface), millis)| Step {
                from_client,
                payload,
                repeated,
                cut,
                sequence,
                acknowledgement,
                flags,
                interface: u32::from(interface == 1),
                millis,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_glance_makes_the_same_as_the_long_way(
            steps in proptest::collection::vec(any_step(), 1..60),
            begins in any::<bool>(),
            max_memory in prop_oneof![Just(1_usize << 20), Just(4_000)],
        ) {
            let limits = TcpLimits {
                max_connections: 10,
                max_pending_bytes: 1 << 12,
                max_total_pending_bytes: 1 << 13,
                max_pending_segments: 8,
                max_memory,
                busy_timeout: Duration::from_secs(600),
                idle_timeout: Duration::from_secs(300),
                loss_grace: Duration::from_millis(200),
            };
            let mut tables = [(); 2].map(|()| (ConnectionTable::new(limits, 7), Diary::default()));
            tables[1].0.goes_the_long_way = true;
            let mut next = [1_000_u32, 5_000];
            let mut millis = 1_000_000;
            let handshake = [(true, TcpFlags::SYN), (false, TcpFlags::SYN.union(TcpFlags::ACK)), (true, TcpFlags::ACK)];
            let handshake = handshake.into_iter().filter(|_| begins).map(|(from_client, flags)| Step {
                from_client, payload: Vec::new(), repeated: 1, cut: 0, sequence: 0, acknowledgement: 0, flags, interface: 0, millis: 1,
            });
            for step in handshake.chain(steps) {
                let ends = ["10.0.0.1:40000", "10.0.0.2:80"].map(|end| end.parse().unwrap());
                let (own, peer) = if step.from_client { (0, 1) } else { (1, 0) };
                let payload = step.payload.repeat(step.repeated);
                millis += step.millis;
                let segment = Segment {
                    at: Timestamp::from_nanos(millis * 1_000_000),
                    interface: step.interface,
                    source: ends[own],
                    destination: ends[peer],
                    sequence: SequenceNumber::new(next[own].wrapping_add_signed(step.sequence)),
                    acknowledgement: SequenceNumber::new(next[peer].wrapping_add_signed(step.acknowledgement)),
                    flags: step.flags,
                    payload: &payload[..payload.len().saturating_sub(step.cut)],
                    payload_length: u32::try_from(payload.len()).unwrap(),
                };
                if step.sequence == 0 {
                    let ends = u32::from(step.flags.contains(TcpFlags::SYN)) + u32::from(step.flags.contains(TcpFlags::FIN));
                    next[own] = next[own].wrapping_add(segment.payload_length + ends);
                }
                for (table, diary) in &mut tables {
                    table.handle(&segment, diary);
                }
                let [(glance, told), (long, expected)] = &mut tables;
                prop_assert_eq!(&*told.0, &*expected.0);
                prop_assert_eq!(glance.counters(), long.counters());
                prop_assert_eq!(glance.summary(), long.summary());
                prop_assert_eq!(glance.poll_timeout(), long.poll_timeout());
                prop_assert!(glance.bulk().eq(long.bulk()));
                told.0.clear();
                expected.0.clear();
            }
            for (table, diary) in &mut tables {
                table.finish(diary);
            }
            let [(_, told), (_, expected)] = tables;
            prop_assert_eq!(told.0, expected.0);
        }
    }
}
