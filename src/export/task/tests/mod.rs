//! A task between a scripted source and a scripted destination, in time that only the tests advance.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::*;
use crate::export::otlp::OtlpFormat;
use crate::export::testing::get_span;
use crate::export::{BatchConfig, ExportSnapshot, MergeConfig, OutputConfig, Spool, SpoolConfig};
use crate::span::Resource;

/// What becomes of a span.
#[derive(Clone, Copy, Debug)]
enum Item {
    Sampled,
    SampledOut,
    /// Both sides are reported.
    Both,
}

struct Source {
    queue: mpsc::Receiver<Vec<Item>>,
    ready: VecDeque<Item>,
    /// Those that wait for something and are not ready before their release.
    held: Arc<Mutex<Vec<Item>>>,
    counters: Arc<ExportCounters>,
    /// By how much the counters were uneven at most, seen while spans are made.
    uneven: Arc<AtomicU64>,
}

impl SpanSource for Source {
    async fn receive(&mut self) -> Option<usize> {
        let items = self.queue.recv().await?;
        let count = items.len();
        self.ready.extend(items);
        Some(count)
    }

    fn ready(&self) -> usize {
        self.ready.len()
    }

    fn spans(&mut self, take: &mut dyn FnMut(&Draft<'_>)) {
        let [received, known] = sums(&self.counters.snapshot());
        self.uneven.fetch_max(received.abs_diff(known), Ordering::Relaxed);
        let span = get_span("GET", "/").into();
        match self.ready.front() {
            Some(Item::Sampled) => take(&span),
            Some(Item::Both) => {
                take(&span);
                take(&span);
            }
            Some(Item::SampledOut) => self.counters.sampled_out(),
            None => {}
        }
    }

    fn pass(&mut self) {
        self.ready.pop_front();
    }

    fn release(&mut self) -> usize {
        let held = std::mem::take(&mut *self.held.lock().unwrap());
        let count = held.len();
        self.ready.extend(held);
        count
    }
}

/// How the destination answers one call.
#[derive(Clone, Debug)]
enum Answer {
    Accept,
    AcceptAfter(Duration),
    Reject(u64),
    TooLarge,
    Retry(Option<Duration>),
    Refuse,
    Never,
    Panic,
    Closed,
}

#[derive(Clone)]
struct Destination {
    /// The answers to the next calls; afterwards the last one again.
    script: Arc<Mutex<VecDeque<Answer>>>,
    calls: mpsc::Sender<(Instant, Batch)>,
    /// Calls wait for one of these before they answer.
    permits: Arc<Semaphore>,
    concurrency: usize,
}

impl Exporter for Destination {
    async fn export(&self, batch: Batch) -> Result<Accepted, Failure> {
        self.calls.send((Instant::now(), batch)).await.unwrap();
        self.permits.acquire().await.unwrap().forget();
        let answer = {
            let mut script = self.script.lock().unwrap();
            if script.len() > 1 { script.pop_front() } else { script.front().cloned() }
        };
        match answer.unwrap_or(Answer::Accept) {
            Answer::Accept => Ok(Accepted::default()),
            Answer::AcceptAfter(delay) => {
                tokio::time::sleep(delay).await;
                Ok(Accepted::default())
            }
            Answer::Reject(rejected) => Ok(Accepted { rejected, message: "not all".to_owned() }),
            Answer::TooLarge => Err(Failure::TooLarge { reason: "too large".to_owned() }),
            Answer::Retry(wait) => Err(Failure::Retry { reason: "away".to_owned(), wait }),
            Answer::Refuse => Err(Failure::Refused { reason: "wrong key".to_owned() }),
            Answer::Never => std::future::pending().await,
            Answer::Panic => panic!("scripted"),
            Answer::Closed => Err(Failure::Closed),
        }
    }

    fn concurrency(&self) -> usize {
        self.concurrency
    }

