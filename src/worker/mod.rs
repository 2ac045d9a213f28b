//! A source and a pipeline → a bounded queue of `Exchange`s, on a thread of its own.

mod queue;

pub use queue::{ExchangeReceiver, ExchangeSender, exchange_queue};
