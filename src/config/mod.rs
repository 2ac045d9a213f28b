//! Command line and environment → `Config`, or every fault at once.

use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

use crate::capture::SourceConfig;
use crate::export::ExportConfig;
use crate::pipeline::PipelineConfig;
use crate::span::{Resource, SpanSettings};
use crate::telemetry::metrics::MetricsConfig;

mod cli;
mod cluster;
mod destination;
mod metrics;
mod resolve;
mod resource;
mod settings;
mod spans;
mod values;

pub use cli::{Raw, command};
pub use resolve::Terminal;
pub use settings::{Group, SETTINGS, Setting};

/// Everything the agent was told, in a form that cannot be wrong.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where packets come from.
    pub source: SourceConfig,
    /// Whether a filter was given in place of the default.
    pub own_filter: bool,
    /// Bounds and times of the core.
    pub pipeline: PipelineConfig,
    /// What spans hold.
    pub spans: SpanSettings,
    /// Who observed them.
    pub resource: Resource,
    /// This machine's addresses beside those of its interfaces.
    pub own_addresses: Vec<std::net::IpAddr>,
    /// Networks of its pods, and of machines with an agent.
    pub networks: crate::metadata::Networks,
    /// Where names of pods, Services and nodes come from.
    pub metadata: crate::metadata::MetadataConfig,
    /// What the user adds to every resource.
    pub further: Resource,
    /// What the agent says of itself in the scope of spans whose resource is another's.
    pub identity: Resource,
    /// Where spans go.
    pub export: ExportConfig,
    /// Where the agent's own metrics go; nowhere for a file.
    pub metrics: Option<MetricsConfig>,
    /// Where it answers probes and gives metrics; nowhere for a file.
    pub admin: Option<std::net::SocketAddr>,
    /// Where it gives profiles, with `DEBUG`; nowhere for a file.
    pub debugging: Option<std::net::SocketAddr>,
    /// What the agent says of itself.
    pub log: LogConfig,
    /// Whether every counter is printed at the end.
    pub stats: Option<StatsFormat>,
    /// What to do.
    pub mode: Mode,
    /// What was ignored, and why; to be logged.
    pub warnings: Vec<String>,
}

/// What to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Capture, or read, and export.
    Run,
    /// `--check`.
    Check,
}

/// Logs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LogConfig {
    /// The least severe level that is printed.
    pub level: tracing::Level,
    /// How lines look.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How statistics are printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StatsFormat {
    /// Aligned names and numbers.
    Table,
    /// One JSON object.
    Json,
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// The flag or variable.
    pub setting: String,
    /// What it was given, masked when it is a secret; empty when it was not given.
    pub value: String,
    /// What is wrong and what to do.
    pub remedy: String,
}

/// Everything that is wrong with the configuration.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A wrong argument; or `--help` or `--version`, which is printed as such.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    /// Values that cannot be used.
    #[error(transparent)]
    Faults(#[from] Faults),
}

impl Config {
    /// Reads the arguments, with the program's name first, and the environment.
    ///
    /// # Errors
    /// Every fault at once.
    pub fn load(
        arguments: impl IntoIterator<Item = OsString>,
        environment: impl Fn(&str) -> Option<String>,
        terminal: Terminal,
    ) -> Result<Self, ConfigError> {
        let raw = Raw::read(arguments, environment)?;
        Ok(resolve::resolve(&raw, terminal)?)
    }

    /// How long the last flush may take.
    pub const fn shutdown_timeout(&self) -> Duration {
        self.export.shutdown_timeout
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 { "fault" } else { "faults" };
        write!(formatter, "the configuration has {} {plural}:", self.0.len())?;
        for Fault { setting, value, remedy } in &self.0 {
            let value = if value.is_empty() { String::new() } else { format!(" = {value:?}") };
            write!(formatter, "\n  {setting}{value}: {remedy}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
