//! The queue between capture and export: bounded by bytes, many exchanges a hand-over.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::Stop;
use crate::exchange::{Exchange, ExchangeSink, Packed, Parcel};
use crate::export::WhenFull;

/// Items a sender gathers before it hands them over by itself: a chunk, which goes from thread to thread as it is.
const CHUNK: usize = 128;
/// Bytes a sender gathers before it hands them over by itself; they do not count against the queue's bound yet.
const GATHERED_BYTES: usize = 256 << 10;
/// Chunks in the queue from which on the receiver is told by itself. To wake it costs as much as some exchanges, and those that
/// it works through without a pause share what the processor's caches hold.
const ENOUGH: usize = 8;
/// How often a sender that waits for room looks whether it shall stop.
const LOOK: Duration = Duration::from_millis(50);
/// How many looks in all it then waits for a receiver that may be gone for good.
const PATIENCE: u8 = 2;

/// Makes a queue that holds at most `max_bytes` of exchanges ([`Parcel::footprint`]). What
/// [`Receiver::receive`] has given is the receiver's, and no longer counted.
pub fn exchange_queue(max_bytes: usize, when_full: WhenFull) -> (ExchangeSender, ExchangeReceiver) {
    queue(max_bytes, when_full)
}

/// The worker's end.
pub type ExchangeSender = Sender<Parcel>;
/// The export task's end.
pub type ExchangeReceiver = Receiver<Parcel>;

/// Items that go from thread to thread together.
pub trait Chunk: Default {
    /// An empty one, with room for about as much as `other` has.
    fn like(other: &Self) -> Self;

    /// How many items it has.
    fn items(&self) -> usize;

    /// Bytes that all of them hold in memory.
    fn bytes(&self) -> usize;

    /// The same of one of them.
    fn bytes_of(&self, item: usize) -> usize;

    /// One of them, alone. Whether it is still here then is open: [`Self::clear`] follows.
    fn one(&mut self, item: usize) -> Self;

    /// Moves all of `other` behind its own.
    fn append(&mut self, other: &mut Self);

    /// Has none any more.
    fn clear(&mut self);
}

impl Chunk for Parcel {
    fn like(other: &Self) -> Self {
        Self::with_room_of(other)
    }

    fn items(&self) -> usize {
        self.len()
    }

    fn bytes(&self) -> usize {
        self.footprint()
    }

    fn bytes_of(&self, item: usize) -> usize {
        self.get(item).map_or(0, Packed::footprint)
    }

    fn one(&mut self, item: usize) -> Self {
        self.part(item..item + 1)
    }

    fn append(&mut self, other: &mut Self) {
        self.append_all(other);
    }

    fn clear(&mut self) {
        Self::clear(self);
    }
}

/// What found no room in a queue, from all its senders, or was still in it when its receiver went away.
#[derive(Debug, Default)]
pub struct Dropped {
    items: AtomicU64,
    bytes: AtomicU64,
}

impl Dropped {
    /// How many items.
    pub fn items(&self) -> u64 {
        self.items.load(Ordering::Relaxed)
    }

