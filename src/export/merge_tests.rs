//! Merging against an obviously correct twin, at the edges of its window, and beyond its bounds.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::exchange::{ExchangeId, Outcome, RequestPart, ResponsePart, Transfer};
use crate::http::{RequestHead, ResponseHead};

const SECOND: u64 = 1_000_000_000;
const MILLI: u64 = 1_000_000;
const BASE: u64 = 1_700_000_000 * SECOND;
/// The client, a Service's address, the pod behind it, and the node that masquerades.
const CLIENT: &str = "10.0.0.1:40000";
const SERVICE: &str = "10.96.0.10:80";
const POD: &str = "10.1.0.9:8080";
const NODE: &str = "192.0.2.1:61000";

fn config() -> MergeConfig {
    MergeConfig { window: Duration::from_secs(1), max_bytes: 1 << 20, patience: None }
}

/// A view of exchange `number`, whose first byte was seen `at` nanoseconds after the base.
fn view(number: u8, at: u64, sockets: [&str; 2], answer: Option<u8>) -> Exchange {
    let at = Timestamp::from_nanos(BASE + at);
    let transfer = Transfer { first_byte: at, last_byte: at, body_bytes: 0, wire_bytes: 20, packets: 1 };
    let mut id = [number; 32];
    id[0] = answer.unwrap_or(0);
    Exchange {
        id: ExchangeId(id),
        request_key: u64::from(number),
        client: sockets[0].parse().unwrap(),
        server: sockets[1].parse().unwrap(),
        translated: None,
        interface: 1,
        request: RequestPart { head: RequestHead::parse(b"GET / HTTP/1.1\r\n\r\n").unwrap(), transfer, ended: at },
        response: answer
            .map(|_| ResponsePart { head: ResponseHead::parse(b"HTTP/1.1 200 OK\r\n\r\n").unwrap(), transfer }),
        outcome: if answer.is_some() { Outcome::Complete } else { Outcome::Unknown },
        incomplete: answer.is_none(),
        retransmits: 0,
        handshake_rtt: None,
    }
}

#[test]
fn with_a_window_of_nothing_even_equal_views_are_exchanges_of_their_own() {
    let mut bench = Bench::new(MergeConfig { window: Duration::ZERO, ..config() });
    let now = Instant::now();
    for _ in 0..3 {
        // All of one hand-over, before any is released.
        bench.taken += 1;
        bench.merger.take(parcel(&[view(1, 0, [CLIENT, POD], Some(1))]), now);
    }
    bench.take(view(1, 0, [CLIENT, POD], Some(1)));
    assert_eq!(bench.end().len(), 4);
    assert_eq!((bench.counts.merged, bench.counts.late), (0, 0));
}

struct Bench {
    merger: Merger,
    ready: Vec<Exchange>,
    taken: u64,
    counts: MergeCounts,
}

impl Bench {
    fn new(config: MergeConfig) -> Self {
        Self { merger: Merger::new(config), ready: Vec::new(), taken: 0, counts: MergeCounts::default() }
    }

    fn take(&mut self, exchange: Exchange) {
        self.pass(exchange);
        self.audit();
    }

    fn pass(&mut self, exchange: Exchange) {
        self.hand_over(&[exchange]);
    }

    /// Takes all of `views` at once.
    fn hand_over(&mut self, views: &[Exchange]) {
        let now = Instant::now();
        self.taken += views.len() as u64;
        self.merger.take(parcel(views), now);
        self.merger.release(now);
        drain(&mut self.merger, &mut self.ready);
    }

    fn end(&mut self) -> Vec<Exchange> {
        self.merger.release_all();
        drain(&mut self.merger, &mut self.ready);
        self.audit();
        assert_eq!((self.merger.len(), self.merger.bytes), (0, 0));
        std::mem::take(&mut self.ready)
    }

