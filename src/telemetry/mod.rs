//! The agent's own voice, on standard error: logs, progress, and what it has counted.

pub mod allocations;
mod families;
pub mod logging;
pub mod metrics;
mod process;
pub mod progress;
pub mod prometheus;
pub mod statistics;
