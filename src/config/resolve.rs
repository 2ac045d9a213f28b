//! Raw values → `Config`; faults and warnings are collected on the way.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::cli::Raw;
use super::destination::Signal;
use super::settings::SETTINGS;
use super::{
    Config, Fault, Faults, LogConfig, LogFormat, Mode, StatsFormat, cluster, destination, metrics, resource, spans,
    values,
};
use crate::capture::{self, FileConfig, LiveConfig, SourceConfig, default_filter};
use crate::export::{BatchConfig, ExportConfig, MergeConfig, OutputConfig, SpoolConfig, WhenFull};
use crate::packet::DecoderLimits;
use crate::pipeline::PipelineConfig;

/// The most threads that may share a capture; the kernel's bound on a group is 256.
const MAX_WORKERS: usize = 64;

/// Whether standard output is a terminal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Terminal {
    /// Somebody looks at it.
    Yes,
    /// A file or a pipe.
    No,
}

/// Raw values, and what was found wrong with them so far.
pub(super) struct Resolver<'a> {
    pub(super) raw: &'a Raw,
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<String>,
}

/// Resolves all settings.
pub(super) fn resolve(raw: &Raw, terminal: Terminal) -> Result<Config, Faults> {
    let mut resolver = Resolver { raw, faults: Vec::new(), warnings: Vec::new() };
    let source = resolver.source();
    let is_file = matches!(source, SourceConfig::File(_));
    let export = resolver.export(is_file, terminal);
    let debug = resolver.switch("DEBUG");
    let config = Config {
        own_filter: raw.get("AGENT_FILTER").is_some(),
        pipeline: resolver.pipeline(),
        spans: spans::settings(&mut resolver),
        resource: resource::resource(&mut resolver, Signal::Traces),
        metadata: cluster::metadata(&mut resolver),
        further: resource::further(&mut resolver),
        identity: resource::identity(&resolver),
        own_addresses: resource::own_addresses(&mut resolver),
        networks: resource::networks(&mut resolver),
        metrics: metrics::metrics(&mut resolver, &source, &export.output),
        export,
        log: resolver.log(debug),
        admin: resolver.admin(),
        debugging: resolver.debugging(debug),
        stats: resolver.stats(),
        mode: if raw.check { Mode::Check } else { Mode::Run },
        source,
        warnings: Vec::new(),
    };
    for (name, instead) in &raw.obsolete {
        resolver.warnings.push(format!("{name} has no effect: {instead}"));
    }
    // What two signals share is resolved twice.
    without_repetition(&mut resolver.warnings);
    without_repetition(&mut resolver.faults);
    if resolver.faults.is_empty() {
        Ok(Config { warnings: resolver.warnings, ..config })
    } else {
        Err(Faults(resolver.faults))
    }
}

