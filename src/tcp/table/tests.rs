//! The table against conversations whose bytes are known, and against an obviously correct byte map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::tcp::StreamEvent;

const CLIENT: &str = "10.0.0.1:40000";
const SERVER: &str = "10.0.0.2:80";
const GRACE: Duration = Duration::from_millis(200);

fn limits() -> TcpLimits {
    TcpLimits {
        max_connections: 100,
        max_pending_bytes: 1 << 16,
        max_total_pending_bytes: 1 << 20,
        max_pending_segments: 64,
        max_memory: 64 << 20,
        busy_timeout: Duration::from_secs(600),
        idle_timeout: Duration::from_secs(300),
        loss_grace: GRACE,
    }
}

/// What was reported for one direction: bytes by their place in the stream, `None` for those reported missing.
#[derive(Clone, Debug, Default, PartialEq)]
struct Recorded {
    bytes: Vec<Option<u8>>,
    ended: bool,
}

#[derive(Debug, Default)]
struct Recorder {
    client: Recorded,
    server: Recorded,
    finished: Vec<Finish>,
    begun: usize,
    interest: Option<Interest>,
    /// `(direction is the client's, bytes so far of the other side)` at each data event.
    order: Vec<(bool, usize)>,
}

impl StreamHandler for Recorder {
    type State = ();

    fn heap_bytes((): &()) -> usize {
        0
    }

    fn begin(&mut self) {
        self.begun += 1;
    }

    fn event(&mut self, (): &mut (), flow: &Flow, direction: Direction, event: StreamEvent<'_>) -> Interest {
        let from_client = flow.source(direction).to_string() == CLIENT;
        let (side, other) =
            if from_client { (&mut self.client, &self.server) } else { (&mut self.server, &self.client) };
        match event {
            StreamEvent::Data(bytes, _) => {
                assert!(!bytes.is_empty());
                side.bytes.extend(bytes.iter().copied().map(Some));
                self.order.push((from_client, other.bytes.len()));
            }
            StreamEvent::Gap(count, _) => {
                let count = usize::try_from(count).unwrap().min(1000);
                side.bytes.extend(std::iter::repeat_n(None, count));
            }
            StreamEvent::LeftOut(..) => unreachable!("all of it is read"),
            StreamEvent::End(_) => side.ended = true,
        }
        self.interest.unwrap_or(Interest::Busy)
    }

    fn finish(&mut self, (): (), _: &Flow, finish: Finish) {
        self.finished.push(finish);
    }
}

struct Bench {
    table: ConnectionTable<()>,
    recorder: Recorder,
    millis: u64,
}

impl Bench {
    fn new() -> Self {
        Self::with(limits())
    }

    fn with(limits: TcpLimits) -> Self {
        Self { table: ConnectionTable::new(limits, 7), recorder: Recorder::default(), millis: 1_000_000 }
    }

    fn at(&self) -> Timestamp {
        Timestamp::from_nanos(self.millis * 1_000_000)
    }

    fn segment(&mut self, from: &str, to: &str, sequence: u32, ack: Option<u32>, flags: TcpFlags, payload: &[u8]) {
        self.millis += 1;
        let segment = Segment {
            at: self.at(),
            interface: 0,
            source: from.parse().unwrap(),
            destination: to.parse().unwrap(),
            sequence: SequenceNumber::new(sequence),
            acknowledgement: SequenceNumber::new(ack.unwrap_or(0)),
            flags: if ack.is_some() { flags.union(TcpFlags::ACK) } else { flags },
            payload,
            payload_length: u32::try_from(payload.len()).unwrap(),
        };
        self.table.handle(&segment, &mut self.recorder);
    }

    fn client(&mut self, sequence: u32, ack: u32, payload: &[u8]) {
        self.segment(CLIENT, SERVER, sequence, Some(ack), TcpFlags::default(), payload);
    }

    fn server(&mut self, sequence: u32, ack: u32, payload: &[u8]) {
        self.segment(SERVER, CLIENT, sequence, Some(ack), TcpFlags::default(), payload);
    }

