//! Counters → OTLP metrics, every minute, beside the spans' destination.
//!
//! Through the OpenTelemetry SDK and its exporter, on a connection of our own making: the exporter's has no root certificates
//! (open-telemetry/opentelemetry-rust#2008) and knows nothing of ours.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry_otlp::{MetricExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};

use super::families::{Family, Sample, families};
use super::process::Process;
use super::statistics::Meaning;
use crate::export::otlp::{self, Compression, OtlpConfig, Protocol};
use crate::export::{DropReason, ExportCounters, ExportError};
use crate::span::{Resource, SCHEMA_URL, SCOPE_NAME, Value};
use crate::worker::Watch;

/// Numbers read at the same moment stay so long: all metrics of one export tell of one moment.
const MOMENT: Duration = Duration::from_secs(1);

/// Where the agent's own metrics go.
#[derive(Clone, Debug)]
pub struct MetricsConfig {
    /// The destination; its concurrency means nothing here.
    pub destination: Box<OtlpConfig>,
    /// Time between two exports (`OTEL_METRIC_EXPORT_INTERVAL`).
    pub interval: Duration,
    /// Whether counters tell of all the time or of the time since they were sent last.
    pub temporality: Temporality,
    /// Who measured.
    pub resource: Resource,
    /// Where spans go.
    pub spans_to: Box<OtlpConfig>,
    /// How many may wait, where that is bounded.
    pub queue_spans: Option<usize>,
}

/// Sends metrics until it is stopped.
#[derive(Debug)]
pub struct Metrics {
    provider: SdkMeterProvider,
}

/// Where metrics will go, with all that it needs of this machine; not connected yet.
#[derive(Debug)]
pub struct MetricsDestination {
    config: MetricsConfig,
    exporter: Told,
}

impl MetricsDestination {
    /// Reads what the configuration names. Must be called within a tokio runtime, and while files can still be read.
    ///
    /// # Errors
    /// [`ExportError::Configuration`] when a file of certificates cannot be used or a header cannot be sent.
    pub fn open(config: &MetricsConfig) -> Result<Self, ExportError> {
        Ok(Self { exporter: Told::new(config)?, config: config.clone() })
    }
}

impl Metrics {
    /// Starts sending what `workers` and `export` count. Must be called within a tokio runtime.
    pub fn start(destination: MetricsDestination, workers: Watch, export: &Arc<ExportCounters>) -> Self {
        let MetricsDestination { config, exporter } = destination;
        let reader = PeriodicReader::builder(exporter).with_interval(config.interval).build();
        let provider =
            SdkMeterProvider::builder().with_resource(resource(&config.resource)).with_reader(reader).build();
        let scope = opentelemetry::InstrumentationScope::builder(SCOPE_NAME)
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(SCHEMA_URL)
            .build();
        let meter = provider.meter_with_scope(scope);
        let duration = meter
            .f64_histogram("otel.sdk.exporter.operation.duration")
            .with_unit("s")
            .with_description("time from the first attempt to send a batch to the last answer")
            .with_boundaries(Vec::new())
            .build();
        export.measure_operations(duration, exporter_attributes(&config.spans_to));
        instrument(&meter, workers, export);
        instrument_exporter(&meter, export, &config);
        instrument_process(&meter);
        Self { provider }
    }

    /// Sends the last numbers and ends, within `limit`.
    pub async fn stop(self, limit: Duration) {
        // The SDK does not heed a limit of its own. What does not come back in time is left behind.
        let last = tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(limit));
        let _ = tokio::time::timeout(limit, last).await;
    }
}

fn resource(resource: &Resource) -> opentelemetry_sdk::Resource {
    let attributes = resource.attributes.iter().filter_map(|attribute| match &attribute.value {
        Value::String(text) => Some(KeyValue::new(attribute.key.to_string(), text.to_string())),
        _ => None,
    });
    opentelemetry_sdk::Resource::builder_empty().with_attributes(attributes).build()
}

/// Reads all counters, once for all instruments of one export.
struct Readings {
    workers: Watch,
    export: Arc<ExportCounters>,
    last: Mutex<Option<(Instant, Arc<[Family]>)>>,
}

impl Readings {
    #[expect(clippy::disallowed_methods, reason = "exports follow the real clock")]
    fn now(&self) -> Arc<[Family]> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((at, families)) if at.elapsed() < MOMENT => families.clone(),
            _ => {
                let now: Arc<[Family]> = families(&self.workers.all(), &self.export.snapshot()).into();
                *last = Some((Instant::now(), now.clone()));
                now
            }
        }
    }

    fn samples(&self, name: &str) -> Vec<Sample> {
        let families = self.now();
        families.iter().find(|family| family.name == name).map(|family| family.samples.clone()).unwrap_or_default()
    }
}

