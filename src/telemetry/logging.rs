//! `LogConfig` → a subscriber that writes to standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogConfig, LogFormat};

/// Installs the subscriber; a second call changes nothing.
///
/// The level is the agent's own; of the libraries only warnings are shown unless everything is asked for, because
/// transport libraries print the metadata of requests, and with it keys, at their debug level.
pub fn install(config: LogConfig) {
    let filter = EnvFilter::new(format!("warn,network_agent={}", config.level));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // Installing twice is refused, which is what is wanted.
    let _ = match config.format {
        LogFormat::Text => registry.with(layer.with_ansi(colour)).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
}
