//! A failed call → one sentence that says what is wrong and what to do.

use std::error::Error;
use std::io;

use http::StatusCode;
use tonic::{Code, Status};

use super::http::Answer;
use super::{OtlpConfig, Protocol, Secret};

/// What is needed to speak about a destination without telling its secrets.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    /// Scheme, host and port.
    endpoint: String,
    /// The variable that a user most likely sets it with.
    variable: &'static str,
    /// What follows host and port in the URL; of gRPC nothing.
    path: String,
    /// Host and port of the proxy on the way.
    proxy: Option<String>,
    /// Whether a certificate is shown to it.
    shows_certificate: bool,
    /// Never to be repeated, even when the server does.
    secrets: Vec<Secret>,
}

impl Destination {
    pub(super) fn new(config: &OtlpConfig) -> Self {
        let host = config.endpoint.host().unwrap_or_default();
        let variable = if config.is_honeycomb() { "HONEYCOMB_API_ENDPOINT" } else { "OTEL_EXPORTER_OTLP_ENDPOINT" };
        let scheme = config.endpoint.scheme_str().unwrap_or("https");
        let authority = config.endpoint.authority().map_or(host, http::uri::Authority::as_str);
        // Whatever stands before `@` is a credential.
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        Self {
            endpoint: format!("{scheme}://{authority}"),
            variable,
            path: if config.protocol == Protocol::Grpc { String::new() } else { config.endpoint.path().to_owned() },
            proxy: config.proxy.as_ref().map(|proxy| proxy.uri.to_string().trim_end_matches('/').to_owned()),
            shows_certificate: config.client_identity.is_some(),
            secrets: secrets(config),
        }
    }

    /// Scheme, host and port.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Why a call failed: the answer of a server, or the error of the transport that found none.
    pub(super) fn explain_status(&self, status: &Status) -> String {
        match status.source() {
            Some(source) => self.explain_transport(source),
            None => self.explain_answer(status),
        }
    }

    /// No answer within `seconds`.
    pub(super) fn explain_timeout(&self, seconds: f64) -> String {
        format!(
            "{} gave no answer within {seconds} s: OTEL_EXPORTER_OTLP_TIMEOUT (milliseconds) sets how long to wait",
            self.endpoint
        )
    }