    /// Every view that came is waiting, gone, part of another, or was too late.
    fn audit(&mut self) {
        let MergeCounts { merged, late, early } = self.merger.counts();
        self.counts.merged += merged;
        self.counts.late += late;
        self.counts.early += early;
        let elsewhere = (self.ready.len() + self.merger.len()) as u64;
        assert_eq!(self.taken, elsewhere + self.counts.merged + self.counts.late);
        let exchanges = &self.merger.exchanges;
        let waiting: Vec<Packed<'_>> =
            (self.merger.first..exchanges.next()).map(|number| exchanges.get(number).unwrap()).collect();
        assert_eq!(waiting.len(), self.merger.waiting.len());
        assert_eq!(self.merger.bytes, waiting.iter().map(|exchange| exchange.footprint()).sum::<usize>());
        let facts = |known: &Known| (known.key, known.start, known.answered);
        let known: Vec<_> = self.merger.known.iter().map(facts).collect();
        let expected: Vec<_> = waiting.iter().map(|exchange| facts(&Known::of(*exchange))).collect();
        if self.merger.config.window.is_zero() {
            assert_eq!(known, []);
        } else {
            assert!(known.ends_with(&expected) && known.len() <= expected.len() + REMEMBERED);
        }
    }
}

fn parcel(views: &[Exchange]) -> Parcel {
    let mut parcel = Parcel::default();
    for view in views {
        parcel.push(view);
    }
    parcel
}

/// What may go on, to the end of `ready`.
fn drain(merger: &mut Merger, ready: &mut Vec<Exchange>) {
    while let Some(exchange) = merger.ready() {
        ready.push(exchange.to_exchange());
        merger.pass();
    }
    assert_eq!(merger.readies(), 0);
}

fn sockets(exchange: &Exchange) -> [SocketAddr; 4] {
    let (client, server) = exchange.at_server();
    [exchange.client, exchange.server, client, server]
}

fn parsed<const N: usize>(texts: [&str; N]) -> [SocketAddr; N] {
    texts.map(|text| text.parse().unwrap())
}

#[test]
fn views_before_and_after_a_translation_become_one_with_both_destinations() {
    let views = [
        view(1, 0, [CLIENT, SERVICE], Some(7)),
        view(1, MILLI, [CLIENT, POD], Some(7)),
        view(1, 2 * MILLI, [NODE, POD], Some(7)),
    ];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut bench = Bench::new(config());
        for place in order {
            bench.take(views[place].clone());
        }
        let found = bench.end();
        assert_eq!((found.len(), bench.counts.merged), (1, 2), "{order:?}");
        assert_eq!(sockets(&found[0]), parsed([CLIENT, SERVICE, NODE, POD]), "{order:?}");
        assert_eq!(found[0].start(), Timestamp::from_nanos(BASE), "{order:?}");
    }
}

#[test]
fn the_same_view_twice_is_one_without_a_translation() {
    let mut bench = Bench::new(config());
    bench.take(view(1, 0, [CLIENT, POD], Some(7)));
    bench.take(view(1, MILLI, [CLIENT, POD], Some(7)));
    let found = bench.end();
    assert_eq!((found.len(), &found[0].translated), (1, &None));
}

#[test]
fn the_more_complete_view_gives_the_messages() {
    for order in [[0, 1], [1, 0]] {
        let views = [view(1, 0, [CLIENT, SERVICE], None), view(1, MILLI, [CLIENT, POD], Some(7))];
        let mut bench = Bench::new(config());
        for place in order {
            bench.take(views[place].clone());
        }
        let found = bench.end();
        assert_eq!(found.len(), 1, "{order:?}");
        assert!(found[0].response.is_some() && !found[0].incomplete, "{order:?}");
        assert_eq!(found[0].id.0[0], 7, "the identity is that of the whole exchange");
        assert_eq!(sockets(&found[0]), parsed([CLIENT, SERVICE, CLIENT, POD]));
        assert_eq!(found[0].start(), Timestamp::from_nanos(BASE));
    }
}

#[test]
fn other_responses_to_an_equal_request_are_other_exchanges() {
    let mut bench = Bench::new(config());
    bench.take(view(1, 0, [CLIENT, SERVICE], Some(7)));
    bench.take(view(1, MILLI, [CLIENT, POD], Some(8)));
    assert_eq!((bench.end().len(), bench.counts.merged), (2, 0));
}