    /// SYN, SYN-ACK, ACK with initial numbers 999 and 4999: streams begin at 1000 and 5000.
    fn handshake(&mut self) {
        self.segment(CLIENT, SERVER, 999, None, TcpFlags::SYN, b"");
        self.segment(SERVER, CLIENT, 4999, Some(1000), TcpFlags::SYN, b"");
        self.client(1000, 5000, b"");
    }

    fn wait(&mut self, duration: Duration) {
        self.millis += u64::try_from(duration.as_millis()).unwrap();
        self.table.handle_timeout(self.at(), &mut self.recorder);
    }

    fn finish(&mut self) {
        self.table.finish(&mut self.recorder);
        assert_eq!(self.table.pending_bytes(), 0);
        assert_eq!(self.table.counters().active, 0);
        assert_eq!(self.table.poll_timeout(), None);
    }
}

fn text(recorded: &Recorded) -> String {
    recorded.bytes.iter().map(|byte| byte.map_or('?', char::from)).collect()
}

#[test]
fn bytes_come_in_order_and_once_whatever_the_order_of_packets() {
    let mut bench = Bench::new();
    bench.handshake();
    bench.client(1003, 5000, b"def");
    bench.client(1000, 5000, b"abcd");
    bench.client(1002, 5000, b"YYYYYYgh");
    bench.server(5000, 1010, b"ok");
    assert_eq!((text(&bench.recorder.client), text(&bench.recorder.server)), ("abcdefYYgh".into(), "ok".into()));
    assert_eq!(bench.table.counters().out_of_order, 1);
}

#[test]
fn a_response_never_comes_before_the_request_that_its_sender_had_received() {
    let mut bench = Bench::new();
    bench.handshake();
    bench.server(5000, 1004, b"answer");
    assert_eq!(text(&bench.recorder.server), "");
    bench.client(1000, 5000, b"ask!");
    assert_eq!(bench.recorder.order, [(true, 0), (false, 4)]);
}

#[test]
fn acknowledged_bytes_that_do_not_come_are_a_gap_after_the_grace_and_not_before() {
    let mut bench = Bench::new();
    bench.handshake();
    bench.client(1004, 5000, b"efgh");
    bench.wait(Duration::from_secs(5));
    assert_eq!(text(&bench.recorder.client), "", "nobody has acknowledged the hole");
    bench.server(5000, 1008, b"");
    bench.wait(GRACE / 2);
    assert_eq!(text(&bench.recorder.client), "");
    bench.wait(GRACE);
    assert_eq!(text(&bench.recorder.client), "????efgh");
    assert_eq!(bench.table.counters().missing_bytes, 4);
}

#[test]
fn a_heavy_stream_that_nobody_reads_is_named_until_its_connection_begins_anew() {
    let mut bench = Bench::new();
    let named =
        |bench: &mut Bench| bench.table.bulk().map(|bulk| (bulk.source.to_string(), bulk.from)).collect::<Vec<_>>();
    bench.handshake();
    for (place, interest) in [(0, Interest::Undecided), (1, Interest::None)] {
        bench.recorder.interest = Some(interest);
        for number in 0..80 {
            bench.server(5000 + (place * 80 + number) * 60_000, 1000, &vec![0; 60_000]);
        }
        bench.client(1000 + place, 5000, b"x");
    }
    let end = SequenceNumber::new(5000 + 160 * 60_000);
    assert_eq!(named(&mut bench), [(SERVER.to_owned(), end)]);
    assert!(bench.table.has_new_bulk() && !bench.table.has_new_bulk());
    bench.segment(CLIENT, SERVER, 700_000, None, TcpFlags::SYN, b"");
    assert_eq!(named(&mut bench), []);
    bench.table.renew_bulk();
    bench.table.renew_bulk();
    assert_eq!(named(&mut bench), []);
}

