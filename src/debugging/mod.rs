//! What the agent shows of its inside over HTTP, with `DEBUG`: where its time goes, what it allocates, what its tables hold.
//!
//! A server of its own, because a profile costs time and tells much: it is there only when asked for, and by default only
//! for who is on this machine.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{ALLOW, CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use tokio::net::TcpListener;

use crate::serving::{self, Bounds, text};
use crate::telemetry::allocations::Allocations;
use crate::worker::{Watch, WorkerSnapshot};

mod modules;
mod pprof;
mod profile;
mod sampler;

use profile::Turn;

/// The longest profile in seconds; stops who would have the agent sample itself for ever.
const LONGEST: u64 = 60;
/// How long a profile takes when nothing is said; Go's tools expect it.
const DEFAULT: u64 = 30;
/// A profile is longest to make: its own time, and that of naming its functions on a busy machine.
const BOUNDS: Bounds = Bounds { connections: 16, answer: Duration::from_secs(LONGEST + 30) };

const INDEX: &str = "network-agent\n\n\
    /debug/pprof/profile?seconds=30  where the processor's time goes, for go tool pprof (1 to 60 seconds)\n\
    /debug/allocations               calls of the allocator, by size\n\
    /debug/connections               what each worker's table of connections holds\n";

/// Serves on `address` until the runtime ends. That it cannot is said and is no reason to stop.
pub(crate) async fn serve(address: SocketAddr, workers: Watch) {
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "Cannot listen on {address}: no profiles; set DEBUG_ADDRESS.");
            return;
        }
    };
    tracing::info!("Profiles, allocations and connections are shown at http://{address}/.");
    serving::serve(listener, BOUNDS, move |request| {
        let workers = workers.clone();
        async move { answer(request.method(), request.uri().path(), request.uri().query(), &workers).await }
    })
    .await;
}

async fn answer(method: &Method, path: &str, query: Option<&str>, workers: &Watch) -> Response<Full<Bytes>> {
    let known =
        ["/", "/debug/pprof", "/debug/pprof/", "/debug/pprof/profile", "/debug/allocations", "/debug/connections"];
    if !known.contains(&path) {
        return text(StatusCode::NOT_FOUND, format!("there is no {path}; see /\n"));
    }
    if method != Method::GET {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    match path {
        "/debug/pprof/profile" => match seconds(query) {
            Some(seconds) => take_profile(Duration::from_secs(seconds)).await,
            None => text(StatusCode::BAD_REQUEST, format!("use seconds=1 to seconds={LONGEST}\n")),
        },
        "/debug/allocations" => text(StatusCode::OK, Allocations::now().report()),
        "/debug/connections" => text(StatusCode::OK, connections(&workers.all())),
        _ => text(StatusCode::OK, INDEX.to_owned()),
    }
}

/// How long the profile shall take; none when what is asked for cannot be had.
fn seconds(query: Option<&str>) -> Option<u64> {
    let parameters = query.unwrap_or_default().split('&');
    match parameters.filter_map(|parameter| parameter.strip_prefix("seconds=")).next_back() {
        Some(text) => text.parse().ok().filter(|seconds| (1..=LONGEST).contains(seconds)),
        None => Some(DEFAULT),
    }
}

async fn take_profile(duration: Duration) -> Response<Full<Bytes>> {
    let Some(turn) = Turn::take() else {
        return text(StatusCode::CONFLICT, "another profile is being taken; there is one at a time\n".to_owned());
    };
    let waiting = Waiting::default();
    let abandoned = waiting.0.clone();
    match tokio::task::spawn_blocking(move || profile::take(&turn, duration, &abandoned)).await {
        Ok(Ok(profile)) => {
            let mut response = Response::new(Full::new(Bytes::from(profile)));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"profile\""));
            response
        }
        Ok(Err(error)) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("no profile can be taken: {error}\n")),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("the profile was not finished: {error}\n")),
    }
}

/// Lives as long as somebody waits for a profile; then the flag is set, which ends it.
#[derive(Default)]
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What the tables hold, by worker and class.
fn connections(workers: &[WorkerSnapshot]) -> String {
    let mut text = String::new();
    for (number, worker) in workers.iter().enumerate() {
        let (tcp, http, exchange) = (&worker.counters.tcp, &worker.counters.http, &worker.counters.exchange);
        let _ = writeln!(text, "worker-{number}");
        for (name, value, words) in [
            ("active", tcp.active, "connections known now"),
            ("memory", tcp.memory, "bytes that they take"),
            ("memory_peak", tcp.memory_peak, "the most that they have taken"),
            ("connections", tcp.connections, "connections seen"),
            ("evicted", tcp.evicted, "forgotten because of their number"),
            ("shed", tcp.shed, "forgotten for want of memory"),
            ("opaque", http.opaque_connections, "seen that are not HTTP/1"),
            ("exchanges", exchange.emitted, "reported"),
        ] {
            let _ = writeln!(text, "  {name:<12} {value:>12}  {words}");
        }
        let _ = writeln!(text, "\n  {:<12} {:>12} {:>14}", "class", "connections", "bytes");
        for (name, words, class) in worker.table.classes() {
            let _ = writeln!(text, "  {name:<12} {:>12} {:>14}  {words}", class.connections, class.bytes);
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_takes_one_second_to_sixty_and_thirty_when_nothing_is_said() {
        for (query, wanted) in [
            (None, Some(30)),
            (Some(""), Some(30)),
            (Some("seconds=1"), Some(1)),
            (Some("debug=1&seconds=60"), Some(60)),
            (Some("seconds=0"), None),
            (Some("seconds=61"), None),
            (Some("seconds="), None),
            (Some("seconds=-1"), None),
            (Some("seconds=1.5"), None),
            (Some("seconds=soon"), None),
        ] {
            assert_eq!(seconds(query), wanted, "{query:?}");
        }
    }

    #[test]
    fn each_worker_and_each_class_has_its_line() {
        let text = connections(&[WorkerSnapshot::default(), WorkerSnapshot::default()]);
        assert!(text.contains("worker-0") && text.contains("worker-1"), "{text}");
        assert_eq!(text.lines().filter(|line| line.trim_start().starts_with("busy")).count(), 8, "{text}");
    }
}