    /// How many bytes they held.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn count(&self, items: usize, bytes: usize) {
        self.items.fetch_add(items as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Gathers items and puts them into the queue, many at once. Clones put into the same queue.
#[derive(Debug)]
pub struct Sender<C: Chunk> {
    shared: Arc<Shared<C>>,
    gathered: C,
    /// Something is in the queue of which the receiver was not told.
    is_untold: bool,
    stop: Stop,
    /// How often it still looks for room after a stop.
    patience: u8,
}

/// Takes items out of the queue.
#[derive(Debug)]
pub struct Receiver<C: Chunk> {
    shared: Arc<Shared<C>>,
}

#[derive(Debug)]
struct Shared<C> {
    max_bytes: usize,
    when_full: WhenFull,
    state: Mutex<State<C>>,
    /// Signalled when the receiver has taken something, or is gone.
    room: Condvar,
    /// Signalled when there is something to take, or no sender any more.
    filled: Notify,
    dropped: Arc<Dropped>,
}

/// Invariants: `bytes` is the sum of those of `chunks`; `bytes <= max_bytes` or there is one item. Every chunk has at least one
/// item, at most [`CHUNK`]. The receiver may hold all of a chunk until it is done with the last item: so the bytes of a chunk are
/// at most [`GATHERED_BYTES`], or those before its last item are.
#[derive(Debug)]
struct State<C> {
    chunks: VecDeque<C>,
    bytes: usize,
    senders: usize,
    received_from: bool,
}

impl<C: Chunk> State<C> {
    /// Takes all of `items`. A chunk that is not full is filled first; `items` is empty then.
    fn put(&mut self, items: &mut C) {
        self.bytes += items.bytes();
        match self.chunks.back_mut() {
            Some(last) if last.items() + items.items() <= CHUNK && last.bytes() + items.bytes() <= GATHERED_BYTES => {
                last.append(items);
            }
            // One that is half full goes as it is; of others the room is used again.
            _ if items.items() >= CHUNK / 2 => {
                let next = C::like(items);
                self.chunks.push_back(std::mem::replace(items, next));
            }
            _ => {
                // No larger than what it holds.
                let mut last = C::like(items);
                last.append(items);
                self.chunks.push_back(last);
            }
        }
    }
}

fn queue<C: Chunk>(max_bytes: usize, when_full: WhenFull) -> (Sender<C>, Receiver<C>) {
    let shared = Arc::new(Shared {
        max_bytes,
        when_full,
        state: Mutex::new(State { chunks: VecDeque::new(), bytes: 0, senders: 1, received_from: true }),
        room: Condvar::new(),
        filled: Notify::new(),
        dropped: Arc::default(),
    });
    (Sender::of(shared.clone()), Receiver { shared })
}

impl<C: Chunk> Sender<C> {
    fn of(shared: Arc<Shared<C>>) -> Self {
        Self { shared, gathered: C::default(), is_untold: false, stop: Stop::default(), patience: PATIENCE }
    }

    /// Gathers what `add` puts behind what was gathered before. The receiver sees it after a [`Self::flush`], or when there is
    /// enough for it.
    fn gather(&mut self, add: impl FnOnce(&mut C)) {
        add(&mut self.gathered);
        if self.gathered.items() >= CHUNK || self.gathered.bytes() >= GATHERED_BYTES {
            self.put();
        }
    }

    /// Whether something was sent that the receiver does not know of.
    pub fn holds_back(&self) -> bool {
        self.is_untold || self.gathered.items() > 0
    }

    /// Hands over what was gathered, and tells the receiver. When the queue is full the rest is dropped, or waits until the
    /// receiver has taken something; it is dropped also when there is no receiver, or no room soon after a [`Stop`].
    pub fn flush(&mut self) {
        self.put();
        if std::mem::take(&mut self.is_untold) {
            self.shared.filled.notify_one();
        }
    }

    fn put(&mut self) {
        if self.gathered.items() == 0 {
            return;
        }
        let shared = &self.shared;
        let mut state = shared.lock();
        let bytes = self.gathered.bytes();
        let fits = |state: &State<C>| state.received_from && state.bytes.saturating_add(bytes) <= shared.max_bytes;
        if !fits(&state) && shared.when_full == WhenFull::Wait && bytes <= shared.max_bytes {
            // What is in the queue already must be seen, or the room would never come.
            shared.filled.notify_one();
            state = shared.wait_for_room(state, bytes, &self.stop, &mut self.patience);
        }
        if fits(&state) {
            state.put(&mut self.gathered);
        } else {
            state = shared.put_each(state, &mut self.gathered, &self.stop, &mut self.patience);
        }
        let is_enough = state.chunks.len() >= ENOUGH;
        drop(state);
        self.is_untold = !is_enough;
        if is_enough {
            shared.filled.notify_one();
        }
    }

    /// Whoever waits for room gives up soon after `stop` is set.
    pub fn heed(&mut self, stop: Stop) {
        self.stop = stop;
    }

    /// What the queue has dropped, now and later.
    pub fn dropped(&self) -> Arc<Dropped> {
        self.shared.dropped.clone()
    }
}

impl ExchangeSink for ExchangeSender {
    fn accept(&mut self, exchange: Exchange) {
        self.gather(|parcel| parcel.push(&exchange));
    }
}

impl<C: Chunk> Clone for Sender<C> {
    /// Another sender, which has gathered nothing.
    fn clone(&self) -> Self {
        self.shared.lock().senders += 1;
        let mut new = Self::of(self.shared.clone());
        new.heed(self.stop.clone());
        new
    }
}

impl<C: Chunk> Drop for Sender<C> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A thread that panics must not wait.
            self.shared.dropped.count(self.gathered.items(), self.gathered.bytes());
        } else {
            self.flush();
        }
        self.shared.lock().senders -= 1;
        self.shared.filled.notify_one();
    }
}

