//! A server of HTTP/1.1 that answers as it is told and shows what it got.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// One request.
#[derive(Debug)]
pub struct Received {
    pub line: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    /// The body without its coding.
    pub fn plain(&self) -> Bytes {
        match self.header("content-encoding") {
            "" => self.body.clone(),
            "gzip" => {
                let mut plain = Vec::new();
                std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&self.body[..]), &mut plain).unwrap();
                plain.into()
            }
            "zstd" => zstd::stream::decode_all(&self.body[..]).unwrap().into(),
            other => panic!("{other}"),
        }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// How it is answered; `None` is never.
pub type Answer = Option<Response<Bytes>>;

#[expect(clippy::unnecessary_wraps, reason = "it stands where an answer may be missing")]
pub fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    let response = headers
        .iter()
        .fold(Response::builder().status(status), |response, (name, value)| response.header(*name, *value));
    Some(response.body(body.into()).unwrap())
}

/// OTLP's answer to spans that were taken: an empty message.
pub fn taken() -> Answer {
    answer(200, &[("content-type", "application/x-protobuf")], "")
}

pub struct Web {
    pub address: SocketAddr,
    pub received: mpsc::UnboundedReceiver<Received>,
}

type Behaviour = dyn Fn(usize, &Received) -> Answer + Send + Sync;

impl Web {
    /// The first requests are answered as scripted, the others as taken.
    pub async fn scripted(script: Vec<Answer>) -> Self {
        Self::start(None, move |number, _| script.get(number).cloned().unwrap_or_else(taken)).await
    }

    pub async fn start(
        tls: Option<TlsAcceptor>,
        behaviour: impl Fn(usize, &Received) -> Answer + Send + Sync + 'static,
    ) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test receives as much as it sends")]
        let (sender, received) = mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let behaviour: Arc<Behaviour> = Arc::new(behaviour);
        let number = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, sender, behaviour, number) = (tls.clone(), sender.clone(), behaviour.clone(), number.clone());
                tokio::spawn(async move {
                    match tls {
                        None => converse(stream, sender, behaviour, number).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                converse(stream, sender, behaviour, number).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, received }
    }

    pub async fn next(&mut self) -> Received {
        self.received.recv().await.unwrap()
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    sender: mpsc::UnboundedSender<Received>,
    behaviour: Arc<Behaviour>,
    number: Arc<std::sync::atomic::AtomicUsize>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let (sender, behaviour, number) = (sender.clone(), behaviour.clone(), number.clone());
        async move {
            let line = format!("{} {}", request.method(), request.uri());
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let received = Received { line, headers: head.headers, body };
            let answer = behaviour(number.fetch_add(1, std::sync::atomic::Ordering::SeqCst), &received);
            let _ = sender.send(received);
            match answer {
                Some(answer) => Ok::<_, Infallible>(answer.map(Full::new)),
                None => std::future::pending().await,
            }
        }
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
