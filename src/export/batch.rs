//! `Span`s → batches: closed by count, bytes or age, and the queue in which closed ones wait.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::time::Instant;

use crate::export::BatchConfig;
use crate::export::buffers::Buffers;
use crate::export::spool::Position;
use crate::span::Draft;

/// How spans are written into the bytes of a batch.
pub trait Format: Send {
    /// What is written once, before any span; empty but for people.
    fn opening(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// Begins a batch in an empty buffer.
    fn begin(&mut self, buffer: &mut Vec<u8>);

    /// Appends one span. Cutting the buffer back to where it was undoes it.
    fn append(&mut self, span: &Draft<'_>, buffer: &mut Vec<u8>);

    /// Ends the batch. Its bytes are those from the returned index on.
    fn finish(&mut self, buffer: &mut Vec<u8>) -> usize;

    /// Bytes at most that [`Self::finish`] appends.
    fn tail_length(&self) -> usize {
        0
    }
}

/// Encoded spans that are sent together.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Batch {
    /// What is sent.
    pub bytes: Bytes,
    /// How many spans that is.
    pub spans: u64,
    /// How often it was sent before.
    pub attempts: u32,
    /// When it was sent first.
    pub begun: Option<Instant>,
    /// Where the spool keeps it until it is done with.
    pub spooled: Option<Position>,
}

/// Collects spans into the batch that is open.
#[derive(Debug)]
pub(super) struct Batcher<F> {
    format: F,
    max_spans: u64,
    max_bytes: usize,
    /// What `max_bytes` may grow to again.
    most_bytes: usize,
    delay: std::time::Duration,
    /// The open one is empty, or begun by `format`.
    buffers: Buffers,
    /// Invariant: `spans <= max_spans`, and 0 exactly when the open buffer is empty.
    spans: u64,
    due: Option<Instant>,
}

impl<F: Format> Batcher<F> {
    /// Batches are made no smaller than this; larger spans go alone anyway.
    const LEAST_BYTES: usize = 16 << 10;

    /// A batch is never larger than what may wait: otherwise none could.
    pub(super) fn new(format: F, config: &BatchConfig) -> Self {
        Self {
            format,
            max_spans: config.max_spans.min(config.queue_spans.unwrap_or(usize::MAX)).max(1) as u64,
            max_bytes: config.max_bytes.min(config.queue_bytes),
            most_bytes: config.max_bytes.min(config.queue_bytes),
            delay: config.delay,
            buffers: Buffers::default(),
            spans: 0,
            due: None,
        }
    }

    /// What goes out before the first batch, if anything.
    pub(super) fn opening(&mut self) -> Option<Batch> {
        let bytes = self.format.opening();
        (!bytes.is_empty()).then(|| Batch { bytes: bytes.into(), ..Batch::default() })
    }

    /// Adds `span`, and gives the batch that this closes: the one that it filled, or the one that it did not fit in.
    /// A span larger than a batch may be goes alone.
    pub(super) fn add(&mut self, span: &Draft<'_>, now: Instant) -> Option<Batch> {
        let before = self.buffers.open().len();
        self.append(span, now);
        if self.spans > 1 && self.buffers.open().len() + self.format.tail_length() > self.max_bytes {
            self.buffers.open().truncate(before);
            self.spans -= 1;
            let full = self.close();
            self.append(span, now);
            return full;
        }
        if self.spans >= self.max_spans { self.close() } else { None }
    }

    /// Makes batches of no more than `bytes` from now on: the destination takes no larger ones.
    pub(super) fn shrink(&mut self, bytes: usize) {
        self.max_bytes = self.max_bytes.min(bytes.max(Self::LEAST_BYTES));
    }

    /// Makes them a little larger again: the destination has taken one. The limit may have been another server's.
    pub(super) fn grow(&mut self) {
        self.max_bytes = (self.max_bytes + self.max_bytes / 256).min(self.most_bytes);
    }