/// An instrument for every family, and those that the conventions name for SDKs.
fn instrument(meter: &Meter, workers: Watch, export: &Arc<ExportCounters>) {
    let readings = Arc::new(Readings { workers, export: export.clone(), last: Mutex::default() });
    for family in readings.now().iter() {
        let (name, source) = (family.name.clone(), readings.clone());
        let unit = if family.is_bytes() { "By" } else { "1" };
        let title = format!("network_agent.{name}");
        if family.meaning == Meaning::Gauge {
            let builder = meter.u64_observable_gauge(title).with_description(family.words).with_unit(unit);
            builder
                .with_callback(move |observer| {
                    observe(&source.samples(&name), |value, with| observer.observe(value, with));
                })
                .build();
        } else {
            let builder = meter.u64_observable_counter(title).with_description(family.words).with_unit(unit);
            builder
                .with_callback(move |observer| {
                    observe(&source.samples(&name), |value, with| observer.observe(value, with));
                })
                .build();
        }
    }
}

/// Which exporter it is, and whom it sends to.
fn exporter_attributes(spans_to: &OtlpConfig) -> Vec<KeyValue> {
    let (kind, name) = match spans_to.protocol {
        Protocol::Grpc => ("otlp_grpc_span_exporter", "otlp_grpc_span_exporter/0"),
        Protocol::HttpProtobuf => ("otlp_http_span_exporter", "otlp_http_span_exporter/0"),
    };
    let mut attributes = vec![KeyValue::new("otel.component.type", kind), KeyValue::new("otel.component.name", name)];
    if let Some(host) = spans_to.endpoint.host() {
        attributes.push(KeyValue::new("server.address", host.to_owned()));
    }
    if let Some(port) = spans_to.endpoint.port_u16() {
        attributes.push(KeyValue::new("server.port", i64::from(port)));
    }
    attributes
}

/// What the conventions for SDKs name (OpenTelemetry semantic conventions, `otel/sdk-metrics.md`). There is an
/// `otel.sdk.processor.span.queue.capacity` only where the queue is bounded in spans; in bytes it always is.
fn instrument_exporter(meter: &Meter, export: &Arc<ExportCounters>, config: &MetricsConfig) {
    let exporter = exporter_attributes(&config.spans_to);
    let source = export.clone();
    let with = exporter.clone();
    meter
        .u64_observable_counter("otel.sdk.exporter.span.exported")
        .with_unit("{span}")
        .with_description("spans whose export has ended, well or with an error")
        .with_callback(move |observer| {
            let now = source.snapshot();
            observer.observe(now.spans_exported, &with);
            for reason in [DropReason::Rejected, DropReason::Refused, DropReason::Shutdown, DropReason::Spool] {
                let mut with = with.clone();
                with.push(KeyValue::new("error.type", reason.label()));
                observer.observe(now.dropped(reason), &with);
            }
        })
        .build();
    let source = export.clone();
    meter
        .i64_observable_up_down_counter("otel.sdk.exporter.span.inflight")
        .with_unit("{span}")
        .with_description("spans sent and not answered yet")
        .with_callback(move |observer| observer.observe(signed(source.snapshot().spans_in_flight), &exporter))
        .build();
    instrument_processor(meter, export, config.queue_spans);
}

fn instrument_processor(meter: &Meter, export: &Arc<ExportCounters>, queue_spans: Option<usize>) {
    let processor = [
        KeyValue::new("otel.component.type", "batching_span_processor"),
        KeyValue::new("otel.component.name", "batching_span_processor/0"),
    ];
    if let Some(capacity) = queue_spans {
        let with = processor.clone();
        meter
            .i64_observable_up_down_counter("otel.sdk.processor.span.queue.capacity")
            .with_unit("{span}")
            .with_description("spans that may wait to be sent")
            .with_callback(move |observer| observer.observe(signed(capacity as u64), &with))
            .build();
    }
    let source = export.clone();
    let with = processor.clone();
    meter
        .i64_observable_up_down_counter("otel.sdk.processor.span.queue.size")
        .with_unit("{span}")
        .with_description("spans that wait to be sent")
        .with_callback(move |observer| {
            let now = source.snapshot();
            observer.observe(signed(now.spans_waiting.saturating_sub(now.spans_in_flight)), &with);
        })
        .build();
    let source = export.clone();
    meter
        .u64_observable_counter("otel.sdk.processor.span.processed")
        .with_unit("{span}")
        .with_description("spans handed to the exporter, or dropped before")
        .with_callback(move |observer| {
            let now = source.snapshot();
            let dropped = now.dropped(DropReason::QueueFull) + now.dropped(DropReason::Spool);
            let left_out = now.exchanges_left_out.iter().sum::<u64>() + now.exchanges_elsewhere + now.spans_sampled_out;
            let made = now.exchanges_received + now.spans_second + now.spans_recovered;
            let handed = made.saturating_sub(left_out + now.spans_waiting + now.spans_spooled + dropped);
            // Not before it is answered: a batch that is put back must not make it fall.
            observer.observe(handed, &processor);
            let mut with = processor.to_vec();
            with.push(KeyValue::new("error.type", DropReason::QueueFull.label()));
            observer.observe(dropped, &with);
        })
        .build();
}

