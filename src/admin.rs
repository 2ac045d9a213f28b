//! What the agent says of itself over HTTP: whether it lives, whether it is ready, what it has counted, how it is set.
//!
//! A small server for probes and scrapers on this machine. Who connects can ask a short question and has little time for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use tokio::net::TcpListener;

use crate::export::ExportCounters;
use crate::metadata::MetadataStatus;
use crate::serving::{self, Bounds, text};
use crate::telemetry::prometheus;
use crate::worker::Watch;

/// Answers are made at once.
const BOUNDS: Bounds = Bounds { connections: 64, answer: Duration::ZERO };
/// A worker that has not turned for so long is stuck.
const STUCK: Duration = Duration::from_secs(30);

const INDEX: &str = "network-agent\n\n/livez    whether the workers turn\n/readyz   whether spans go out\n\
                     /metrics  counters, for Prometheus\n/config   settings, without secrets\n";

/// What the server tells.
#[derive(Clone)]
pub(crate) struct Status {
    /// The workers' counters.
    pub(crate) workers: Watch,
    /// The exporter's.
    pub(crate) export: Arc<ExportCounters>,
    /// How the watches of Kubernetes fare, where there are any.
    pub(crate) names: Option<Arc<MetadataStatus>>,
    /// The settings in words, secrets masked.
    pub(crate) config: Arc<str>,
}

/// Serves on `address` until the runtime ends. That it cannot is said and is no reason to stop: another program may have
/// the port on a node's network, and spans are what the agent is for.
pub(crate) async fn serve(address: SocketAddr, status: Status) {
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "Cannot listen on {address}: no probes and no metrics; set AGENT_ADMIN_ADDRESS.");
            return;
        }
    };
    tracing::debug!(%address, "Answers probes and gives metrics.");
    serving::serve(listener, BOUNDS, move |request| {
        std::future::ready(answer(request.method(), request.uri().path(), &status))
    })
    .await;
}

fn answer(method: &Method, path: &str, status: &Status) -> Response<Full<Bytes>> {
    let known = ["/", "/livez", "/readyz", "/metrics", "/config"];
    if !known.contains(&path) {
        return text(StatusCode::NOT_FOUND, format!("there is no {path}; see /\n"));
    }
    if method != Method::GET && method != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/livez" => verdict(status.workers.stuck(STUCK)),
        "/readyz" => readiness(status),
        "/metrics" => {
            let mut response =
                text(StatusCode::OK, prometheus::render(&status.workers.all(), &status.export.snapshot()));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(prometheus::CONTENT_TYPE));
            response
        }
        "/config" => text(StatusCode::OK, status.config.to_string()),
        _ => text(StatusCode::OK, INDEX.to_owned()),
    }
}

/// Whether spans go out, and with the names that they should have. Names that were known once and may be out of date are said,
/// and are no reason not to be ready.
fn readiness(status: &Status) -> Response<Full<Bytes>> {
    let names = || status.names.as_ref()?.obstacle();
    let obstacle = status.workers.stuck(STUCK).or_else(|| status.export.obstacle()).or_else(names);
    match status.names.as_ref().and_then(|names| names.doubt()) {
        Some(doubt) if obstacle.is_none() => text(StatusCode::OK, format!("ok, but {doubt}\n")),
        _ => verdict(obstacle),
    }
}

/// 200, or 503 with what is wrong.
fn verdict(obstacle: Option<String>) -> Response<Full<Bytes>> {
    match obstacle {
        None => text(StatusCode::OK, "ok\n".to_owned()),
        Some(obstacle) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{obstacle}\n")),
    }
}