    fn halves(&self, batch: &Batch) -> Option<[Batch; 2]> {
        let middle = batch.spans / 2;
        let part = |spans: u64| Batch { bytes: batch.bytes.slice(..batch.bytes.len() / 2), spans, ..batch.clone() };
        (middle > 0).then(|| [part(middle), part(batch.spans - middle)])
    }
}

/// A task that runs, and everything around it.
struct Bench {
    source: Option<mpsc::Sender<Vec<Item>>>,
    held: Arc<Mutex<Vec<Item>>>,
    uneven: Arc<AtomicU64>,
    calls: mpsc::Receiver<(Instant, Batch)>,
    permits: Arc<Semaphore>,
    stop: watch::Sender<bool>,
    counters: Arc<ExportCounters>,
    task: JoinHandle<Result<(), ExportError>>,
}

struct Settings {
    max_spans: usize,
    queue_bytes: usize,
    when_full: WhenFull,
    concurrency: usize,
    permits: usize,
    queue_spans: Option<usize>,
    /// What memory cannot hold waits there.
    spool: Option<SpoolConfig>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_spans: 2,
            queue_bytes: 1 << 20,
            when_full: WhenFull::Drop,
            concurrency: 1,
            permits: 1 << 20,
            queue_spans: None,
            spool: None,
        }
    }
}

mod spooling;

const SECOND: Duration = Duration::from_secs(1);

impl Bench {
    fn start(script: impl IntoIterator<Item = Answer>, settings: &Settings) -> Self {
        let (source, queue) = mpsc::channel(1);
        let (calls_sender, calls) = mpsc::channel(1000);
        let permits = Arc::new(Semaphore::new(settings.permits));
        let destination = Destination {
            script: Arc::new(Mutex::new(script.into_iter().collect())),
            calls: calls_sender,
            permits: Arc::clone(&permits),
            concurrency: settings.concurrency,
        };
        let counters = Arc::new(ExportCounters::default());
        let (held, uneven) = (Arc::default(), Arc::default());
        let source_of_task = Source {
            queue,
            ready: VecDeque::new(),
            held: Arc::clone(&held),
            counters: Arc::clone(&counters),
            uneven: Arc::clone(&uneven),
        };
        let (stop, stopped) = watch::channel(false);
        let task = task(source_of_task, destination, settings, Arc::clone(&counters));
        let task = tokio::spawn(task.run(stopped));
        Self { source: Some(source), held, uneven, calls, permits, stop, counters, task }
    }

    /// These are ready when they are released and not before.
    fn hold(&self, items: impl IntoIterator<Item = Item>) {
        self.held.lock().unwrap().extend(items);
    }

    async fn give(&self, items: Vec<Item>) {
        self.source.as_ref().unwrap().send(items).await.unwrap();
    }

    async fn give_spans(&self, count: usize) {
        self.give(vec![Item::Sampled; count]).await;
    }

    /// Ends the source, waits for the task, and checks that every span is accounted for.
    async fn end(mut self) -> (Result<(), ExportError>, ExportSnapshot) {
        self.source = None;
        self.wait().await
    }

    /// As [`Self::end`], with a source that stays open.
    async fn wait(self) -> (Result<(), ExportError>, ExportSnapshot) {
        let result = self.task.await.unwrap();
        let counted = self.counters.snapshot();
        assert_conserved(&counted);
        assert_eq!(counted.spans_waiting, 0);
        assert_eq!(counted.waiting_bytes, 0);
        (result, counted)
    }
}

/// A task that does not run yet.
fn task(
    source: Source,
    destination: Destination,
    settings: &Settings,
    counters: Arc<ExportCounters>,
) -> Task<Source, OtlpFormat, Destination> {
    let config = ExportConfig {
        output: OutputConfig::None,
        merge: MergeConfig { window: Duration::ZERO, max_bytes: 0, patience: None },
        batch: BatchConfig {
            max_spans: settings.max_spans,
            max_bytes: 1 << 20,
            delay: SECOND,
            queue_bytes: settings.queue_bytes,
            queue_spans: settings.queue_spans,
            when_full: settings.when_full,
        },
        spool: None,
        shutdown_timeout: 5 * SECOND,
    };
    let spool = settings.spool.as_ref().map(|spool| Spool::open(spool).unwrap().unwrap());
    let format = OtlpFormat::new(&Resource::default());
    Task::new(source, format, destination, &config, counters).with_spool(spool)
}

/// What came, and where it is.
fn sums(counted: &ExportSnapshot) -> [u64; 2] {
    let elsewhere =
        counted.spans_exported + counted.dropped_total() + counted.spans_sampled_out + counted.spans_spooled;
    [
        counted.exchanges_received + counted.spans_second + counted.spans_recovered,
        // What is wrong may be so by less than nothing.
        elsewhere.wrapping_add(counted.spans_waiting),
    ]
}