#[test]
fn the_number_of_a_fin_is_no_missing_byte() {
    let mut bench = Bench::new();
    bench.handshake();
    bench.client(1000, 5000, b"ab");
    bench.segment(CLIENT, SERVER, 1012, Some(5000), TcpFlags::FIN, b"");
    bench.server(5000, 1013, b"");
    bench.wait(2 * GRACE);
    assert_eq!(bench.table.counters().missing_bytes, 10);
    assert_eq!((bench.recorder.client.bytes.len(), bench.recorder.client.ended), (12, true));
}

#[test]
fn a_late_copy_of_bytes_given_up_is_ignored() {
    let mut bench = Bench::new();
    bench.handshake();
    bench.client(1004, 5008, b"efgh");
    bench.server(5000, 1008, b"");
    bench.wait(GRACE * 2);
    bench.client(1000, 5000, b"abcd");
    assert_eq!(text(&bench.recorder.client), "????efgh");
}

#[test]
fn a_connection_joined_in_the_middle_waits_for_no_syn() {
    let mut bench = Bench::new();
    bench.server(70_000, 30_000, b"tail");
    bench.client(30_000, 70_004, b"next");
    bench.server(70_004, 30_004, b"more");
    assert_eq!((text(&bench.recorder.client), text(&bench.recorder.server)), ("next".into(), "tailmore".into()));
}

#[test]
fn one_direction_alone_is_not_held_for_the_other() {
    let mut bench = Bench::new();
    bench.segment(SERVER, CLIENT, 4999, Some(1000), TcpFlags::SYN, b"");
    for (number, acknowledgement) in [(5000, 1100), (5001, 1200), (5002, 1300), (5003, 1400)] {
        bench.server(number, acknowledgement, b"1");
        bench.wait(GRACE * 2);
    }
    bench.server(5004, 1500, b"at once");
    assert_eq!(text(&bench.recorder.server), "1111at once");
}

#[test]
fn sequence_numbers_wrap() {
    let mut bench = Bench::new();
    let start = u32::MAX - 3;
    bench.client(start, 0, b"abc");
    bench.client(start.wrapping_add(6), 0, b"gh");
    bench.client(start.wrapping_add(3), 0, b"def");
    assert_eq!(text(&bench.recorder.client), "abcdefgh");
}

#[test]
fn both_fins_end_the_connection_and_late_copies_do_not_begin_another() {
    let mut bench = Bench::new();
    bench.handshake();
    bench.segment(CLIENT, SERVER, 1000, Some(5000), TcpFlags::FIN, b"bye");
    assert!(bench.recorder.client.ended && bench.recorder.finished.is_empty());
    bench.segment(SERVER, CLIENT, 5000, Some(1004), TcpFlags::FIN, b"ok");
    assert!(matches!(bench.recorder.finished.as_slice(), [Finish::Closed(_)]));
    bench.server(5000, 1004, b"ok");
    bench.client(1000, 5000, b"bye");
    bench.client(1004, 5003, b"");
    assert_eq!((bench.recorder.begun, text(&bench.recorder.server)), (1, "ok".into()));
}

#[test]
fn a_reset_delivers_what_waits_and_ends() {
    let mut bench = Bench::new();
    bench.handshake();
    bench.client(1000, 5000, b"ab");
    bench.client(1004, 5000, b"ef");
    bench.segment(SERVER, CLIENT, 5000, Some(1002), TcpFlags::RST, b"reason");
    assert_eq!((text(&bench.recorder.client), text(&bench.recorder.server)), ("ab??ef".into(), String::new()));
    assert!(matches!(bench.recorder.finished.as_slice(), [Finish::Reset(_)]));
}

#[test]
fn a_reset_far_from_the_window_is_not_believed() {
    let mut bench = Bench::new();
    bench.handshake();
    bench.client(1000, 5000, b"ab");
    bench.segment(CLIENT, SERVER, 500_000_000, None, TcpFlags::RST, b"");
    assert!(bench.recorder.finished.is_empty());
    assert_eq!(bench.table.counters().ignored_resets, 1);
}