impl<C: Chunk> Receiver<C> {
    /// The first of what is in the queue, at least one item and not more than 128; `None` when every sender is gone and the
    /// queue is empty. Nothing is lost when the future is dropped before it is ready.
    pub async fn receive(&mut self) -> Option<C> {
        loop {
            {
                let mut state = self.shared.lock();
                if let Some(chunk) = state.chunks.pop_front() {
                    state.bytes -= chunk.bytes();
                    if state.chunks.is_empty() {
                        // A backlog leaves no memory behind.
                        state.chunks.shrink_to(CHUNK);
                    }
                    drop(state);
                    self.shared.room.notify_all();
                    return Some(chunk);
                }
                if state.senders == 0 {
                    return None;
                }
            }
            // A notification between the look above and this line is kept.
            self.shared.filled.notified().await;
        }
    }

    /// What the queue has dropped, now and later.
    pub fn dropped(&self) -> Arc<Dropped> {
        self.shared.dropped.clone()
    }
}

impl<C: Chunk> Drop for Receiver<C> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.received_from = false;
        self.shared.dropped.count(state.chunks.iter().map(C::items).sum(), state.bytes);
        state.chunks = VecDeque::new();
        state.bytes = 0;
        self.shared.room.notify_all();
    }
}

impl<C: Chunk> Shared<C> {
    /// A thread that panicked while it held the lock had changed nothing half: counts and items change together.
    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an item of so many bytes may be put in. One that is larger than the bound may when it is alone.
    fn fits(&self, state: &State<C>, bytes: usize) -> bool {
        state.received_from && (state.chunks.is_empty() || state.bytes.saturating_add(bytes) <= self.max_bytes)
    }