/// The process, by the names of the semantic conventions (`system/process-metrics.md`).
fn instrument_process(meter: &Meter) {
    meter
        .i64_observable_up_down_counter("process.memory.usage")
        .with_unit("By")
        .with_description("resident memory")
        .with_callback(|observer| {
            if let Some(bytes) = Process::now().resident_memory {
                observer.observe(signed(bytes), &[]);
            }
        })
        .build();
    meter
        .i64_observable_up_down_counter("process.unix.file_descriptor.count")
        .with_unit("{file_descriptor}")
        .with_description("open file descriptors")
        .with_callback(|observer| {
            if let Some(count) = Process::now().open_descriptors {
                observer.observe(signed(count), &[]);
            }
        })
        .build();
    meter
        .f64_observable_counter("process.cpu.time")
        .with_unit("s")
        .with_description("CPU time")
        .with_callback(|observer| {
            let now = Process::now();
            for (mode, seconds) in [("user", now.user_time), ("system", now.system_time)] {
                if let Some(seconds) = seconds {
                    observer.observe(seconds, &[KeyValue::new("cpu.mode", mode)]);
                }
            }
        })
        .build();
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Tells `observe` of each of `samples`.
fn observe(samples: &[Sample], observe: impl Fn(u64, &[KeyValue])) {
    for Sample { worker, reason, value } in samples {
        let worker = worker.map(|worker| KeyValue::new("worker", signed(worker as u64)));
        let reason = reason.clone().map(|reason| KeyValue::new("reason", reason));
        let attributes: Vec<KeyValue> = worker.into_iter().chain(reason).collect();
        observe(*value, &attributes);
    }
}

/// The SDK's exporter; what goes wrong is told once, until it goes well again.
#[derive(Debug)]
struct Told {
    exporter: MetricExporter,
    destination: String,
    failing: AtomicBool,
}

impl Told {
    fn new(config: &MetricsConfig) -> Result<Self, ExportError> {
        let destination = &config.destination;
        let timeout = if destination.timeout.is_zero() { config.interval } else { destination.timeout };
        let exporter = match destination.protocol {
            Protocol::Grpc => over_grpc(config, timeout)?,
            Protocol::HttpProtobuf => over_http(config, timeout)?,
        };
        let destination = destination.shown();
        Ok(Self { exporter, destination, failing: AtomicBool::new(false) })
    }
}

fn over_grpc(config: &MetricsConfig, timeout: Duration) -> Result<MetricExporter, ExportError> {
    let destination = &config.destination;
    // The exporter does not end a call that hangs when the connection is not its own.
    let mut builder = MetricExporter::builder()
        .with_tonic()
        .with_channel(otlp::lazy_channel(destination, timeout)?)
        .with_metadata(otlp::metadata(destination)?)
        .with_timeout(timeout);
    if let Some(compression) = compression(destination) {
        builder = builder.with_compression(compression);
    }
    builder.with_temporality(config.temporality).build().map_err(|error| unusable(&error))
}

fn over_http(config: &MetricsConfig, timeout: Duration) -> Result<MetricExporter, ExportError> {
    let destination = &config.destination;
    let headers = destination.headers.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned()));
    let mut builder = MetricExporter::builder()
        .with_http()
        .with_http_client(otlp::MetricsClient::new(destination, timeout)?)
        .with_endpoint(destination.endpoint.to_string())
        .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
        .with_headers(headers.collect())
        .with_timeout(timeout);
    if let Some(compression) = compression(destination) {
        builder = builder.with_compression(compression);
    }
    builder.with_temporality(config.temporality).build().map_err(|error| unusable(&error))
}

fn compression(destination: &OtlpConfig) -> Option<opentelemetry_otlp::Compression> {
    match destination.compression {
        Compression::None => None,
        Compression::Gzip => Some(opentelemetry_otlp::Compression::Gzip),
        Compression::Zstd => Some(opentelemetry_otlp::Compression::Zstd),
    }
}

fn unusable(error: &opentelemetry_otlp::ExporterBuildError) -> ExportError {
    ExportError::Configuration(format!("metrics cannot be sent: {error}"))
}

impl PushMetricExporter for Told {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.exporter.export(metrics).await;
        let was_failing = self.failing.swap(result.is_err(), Ordering::Relaxed);
        let destination = &self.destination;
        match &result {
            Err(error) if !was_failing => {
                tracing::warn!(
                    %error,
                    "The agent's own metrics do not reach {destination}; spans are not affected. \
                     OTEL_METRICS_EXPORTER=none sends none."
                );
            }
            Ok(()) if was_failing => tracing::info!("The agent's own metrics reach {destination} again."),
            _ => {}
        }
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}