#[test]
fn bytes_held_beyond_the_end_of_their_stream_are_counted() {
    let mut bench = Bench::new();
    bench.handshake();
    bench.client(1010, 5000, b"beyond");
    bench.segment(CLIENT, SERVER, 1000, Some(5000), TcpFlags::FIN, b"bye");
    assert_eq!((text(&bench.recorder.client), bench.recorder.client.ended), ("bye".into(), true));
    assert_eq!((bench.table.counters().bytes_after_end, bench.table.pending_bytes()), (6, 0));
}

#[test]
fn a_new_syn_on_the_same_ports_is_a_new_connection() {
    let mut bench = Bench::new();
    bench.handshake();
    bench.client(1000, 5000, b"old");
    bench.segment(CLIENT, SERVER, 999, None, TcpFlags::SYN, b"");
    assert_eq!(bench.recorder.begun, 1, "the same SYN again is a copy");
    bench.segment(CLIENT, SERVER, 777_000, None, TcpFlags::SYN, b"");
    assert_eq!((bench.recorder.begun, bench.recorder.finished.as_slice()), (2, &[Finish::Replaced][..]));
    bench.client(777_001, 0, b"new");
    assert_eq!(text(&bench.recorder.client), "oldnew");
}

#[test]
fn numbers_far_from_the_window_are_a_new_connection() {
    let mut bench = Bench::new();
    bench.handshake();
    bench.client(1000, 5000, b"old");
    bench.client(2_000_000_000, 6_000_000, b"new");
    assert_eq!((bench.recorder.begun, text(&bench.recorder.client)), (2, "oldnew".into()));
}

#[test]
fn probes_bring_nothing() {
    let mut bench = Bench::new();
    bench.handshake();
    bench.client(1000, 5000, b"ab");
    bench.client(1001, 5000, b"\0");
    bench.client(1001, 5000, b"");
    assert_eq!((text(&bench.recorder.client), bench.table.counters().retransmits), ("ab".into(), 0));
    bench.client(1000, 5000, b"ab");
    assert_eq!(bench.table.counters().retransmits, 1);
}

#[test]
fn bytes_cut_by_the_snap_length_are_a_gap_at_once() {
    let mut bench = Bench::new();
    bench.handshake();
    let segment = Segment {
        at: bench.at(),
        interface: 0,
        source: CLIENT.parse().unwrap(),
        destination: SERVER.parse().unwrap(),
        sequence: SequenceNumber::new(1000),
        acknowledgement: SequenceNumber::new(5000),
        flags: TcpFlags::ACK,
        payload: b"abc",
        payload_length: 6,
    };
    bench.table.handle(&segment, &mut bench.recorder);
    bench.client(1006, 5000, b"gh");
    assert_eq!(text(&bench.recorder.client), "abc???gh");
}

/// What a handshake tells whose SYN was sent at these times, in milliseconds, and answered 20 later.
fn round_trip(syns: &[u64]) -> Option<Duration> {
    struct Rtt(Option<Duration>);
    impl StreamHandler for Rtt {
        type State = ();

        fn heap_bytes((): &()) -> usize {
            0
        }

        fn begin(&mut self) {}
        fn event(&mut self, (): &mut (), flow: &Flow, _: Direction, _: StreamEvent<'_>) -> Interest {
            self.0 = flow.handshake_rtt;
            Interest::Busy
        }
        fn finish(&mut self, (): (), _: &Flow, _: Finish) {}
    }
    let mut table = ConnectionTable::new(limits(), 0);
    let mut rtt = Rtt(None);
    let last = syns.last().copied().unwrap_or(0);
    let syns = syns.iter().map(|millis| (CLIENT, SERVER, 9, None, TcpFlags::SYN, &b""[..], *millis));
    let steps = [
        (SERVER, CLIENT, 49, Some(10), TcpFlags::SYN, &b""[..], last + 20),
        (CLIENT, SERVER, 10, Some(50), TcpFlags::default(), b"", last + 30),
        (CLIENT, SERVER, 10, Some(50), TcpFlags::default(), b"x", last + 90),
    ];
    for (from, to, sequence, ack, flags, payload, millis) in syns.chain(steps) {
        let segment = Segment {
            at: Timestamp::from_nanos(millis * 1_000_000),
            interface: 0,
            source: from.parse().unwrap(),
            destination: to.parse().unwrap(),
            sequence: SequenceNumber::new(sequence),
            acknowledgement: SequenceNumber::new(ack.unwrap_or(0)),
            flags: if ack.is_some() { flags.union(TcpFlags::ACK) } else { flags },
            payload,
            payload_length: u32::try_from(payload.len()).unwrap(),
        };
        table.handle(&segment, &mut rtt);
    }
    rtt.0
}