    /// Puts in what fits of `items`, one after the other. The rest waits for room where senders wait, and is dropped where they
    /// do not, or no longer.
    fn put_each<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<C>>,
        items: &mut C,
        stop: &Stop,
        patience: &mut u8,
    ) -> MutexGuard<'a, State<C>> {
        for item in 0..items.items() {
            let bytes = items.bytes_of(item);
            if !self.fits(&state, bytes) && self.when_full == WhenFull::Wait {
                // What is in the queue already must be seen, or the room would never come.
                self.filled.notify_one();
                state = self.wait_for_room(state, bytes, stop, patience);
            }
            if self.fits(&state, bytes) {
                state.put(&mut items.one(item));
            } else {
                self.dropped.count(1, bytes);
            }
        }
        items.clear();
        state
    }

    /// Returns when there is room, when there is no receiver, or when `stop` is set and `patience` is at its end.
    fn wait_for_room<'a>(
        &self,
        mut state: MutexGuard<'a, State<C>>,
        bytes: usize,
        stop: &Stop,
        patience: &mut u8,
    ) -> MutexGuard<'a, State<C>> {
        while state.received_from && !self.fits(&state, bytes) && *patience > 0 {
            let (held, outcome) = self.room.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner);
            state = held;
            *patience -= u8::from(outcome.timed_out() && stop.is_set());
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::pin::pin;
    use std::thread;

    use super::*;

    /// A number that claims to hold so many bytes.
    #[derive(Debug, Eq, PartialEq)]
    struct Item {
        number: u64,
        bytes: usize,
    }

    impl Chunk for Vec<Item> {
        fn like(other: &Self) -> Self {
            Self::with_capacity(other.len())
        }

        fn items(&self) -> usize {
            self.len()
        }

        fn bytes(&self) -> usize {
            self.iter().map(|item| item.bytes).sum()
        }

        fn bytes_of(&self, item: usize) -> usize {
            self[item].bytes
        }

        fn one(&mut self, item: usize) -> Self {
            vec![std::mem::replace(&mut self[item], Item { number: u64::MAX, bytes: 0 })]
        }

        fn append(&mut self, other: &mut Self) {
            Self::append(self, other);
        }

        fn clear(&mut self) {
            Self::clear(self);
        }
    }

    impl Sender<Vec<Item>> {
        fn send(&mut self, item: Item) {
            self.gather(|items| items.push(item));
        }
    }

    fn item(number: u64) -> Item {
        Item { number, bytes: 10 }
    }

    fn numbers(items: &[Item]) -> Vec<u64> {
        items.iter().map(|item| item.number).collect()
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn gathered_items_arrive_together_and_in_order_when_flushed() {
        let (mut sender, mut receiver) = queue(1000, WhenFull::Drop);
        (0..5).for_each(|number| sender.send(item(number)));
        sender.flush();
        assert_eq!(block_on(receiver.receive()).map(|items| numbers(&items)), Some(vec![0, 1, 2, 3, 4]));
    }

    #[test]
    fn many_items_or_many_bytes_are_handed_over_without_a_flush() {
        let (mut sender, mut receiver) = queue(usize::MAX, WhenFull::Drop);
        (0..128).for_each(|number| sender.send(item(number)));
        assert_eq!(block_on(receiver.receive()).unwrap().len(), 128);
        sender.send(Item { number: 128, bytes: GATHERED_BYTES });
        assert_eq!(block_on(receiver.receive()).unwrap().len(), 1);
    }

    #[test]
    fn the_receiver_is_told_by_a_flush_or_when_there_is_enough() {
        let (mut sender, _receiver) = queue(usize::MAX, WhenFull::Drop);
        let is_told = |sender: &Sender<Vec<Item>>| pin!(sender.shared.filled.notified()).enable();
        let send = |sender: &mut Sender<Vec<Item>>, chunks| {
            (0..chunks * CHUNK as u64).for_each(|number| sender.send(item(number)));
        };
        send(&mut sender, 7);
        assert!(sender.holds_back() && !is_told(&sender));
        sender.flush();
        assert!(!sender.holds_back() && is_told(&sender));
        sender.flush();
        assert!(!is_told(&sender), "of nothing new");
        send(&mut sender, 1);
        assert!(!sender.holds_back() && is_told(&sender));
        sender.send(item(1));
        assert!(sender.holds_back() && !is_told(&sender));
    }

    #[test]
    fn large_items_are_not_put_together_in_a_chunk() {
        let (mut sender, mut receiver) = queue(usize::MAX, WhenFull::Drop);
        for number in 0..4 {
            sender.send(Item { number, bytes: GATHERED_BYTES / 2 });
            sender.flush();
        }
        assert_eq!(numbers(&block_on(receiver.receive()).unwrap()), [0, 1]);
        assert_eq!(numbers(&block_on(receiver.receive()).unwrap()), [2, 3]);
    }

    #[test]
    fn a_full_queue_drops_the_new_ones_and_counts_them() {
        let (mut sender, mut receiver) = queue(30, WhenFull::Drop);
        (0..5).for_each(|number| sender.send(item(number)));
        sender.flush();
        assert_eq!(numbers(&block_on(receiver.receive()).unwrap()), [0, 1, 2]);
        assert_eq!((sender.dropped().items(), sender.dropped().bytes()), (2, 20));
        sender.send(item(5));
        sender.flush();
        assert_eq!(numbers(&block_on(receiver.receive()).unwrap()), [5]);
    }

    #[test]
    fn of_a_backlog_a_part_is_taken_and_the_rest_still_counts() {
        let (mut sender, mut receiver) = queue(30_000, WhenFull::Drop);
        (0..3000).for_each(|number| sender.send(item(number)));
        assert_eq!(numbers(&block_on(receiver.receive()).unwrap()), (0..128).collect::<Vec<_>>());
        (3000..5000).for_each(|number| sender.send(item(number)));
        sender.flush();
        assert_eq!(sender.dropped().items(), 2000 - 128, "what was taken makes room, and no more");
        drop(sender);
        let mut rest = Vec::new();
        while let Some(items) = block_on(receiver.receive()) {
            rest.extend(numbers(&items));
        }
        assert_eq!(rest, (128..3000 + 128).collect::<Vec<_>>());
    }

    #[test]
    fn an_item_larger_than_the_queue_passes_when_it_is_alone() {
        for when_full in [WhenFull::Drop, WhenFull::Wait] {
            let (mut sender, mut receiver) = queue(30, when_full);
            sender.send(Item { number: 1, bytes: 1000 });
            sender.flush();
            assert_eq!(numbers(&block_on(receiver.receive()).unwrap()), [1]);
            assert_eq!(sender.dropped().items(), 0);
        }
    }

    #[test]
    fn the_queue_ends_when_all_senders_are_gone_and_all_was_taken() {
        let (mut sender, mut receiver) = queue(1000, WhenFull::Drop);
        let mut other = sender.clone();
        sender.send(item(1));
        other.send(item(2));
        drop(sender);
        drop(other);
        assert_eq!(numbers(&block_on(receiver.receive()).unwrap()), [1, 2]);
        assert_eq!(block_on(receiver.receive()), None);
        assert_eq!(block_on(receiver.receive()), None);
    }

    #[test]
    fn what_the_receiver_leaves_counts_as_dropped() {
        let (mut sender, receiver) = queue(1000, WhenFull::Drop);
        sender.send(item(1));
        sender.flush();
        drop(receiver);
        sender.send(item(2));
        sender.flush();
        assert_eq!((sender.dropped().items(), sender.dropped().bytes()), (2, 20));
    }

    #[test]
    fn a_waiting_sender_gives_up_when_the_receiver_goes() {
        let (mut sender, receiver) = queue(30, WhenFull::Wait);
        let dropped = sender.dropped();
        let worker = thread::spawn(move || {
            (0..100).for_each(|number| sender.send(item(number)));
        });
        drop(receiver);
        worker.join().unwrap();
        assert_eq!(dropped.items(), 100);
    }

    #[test]
    fn a_waiting_sender_gives_up_once_after_a_stop() {
        let (mut sender, receiver) = queue(30, WhenFull::Wait);
        let stop = Stop::default();
        sender.heed(stop.clone());
        stop.set();
        // A wait for every item would take five minutes.
        (0..3003).for_each(|number| sender.send(item(number)));
        sender.flush();
        assert_eq!(sender.dropped().items(), 3000);
        drop(receiver);
    }

    #[test]
    fn a_thread_that_panics_does_not_wait_for_room() {
        let (mut sender, _receiver) = queue(10, WhenFull::Wait);
        let dropped = sender.dropped();
        let panicked = thread::spawn(move || {
            sender.send(item(1));
            sender.flush();
            sender.send(item(2));
            panic!("as planned");
        });
        assert!(panicked.join().is_err());
        assert_eq!(dropped.items(), 1);
    }

    fn from_many_threads(when_full: WhenFull) -> (usize, u64) {
        const THREADS: u64 = 4;
        const EACH: u64 = 20_000;
        let (sender, mut receiver) = queue(500, when_full);
        let dropped = receiver.dropped();
        let run = |thread: u64| {
            let mut sender = sender.clone();
            thread::spawn(move || {
                for number in 0..EACH {
                    sender.send(item(thread * EACH + number));
                    if number % 7 == 0 {
                        sender.flush();
                    }
                }
            })
        };
        let threads: Vec<_> = (0..THREADS).map(run).collect();
        drop(sender);
        let mut seen = HashSet::new();
        block_on(async {
            while let Some(items) = receiver.receive().await {
                assert!(items.bytes() <= 500);
                for item in items {
                    assert!(seen.insert(item.number), "{} came twice", item.number);
                }
            }
        });
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(seen.len() as u64 + dropped.items(), THREADS * EACH);
        (seen.len(), dropped.items())
    }

    #[test]
    fn waiting_senders_lose_nothing_and_the_bound_holds() {
        assert_eq!(from_many_threads(WhenFull::Wait), (80_000, 0));
    }

    #[test]
    fn dropping_senders_lose_only_what_they_count() {
        from_many_threads(WhenFull::Drop);
    }
}