#[test]
fn what_is_further_apart_than_the_window_is_not_one() {
    for (apart, expected) in [(SECOND, 1), (SECOND + 1, 2)] {
        let mut bench = Bench::new(config());
        bench.take(view(1, 0, [CLIENT, SERVICE], Some(7)));
        bench.take(view(1, apart, [CLIENT, POD], Some(7)));
        assert_eq!(bench.end().len(), expected, "{apart} ns apart");
    }
}

#[test]
fn exchanges_go_on_in_order_when_capture_time_has_passed_their_window() {
    let mut bench = Bench::new(config());
    bench.take(view(1, 0, [CLIENT, POD], Some(7)));
    bench.take(view(2, MILLI, [CLIENT, POD], Some(7)));
    bench.take(view(3, SECOND, [CLIENT, POD], Some(7)));
    assert_eq!(bench.ready.len(), 0, "a view may be a whole window later");
    bench.take(view(4, SECOND + 2 * MILLI, [CLIENT, POD], Some(7)));
    assert_eq!(bench.ready.iter().map(|exchange| exchange.request_key).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_view_that_comes_too_late_is_dropped_and_counted() {
    let mut bench = Bench::new(config());
    bench.take(view(1, 0, [CLIENT, SERVICE], Some(7)));
    bench.take(view(2, 3 * SECOND, [CLIENT, POD], Some(7)));
    assert_eq!(bench.ready.len(), 1);
    bench.take(view(1, MILLI, [CLIENT, POD], Some(7)));
    assert_eq!((bench.counts.late, bench.end().len()), (1, 2));
}

#[test]
fn a_late_view_is_known_though_an_equal_request_waits() {
    let mut bench = Bench::new(config());
    bench.take(view(1, 0, [CLIENT, SERVICE], Some(7)));
    bench.take(view(2, 3 * SECOND, [CLIENT, POD], Some(7)));
    bench.take(view(1, 3 * SECOND, [CLIENT, SERVICE], Some(8)));
    bench.take(view(1, MILLI, [CLIENT, POD], Some(7)));
    bench.take(view(1, 3 * SECOND + MILLI, [CLIENT, POD], Some(8)));
    assert_eq!((bench.counts.late, bench.counts.merged, bench.end().len()), (1, 1, 3));
}

#[test]
fn the_same_capture_played_again_later_is_another_exchange() {
    let mut bench = Bench::new(config());
    for hour in 0..3 {
        bench.take(view(1, hour * 3600 * SECOND, [CLIENT, POD], Some(7)));
    }
    assert_eq!((bench.end().len(), bench.counts), (3, MergeCounts::default()));
}

#[test]
fn a_burst_goes_on_early_and_is_counted() {
    let mut bench = Bench::new(MergeConfig { max_bytes: 10_000, ..config() });
    for number in 0..200 {
        bench.take(view(number, 0, [CLIENT, POD], Some(7)));
        assert!(bench.merger.bytes <= 10_000);
    }
    assert!(bench.counts.early > 150);
    bench.take(view(0, 0, [CLIENT, SERVICE], Some(7)));
    assert_eq!(bench.counts.late, 1, "what went on early is remembered");
    assert_eq!(bench.end().len(), 200);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut bench = Bench::new(MergeConfig { max_bytes: 0, ..config() });
    for number in 0..100_000_u64 {
        bench.pass(Exchange { request_key: number, ..view(1, 0, [CLIENT, POD], Some(7)) });
        bench.ready.clear();
        bench.taken = 0;
        bench.counts = MergeCounts::default();
    }
    assert_eq!(bench.merger.known.iter().count(), REMEMBERED);
}

#[test]
fn without_a_window_everything_goes_on_at_once() {
    let mut bench = Bench::new(MergeConfig { window: Duration::ZERO, ..config() });
    bench.take(view(1, 0, [CLIENT, POD], Some(7)));
    assert_eq!(bench.ready.len(), 1);
}

#[test]
fn live_exchanges_wait_no_longer_than_their_patience() {
    let patience = Duration::from_millis(300);
    let mut merger = Merger::new(MergeConfig { patience: Some(patience), ..config() });
    let now = Instant::now();
    merger.take(parcel(&[view(1, 0, [CLIENT, POD], Some(7))]), now);
    assert_eq!(merger.due(), Some(now + patience));
    merger.release(now + patience / 2);
    assert_eq!(merger.readies(), 0);
    merger.release(now + patience);
    assert_eq!((merger.readies(), merger.due()), (1, None));
}

/// Which exchanges, by key, and how many views each has: every view compared with every other.
fn twin(views: &[Exchange], window: Duration) -> Vec<Vec<Exchange>> {
    let mut groups: Vec<Vec<Exchange>> = Vec::new();
    for view in views {
        let same = |group: &&mut Vec<Exchange>| {
            let first = group.iter().map(Exchange::start).min().unwrap();
            group[0].request_key == view.request_key
                && first.saturating_since(view.start()).max(view.start().saturating_since(first)) <= window
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(view.clone()),
            None => groups.push(vec![view.clone()]),
        }
    }
    groups
}

proptest! {
    /// All exchanges are within one window, so that nothing leaves before its last view has come.
    #[test]
    fn merges_what_a_plain_comparison_of_all_views_merges(
        views in prop::collection::vec((0u8..6, 0usize..4, any::<bool>()), 0..40),
        times in prop::array::uniform4(0u64..900),
        at_once in 1usize..12,
    ) {
        let sockets = [[CLIENT, SERVICE], [CLIENT, POD], [NODE, POD], [NODE, SERVICE]];
        let views: Vec<Exchange> = views
            .into_iter()
            .map(|(number, side, is_answered)| {
                view(number, times[side] * MILLI, sockets[side], is_answered.then_some(9))
            })
            .collect();
        let mut bench = Bench::new(config());
        for some in views.chunks(at_once) {
            bench.hand_over(some);
            bench.audit();
        }
        let mut found = bench.end();
        let mut expected = twin(&views, config().window);
        found.sort_by_key(|exchange| exchange.request_key);
        expected.sort_by_key(|group| group[0].request_key);
        prop_assert_eq!(found.len(), expected.len());
        for (exchange, group) in found.iter().zip(&expected) {
            let order = |view: &&Exchange| (view.start(), view.client, view.server);
            let (near, far) = (group.iter().min_by_key(order).unwrap(), group.iter().max_by_key(order).unwrap());
            prop_assert_eq!((exchange.client, exchange.server), (near.client, near.server));
            prop_assert_eq!(exchange.at_server(), (far.client, far.server));
            prop_assert_eq!(exchange.start(), near.start());
            prop_assert_eq!(exchange.response.is_some(), group.iter().any(|view| view.response.is_some()));
        }
    }
}

proptest! {
    /// Many windows, late views, and a bound that is reached.
    #[test]
    fn what_comes_at_once_is_merged_as_what_comes_one_by_one(
        views in prop::collection::vec((0u8..12, 0u64..4000, 0usize..4, any::<bool>()), 0..60),
        at_once in 1usize..12,
        max_bytes in prop_oneof![Just(1_usize << 20), 0_usize..20_000],
    ) {
        let sockets = [[CLIENT, SERVICE], [CLIENT, POD], [NODE, POD], [NODE, SERVICE]];
        let views: Vec<Exchange> = views
            .into_iter()
            .map(|(number, at, side, is_answered)| view(number, at * MILLI, sockets[side], is_answered.then_some(9)))
            .collect();
        let config = MergeConfig { max_bytes, ..config() };
        let (mut together, mut alone) = (Bench::new(config), Merger::new(config));
        let (now, mut ready, mut counts) = (Instant::now(), Vec::new(), MergeCounts::default());
        for some in views.chunks(at_once) {
            together.hand_over(some);
            together.audit();
            for view in some {
                alone.take(parcel(std::slice::from_ref(view)), now);
            }
            alone.release(now);
            drain(&mut alone, &mut ready);
            let MergeCounts { merged, late, early } = alone.counts();
            counts = MergeCounts { merged: counts.merged + merged, late: counts.late + late, early: counts.early + early };
            prop_assert_eq!((&together.ready, together.counts), (&ready, counts));
        }
        alone.release_all();
        drain(&mut alone, &mut ready);
        prop_assert_eq!(together.end(), ready);
    }
}
