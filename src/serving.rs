//! Connections → requests and their answers, within bounds of number and time. What the agent's own servers share.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// The longest a connection lasts beside the making of the answer; stops who dribbles bytes.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a server grants to those who ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Connections at once; stops whoever opens them without end.
    pub(crate) connections: usize,
    /// The longest that the making of an answer may take.
    pub(crate) answer: Duration,
}

/// Answers every request until the runtime ends. A question that nobody waits for any more is given up: the future of its
/// answer is dropped.
pub(crate) async fn serve<A, F>(listener: TcpListener, bounds: Bounds, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send,
{
    let places = Arc::new(Semaphore::new(bounds.connections));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let answer = answer.clone();
                tokio::spawn(async move {
                    converse(stream, bounds.answer, answer).await;
                    drop(place);
                });
            }
            // Out of descriptors, perhaps: not at once again.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn converse<A, F>(stream: TcpStream, longest: Duration, answer: A)
where
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Full<Bytes>>>,
{
    let service = service_fn(|request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE / 2).max_buf_size(16 << 10).keep_alive(false);
    // Whoever breaks off, or is too slow, has had his chance.
    let _ = timeout(PATIENCE + longest, builder.serve_connection(TokioIo::new(stream), service)).await;
}

/// An answer in words.
pub(crate) fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
