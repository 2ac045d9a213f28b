//! `--check`: the resolved configuration, in words, and a try of everything that start-up needs.

use std::io::Write;
use std::time::Duration;

use crate::agent::{Ending, destination, failure, report};
use crate::capture::{self, Received, SourceConfig};
use crate::config::Config;
use crate::export::{self, ExportConfig, OutputConfig, Spool};
use crate::metadata::{MetadataConfig, MetadataSource, Names, OfflineError, Scope};

/// Prints and tries; the first failure decides the exit code.
pub(crate) async fn run(config: Config) -> Ending {
    let mut lines = vec![format!("network-agent {}", env!("CARGO_PKG_VERSION")), String::new()];
    lines.extend(describe(&config).into_iter().map(|(name, value)| format!("{name:<20} {value}")));
    lines.extend(config.warnings.iter().map(|warning| format!("{:<20} {warning}", "warning")));
    lines.push(String::new());
    let mut ending = Ending::Well;
    match try_source(&config.source) {
        Ok(found) => lines.push(format!("{:<20} {found}", "source ok")),
        Err(error) => {
            lines.push(format!("{:<20} see below", "source FAILED"));
            ending = report(&error);
        }
    }
    if let Some(spool) = &config.export.spool {
        match Spool::look(spool) {
            Ok(found) => lines.push(format!("{:<20} {found}", "spool ok")),
            Err(error) => {
                lines.push(format!("{:<20} {error}", "spool FAILED"));
                if ending == Ending::Well {
                    ending = failure(&error);
                }
            }
        }
    }
    match try_names(&config.metadata).await {
        Ok(None) => {}
        Ok(Some(Ok(found))) => lines.push(format!("{:<20} {found}", "names ok")),
        // Spans go without them, so it is no reason not to start.
        Ok(Some(Err(reason))) => lines.push(format!("{:<20} {reason}", "names MISSING")),
        Err(error) => {
            lines.push(format!("{:<20} {error}", "names FAILED"));
            ending = Ending::BadInput;
        }
    }
    match export::check(&config.export).await {
        Ok(found) => lines.push(format!("{:<20} {found}", "destination ok")),
        Err(error) => {
            lines.push(format!("{:<20} {error}", "destination FAILED"));
            if ending == Ending::Well {
                ending = failure(&error);
            }
        }
    }
    // The reader may have gone; the exit code still says what was found.
    let _ = writeln!(std::io::stdout().lock(), "{}", lines.join("\n"));
    ending
}

/// The settings in words, secrets masked.
pub(crate) fn describe(config: &Config) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    match &config.source {
        SourceConfig::File(file) => {
            let path =
                file.path.as_ref().map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
            lines.push(("read", path));
            lines.extend(file.filter.clone().map(|filter| ("filter", filter)));
        }
        SourceConfig::Live(live) => {
            lines.push(("interfaces", live.interfaces.join(", ")));
            if !live.without.is_empty() {
                lines.push(("left out", live.without.join(", ")));
            }
            lines.push(("workers", live.workers.to_string()));
            let admin = config.admin.map_or_else(|| "off".to_owned(), |address| address.to_string());
            lines.push(("probes, Prometheus", admin));
            lines.extend(config.debugging.map(|address| ("profiles", address.to_string())));
            lines.push(("filter", live.filter.clone()));
            lines.push(("ring", format!("{} bytes", live.ring_bytes)));
            lines.push(("snap length", format!("{} bytes", live.snap_length)));
        }
    }
    lines.push(("destination", destination(&config.export.output)));
    if let OutputConfig::Otlp(otlp) = &config.export.output {
        for (name, value) in &otlp.headers {
            // A token that ends in = and was given without a name stands where a name does.
            let is_name = !value.reveal().trim_matches('=').is_empty();
            lines.push(("header", format!("{}: ********", if is_name { name } else { "********" })));
        }
        lines.push(("protocol", otlp.protocol.name().to_owned()));
        lines
            .extend(otlp.proxy.as_ref().map(|proxy| ("proxy", proxy.uri.to_string().trim_end_matches('/').to_owned())));
        lines.push(("compression", format!("{:?}", otlp.compression).to_ascii_lowercase()));
        lines.push(("timeout", format!("{:?}", otlp.timeout)));
        lines.push(("requests in flight", otlp.concurrency.to_string()));
    }
    if let SourceConfig::Live(_) = config.source {
        let metrics = config.metrics.as_ref().map_or_else(
            || "nowhere".to_owned(),
            |metrics| format!("{} every {:?}", metrics.destination.shown(), metrics.interval),
        );
        lines.push(("own metrics", metrics));
    }
    lines.extend(names(config));
    describe_batches(&config.export, &mut lines);
    lines.push(("headers reported", config.spans.headers.join(", ")));
    lines.push(("views merged within", format!("{:?}", config.export.merge.window)));
    lines.push(("memory of the core", format!("{} bytes", config.pipeline.max_memory)));
    lines.push(("connections", format!("at most {}", config.pipeline.max_connections)));
    lines.push(("exchange timeout", format!("{:?}", config.pipeline.exchange_timeout)));
    for attribute in &config.resource.attributes {
        if let crate::span::Value::String(value) = &attribute.value {
            lines.push(("resource", format!("{} = {value}", attribute.key)));
        }
    }
    lines
}

/// When batches are sent, and what may wait for that.
fn describe_batches(export: &ExportConfig, lines: &mut Vec<(&'static str, String)>) {
    let batch = &export.batch;
    let delay = batch.delay + export.merge.patience.unwrap_or_default();
    lines.push(("batch", format!("{} spans or {} bytes or {:?}", batch.max_spans, batch.max_bytes, delay)));
    lines.push(("queue", format!("{} bytes", batch.queue_bytes)));
    if let Some(spool) = &export.spool {
        lines.push(("spool", format!("{}, {} bytes", spool.directory.display(), spool.max_bytes)));
    }
}

/// Where names come from and which spans there are, in words.
fn names(config: &Config) -> [(&'static str, String); 2] {
    let scope = match config.metadata.scope {
        Scope::Cluster => "",
        Scope::Node => ", of this node's pods",
    };
    let names = match &config.metadata.source {
        MetadataSource::Off => "none".to_owned(),
        MetadataSource::Auto => format!("of Kubernetes, where there is one{scope}"),
        MetadataSource::On => format!("of Kubernetes{scope}"),
        MetadataSource::Kubeconfig(path) => format!("of Kubernetes, by {}{scope}", path.display()),
        MetadataSource::File(path) => path.display().to_string(),
    };
    [("names", names), ("span layout", format!("{:?}", config.spans.layout).to_ascii_lowercase())]
}

/// Reads the file of names, or asks the API server.
async fn try_names(config: &MetadataConfig) -> Result<Option<Result<String, String>>, OfflineError> {
    Ok(Names::open(config).await?.check().await)
}

/// Opens the source and closes it again; of a file the first packets are read.
fn try_source(config: &SourceConfig) -> Result<String, capture::CaptureError> {
    let mut sources = crate::agent::open(config)?;
    match config {
        SourceConfig::Live(live) => Ok(format!("may capture on {}", live.interfaces.join(", "))),
        SourceConfig::File(_) => {
            let Some(source) = sources.first_mut() else { return Ok("there is nothing to read".to_owned()) };
            let found = source.receive(Duration::ZERO, &mut |_| {})?;
            Ok(match found {
                Received::Packets(_) | Received::Idle { .. } => "it is a capture file".to_owned(),
                Received::End => "it is a capture file without packets".to_owned(),
            })
        }
    }
}
