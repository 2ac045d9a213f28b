//! `Config` → a running agent: builds every part, owns every queue and the order of start and stop.
//!
//! Stop order: the source stops → the worker finishes its pipeline → the queue closes → the last batch goes out,
//! within a deadline.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admin::{self, Status};
use crate::capture::{self, CaptureError, FileConfig, PacketSource, SourceConfig, default_filter};
use crate::check::describe;
use crate::config::{Config, Mode};
use crate::debugging;
use crate::export::otlp::OtlpConfig;
use crate::export::{self, Destination, ExportCounters, ExportError, OutputConfig, Spans, Spool};
use crate::metadata::{self, HostAddresses, Names, NoAddresses};
use crate::privileges;
use crate::signals::Signals;
use crate::span::{LocalAddresses, SpanBuilder};
use crate::telemetry::allocations;
use crate::telemetry::metrics::{Metrics, MetricsDestination};
use crate::telemetry::progress::Progress;
use crate::telemetry::statistics::Statistics;
use crate::worker::{self, Crew, ExchangeReceiver, Stop, WorkerReport};

/// Bytes of exchanges of a file that may wait between two threads: some thousand. What waits leaves the processor's caches.
const OF_A_FILE: usize = 1 << 20;

/// How often progress is shown.
const TICK: Duration = Duration::from_millis(100);

/// How often what is being lost is told, at most.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// How long the last metrics may take, after the last spans.
const LAST_METRICS: Duration = Duration::from_secs(2);

/// How the agent ended, as an exit code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// 0.
    Well,
    /// 64: a setting turned out to be unusable only when it was used.
    BadConfiguration,
    /// 65: the capture file cannot be read, or is none.
    BadInput,
    /// 69: capture is not permitted, or there is no such interface.
    NoCapture,
    /// 1: anything else.
    Failed,
    /// 129, 130 or 143: a second signal stopped the agent at once.
    Killed(u8),
}

impl Ending {
    /// The exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Well => 0,
            Self::BadConfiguration => 64,
            Self::BadInput => 65,
            Self::NoCapture => 69,
            Self::Failed => 1,
            Self::Killed(code) => code,
        }
    }
}

/// Does what the configuration says, until a file ends or a signal comes.
///
/// # Errors
/// Only what stops the agent before it has begun.
pub fn run(config: Config) -> anyhow::Result<Ending> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        // Sockets are opened on this thread alone.
        .on_thread_start(give_up_rights)
        .build()
        .context("cannot start the asynchronous runtime")?;
    let ending = match config.mode {
        Mode::Run => runtime.block_on(capture_and_export(config)),
        Mode::Check => Ok(runtime.block_on(crate::check::run(config))),
    };
    // Nobody waits for a name server that does not answer.
    runtime.shutdown_background();
    ending
}

async fn capture_and_export(mut config: Config) -> anyhow::Result<Ending> {
    let mut signals = Signals::new().context("cannot listen to signals")?;
    // While the agent may still read every file.
    let (destination, metrics) = match open_destinations(&config) {
        Ok(both) => both,
        Err(error) => {
            tracing::error!("{error}");
            return Ok(failure(&error));
        }
    };
    let mut names = match Names::open(&config.metadata).await {
        Ok(names) => names,
        Err(error) => {
            tracing::error!("{error}");
            return Ok(Ending::BadInput);
        }
    };
    leave_out_own_export(&mut config).await;
    let sources = match open(&config.source) {
        Ok(sources) => sources,
        Err(error) => return Ok(report(&error)),
    };
    // With the rights that are left: those that its files will be written with.
    let spool = match config.export.spool.as_ref().map_or(Ok(None), Spool::open) {
        Ok(spool) => spool,
        Err(error) => {
            tracing::error!("{error}");
            return Ok(failure(&error));
        }
    };
    announce(&config);
    let stop = Stop::default();
    let (sender, receiver) = worker::exchange_queue(between_threads(&config), config.export.batch.when_full);
    let mut crew = Crew::start(sources, config.pipeline, &config.spans.fields(), sender, &stop)
        .context("cannot start a thread")?;
    let counters = Arc::<ExportCounters>::default();
    let (stop_export, stopped) = watch::channel(false);
    report_on_itself(&config, &crew, &counters, &names);
    names.follow();
    destination.check_key(counters.clone());
    let exporting = exporting(&config, receiver, destination, spool, &names, counters.clone(), stopped);
    let mut export_task = tokio::spawn(exporting);
    let size = match &config.source {
        SourceConfig::File(file) => capture::size(file),
        SourceConfig::Live(_) => None,
    };
    let metrics = metrics.map(|metrics| Metrics::start(metrics, crew.watch(), &counters));
    let running = Running { stop, stop_export, progress: Progress::new(size) };
    let (report, exported) = match running.wait(&mut crew, &mut export_task, &mut signals).await {
        Ok(both) => both,
        Err(killed) => return Ok(killed),
    };
    if let Some(metrics) = metrics {
        metrics.stop(config.shutdown_timeout().min(LAST_METRICS)).await;
    }
    Ok(conclude(&config, report, exported, &counters))
}