#[test]
fn the_handshake_gives_its_round_trip_time_unless_its_syn_was_sent_again() {
    assert_eq!(round_trip(&[0]), Some(Duration::from_millis(30)));
    // The same packet, seen on another interface.
    assert_eq!(round_trip(&[0, 1]), Some(Duration::from_millis(31)));
    assert_eq!(round_trip(&[0, 1000]), None);
}

#[test]
fn idle_connections_are_forgotten_by_packet_time() {
    let mut bench = Bench::new();
    bench.handshake();
    bench.client(1000, 5000, b"ask");
    bench.wait(Duration::from_secs(599));
    assert!(bench.recorder.finished.is_empty());
    bench.wait(Duration::from_secs(2));
    assert_eq!(bench.recorder.finished, [Finish::Idle]);
    assert_eq!(bench.table.counters().active, 0);
}

#[test]
fn time_that_jumps_back_ends_nothing() {
    let mut bench = Bench::new();
    bench.handshake();
    bench.client(1000, 5000, b"first file");
    bench.millis = 5_000;
    bench.segment("10.0.0.9:1", SERVER, 10, Some(20), TcpFlags::default(), b"x");
    bench.client(1010, 5000, b", second");
    bench.server(5000, 1018, b"answer");
    assert_eq!(text(&bench.recorder.client), "first file, second");
    bench.wait(Duration::from_secs(500));
    assert_eq!(bench.recorder.finished, []);
}

#[test]
fn a_full_table_gives_up_what_is_worth_least() {
    let mut bench = Bench::new();
    bench.handshake();
    bench.client(1000, 5000, b"ask");
    for port in 1..1000 {
        bench.segment(&format!("10.9.0.1:{port}"), SERVER, 1, None, TcpFlags::SYN, b"");
    }
    assert_eq!((bench.table.counters().active, bench.table.counters().evicted), (100, 900));
    bench.server(5000, 1003, b"answer");
    assert_eq!(text(&bench.recorder.server), "answer", "the connection with an open exchange has stayed");
}

#[test]
fn near_the_memory_budget_the_least_valuable_connections_go_first() {
    let mut bench = Bench::with(TcpLimits { max_memory: 40_000, ..limits() });
    bench.handshake();
    bench.client(1000, 5000, b"ask");
    for port in 1..1000 {
        bench.segment(&format!("10.9.0.1:{port}"), SERVER, 1, None, TcpFlags::SYN, b"");
        assert!(bench.table.counters().memory <= 40_000);
    }
    let counters = bench.table.counters();
    assert!(counters.shed > 900 && counters.evicted == 0, "{counters:?}");
    assert!(counters.memory_peak > 20_000, "{counters:?}");
    bench.server(5000, 1003, b"answer");
    assert_eq!(text(&bench.recorder.server), "answer", "the connection with an open exchange has stayed");
}

#[test]
fn islands_without_end_are_bounded() {
    let mut bench = Bench::new();
    bench.handshake();
    for island in 0..1000 {
        bench.client(1001 + 2 * island, 5000, b"x");
        assert!(bench.table.pending_bytes() <= 64 * 200);
    }
    assert!(bench.table.counters().overflows(Overflow::Segments) > 0);
}