fn without_repetition<T: PartialEq>(list: &mut Vec<T>) {
    let mut seen = Vec::with_capacity(list.len());
    for item in list.drain(..) {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    *list = seen;
}

impl Resolver<'_> {
    /// The value of a setting of ours: parsed, or its default with a fault.
    pub(super) fn own<T>(&mut self, variable: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let default =
            SETTINGS.iter().find(|setting| setting.variable == variable).map_or("", |setting| setting.default);
        if let Some(given) = self.raw.get(variable) {
            match parse(&given.text) {
                Ok(value) => return Some(value),
                Err(remedy) => self.fault(variable, remedy),
            }
        }
        parse(default).ok()
    }

    /// The value of a variable of the OpenTelemetry specification: what cannot be used is warned of and ignored.
    pub(super) fn otel<T>(&mut self, variable: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let given = self.raw.get(variable)?;
        match parse(&given.text) {
            Ok(value) => Some(value),
            Err(remedy) => {
                let is_secret = variable.ends_with("_HEADERS");
                let shown = if is_secret { "********" } else { given.text.as_str() };
                // What is wrong with a secret may repeat it.
                let remedy = if is_secret { "use name=value,…, percent-encoded".to_owned() } else { remedy };
                self.warnings.push(format!("{variable} = {shown:?} is ignored: {remedy}"));
                None
            }
        }
    }

    /// Notes that what was given for `variable` cannot be used.
    pub(super) fn fault(&mut self, variable: &str, remedy: impl Into<String>) {
        let is_secret = SETTINGS.iter().any(|setting| setting.variable == variable && setting.is_secret());
        let (setting, value) = match self.raw.get(variable) {
            Some(given) if is_secret => (given.origin.clone(), "********".to_owned()),
            Some(given) if variable.ends_with("_ENDPOINT") || variable.ends_with("_PROXY") => {
                (given.origin.clone(), values::without_userinfo(&given.text))
            }
            Some(given) => (given.origin.clone(), given.text.clone()),
            None => (variable.to_owned(), String::new()),
        };
        self.faults.push(Fault { setting, value, remedy: remedy.into() });
    }

    pub(super) fn switch(&mut self, variable: &str) -> bool {
        self.own(variable, values::switch).unwrap_or(false)
    }

    fn source(&mut self) -> SourceConfig {
        let filter = self.raw.text("AGENT_FILTER").map(str::to_owned);
        let snap_length = self.number("AGENT_SNAP_LENGTH", values::size, 96..=1 << 24);
        let ring_bytes = self.number("AGENT_RING_BYTES", values::size, 1 << 16..=1 << 30);
        let interfaces: Vec<String> =
            values::list(self.raw.text("AGENT_INTERFACES").unwrap_or("any")).map(str::to_owned).collect();
        if let Some(path) = self.raw.text("AGENT_READ") {
            if self.raw.get("AGENT_INTERFACES").is_some() {
                self.fault("AGENT_INTERFACES", "give either a file to read or interfaces to capture on");
            }
            return SourceConfig::File(FileConfig { path: (path != "-").then(|| PathBuf::from(path)), filter });
        }
        if interfaces.is_empty() {
            self.fault("AGENT_INTERFACES", "name an interface, or any");
        }
        if let Some(reason) = filter.as_deref().and_then(capture::filter_fault) {
            self.fault("AGENT_FILTER", reason);
        }
        let without = values::list(self.raw.text("AGENT_EXCLUDE_INTERFACES").unwrap_or_default());
        SourceConfig::Live(LiveConfig {
            interfaces,
            without: without.map(str::to_owned).collect(),
            workers: self.workers(),
            filter: filter.unwrap_or_else(|| default_filter(&[])),
            snap_length,
            ring_bytes,
            promiscuous: self.switch("AGENT_PROMISCUOUS"),
        })
    }

    /// How many threads capture: half of the cores that the agent may use, at most four.
    fn workers(&mut self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers = self.own("AGENT_WORKERS", values::count).unwrap_or_else(|| (cores / 2).clamp(1, 4));
        if workers > MAX_WORKERS {
            self.fault("AGENT_WORKERS", format!("use 1 to {MAX_WORKERS}"));
        }
        workers
    }

    /// A number within bounds that libpcap can take.
    fn number(
        &mut self,
        variable: &str,
        parse: impl Fn(&str) -> Result<usize, String>,
        bounds: std::ops::RangeInclusive<usize>,
    ) -> u32 {
        let parse = |text: &str| {
            let number = parse(text)?;
            let fits = bounds.contains(&number).then_some(number).and_then(|number| u32::try_from(number).ok());
            fits.ok_or_else(|| format!("use {} to {}", bounds.start(), bounds.end()))
        };
        self.own(variable, parse).unwrap_or_default()
    }

    fn pipeline(&mut self) -> PipelineConfig {
        let default = PipelineConfig::default();
        let mut count = |variable: &str, default: usize| self.own(variable, values::count).unwrap_or(default);
        let max_connections = count("AGENT_MAX_CONNECTIONS", default.max_connections);
        let max_open_exchanges = count("AGENT_MAX_OPEN_EXCHANGES", default.max_open_exchanges);
        let max_pending_segments = count("AGENT_MAX_PENDING_SEGMENTS", default.max_pending_segments);
        let fragment_sets = count("AGENT_MAX_FRAGMENT_SETS", default.decoder.fragment_sets);
        let mut size = |variable: &str, least: usize, default: usize| {
            self.own(variable, |text| values::size_from(text, least)).unwrap_or(default)
        };
        let max_memory = size("AGENT_MAX_MEMORY", 16 << 20, default.max_memory);
        let max_head_bytes = size("AGENT_MAX_HEAD_BYTES", 256, default.max_head_bytes);
        let max_pending_bytes = size("AGENT_MAX_PENDING_BYTES", 64 << 10, default.max_pending_bytes);
        let max_total_pending_bytes = size("AGENT_MAX_TOTAL_PENDING_BYTES", 64 << 10, default.max_total_pending_bytes);
        let fragment_bytes = size("AGENT_MAX_FRAGMENT_BYTES", 64 << 10, default.decoder.fragment_bytes);
        if fragment_bytes > max_memory / 2 {
            self.fault("AGENT_MAX_FRAGMENT_BYTES", "use at most half of AGENT_MAX_MEMORY");
        }
        let mut time = |variable: &str, default: Duration| self.own(variable, values::time).unwrap_or(default);
        PipelineConfig {
            decoder: DecoderLimits { fragment_bytes, fragment_sets },
            max_connections,
            max_pending_bytes,
            max_total_pending_bytes,
            max_pending_segments,
            max_memory,
            max_head_bytes,
            max_open_exchanges,
            exchange_timeout: time("AGENT_EXCHANGE_TIMEOUT", default.exchange_timeout),
            idle_timeout: time("AGENT_IDLE_TIMEOUT", default.idle_timeout),
            loss_grace: time("AGENT_LOSS_GRACE", default.loss_grace),
            hash_seed: default.hash_seed,
        }
    }

    /// Waiting for other views and waiting in a batch together take no longer than `delay`.
    fn merge(&mut self, delay: Duration) -> MergeConfig {
        let window = self.own("AGENT_MERGE_WINDOW", values::time).unwrap_or(Duration::from_secs(1));
        let is_stored = self.raw.text("AGENT_READ").is_some_and(|path| path != "-");
        MergeConfig {
            window,
            max_bytes: self.own("AGENT_MERGE_BYTES", values::size).unwrap_or(4 << 20),
            patience: (!is_stored).then(|| window.min(delay / 2)),
        }
    }

    fn export(&mut self, is_file: bool, terminal: Terminal) -> ExportConfig {
        let output = match self.kind(is_file, terminal) {
            Kind::Otlp => {
                destination::of_traces(self).map_or(OutputConfig::None, |otlp| OutputConfig::Otlp(Box::new(otlp)))
            }
            Kind::Json => OutputConfig::Json,
            Kind::Pretty => OutputConfig::Pretty,
            Kind::None => OutputConfig::None,
        };
        let delay = self.otel("OTEL_BSP_SCHEDULE_DELAY", millis).unwrap_or(Duration::from_secs(1));
        let merge = self.merge(delay);
        let spool = self.spool(&output);
        ExportConfig {
            output,
            batch: BatchConfig {
                max_spans: self.otel("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", values::count).unwrap_or(512),
                max_bytes: 3 << 20,
                delay: delay.saturating_sub(merge.patience.unwrap_or_default()),
                queue_bytes: self.own("AGENT_QUEUE_BYTES", values::size).unwrap_or(32 << 20),
                queue_spans: self.otel("OTEL_BSP_MAX_QUEUE_SIZE", values::count),
                when_full: if is_file { WhenFull::Wait } else { WhenFull::Drop },
            },
            merge,
            spool,
            shutdown_timeout: self.own("AGENT_SHUTDOWN_TIMEOUT", values::time).unwrap_or(Duration::from_secs(5)),
        }
    }

    fn spool(&mut self, output: &OutputConfig) -> Option<SpoolConfig> {
        let max_bytes = self.own("AGENT_SPOOL_BYTES", |text| values::size_from(text, 8 << 20)).unwrap_or(1 << 30);
        let directory = PathBuf::from(self.raw.text("AGENT_SPOOL_DIRECTORY").filter(|path| !path.trim().is_empty())?);
        if !matches!(output, OutputConfig::Otlp(_)) {
            self.warnings.push("AGENT_SPOOL_DIRECTORY has no effect: spans do not go to an OTLP server".to_owned());
            return None;
        }
        Some(SpoolConfig { directory, max_bytes: max_bytes as u64 })
    }

    /// `--export`, else what the OpenTelemetry variables say, else what suits the source.
    fn kind(&mut self, is_file: bool, terminal: Terminal) -> Kind {
        if self.raw.get("AGENT_EXPORT").is_some() {
            return self.own("AGENT_EXPORT", Kind::parse).unwrap_or(Kind::None);
        }
        if self.otel("OTEL_SDK_DISABLED", values::switch) == Some(true) {
            return Kind::None;
        }
        let exporter = self.otel("OTEL_TRACES_EXPORTER", |text| match text.trim().to_ascii_lowercase().as_str() {
            "otlp" => Ok(Kind::Otlp),
            "console" => Ok(Kind::Pretty),
            "none" => Ok(Kind::None),
            _ => Err("use otlp, console or none".to_owned()),
        });
        exporter.unwrap_or(match (is_file, terminal) {
            (true, Terminal::Yes) => Kind::Pretty,
            (true, Terminal::No) => Kind::Json,
            (false, _) => Kind::Otlp,
        })
    }

    fn admin(&mut self) -> Option<SocketAddr> {
        if self.raw.get("AGENT_READ").is_some() {
            return None;
        }
        let parse = |text: &str| match text.trim() {
            "" | "off" | "none" => Ok(None),
            text => values::address(text)
                .map(Some)
                .map_err(|_| "use localhost or an IP address, and a port, such as 127.0.0.1:9464, or off".to_owned()),
        };
        self.own("AGENT_ADMIN_ADDRESS", parse).flatten()
    }

    /// Where profiles are given; an address that cannot be used is a fault whether they are or not.
    fn debugging(&mut self, debug: bool) -> Option<SocketAddr> {
        let address = self.own("DEBUG_ADDRESS", values::address)?;
        if !debug || self.raw.get("AGENT_READ").is_some() {
            return None;
        }
        if !address.ip().is_loopback() {
            self.warnings.push(format!(
                "DEBUG_ADDRESS = {address} lets other machines take profiles, and asks nobody who they are"
            ));
        }
        Some(address)
    }

    fn log(&mut self, debug: bool) -> LogConfig {
        let level = self.own("LOG_LEVEL", |text| match text.trim().to_ascii_lowercase().as_str() {
            "error" => Ok(tracing::Level::ERROR),
            "warn" | "warning" => Ok(tracing::Level::WARN),
            "info" => Ok(tracing::Level::INFO),
            "debug" => Ok(tracing::Level::DEBUG),
            "trace" => Ok(tracing::Level::TRACE),
            _ => Err("use error, warn, info, debug or trace".to_owned()),
        });
        let more = match (self.raw.verbose, debug) {
            (0, false) => tracing::Level::ERROR,
            (0 | 1, _) => tracing::Level::DEBUG,
            _ => tracing::Level::TRACE,
        };
        let format = self.own("AGENT_LOG_FORMAT", |text| match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("use text or json".to_owned()),
        });
        LogConfig { level: level.unwrap_or(tracing::Level::INFO).max(more), format: format.unwrap_or(LogFormat::Text) }
    }

    fn stats(&mut self) -> Option<StatsFormat> {
        self.own("AGENT_STATS", |text| match text {
            "table" | "true" => Ok(Some(StatsFormat::Table)),
            "json" => Ok(Some(StatsFormat::Json)),
            "" | "false" => Ok(None),
            _ => Err("use table or json".to_owned()),
        })
        .flatten()
    }
}

/// What `--export` names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Otlp,
    Json,
    Pretty,
    None,
}

impl Kind {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "otlp" => Ok(Self::Otlp),
            "json" => Ok(Self::Json),
            "pretty" => Ok(Self::Pretty),
            "none" => Ok(Self::None),
            _ => Err("use otlp, json, pretty or none".to_owned()),
        }
    }
}

/// A whole number of milliseconds, as the OpenTelemetry specification writes times.
pub(super) fn millis(text: &str) -> Result<Duration, String> {
    text.trim().parse().map(Duration::from_millis).map_err(|_| "use a whole number of milliseconds".to_owned())
}
