//! What the agent says of itself over HTTP: whether it lives, whether it is ready, what it has counted, how it is set.
//!
//! A small server for probes and scrapers on this machine. Who connects can ask a short question and has little time for it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::export::ExportCounters;
use crate::telemetry::prometheus;
use crate::worker::Watch;

/// Connections at once; stops whoever opens them without end.
const MAX_CONNECTIONS: usize = 64;
/// The longest a connection lasts, its request and its answer included; stops who dribbles bytes.
const PATIENCE: Duration = Duration::from_secs(10);
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
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let status = status.clone();
                tokio::spawn(async move {
                    converse(stream, status).await;
                    drop(place);
                });
            }
            // Out of descriptors, perhaps: not at once again.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn converse(stream: TcpStream, status: Status) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let answer = answer(request.method(), request.uri().path(), &status);
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE / 2).max_buf_size(16 << 10).keep_alive(false);
    // Whoever breaks off, or is too slow, has had his chance.
    let _ = timeout(PATIENCE, builder.serve_connection(TokioIo::new(stream), service)).await;
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
        "/readyz" => verdict(status.workers.stuck(STUCK).or_else(|| status.export.obstacle())),
        "/metrics" => {
            let mut response =
                text(StatusCode::OK, prometheus::render(&status.workers.all(), status.export.snapshot()));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(prometheus::CONTENT_TYPE));
            response
        }
        "/config" => text(StatusCode::OK, status.config.to_string()),
        _ => text(StatusCode::OK, INDEX.to_owned()),
    }
}

/// 200, or 503 with what is wrong.
fn verdict(obstacle: Option<String>) -> Response<Full<Bytes>> {
    match obstacle {
        None => text(StatusCode::OK, "ok\n".to_owned()),
        Some(obstacle) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{obstacle}\n")),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
