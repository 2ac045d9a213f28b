//! The agent → a real OpenTelemetry Collector → what it wrote.
//!
//! `make e2e` builds the Collector and names its binary in `NETWORK_AGENT_OTELCOL`; without that the tests are skipped.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it measured"
)]
#![expect(unreachable_pub, reason = "the modules are of one test")]
#![expect(clippy::disallowed_methods, reason = "the agent and the Collector go by the real clock")]

#[path = "../laboratory/mod.rs"]
mod laboratory;
#[path = "../support/mod.rs"]
mod support;

mod agent;
mod live;
mod process;
mod received;
mod stream;

mod chain;
mod configurations;
mod extremes;
mod outage;
mod refusal;
mod restarts;
mod transport;
