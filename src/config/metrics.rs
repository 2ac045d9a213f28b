//! `OTEL_METRICS_EXPORTER`, `OTEL_METRIC_…` and the destination's variables → where the agent's own metrics go.

use std::time::Duration;

use opentelemetry_sdk::metrics::Temporality;

use super::destination::{self, Signal};
use super::resolve::{Resolver, millis};
use super::{resource, values};
use crate::capture::SourceConfig;
use crate::export::OutputConfig;
use crate::telemetry::metrics::MetricsConfig;

const INTERVAL: Duration = Duration::from_secs(60);

/// Metrics go out while live traffic's spans do, unless they are switched off.
pub(super) fn metrics(
    resolver: &mut Resolver<'_>,
    source: &SourceConfig,
    output: &OutputConfig,
) -> Option<MetricsConfig> {
    let exporter = resolver.otel("OTEL_METRICS_EXPORTER", |text| match text.trim().to_ascii_lowercase().as_str() {
        "otlp" => Ok(true),
        "none" => Ok(false),
        "prometheus" => {
            Err("metrics for Prometheus are at AGENT_ADMIN_ADDRESS whatever this says; use otlp or none".to_owned())
        }
        _ => Err("use otlp or none".to_owned()),
    });
    let (SourceConfig::Live(_), OutputConfig::Otlp(spans)) = (source, output) else { return None };
    if exporter == Some(false) {
        return None;
    }
    let queue_spans = resolver.otel("OTEL_BSP_MAX_QUEUE_SIZE", values::count);
    let destination = destination::of_metrics(resolver)?;
    let interval = resolver.otel("OTEL_METRIC_EXPORT_INTERVAL", |text| match millis(text)? {
        Duration::ZERO => Err("use a number of milliseconds above 0".to_owned()),
        interval => Ok(interval),
    });
    let temporality = resolver.otel("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", |text| {
        match text.trim().to_ascii_lowercase().as_str() {
            "cumulative" => Ok(Temporality::Cumulative),
            "delta" => Ok(Temporality::Delta),
            "lowmemory" => Ok(Temporality::LowMemory),
            _ => Err("use cumulative, delta or lowmemory".to_owned()),
        }
    });
    Some(MetricsConfig {
        destination: Box::new(destination),
        interval: interval.unwrap_or(INTERVAL),
        temporality: temporality.unwrap_or_default(),
        resource: resource::resource(resolver, Signal::Metrics),
        spans_to: spans.clone(),
        queue_spans,
    })
}