#[test]
fn bytes_behind_a_hole_are_bounded_in_each_direction() {
    let mut bench = Bench::with(TcpLimits { max_pending_bytes: 10_000, ..limits() });
    bench.handshake();
    for number in 0..100 {
        bench.client(2000 + 500 * number, 5000, &[b'x'; 500]);
        assert!(bench.table.pending_bytes() <= 10_000);
    }
    assert_eq!(bench.table.counters().pending_overflows, [1, 0, 0], "what follows the hole is delivered at once");
    assert!(bench.recorder.client.bytes.len() > 40_000);
}

#[test]
fn bytes_behind_the_holes_of_all_connections_are_bounded() {
    let mut bench = Bench::with(TcpLimits { max_total_pending_bytes: 10_000, ..limits() });
    for port in 1..50 {
        let client = format!("10.9.0.1:{port}");
        bench.segment(&client, SERVER, 999, None, TcpFlags::SYN, b"");
        bench.segment(&client, SERVER, 2000, None, TcpFlags::ACK, &[b'x'; 500]);
        assert!(bench.table.pending_bytes() <= 10_000);
    }
    assert!(bench.table.counters().overflows(Overflow::Total) > 20);
}

#[test]
fn what_was_used_before_time_went_back_hides_nothing_that_is_idle() {
    let mut bench = Bench::new();
    bench.millis = 10_000_000;
    bench.handshake();
    bench.client(1000, 5000, b"ask");
    bench.millis -= 3_600_000;
    bench.segment("10.0.0.9:1", SERVER, 10, Some(20), TcpFlags::default(), b"x");
    bench.wait(Duration::from_secs(2));
    bench.wait(Duration::from_secs(590));
    assert_eq!(bench.recorder.finished, []);
    bench.wait(Duration::from_secs(20));
    assert_eq!(bench.recorder.finished, [Finish::Idle, Finish::Idle]);
}

#[test]
fn a_connection_that_closes_over_a_loss_closes_at_its_last_packet() {
    let mut bench = Bench::new();
    bench.handshake();
    bench.client(1000, 5000, b"ask");
    bench.segment(SERVER, CLIENT, 5000, Some(1003), TcpFlags::FIN, b"");
    bench.segment(CLIENT, SERVER, 1007, Some(5001), TcpFlags::FIN, b"");
    bench.server(5001, 1008, b"");
    let last = bench.at();
    bench.wait(GRACE * 2);
    assert_eq!(bench.recorder.finished, [Finish::Closed(last)]);
}

#[test]
fn a_keep_alive_probe_after_a_half_close_is_no_new_connection() {
    let mut bench = Bench::new();
    bench.handshake();
    bench.segment(CLIENT, SERVER, 1000, Some(5000), TcpFlags::FIN, b"ask");
    bench.server(5000, 1004, b"");
    bench.client(1003, 5000, b"\0");
    bench.client(1003, 5000, b"");
    bench.server(5000, 1004, b"answer");
    assert_eq!((bench.recorder.begun, text(&bench.recorder.server)), (1, "answer".into()));
    assert_eq!(bench.table.counters().retransmits, 0);
    bench.client(1003, 5006, b"more");
    assert_eq!(bench.recorder.begun, 2, "nothing comes after a FIN but on a new connection");
}

#[test]
fn who_holds_little_keeps_it_while_others_fill_the_bound_of_all() {
    let mut bench = Bench::with(TcpLimits { max_total_pending_bytes: 80_000, ..limits() });
    bench.handshake();
    for port in 1..5 {
        let client = format!("10.9.0.1:{port}");
        bench.segment(&client, SERVER, 999, None, TcpFlags::SYN, b"");
        bench.segment(&client, SERVER, 2000, None, TcpFlags::ACK, &b"x".repeat(19_500));
    }
    assert!(bench.table.pending_bytes() > 78_000, "{}", bench.table.pending_bytes());
    for number in (1..20).rev() {
        bench.client(1000 + 4 * number, 5000, b"efgh");
        assert!(bench.table.pending_bytes() <= 80_000);
    }
    bench.client(1000, 5000, b"efgh");
    assert_eq!(text(&bench.recorder.client), "efgh".repeat(20));
    assert!(bench.table.counters().overflows(Overflow::Total) > 0);
}