    fn explain_answer(&self, status: &Status) -> String {
        let endpoint = &self.endpoint;
        let said = self.quote(status.message());
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => format!(
                "{endpoint} does not accept the credentials{said}: check HONEYCOMB_API_KEY / OTEL_EXPORTER_OTLP_HEADERS"
            ),
            Code::Unimplemented => format!(
                "{endpoint} takes no spans over OTLP/gRPC, or not with this compression{said}: check {} and \
                 OTEL_EXPORTER_OTLP_COMPRESSION",
                self.variable
            ),
            // Something answers HTTP, and it is no gRPC server (gRPC over HTTP/2, "Responses").
            Code::Unknown | Code::Internal | Code::Unavailable
                if status.message().contains("grpc-status header missing") =>
            {
                format!(
                    "{endpoint} speaks HTTP but not gRPC{said}: check {}, its port, and OTEL_EXPORTER_OTLP_PROTOCOL",
                    self.variable
                )
            }
            Code::ResourceExhausted => format!("{endpoint} has no room for more{said}"),
            Code::Unavailable => format!("{endpoint} is not available{said}"),
            code => format!("{endpoint} answered {}{said}", code_name(code)),
        }
    }

    /// Why a server did not take spans over HTTP.
    pub(super) fn explain_http_answer(&self, answer: &Answer) -> String {
        let Self { endpoint, variable, path, .. } = self;
        let said = self.quote(&answer.message);
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => format!(
                "{endpoint} does not accept the credentials{said}: check HONEYCOMB_API_KEY / OTEL_EXPORTER_OTLP_HEADERS"
            ),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => format!(
                "{endpoint} takes no spans at {path} ({}){said}: check {variable} and OTEL_EXPORTER_OTLP_PROTOCOL",
                answer.status
            ),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => format!(
                "{endpoint} takes no protobuf over HTTP, or not with this compression{said}: check {variable} and \
                 OTEL_EXPORTER_OTLP_COMPRESSION"
            ),
            StatusCode::PAYLOAD_TOO_LARGE => format!("{endpoint} does not take so much at once{said}"),
            StatusCode::TOO_MANY_REQUESTS => format!("{endpoint} has no room for more{said}"),
            StatusCode::SERVICE_UNAVAILABLE => format!("{endpoint} is not available{said}"),
            status if status.is_redirection() => {
                format!(
                    "{endpoint} sends elsewhere{said}, and redirects are not followed: set {variable} to that place"
                )
            }
            status => format!("{endpoint} answered {status}{said}"),
        }
    }

    /// Why no connection came about, or why it broke.
    pub(super) fn explain_transport(&self, error: &(dyn Error + 'static)) -> String {
        let (kind, deepest) = root_cause(error);
        let deepest = self.clean(&deepest);
        let Self { endpoint, variable, .. } = self;
        let has = |word: &str| deepest.contains(word);
        if let Some(proxy) = &self.proxy
            && let Some(why) = tunnel_fault(error)
        {
            return format!("the proxy {proxy} gives no way to {endpoint} ({why}): check HTTPS_PROXY and NO_PROXY");
        }
        if kind == Some(io::ErrorKind::ConnectionRefused) {
            format!(
                "nothing listens at {endpoint} (connection refused): start an OTLP receiver there, or set {variable}"
            )
        } else if has("failed to lookup address") || has("dns error") {
            format!("the host of {endpoint} has no address ({deepest}): check {variable}")
        } else if has("certificate expired") || has("Expired") || has("not valid yet") || has("NotValidYet") {
            format!("the certificate of {endpoint} is not valid now ({deepest}): renew it, or check the clocks")
        } else if has("UnknownIssuer") || has("BadSignature") {
            format!(
                "the certificate of {endpoint} is signed by an authority that is not trusted here: set \
                 OTEL_EXPORTER_OTLP_CERTIFICATE to a PEM file with that authority's certificate"
            )
        } else if has("NotValidForName") || has("not valid for name") {
            format!("the certificate of {endpoint} is for another host ({deepest}): check {variable}")
        } else if has("InvalidContentType") {
            format!("{endpoint} does not speak TLS: set {variable} to http:// for plaintext, or check the port")
        } else if has("CertificateRequired") || has("certificate required") {
            format!(
                "{endpoint} asks for a client certificate: set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and \
                 OTEL_EXPORTER_OTLP_CLIENT_KEY"
            )
        } else if has("frame with invalid size") || has("HTTP/2 was not negotiated") || has("invalid preface") {
            format!("{endpoint} does not speak gRPC as it is asked to ({deepest}): check scheme and port in {variable}")
        } else if kind == Some(io::ErrorKind::TimedOut) || has("deadline has elapsed") || has("Timeout expired") {
            format!(
                "{endpoint} does not answer ({deepest}): check {variable}, and firewalls and network policies between"
            )
        } else {
            let hint = if endpoint.starts_with("https:") && !self.shows_certificate && was_closed(kind, &deepest) {
                // The alert that says so may be lost: a connection that is reset loses what was not read.
                "; if the server asks for a client certificate, set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"
            } else {
                ""
            };
            format!("the connection to {endpoint} failed ({deepest}): check {variable}{hint}")
        }
    }

    /// A server's own words, in parentheses: on one line, of bearable length, without the secrets it may repeat.
    pub(super) fn quote(&self, message: &str) -> String {
        let words = self.clean(message);
        if words.is_empty() { String::new() } else { format!(" (\"{words}\")") }
    }

    /// Words that somebody else may have chosen, likewise.
    fn clean(&self, message: &str) -> String {
        const LONGEST: usize = 300;
        let mut message = message.to_owned();
        for secret in &self.secrets {
            message = message.replace(secret.reveal(), "********");
        }
        let words: String =
            message.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(LONGEST).collect();
        words.trim().to_owned()
    }
}

/// Whether the other side ended the connection.
fn was_closed(kind: Option<io::ErrorKind>, deepest: &str) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};

    matches!(kind, Some(BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof))
        || ["closed", "broken pipe", "reset"].iter().any(|word| deepest.contains(word))
}

/// Every value that is sent, and every word of it: `Bearer` and its token are two. What is short is no secret, and may be a
/// part of any sentence.
fn secrets(config: &OtlpConfig) -> Vec<Secret> {
    const SHORTEST: usize = 6;
    let values = config.headers.iter().map(|(_, value)| value.reveal());
    let words = values.clone().flat_map(|value| value.split([' ', ',', '=', ':']));
    let mut secrets: Vec<&str> = values.chain(words).filter(|word| word.len() >= SHORTEST).collect();
    // The longest first: a part of it that is replaced would leave the rest.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.into_iter().map(Secret::new).collect()
}