fn assert_conserved(counted: &ExportSnapshot) {
    let [received, known] = sums(counted);
    assert_eq!(received, known, "{counted:?}");
}

/// Bytes of a batch of so many spans.
fn batch_bytes(spans: usize) -> usize {
    let spans = vec![get_span("GET", "/"); spans];
    crate::export::testing::encode_batch(OtlpFormat::new(&Resource::default()), &spans).len()
}

#[tokio::test(start_paused = true)]
async fn at_the_end_of_the_source_everything_goes_out() {
    let bench = Bench::start([Answer::Accept], &Settings::default());
    bench.give_spans(5).await;
    let (result, counted) = bench.end().await;
    assert!(result.is_ok());
    assert_eq!((counted.spans_exported, counted.batches, counted.requests), (5, 3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_not_full_goes_when_it_is_old_enough() {
    let mut bench = Bench::start([Answer::Accept], &Settings::default());
    let begin = Instant::now();
    bench.give_spans(1).await;
    let (at, batch) = bench.calls.recv().await.unwrap();
    assert_eq!((at - begin, batch.spans), (SECOND, 1));
}

#[tokio::test(start_paused = true)]
async fn what_the_sampler_turns_down_is_counted_and_not_sent() {
    let bench = Bench::start([Answer::Accept], &Settings::default());
    bench.give(vec![Item::Sampled, Item::SampledOut, Item::SampledOut]).await;
    let (_, counted) = bench.end().await;
    assert_eq!((counted.spans_sampled_out, counted.spans_exported), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn while_spans_are_made_the_counters_are_uneven_by_little() {
    let bench = Bench::start([Answer::Accept], &Settings::default());
    bench.give(vec![Item::SampledOut; 10_000]).await;
    let uneven = bench.uneven.clone();
    let (_, counted) = bench.end().await;
    assert_eq!((counted.spans_sampled_out, uneven.load(Ordering::Relaxed)), (10_000, COUNTED_AT_ONCE - 1));
}

#[tokio::test(start_paused = true)]
async fn a_second_span_of_an_exchange_is_counted_and_sent() {
    let bench = Bench::start([Answer::Accept], &Settings::default());
    bench.give(vec![Item::Both, Item::Sampled, Item::Both]).await;
    let (_, counted) = bench.end().await;
    assert_eq!((counted.exchanges_received, counted.spans_second, counted.spans_exported), (3, 2, 5));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_may_pass_is_retried_with_growing_waits() {
    let mut bench = Bench::start([vec![Answer::Retry(None); 4], vec![Answer::Accept]].concat(), &Settings::default());
    bench.give_spans(2).await;
    let mut times = Vec::new();
    for _ in 0..5 {
        let (at, batch) = bench.calls.recv().await.unwrap();
        assert_eq!(batch.spans, 2);
        times.push(at);
    }
    for (pair, longest) in times.windows(2).zip([1, 2, 4, 8]) {
        let wait = pair[1] - pair[0];
        assert!(wait >= SECOND * longest / 2 && wait <= SECOND * longest, "{wait:?} of {longest} s");
    }
    let (result, counted) = bench.end().await;
    assert!(result.is_ok());
    assert_eq!((counted.spans_exported, counted.requests, counted.retries), (2, 5, 4));
}

#[tokio::test(start_paused = true)]
async fn the_wait_that_the_destination_asks_for_is_kept() {
    let mut bench = Bench::start([Answer::Retry(Some(12 * SECOND)), Answer::Accept], &Settings::default());
    bench.give_spans(2).await;
    let (first, _) = bench.calls.recv().await.unwrap();
    let (second, _) = bench.calls.recv().await.unwrap();
    assert_eq!(second - first, 12 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn an_outage_delays_the_other_batches_too() {
    let mut bench = Bench::start([Answer::Retry(Some(10 * SECOND)), Answer::Accept], &Settings::default());
    bench.give_spans(6).await;
    let (first, _) = bench.calls.recv().await.unwrap();
    let (second, again) = bench.calls.recv().await.unwrap();
    assert_eq!(second - first, 10 * SECOND);
    assert_eq!(again.attempts, 1, "the oldest batch goes first again");
}

#[tokio::test(start_paused = true)]
async fn a_refused_batch_is_lost_and_the_next_is_sent() {
    let bench = Bench::start([Answer::Refuse, Answer::Accept], &Settings::default());
    bench.give_spans(4).await;
    let (result, counted) = bench.end().await;
    assert_eq!((counted.spans_exported, counted.dropped(DropReason::Refused), counted.retries), (2, 2, 0));
    assert_eq!(result.unwrap_err().to_string(), "2 spans were not exported: wrong key");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_too_large_goes_in_parts_and_in_order() {
    let script = [Answer::TooLarge, Answer::TooLarge, Answer::Accept];
    let mut bench = Bench::start(script, &Settings { max_spans: 4, ..Settings::default() });
    bench.give_spans(8).await;
    let mut sizes = Vec::new();
    for _ in 0..6 {
        sizes.push(bench.calls.recv().await.unwrap().1.spans);
    }
    assert_eq!(sizes, [4, 2, 1, 1, 2, 4], "the parts go before what came later");
    let (result, counted) = bench.end().await;
    assert!(result.is_ok());
    assert_eq!((counted.spans_exported, counted.dropped_total(), counted.retries), (8, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_span_that_is_too_large_alone_is_refused() {
    let bench = Bench::start([Answer::TooLarge], &Settings::default());
    bench.give_spans(2).await;
    let (result, counted) = bench.end().await;
    assert_eq!((counted.dropped(DropReason::Refused), counted.requests), (2, 3));
    assert_eq!(result.unwrap_err().to_string(), "2 spans were not exported: too large");
}

#[tokio::test(start_paused = true)]
async fn rejected_spans_are_counted_and_not_sent_again() {
    let bench = Bench::start([Answer::Reject(1), Answer::Accept], &Settings::default());
    bench.give_spans(4).await;
    let (result, counted) = bench.end().await;
    assert_eq!((counted.spans_exported, counted.dropped(DropReason::Rejected), counted.requests), (3, 1, 2));
    assert_eq!(result.unwrap_err().to_string(), "1 span was not exported: not all");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_stopped_does_not_fail_for_spans_refused_long_ago() {
    let mut bench = Bench::start([Answer::Refuse, Answer::Accept], &Settings::default());
    bench.give_spans(4).await;
    bench.calls.recv().await.unwrap();
    bench.calls.recv().await.unwrap();
    bench.stop.send(true).unwrap();
    let (result, counted) = bench.end().await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(counted.dropped(DropReason::Refused), 2);
}

#[tokio::test(start_paused = true)]
async fn after_the_request_to_stop_the_shutdown_timeout_is_all_there_is() {
    let mut bench = Bench::start([Answer::Never], &Settings::default());
    bench.give_spans(3).await;
    bench.calls.recv().await.unwrap();
    let begin = Instant::now();
    bench.stop.send(true).unwrap();
    let (result, counted) = bench.end().await;
    assert_eq!(Instant::now() - begin, 5 * SECOND);
    assert_eq!(counted.dropped(DropReason::Shutdown), 3);
    let message = result.unwrap_err().to_string();
    assert!(message.starts_with("3 spans were not exported: "), "{message}");
    assert!(message.contains("AGENT_SHUTDOWN_TIMEOUT"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn what_the_source_holds_back_at_the_end_is_received_and_lost() {
    let mut bench = Bench::start([Answer::Never], &Settings::default());
    bench.hold([Item::Sampled; 3]);
    bench.give_spans(2).await;
    bench.calls.recv().await.unwrap();
    bench.stop.send(true).unwrap();
    let (result, counted) = bench.wait().await;
    assert_eq!((counted.exchanges_received, counted.dropped(DropReason::Shutdown)), (5, 5));
    let message = result.unwrap_err().to_string();
    assert!(message.starts_with("5 spans were not exported: "), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_does_not_end_does_not_hold_up_the_stop() {
    let bench = Bench::start([Answer::Accept], &Settings::default());
    bench.give_spans(2).await;
    bench.stop.send(true).unwrap();
    let (result, counted) = bench.wait().await;
    assert!(result.is_ok(), "nothing was lost: {result:?}");
    assert_eq!(counted.spans_exported, 2);
}

#[tokio::test(start_paused = true)]
async fn the_request_to_stop_ends_a_pause() {
    let mut bench = Bench::start([Answer::Retry(Some(100 * SECOND)), Answer::Accept], &Settings::default());
    bench.give_spans(2).await;
    bench.calls.recv().await.unwrap();
    // The pause has begun when the task waits again.
    tokio::time::sleep(SECOND).await;
    bench.stop.send(true).unwrap();
    let begin = Instant::now();
    let (at, _) = bench.calls.recv().await.unwrap();
    assert_eq!(at, begin);
    assert!(bench.end().await.0.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_finished_source_waits_no_longer_than_the_shutdown_timeout_without_an_answer() {
    let bench = Bench::start([Answer::Retry(None)], &Settings::default());
    bench.give_spans(3).await;
    let begin = Instant::now();
    let (result, counted) = bench.end().await;
    assert_eq!(Instant::now() - begin, 5 * SECOND);
    assert_eq!(counted.dropped(DropReason::Shutdown), 3);
    assert_eq!(result.unwrap_err().to_string(), "3 spans were not exported: away");
}

#[tokio::test(start_paused = true)]
async fn a_finished_source_waits_for_a_slow_destination_as_long_as_it_answers() {
    let bench = Bench::start([Answer::AcceptAfter(4 * SECOND)], &Settings::default());
    bench.give_spans(10).await;
    let begin = Instant::now();
    let (result, counted) = bench.end().await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!((counted.spans_exported, Instant::now() - begin), (10, 20 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn over_the_budget_the_oldest_batches_are_dropped_and_counted() {
    let settings = Settings { queue_bytes: 3 * batch_bytes(2), permits: 0, ..Settings::default() };
    let mut bench = Bench::start([Answer::Accept], &settings);
    bench.give_spans(20).await;
    bench.calls.recv().await.unwrap();
    // All spans are made before it answers.
    tokio::time::sleep(Duration::from_millis(1)).await;
    // One batch is in flight, of the other nine the two newest fit beside it.
    bench.permits.add_permits(100);
    let (result, counted) = bench.end().await;
    assert!(result.is_ok());
    assert_eq!((counted.dropped(DropReason::QueueFull), counted.spans_exported), (14, 6));
}

#[tokio::test(start_paused = true)]
async fn of_much_that_comes_at_once_batches_do_not_pile_up_where_the_destination_keeps_up() {
    let settings = Settings { queue_bytes: 4 * batch_bytes(2), ..Settings::default() };
    let bench = Bench::start([Answer::Accept], &settings);
    bench.give_spans(200).await;
    let (result, counted) = bench.end().await;
    assert!(result.is_ok());
    assert_eq!((counted.spans_exported, counted.dropped_total()), (200, 0));
}

#[tokio::test(start_paused = true)]
async fn bytes_that_wait_never_exceed_the_budget() {
    let settings = Settings { queue_bytes: 3 * batch_bytes(2) + 1, permits: 0, ..Settings::default() };
    let bench = Bench::start([Answer::Accept], &settings);
    for _ in 0..20 {
        bench.give_spans(3).await;
        assert!(bench.counters.snapshot().waiting_bytes <= settings.queue_bytes as u64);
    }
    bench.permits.add_permits(100);
    assert!(bench.end().await.0.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_source_that_can_wait_is_not_read_while_the_budget_is_used_up() {
    let settings =
        Settings { queue_bytes: 3 * batch_bytes(2), when_full: WhenFull::Wait, permits: 0, ..Settings::default() };
    let mut bench = Bench::start([Answer::Accept], &settings);
    bench.give_spans(100).await;
    bench.give_spans(2).await;
    bench.calls.recv().await.unwrap();
    tokio::time::sleep(10 * SECOND).await;
    let counted = bench.counters.snapshot();
    assert_conserved(&counted);
    assert_eq!(counted.exchanges_received, 100, "the second hand-over is still in the queue");
    assert!(counted.waiting_bytes <= settings.queue_bytes as u64 + batch_bytes(2) as u64);
    bench.permits.add_permits(1000);
    let (result, counted) = bench.end().await;
    assert!(result.is_ok());
    assert_eq!((counted.spans_exported, counted.dropped_total()), (102, 0));
}

#[tokio::test(start_paused = true)]
async fn as_many_calls_are_open_as_the_destination_allows() {
    let mut bench = Bench::start([Answer::Accept], &Settings { concurrency: 4, permits: 0, ..Settings::default() });
    bench.give_spans(20).await;
    for _ in 0..4 {
        bench.calls.recv().await.unwrap();
    }
    tokio::time::sleep(SECOND).await;
    assert!(bench.calls.try_recv().is_err(), "a fifth call is open");
    bench.permits.add_permits(100);
    assert_eq!(bench.end().await.1.spans_exported, 20);
}

#[tokio::test(start_paused = true)]
async fn calls_that_fail_together_lengthen_the_wait_once() {
    let settings = Settings { concurrency: 4, permits: 0, ..Settings::default() };
    let mut bench = Bench::start([vec![Answer::Retry(None); 4], vec![Answer::Accept]].concat(), &settings);
    bench.give_spans(8).await;
    for _ in 0..4 {
        bench.calls.recv().await.unwrap();
    }
    let begin = Instant::now();
    bench.permits.add_permits(100);
    let (at, _) = bench.calls.recv().await.unwrap();
    assert!(at - begin <= SECOND, "{:?}", at - begin);
    assert_eq!(bench.end().await.1.spans_exported, 8);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_panics_costs_its_batch_alone() {
    let bench = Bench::start([Answer::Panic, Answer::Accept], &Settings::default());
    bench.give_spans(4).await;
    let (_, counted) = bench.end().await;
    assert_eq!((counted.dropped(DropReason::Refused), counted.spans_exported), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn when_nobody_reads_the_output_any_more_the_task_ends_without_an_error() {
    let bench = Bench::start([Answer::Accept, Answer::Closed], &Settings::default());
    bench.give_spans(7).await;
    let (result, counted) = bench.wait().await;
    assert!(result.is_ok());
    assert_eq!((counted.spans_exported, counted.dropped(DropReason::Shutdown)), (2, 5));
}

/// Whether a large batch is written where one before it was, when the destination has taken that long ago.
async fn is_memory_used_again_after(idle: Duration) -> bool {
    let mut bench = Bench::start([Answer::Accept], &Settings { max_spans: 400, permits: 0, ..Settings::default() });
    let (mut places, mut fillers) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        bench.give_spans(400).await;
        let (_, batch) = bench.calls.recv().await.unwrap();
        let length = batch.bytes.len();
        places.push(batch.bytes.as_ptr().addr());
        drop(batch);
        bench.permits.add_permits(1);
        tokio::time::sleep(idle).await;
        // What was given back to the allocator is not found there again by chance.
        fillers.extend((0..20).map(|_| vec![1_u8; length]));
    }
    assert_eq!(bench.end().await.1.spans_exported, 1200);
    places[..2].contains(&places[2])
}

#[tokio::test(start_paused = true)]
async fn the_memory_of_an_acknowledged_batch_is_used_for_a_later_one() {
    assert!(is_memory_used_again_after(SECOND).await);
}

#[tokio::test(start_paused = true)]
async fn an_idle_task_gives_up_the_memory_of_acknowledged_batches() {
    assert!(!is_memory_used_again_after(20 * SECOND).await);
}

fn any_answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        4 => Just(Answer::Accept),
        1 => (0_u64..4).prop_map(Answer::Reject),
        2 => proptest::option::of(0_u64..40).prop_map(|wait| Answer::Retry(wait.map(Duration::from_secs))),
        1 => Just(Answer::Refuse),
        1 => (0_u64..8).prop_map(|delay| Answer::AcceptAfter(Duration::from_secs(delay))),
        1 => Just(Answer::Never),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_exchange_is_accounted_for_whatever_the_destination_does(
        script in proptest::collection::vec(any_answer(), 1..12),
        hand_overs in proptest::collection::vec((1_usize..9, any::<bool>()), 1..12),
        budget in 1_usize..8,
        concurrency in 1_usize..4,
        when_full in prop_oneof![Just(WhenFull::Drop), Just(WhenFull::Wait)],
        stops in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let queue_bytes = budget * batch_bytes(2);
            let settings = Settings { queue_bytes, when_full, concurrency, ..Settings::default() };
            let mut bench = Bench::start(script, &settings);
            let source = bench.source.take().unwrap();
            let giver = tokio::spawn(async move {
                for (count, sampled) in hand_overs {
                    let item = if sampled { Item::Sampled } else { Item::SampledOut };
                    if source.send(vec![item; count]).await.is_err() {
                        break;
                    }
                }
            });
            // A destination that never answers stops a source that waits, so in the end somebody has to.
            if !stops {
                tokio::time::sleep(100 * SECOND).await;
            }
            bench.stop.send_replace(true);
            let (_, counted) = bench.end().await;
            giver.await.unwrap();
            assert_conserved(&counted);
        });
    }
}