#[test]
fn who_holds_much_for_a_moment_keeps_it_while_many_hold_little_for_long() {
    let mut bench = Bench::with(TcpLimits { max_total_pending_bytes: 400_000, max_connections: 5000, ..limits() });
    bench.handshake();
    let hold = |bench: &mut Bench, number: u32| {
        let client = format!("10.9.{}.1:{}", number >> 10, 1 + (number & 0x3ff));
        bench.segment(&client, SERVER, 999, None, TcpFlags::SYN, b"");
        bench.segment(&client, SERVER, 2000, None, TcpFlags::ACK, b"x");
    };
    for number in 0..3500 {
        hold(&mut bench, number);
    }
    for segment in 1..20 {
        bench.client(1000 + 500 * segment, 5000, &[b'y'; 500]);
        hold(&mut bench, 3500 + segment);
    }
    bench.client(1000, 5000, &[b'y'; 500]);
    assert_eq!(text(&bench.recorder.client), "y".repeat(10_000));
}

/// The old server answers a SYN on reused ports with what it has acknowledged last (RFC 9293 §3.10.7.4).
#[test]
fn an_acknowledgement_from_before_the_handshake_says_nothing() {
    let mut bench = Bench::new();
    bench.segment(CLIENT, SERVER, 999, None, TcpFlags::SYN, b"");
    bench.server(70_000, 500_000_000, b"");
    bench.wait(GRACE * 2);
    bench.segment(CLIENT, SERVER, 999, None, TcpFlags::SYN, b"");
    bench.server(70_000, 500_000_000, b"");
    bench.wait(GRACE * 2);
    bench.segment(SERVER, CLIENT, 4999, Some(1000), TcpFlags::SYN, b"");
    bench.client(1000, 5000, b"ask");
    bench.server(5000, 1003, b"answer");
    assert_eq!((text(&bench.recorder.client), text(&bench.recorder.server)), ("ask".into(), "answer".into()));
    assert_eq!((bench.recorder.begun, bench.table.counters().missing_bytes), (1, 0));
}

#[test]
fn an_acknowledgement_with_numbers_of_another_connection_says_nothing() {
    let mut bench = Bench::new();
    bench.handshake();
    bench.client(1000, 5000, b"ask");
    bench.server(900_000_000, 700_000_000, b"");
    bench.server(5000, 700_000_000, b"");
    bench.wait(GRACE * 2);
    bench.server(5000, 1003, b"answer");
    bench.client(1003, 5006, b", again");
    assert_eq!((text(&bench.recorder.client), text(&bench.recorder.server)), ("ask, again".into(), "answer".into()));
    assert_eq!((bench.recorder.begun, bench.table.counters().missing_bytes), (1, 0));
}

#[test]
fn an_acknowledgement_from_half_of_all_numbers_ago_hides_no_later_one() {
    let mut bench = Bench::new();
    bench.segment(CLIENT, SERVER, 999, None, TcpFlags::SYN, b"");
    bench.server(70_000, 1001_u32.wrapping_sub(1 << 31), b"");
    bench.client(1004, 5000, b"efgh");
    bench.server(5000, 1008, b"");
    bench.wait(GRACE * 2);
    assert_eq!(text(&bench.recorder.client), "????efgh");
}

#[test]
fn a_long_loss_is_one_as_soon_as_a_second_acknowledgement_goes_on_from_the_first() {
    const LOST: u32 = 300 << 20;
    let mut bench = Bench::new();
    bench.handshake();
    bench.client(1000, 5000, b"ask");
    bench.server(5000, 1003, b"answer");
    bench.client(1003, 5006 + LOST, b"");
    bench.client(1003, 5006 + LOST + 1448, b"");
    bench.wait(GRACE * 2);
    assert_eq!(bench.table.counters().missing_bytes, u64::from(LOST + 1448));
}