/// What is wrong with the tunnel through a proxy, if that is what is wrong.
fn tunnel_fault(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(why) = error.to_string().strip_prefix("tunnel error: ") {
            let (_, deepest) = root_cause(error);
            return Some(match why {
                "proxy authorization required" => "it asks for a user and a password".to_owned(),
                "unsuccessful" => "it refuses".to_owned(),
                _ => deepest,
            });
        }
        next = error.source();
    }
    None
}

/// The kind of the first input/output error, and what the innermost error says.
fn root_cause(error: &(dyn Error + 'static)) -> (Option<io::ErrorKind>, String) {
    let mut kind = None;
    let mut deepest = error.to_string();
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            kind = kind.or_else(|| Some(error.kind()));
        }
        deepest = error.to_string();
        next = error.source();
    }
    (kind, deepest)
}

/// The code as the gRPC specification writes it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::export::otlp::Compression;

    fn destination(endpoint: &str) -> Destination {
        Destination::new(&config(endpoint))
    }

    fn config(endpoint: &str) -> OtlpConfig {
        OtlpConfig {
            endpoint: endpoint.parse().unwrap(),
            protocol: Protocol::Grpc,
            proxy: None,
            headers: vec![("x-honeycomb-team".to_owned(), Secret::new("hcaik_secret"))],
            compression: Compression::None,
            timeout: Duration::from_secs(10),
            certificate: None,
            client_identity: None,
            concurrency: 1,
        }
    }

    #[test]
    fn a_refused_key_names_where_keys_are_set_and_never_the_key() {
        let status = Status::unauthenticated("unknown API key hcaik_secret\r\n\x1b[2J");
        let sentence = destination("https://api.honeycomb.io:443").explain_status(&status);
        assert_eq!(
            sentence,
            "https://api.honeycomb.io:443 does not accept the credentials (\"unknown API key ********   [2J\"): check \
             HONEYCOMB_API_KEY / OTEL_EXPORTER_OTLP_HEADERS"
        );
    }

    #[test]
    fn a_refused_connection_names_the_variable_that_sets_the_endpoint() {
        let error = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(
            destination("http://localhost:4317").explain_transport(&error),
            "nothing listens at http://localhost:4317 (connection refused): start an OTLP receiver there, or set \
             OTEL_EXPORTER_OTLP_ENDPOINT"
        );
        let sentence = destination("https://api.eu1.honeycomb.io").explain_transport(&error);
        assert!(sentence.contains("HONEYCOMB_API_ENDPOINT"), "{sentence}");
    }

    #[test]
    fn credentials_in_the_endpoint_are_not_repeated() {
        assert_eq!(destination("http://user:pass@host:4317").endpoint(), "http://host:4317");
    }

    #[test]
    fn a_tls_server_that_closes_without_a_word_may_want_a_certificate() {
        let error = io::Error::from(io::ErrorKind::ConnectionReset);
        let sentence = destination("https://host:1").explain_transport(&error);
        assert!(sentence.contains("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"), "{sentence}");
        let sentence = destination("http://host:1").explain_transport(&error);
        assert!(!sentence.contains("CERTIFICATE"), "{sentence}");
    }

    #[test]
    fn a_token_is_not_repeated_without_its_scheme_either() {
        let mut config = config("http://host:1");
        config.headers =
            vec![("authorization".into(), Secret::new("Bearer abc.def-123")), ("x-tenant".into(), Secret::new("1"))];
        let status = Status::internal("token 'abc.def-123' expired 1 hour ago");
        let sentence = Destination::new(&config).explain_status(&status);
        assert!(sentence.contains("token '********' expired 1 hour ago"), "{sentence}");
        let gone = io::Error::other("GOAWAY: abc.def-123");
        let sentence = Destination::new(&config).explain_transport(&gone);
        assert!(!sentence.contains("abc.def-123"), "{sentence}");
    }

    #[test]
    fn a_long_answer_is_cut() {
        let status = Status::internal("x".repeat(10_000));
        assert!(destination("http://host:1").explain_status(&status).len() < 400);
    }
}