/// Bytes of exchanges that may wait between the threads that find them and the one that makes spans of them: a burst on the
/// network, or from a program that writes to standard input, and neither should wait; of a stored file, which may, not more than
/// keeps both at work.
fn between_threads(config: &Config) -> usize {
    let bytes = config.export.batch.queue_bytes;
    match config.source {
        SourceConfig::File(FileConfig { path: Some(_), .. }) => bytes.min(OF_A_FILE),
        SourceConfig::File(_) | SourceConfig::Live(_) => bytes,
    }
}

/// Makes spans of exchanges and exports them, as soon as there are names or they take too long.
fn exporting(
    config: &Config,
    receiver: ExchangeReceiver,
    destination: Destination,
    spool: Option<Spool>,
    names: &Names,
    counters: Arc<ExportCounters>,
    stopped: watch::Receiver<bool>,
) -> impl Future<Output = Exported> + Send + use<> {
    let builder =
        SpanBuilder::new(config.spans.clone()).with_workloads(config.resource.clone(), config.further.clone());
    let spans = Spans {
        builder,
        local: local_addresses(config),
        names: names.lookup(),
        resource: config.resource.clone(),
        identity: config.identity.attributes.clone(),
    };
    let (status, config, mut asked) = (names.status(), config.export.clone(), stopped.clone());
    async move {
        tokio::select! {
            () = metadata::wait(status) => {}
            _ = asked.wait_for(|stop| *stop) => {}
        }
        export::run(receiver, spans, destination, spool, config, counters, stopped).await
    }
}

/// Where spans go, and the agent's own metrics if they go anywhere.
fn open_destinations(config: &Config) -> Result<(Destination, Option<MetricsDestination>), ExportError> {
    let metrics = config.metrics.as_ref().map(MetricsDestination::open).transpose()?;
    Ok((Destination::open(&config.export.output)?, metrics))
}

/// Starts what tells of the agent while it runs live: answers to probes, profiles, and a warning when something is being lost.
fn report_on_itself(config: &Config, crew: &Crew, counters: &Arc<ExportCounters>, names: &Names) {
    if let Some(status) = names.status() {
        counters.tell_of(status);
    }
    if matches!(config.source, SourceConfig::File(_)) {
        return;
    }
    let (workers, export) = (crew.watch(), counters.clone());
    if let Some(address) = config.admin {
        let lines = describe(config).into_iter().map(|(name, value)| format!("{name:<20} {value}\n"));
        let status = Status {
            workers: workers.clone(),
            export: export.clone(),
            names: names.status(),
            config: lines.collect::<String>().into(),
        };
        tokio::spawn(admin::serve(address, status));
    }
    if let Some(address) = config.debugging {
        allocations::count();
        tokio::spawn(debugging::serve(address, workers.clone()));
    }
    tokio::spawn(async move {
        let now = || Statistics { worker: workers.sum(), export: export.snapshot() };
        let mut before = now();
        loop {
            tokio::time::sleep(WARN_EVERY).await;
            let after = now();
            if let Some(losses) = after.losses_since(&before) {
                tracing::warn!("In the last minute: {losses}.");
            }
            before = after;
            allocations::give_back();
        }
    });
}

/// Opens the source with the right that it needs, which is given up as soon as that is done.
pub(crate) fn open(source: &SourceConfig) -> Result<Vec<Box<dyn PacketSource>>, CaptureError> {
    if matches!(source, SourceConfig::File(_)) {
        return capture::open(source);
    }
    privileges::raise();
    let sources = capture::open(source);
    give_up_rights();
    sources
}

fn give_up_rights() {
    if let Err(error) = privileges::give_up() {
        tracing::warn!(%error, "Not all rights could be given up.");
    }
}

/// What is told to stop.
struct Running {
    stop: Stop,
    stop_export: watch::Sender<bool>,
    progress: Progress,
}

type Exported = Result<(), ExportError>;

impl Running {
    /// Waits for the worker and the exporter; the first signal stops both in order, the second ends the wait.
    async fn wait(
        self,
        crew: &mut Crew,
        export_task: &mut JoinHandle<Exported>,
        signals: &mut Signals,
    ) -> Result<(WorkerReport, Exported), Ending> {
        let mut signalled = false;
        let mut exported: Option<Exported> = None;
        let mut finished: Option<WorkerReport> = None;
        let mut tick = tokio::time::interval(TICK);
        let watch = crew.watch();
        loop {
            if let Some(report) = finished.take_if(|_| exported.is_some()) {
                self.progress.finish();
                return Ok((report, exported.unwrap_or(Ok(()))));
            }
            tokio::select! {
                report = crew.finished(), if finished.is_none() => finished = Some(report),
                result = &mut *export_task, if exported.is_none() => {
                    // Without anybody to export to there is nothing to capture for.
                    self.stop.set();
                    exported = Some(result.unwrap_or_else(|error| Err(ExportError::Unreachable(error.to_string()))));
                }
                code = signals.next() => {
                    if signalled {
                        tracing::warn!("A second signal: stopping at once.");
                        return Err(Ending::Killed(code));
                    }
                    signalled = true;
                    tracing::info!("Stopping; a second signal stops at once.");
                    self.stop.set();
                    self.stop_export.send_replace(true);
                }
                _ = tick.tick() => self.progress.at(watch.sum().position),
            }
        }
    }
}

