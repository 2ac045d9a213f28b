//! An endpoint → a TCP connection to it, or a tunnel through a proxy.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::OtlpConfig;
use super::connection::connect_timeout;

/// A proxy that opens tunnels (RFC 9110 §9.3.6, `CONNECT`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proxy {
    /// Scheme, host and port, without a user.
    pub uri: Uri,
    /// `Proxy-Authorization`, if the proxy asks for it. Marked as sensitive: it is not printed.
    pub authorization: Option<HeaderValue>,
}

/// Makes connections. TLS, if any, is spoken through them by whoever asked.
#[derive(Clone, Debug)]
pub(super) struct Dial {
    direct: HttpConnector,
    tunnel: Option<Tunnel<HttpConnector>>,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Dial {
    pub(super) fn new(config: &OtlpConfig) -> Self {
        let mut direct = HttpConnector::new();
        direct.enforce_http(false);
        direct.set_nodelay(true);
        direct.set_keepalive(Some(Duration::from_secs(30)));
        direct.set_connect_timeout(Some(connect_timeout(config)));
        let tunnel = config.proxy.as_ref().map(|proxy| {
            let tunnel = Tunnel::new(proxy.uri.clone(), direct.clone());
            match &proxy.authorization {
                Some(authorization) => tunnel.with_auth(authorization.clone()),
                None => tunnel,
            }
        });
        Self { direct, tunnel }
    }
}

impl Service<Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match &mut self.tunnel {
            Some(tunnel) => tunnel.poll_ready(context).map_err(Into::into),
            None => self.direct.poll_ready(context).map_err(Into::into),
        }
    }

    fn call(&mut self, endpoint: Uri) -> Self::Future {
        if let Some(tunnel) = &mut self.tunnel {
            let connecting = tunnel.call(endpoint);
            Box::pin(async move { connecting.await.map_err(Into::into) })
        } else {
            let connecting = self.direct.call(endpoint);
            Box::pin(async move { connecting.await.map_err(Into::into) })
        }
    }
}
