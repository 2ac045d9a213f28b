//! The queue between capture and export: bounded by bytes, many exchanges a hand-over.

use crate::exchange::Exchange;
use crate::export::WhenFull;

/// Makes a queue that holds at most `max_bytes` of exchanges ([`Exchange::footprint`]).
pub fn exchange_queue(max_bytes: usize, when_full: WhenFull) -> (ExchangeSender, ExchangeReceiver) {
    let _ = (max_bytes, when_full);
    (ExchangeSender {}, ExchangeReceiver {})
}

/// The worker's end.
#[derive(Debug)]
pub struct ExchangeSender {}

/// The export task's end.
#[derive(Debug)]
pub struct ExchangeReceiver {}

impl ExchangeReceiver {
    /// The next exchanges, at least one; `None` when every sender is gone and the queue is empty.
    pub async fn receive(&mut self) -> Option<Vec<Exchange>> {
        None
    }
}