/// The default filter leaves out the agent's own connections to its destinations.
async fn leave_out_own_export(config: &mut Config) {
    let (OutputConfig::Otlp(otlp), SourceConfig::Live(live)) = (&config.export.output, &mut config.source) else {
        return;
    };
    if config.own_filter {
        return;
    }
    let metrics = config.metrics.as_ref().map(|metrics| connects_to(&metrics.destination));
    let metrics = metrics.filter(|endpoint| endpoint.authority() != connects_to(otlp).authority());
    let (mut found, more) = tokio::join!(addresses(Some(connects_to(otlp))), addresses(metrics));
    found.extend(more);
    live.filter = default_filter(&found);
}

/// Whom the agent connects to: the proxy, if there is one.
fn connects_to(otlp: &OtlpConfig) -> &http::Uri {
    otlp.proxy.as_ref().map_or(&otlp.endpoint, |proxy| &proxy.uri)
}

/// Where connections to `endpoint` go now; nowhere when its name does not resolve.
async fn addresses(endpoint: Option<&http::Uri>) -> Vec<SocketAddr> {
    let Some(endpoint) = endpoint else { return Vec::new() };
    let usual = if endpoint.scheme_str() == Some("https") { 443 } else { 80 };
    let Some(host) = endpoint.host() else { return Vec::new() };
    let port = endpoint.port_u16().unwrap_or(usual);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let lookup = tokio::time::timeout(Duration::from_secs(2), tokio::net::lookup_host((host, port))).await;
    match lookup {
        Ok(Ok(found)) => return found.collect(),
        Ok(Err(error)) => tracing::debug!(%error, host, "Cannot resolve the destination; its traffic is not left out."),
        Err(_) => tracing::debug!(host, "The name server does not answer; the destination's traffic is not left out."),
    }
    Vec::new()
}

fn local_addresses(config: &Config) -> Arc<dyn LocalAddresses + Send + Sync> {
    match config.source {
        SourceConfig::File(_) => Arc::new(NoAddresses),
        SourceConfig::Live(_) => {
            let host = HostAddresses::of_interfaces(config.own_addresses.iter().copied()).with(config.networks.clone());
            tokio::spawn(host.clone().follow());
            Arc::new(host)
        }
    }
}

fn announce(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!("{warning}.");
    }
    let destination = destination(&config.export.output);
    match &config.source {
        SourceConfig::File(file) => {
            let path =
                file.path.as_ref().map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
            tracing::debug!(file = %path, destination, "Reading.");
        }
        SourceConfig::Live(live) => {
            let interfaces = live.interfaces.join(",");
            tracing::info!(interfaces, destination, "Capturing.");
            tracing::debug!(filter = live.filter, "The filter.");
        }
    }
}

/// Where spans go, in words.
pub(crate) fn destination(output: &OutputConfig) -> String {
    match output {
        OutputConfig::Otlp(otlp) => otlp.shown(),
        OutputConfig::Json => "standard output, as OTLP/JSON".to_owned(),
        OutputConfig::Pretty => "standard output".to_owned(),
        OutputConfig::None => "nowhere".to_owned(),
    }
}

/// Says what broke, and the exit code for it.
pub(crate) fn report(error: &CaptureError) -> Ending {
    tracing::error!("{error}");
    match error {
        CaptureError::Unreadable { .. } | CaptureError::NotACapture { .. } => Ending::BadInput,
        CaptureError::NotPermitted(_) | CaptureError::Interface(_) => Ending::NoCapture,
        CaptureError::Filter { .. } => Ending::BadConfiguration,
        CaptureError::Failed(_) => Ending::Failed,
    }
}

/// The exit code for a broken export.
pub(crate) const fn failure(error: &ExportError) -> Ending {
    match error {
        ExportError::Configuration(_) => Ending::BadConfiguration,
        ExportError::Unreachable(_) | ExportError::Undelivered { .. } | ExportError::Output(_) => Ending::Failed,
    }
}

fn conclude(config: &Config, worker: WorkerReport, exported: Exported, counters: &ExportCounters) -> Ending {
    let statistics = Statistics { worker: worker.snapshot, export: counters.snapshot() };
    tracing::info!("{}.", statistics.summary());
    if let Some(format) = config.stats {
        write_to_standard_error(&statistics.report(format));
    }
    let mut ending = Ending::Well;
    if let Err(error) = exported {
        tracing::error!("{error}");
        ending = failure(&error);
    }
    if let Err(error) = worker.result {
        ending = report(&error);
    }
    ending
}

/// Writes what was asked for; nobody can be told when that fails.
fn write_to_standard_error(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