#[test]
fn a_long_loss_is_one_as_soon_as_its_receiver_says_something() {
    const LOST: u32 = 300 << 20;
    for (flags, payload) in [(TcpFlags::default(), &b"next"[..]), (TcpFlags::FIN, b"")] {
        let mut bench = Bench::new();
        bench.handshake();
        bench.client(1000, 5000, b"ask");
        bench.server(5000, 1003, b"answer");
        bench.client(1003, 5006 + LOST, b"");
        bench.segment(CLIENT, SERVER, 1003, Some(5006 + LOST), flags, payload);
        bench.wait(GRACE * 2);
        assert_eq!(bench.table.counters().missing_bytes, u64::from(LOST), "{flags:?}");
    }
}

#[test]
fn a_connection_nobody_wants_keeps_no_bytes() {
    let mut bench = Bench::new();
    bench.recorder.interest = Some(Interest::None);
    bench.handshake();
    bench.client(1000, 5000, b"ab");
    bench.client(1005, 5000, b"later");
    bench.server(5000, 1000, b"cd");
    assert_eq!((bench.table.pending_bytes(), text(&bench.recorder.server)), (0, String::new()));
    bench.segment(CLIENT, SERVER, 5, None, TcpFlags::SYN, b"");
    assert_eq!(bench.recorder.begun, 2, "a new connection is looked at again");
}

/// One random packet: from which side, where in its stream, how long.
fn packets() -> impl Strategy<Value = Vec<(bool, u32, u32)>> {
    prop::collection::vec((any::<bool>(), 0u32..60, 1u32..25), 1..60)
}

proptest! {
    /// Whatever comes in whatever order: what is delivered is what a byte map holds, gaps are exactly what it lacks.
    #[test]
    fn delivers_what_a_byte_map_holds(base in any::<u32>(), packets in packets()) {
        let mut bench = Bench::new();
        let (client_base, server_base) = (base, base.wrapping_mul(31).wrapping_add(17));
        bench.segment(CLIENT, SERVER, client_base.wrapping_sub(1), None, TcpFlags::SYN, b"");
        bench.segment(SERVER, CLIENT, server_base.wrapping_sub(1), Some(client_base), TcpFlags::SYN, b"");
        let content = |from_client: bool, at: u32| u8::try_from(at).unwrap() ^ if from_client { 0x40 } else { 0x80 };
        let mut maps = [BTreeMap::new(), BTreeMap::new()];
        for (from_client, offset, length) in packets {
            let payload: Vec<u8> = (offset..offset + length).map(|at| content(from_client, at)).collect();
            for (at, byte) in (offset..).zip(&payload) {
                maps[usize::from(from_client)].insert(at, *byte);
            }
            if from_client {
                bench.client(client_base.wrapping_add(offset), server_base, &payload);
            } else {
                bench.server(server_base.wrapping_add(offset), client_base, &payload);
            }
        }
        bench.finish();
        for (map, recorded) in maps.iter().zip([&bench.recorder.server, &bench.recorder.client]) {
            let end = map.keys().last().map_or(0, |last| last + 1);
            let wanted: Vec<Option<u8>> = (0..end).map(|at| map.get(&at).copied()).collect();
            prop_assert_eq!(&recorded.bytes, &wanted);
        }
    }

    /// Any segments at all: nothing panics, nothing grows, the books are even at the end.
    #[test]
    fn odd_segments_never_fail(
        segments in prop::collection::vec(
            (any::<bool>(), prop_oneof![0u32..100, any::<u32>()], any::<Option<u32>>(), 0u8..32, 0usize..40),
            0..200,
        ),
    ) {
        let mut bench = Bench::new();
        let payload = [b'x'; 40];
        for (from_client, sequence, ack, flags, length) in segments {
            let (from, to) = if from_client { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
            bench.segment(from, to, sequence, ack, TcpFlags(flags), &payload[..length]);
            if sequence % 7 == 0 {
                bench.wait(GRACE);
            }
        }
        bench.finish();
    }
}
