//! Batches of OTLP bytes → POST requests of OTLP/HTTP, and the server's answers.

use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, LOCATION, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use prost::Message as _;

use super::connection::{self, HttpClient, headers, http_client};
use super::generated::opentelemetry::proto::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use super::tls::Certificates;
use super::{Compression, OtlpConfig};
use crate::export::ExportError;

/// The longest answer that is read (OTLP specification, OTLP/HTTP response).
const LONGEST_ANSWER: usize = 4 << 20;
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

/// An OTLP/HTTP server.
#[derive(Debug)]
pub(super) struct HttpTransport {
    client: Mutex<HttpClient>,
    uri: Uri,
    headers: HeaderMap,
}

/// Why a request was in vain.
#[derive(Debug)]
pub(super) enum HttpFailure {
    /// The server said so.
    Answer(Answer),
    /// It could not be asked.
    Transport(Box<dyn std::error::Error + Send + Sync>),
}

/// What a server said.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// `Retry-After`.
    pub(super) wait: Option<Duration>,
    /// In its own words; empty when it has none.
    pub(super) message: String,
}

impl HttpTransport {
    pub(super) fn new(config: &OtlpConfig, certificates: &Certificates) -> Result<Self, ExportError> {
        let mut headers = headers(config)?;
        headers.insert(USER_AGENT, HeaderValue::from_static(connection::USER_AGENT));
        headers.insert(CONTENT_TYPE, PROTOBUF);
        Ok(Self { client: Mutex::new(http_client(config, certificates)?), uri: config.endpoint.clone(), headers })
    }

    /// Sends a batch once.
    pub(super) async fn send(
        &self,
        bytes: Bytes,
        compression: Compression,
    ) -> Result<ExportTraceServiceResponse, HttpFailure> {
        let response = self.post(bytes, compression).await?;
        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            return Err(HttpFailure::Answer(answer(head.status, &head.headers, &body)));
        }
        taken(media_type(&head.headers), &body).ok_or_else(|| {
            let message = "a page, where OTLP answers with a message".to_owned();
            HttpFailure::Answer(Answer { status: head.status, wait: None, message })
        })
    }

    async fn post(&self, bytes: Bytes, compression: Compression) -> Result<Response<Bytes>, HttpFailure> {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (encoding, bytes) = compress(bytes, compression).map_err(|error| HttpFailure::Transport(error.into()))?;
        let mut request = Request::new(Full::new(bytes));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        if let Some(encoding) = encoding {
            request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        fetch(&client, request).await.map_err(HttpFailure::Transport)
    }

    /// Leaves the connections to those who still wait on them.
    pub(super) fn renew(&self, client: HttpClient) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }
}

/// A whole answer, of bounded length.
pub(super) async fn fetch(
    client: &HttpClient,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
    let (head, body) = client.request(request).await?.into_parts();
    let body = Limited::new(body, LONGEST_ANSWER).collect().await?.to_bytes();
    Ok(Response::from_parts(head, body))
}

/// The bytes as they are sent, and the name of their coding (RFC 9110 §8.4.1). The levels are tonic's: 6, and 3.
fn compress(bytes: Bytes, compression: Compression) -> std::io::Result<(Option<&'static str>, Bytes)> {
    Ok(match compression {
        Compression::None => (None, bytes),
        Compression::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::with_capacity(bytes.len() / 4), flate2::Compression::new(6));
            encoder.write_all(&bytes)?;
            (Some("gzip"), encoder.finish()?.into())
        }
        Compression::Zstd => (Some("zstd"), zstd::bulk::compress(&bytes, 3)?.into()),
    })
}

/// The media type without its parameters (RFC 9110 §8.3.1).
fn media_type(headers: &HeaderMap) -> &str {
    let whole = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    whole.split(';').next().unwrap_or_default().trim()
}

/// What a server says of spans that it took; `None` when it is no server of OTLP that answers, such as a page to log in. An
/// answer that cannot be read does not undo that they were taken.
fn taken(kind: &str, body: &Bytes) -> Option<ExportTraceServiceResponse> {
    let unread = |error: &dyn std::fmt::Display| {
        tracing::debug!("The answer to spans that were taken cannot be read: {error}.");
        ExportTraceServiceResponse::default()
    };
    match kind.to_ascii_lowercase().as_str() {
        "application/x-protobuf" => {
            Some(ExportTraceServiceResponse::decode(body.clone()).unwrap_or_else(|error| unread(&error)))
        }
        "application/json" => Some(from_json(body).unwrap_or_default()),
        "text/html" if !body.is_empty() => None,
        _ => Some(ExportTraceServiceResponse::default()),
    }
}

/// The JSON mapping of the answer: 64-bit numbers may be strings.
fn from_json(body: &Bytes) -> Option<ExportTraceServiceResponse> {
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let partial = answer.get("partialSuccess")?;
    let rejected = partial.get("rejectedSpans");
    let rejected_spans = rejected.and_then(|it| it.as_i64().or_else(|| it.as_str()?.parse().ok())).unwrap_or(0);
    let error_message = partial.get("errorMessage").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    Some(ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess { rejected_spans, error_message }),
    })
}

fn answer(status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Answer {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let message = if media_type(headers).eq_ignore_ascii_case("application/x-protobuf") {
        tonic_types::Status::decode(body.clone()).map(|status| status.message).unwrap_or_default()
    } else if status.is_redirection() {
        text(LOCATION).map(|place| format!("moved to {place}")).unwrap_or_default()
    } else {
        String::from_utf8_lossy(body.get(..body.len().min(1000)).unwrap_or_default()).into_owned()
    };
    Answer { status, wait: text(RETRY_AFTER).and_then(retry_after), message }
}

/// Seconds, or a date (RFC 9110 §10.2.3).
fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    #[expect(clippy::disallowed_methods, reason = "the server means a moment of the real clock")]
    let now = std::time::SystemTime::now();
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_a_number_of_seconds_or_a_date() {
        assert_eq!(retry_after(" 12 "), Some(Duration::from_secs(12)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        let far = retry_after("Mon, 21 Oct 2199 07:28:00 GMT").unwrap();
        assert!(far > Duration::from_secs(86_400), "{far:?}");
        assert_eq!(retry_after("soon"), None);
    }

    #[test]
    fn what_is_compressed_comes_out_as_it_was() {
        let bytes = Bytes::from(b"spans ".repeat(1000));
        let (encoding, packed) = compress(bytes.clone(), Compression::Gzip).unwrap();
        let mut plain = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut plain).unwrap();
        assert_eq!((encoding, &plain[..]), (Some("gzip"), &bytes[..]));
        let (encoding, packed) = compress(bytes.clone(), Compression::Zstd).unwrap();
        let plain = zstd::bulk::decompress(&packed, bytes.len()).unwrap();
        assert_eq!((encoding, &plain[..]), (Some("zstd"), &bytes[..]));
    }
}