    /// When the open batch is old enough to go though it is not full.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Ends the open batch, if there is one; else memory for one is given up.
    pub(super) fn close(&mut self) -> Option<Batch> {
        if self.spans == 0 {
            self.buffers.give_up();
            return None;
        }
        let start = self.format.finish(self.buffers.open());
        let batch = Batch { bytes: self.buffers.close(start), spans: self.spans, ..Batch::default() };
        self.spans = 0;
        self.due = None;
        Some(batch)
    }

    /// A batch is done with: its memory is used again, if it can.
    pub(super) fn take_back(&mut self, bytes: Bytes, now: Instant) {
        self.buffers.take_back(bytes, now);
    }

    /// When [`Self::close`] is wanted, though it may give nothing: the open batch is old enough, or none is open and memory was
    /// not used for a while.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.due.or_else(|| self.buffers.rest())
    }

    fn append(&mut self, span: &Draft<'_>, now: Instant) {
        if self.spans == 0 {
            self.buffers.begin();
            self.format.begin(self.buffers.open());
            self.due = Some(now + self.delay);
        }
        self.format.append(span, self.buffers.open());
        self.spans += 1;
    }
}

/// Closed batches, those that wait and those in flight, within one budget of bytes, and one of spans where it is set.
#[derive(Debug)]
pub(super) struct WaitingBatches {
    /// Older than all others: those that were sent in vain, and those that were read from the disk.
    first: VecDeque<Batch>,
    queue: VecDeque<Batch>,
    budget: usize,
    budget_spans: u64,
    /// Bytes of the queue and of what is in flight.
    bytes: usize,
    /// Spans of them.
    spans: u64,
}

impl WaitingBatches {
    pub(super) fn new(budget: usize, spans: Option<usize>) -> Self {
        let budget_spans = spans.map_or(u64::MAX, |spans| spans as u64);
        Self { first: VecDeque::new(), queue: VecDeque::new(), budget, budget_spans, bytes: 0, spans: 0 }
    }

    /// Adds the newest batch.
    pub(super) fn push(&mut self, batch: Batch) {
        self.count(&batch);
        self.queue.push_back(batch);
    }

    /// Takes the oldest batch to send it; its bytes count until [`Self::release`].
    pub(super) fn take(&mut self) -> Option<Batch> {
        self.take_first().or_else(|| self.queue.pop_front())
    }

    /// The same, of those that are older than all others.
    pub(super) fn take_first(&mut self) -> Option<Batch> {
        self.first.pop_front()
    }

    /// How many are older than all others.
    pub(super) fn first(&self) -> usize {
        self.first.len()
    }

    /// Puts a batch back that was taken and must be sent again.
    pub(super) fn put_back(&mut self, batch: Batch) {
        self.first.push_front(batch);
    }

    /// Adds a batch before all others.
    pub(super) fn put_before(&mut self, batch: Batch) {
        self.count(&batch);
        self.first.push_front(batch);
    }

    /// Adds a batch that was read from the disk: behind those that are older than all others.
    pub(super) fn put_read(&mut self, batch: Batch) {
        self.count(&batch);
        self.first.push_back(batch);
    }

    /// Adds a batch that was newer than all on the disk, and could not be written there.
    pub(super) fn put_unwritten(&mut self, batch: Batch) {
        self.count(&batch);
        self.queue.push_front(batch);
    }

    fn count(&mut self, batch: &Batch) {
        self.bytes += batch.bytes.len();
        self.spans += batch.spans;
    }

    /// Forgets the bytes of a batch that was taken and is done with.
    pub(super) fn release(&mut self, batch: &Batch) {
        self.bytes = self.bytes.saturating_sub(batch.bytes.len());
        self.spans = self.spans.saturating_sub(batch.spans);
    }

    /// Takes the oldest batch out for good while the budget is exceeded. What is in flight cannot be taken back, and what the
    /// disk keeps is not thrown away: it is as little as may be in flight.
    pub(super) fn pop_excess(&mut self) -> Option<Batch> {
        if !self.is_over() {
            return None;
        }
        let batch = match self.first.iter().position(|batch| batch.spooled.is_none()) {
            Some(place) => self.first.remove(place),
            None => self.queue.pop_front(),
        }?;
        self.release(&batch);
        Some(batch)
    }

    /// Bytes that may wait.
    pub(super) fn budget(&self) -> usize {
        self.budget
    }

    /// As [`Self::pop_excess`], for the disk: nothing that is older than what is there, and only if `takes` a batch of
    /// its bytes.
    pub(super) fn pop_for_disk(&mut self, takes: impl Fn(usize) -> bool) -> Option<Batch> {
        if !self.is_over() || !self.queue.front().is_some_and(|batch| takes(batch.bytes.len())) {
            return None;
        }
        let batch = self.queue.pop_front()?;
        self.release(&batch);
        Some(batch)
    }

    fn is_over(&self) -> bool {
        self.bytes > self.budget || self.spans > self.budget_spans
    }

    /// Whether one more batch may come.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < self.budget && self.spans < self.budget_spans
    }

    /// Whether no batch waits to be sent.
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.queue.is_empty()
    }

    /// Bytes waiting and in flight.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::export::WhenFull;
    use crate::export::testing::get_span;

    /// One line a span: its name.
    struct Names;

    impl Format for Names {
        fn begin(&mut self, buffer: &mut Vec<u8>) {
            buffer.extend_from_slice(b"[");
        }

        fn append(&mut self, span: &Draft<'_>, buffer: &mut Vec<u8>) {
            buffer.extend_from_slice(span.span().name.as_bytes());
        }

        fn finish(&mut self, buffer: &mut Vec<u8>) -> usize {
            buffer.extend_from_slice(b"]");
            0
        }

        fn tail_length(&self) -> usize {
            1
        }
    }

    fn batcher(max_spans: usize, max_bytes: usize) -> Batcher<Names> {
        let config = BatchConfig {
            max_spans,
            max_bytes,
            delay: Duration::from_secs(1),
            queue_bytes: 1 << 20,
            queue_spans: None,
            when_full: WhenFull::Drop,
        };
        Batcher::new(Names, &config)
    }

    fn text(batch: Option<Batch>) -> Option<String> {
        batch.map(|batch| String::from_utf8(batch.bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_batch_closes_when_it_has_its_number_of_spans() {
        let mut batcher = batcher(2, 1000);
        let now = Instant::now();
        assert_eq!(batcher.add(&get_span("a", "/").into(), now), None);
        let batch = batcher.add(&get_span("b", "/").into(), now).unwrap();
        assert_eq!(batch.spans, 2);
        assert_eq!(text(Some(batch)).unwrap(), "[ab]");
        assert_eq!(batcher.close(), None);
    }

    #[tokio::test]
    async fn a_span_that_does_not_fit_opens_the_next_batch() {
        let mut batcher = batcher(10, 6);
        let now = Instant::now();
        assert_eq!(batcher.add(&get_span("aa", "/").into(), now), None);
        assert_eq!(batcher.add(&get_span("bb", "/").into(), now), None);
        assert_eq!(text(batcher.add(&get_span("c", "/").into(), now)).unwrap(), "[aabb]");
        assert_eq!(text(batcher.close()).unwrap(), "[c]");
    }

    #[tokio::test]
    async fn a_span_larger_than_a_batch_goes_alone() {
        let mut batcher = batcher(10, 4);
        let now = Instant::now();
        assert_eq!(batcher.add(&get_span("large", "/").into(), now), None);
        assert_eq!(text(batcher.add(&get_span("b", "/").into(), now)).unwrap(), "[large]");
        assert_eq!(text(batcher.close()).unwrap(), "[b]");
    }

    #[tokio::test]
    async fn the_age_of_a_batch_is_that_of_its_first_span() {
        let mut batcher = batcher(10, 1000);
        let now = Instant::now();
        assert_eq!(batcher.due(), None);
        batcher.add(&get_span("a", "/").into(), now);
        batcher.add(&get_span("b", "/").into(), now + Duration::from_millis(500));
        assert_eq!(batcher.due(), Some(now + Duration::from_secs(1)));
        batcher.close();
        assert_eq!(batcher.due(), None);
    }

    #[tokio::test]
    async fn a_batch_is_written_where_one_that_is_done_with_was() {
        let mut batcher = batcher(2, 1 << 20);
        let name = "x".repeat(50 << 10);
        let mut now = Instant::now();
        let mut full = |batcher: &mut Batcher<Names>| {
            assert_eq!(batcher.add(&get_span(&name, "/").into(), now), None);
            let batch = batcher.add(&get_span(&name, "/").into(), now).unwrap();
            assert_eq!(batch.bytes.len(), 2 * name.len() + 2);
            now += Duration::from_millis(100);
            batch
        };
        // What the first ones need is learned, and several may wait at once.
        let first = [full(&mut batcher), full(&mut batcher)];
        let places = first.each_ref().map(|batch| batch.bytes.as_ptr());
        for batch in first {
            batcher.take_back(batch.bytes, Instant::now());
        }
        let again = [full(&mut batcher), full(&mut batcher)];
        assert!(again.iter().any(|batch| places.contains(&batch.bytes.as_ptr())));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_for_batches_is_given_up_when_none_come() {
        let mut batcher = batcher(1, 1 << 20);
        let name = "x".repeat(50 << 10);
        let batch = batcher.add(&get_span(&name, "/").into(), Instant::now()).unwrap();
        assert_eq!((batcher.due(), batcher.wake()), (None, None));
        batcher.take_back(batch.bytes, Instant::now());
        let rest = batcher.wake().unwrap();
        assert!(rest > Instant::now());
        batcher.add(&get_span("small", "/").into(), Instant::now());
        assert_eq!((batcher.close(), batcher.wake()), (None, None));
    }

    fn batch(name: &'static str) -> Batch {
        Batch { bytes: Bytes::from_static(name.as_bytes()), spans: 1, ..Batch::default() }
    }

    #[test]
    fn over_the_budget_the_oldest_batch_goes_first() {
        let mut waiting = WaitingBatches::new(10, None);
        waiting.push(batch("aaaa"));
        waiting.push(batch("bbbb"));
        assert_eq!(waiting.pop_excess(), None);
        waiting.push(batch("cccc"));
        assert_eq!(waiting.pop_excess(), Some(batch("aaaa")));
        assert_eq!(waiting.pop_excess(), None);
        assert_eq!(waiting.bytes(), 8);
    }

    #[test]
    fn spans_have_a_bound_of_their_own_where_it_is_set() {
        let mut waiting = WaitingBatches::new(1000, Some(2));
        waiting.push(batch("a"));
        assert!(waiting.has_room());
        waiting.push(batch("b"));
        assert!(!waiting.has_room());
        assert_eq!(waiting.pop_excess(), None);
        waiting.push(batch("c"));
        assert_eq!(waiting.pop_excess(), Some(batch("a")));
        assert_eq!(waiting.pop_excess(), None);
    }

    #[tokio::test]
    async fn what_a_destination_calls_too_large_is_not_made_again() {
        let mut batcher = batcher(10, 1 << 20);
        let now = Instant::now();
        batcher.shrink(1);
        let name = "x".repeat(9 << 10);
        assert_eq!(batcher.add(&get_span(&name, "/").into(), now), None);
        assert_eq!(batcher.add(&get_span(&name, "/").into(), now).unwrap().spans, 1, "16 KiB is the least");
    }

    #[test]
    fn what_is_in_flight_counts_until_it_is_released() {
        let mut waiting = WaitingBatches::new(10, None);
        waiting.push(batch("aaaaa"));
        let in_flight = waiting.take().unwrap();
        waiting.push(batch("bbbbb"));
        assert!(!waiting.has_room());
        waiting.push(batch("c"));
        assert_eq!(waiting.pop_excess(), Some(batch("bbbbb")));
        waiting.release(&in_flight);
        assert_eq!(waiting.bytes(), 1);
    }

    #[test]
    fn a_batch_put_back_is_the_oldest_again() {
        let mut waiting = WaitingBatches::new(10, None);
        waiting.push(batch("aa"));
        waiting.push(batch("bb"));
        let first = waiting.take().unwrap();
        waiting.put_back(first);
        assert_eq!(waiting.take(), Some(batch("aa")));
        assert_eq!(waiting.bytes(), 4);
    }
}
