//! `HONEYCOMB_…` and `OTEL_EXPORTER_OTLP_…` → an OTLP destination.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;

use super::resolve::{Resolver, millis};
use super::values;
use crate::export::otlp::{Compression, OtlpConfig, Protocol, Proxy, Secret, is_honeycomb};

const HONEYCOMB_ENDPOINT: &str = "HONEYCOMB_API_ENDPOINT";
const API_KEY: &str = "HONEYCOMB_API_KEY";

/// What is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    /// Where OTLP/HTTP takes it below a base URL.
    const fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
        }
    }

    const fn prefix(self) -> &'static str {
        match self {
            Self::Traces => "OTEL_EXPORTER_OTLP_TRACES_",
            Self::Metrics => "OTEL_EXPORTER_OTLP_METRICS_",
        }
    }
}

/// The destination: `OTEL_EXPORTER_OTLP_TRACES_…` beats `OTEL_EXPORTER_OTLP_…` beats `HONEYCOMB_…`.
pub(super) fn of_traces(resolver: &mut Resolver<'_>) -> Option<OtlpConfig> {
    otlp(resolver, Signal::Traces)
}

/// The destination of metrics, likewise; none when that of the traces is for them alone, or when there is no key for
/// Honeycomb, which is then no fault.
pub(super) fn of_metrics(resolver: &mut Resolver<'_>) -> Option<OtlpConfig> {
    let for_traces_alone = resolver.raw.text("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").is_some();
    if text_of(resolver, Signal::Metrics, "ENDPOINT").is_none() && for_traces_alone {
        return None;
    }
    otlp(resolver, Signal::Metrics)
}

fn otlp(resolver: &mut Resolver<'_>, signal: Signal) -> Option<OtlpConfig> {
    let protocol = protocol(resolver, signal);
    let (variable, text) = endpoint_text(resolver, signal);
    let insecure = is_insecure(resolver, signal);
    let parsed = match protocol {
        Protocol::Grpc => parse_endpoint(&text, insecure, variable == HONEYCOMB_ENDPOINT),
        // The variable of one signal holds its whole URL, the general ones a base.
        Protocol::HttpProtobuf => {
            parse_url(&text, insecure, if variable.starts_with(signal.prefix()) { "" } else { signal.path() })
        }
    };
    let endpoint = match parsed {
        Ok(endpoint) => endpoint,
        Err(remedy) => {
            resolver.fault(&variable, remedy);
            return None;
        }
    };
    if values::userinfo(&text).is_some() {
        resolver
            .warnings
            .push(format!("{variable} names a user, who is not sent: use OTEL_EXPORTER_OTLP_HEADERS=authorization=…"));
    }
    let is_tls = endpoint.scheme_str() == Some("https");
    let is_honeycomb = endpoint.host().is_some_and(is_honeycomb);
    let proxy = proxy(resolver, &endpoint);
    let headers = headers(resolver, signal, variable == HONEYCOMB_ENDPOINT || is_honeycomb, is_honeycomb);
    let headers = match signal {
        Signal::Traces => headers,
        Signal::Metrics => headers_of_metrics(resolver, headers, is_honeycomb)?,
    };
    let concurrency = match resolver.raw.get("AGENT_EXPORT_CONCURRENCY") {
        Some(_) => resolver.own("AGENT_EXPORT_CONCURRENCY", values::count),
        None => None,
    };
    Some(OtlpConfig {
        endpoint,
        protocol,
        proxy,
        headers,
        compression: compression(resolver, signal).unwrap_or(if is_tls {
            Compression::Gzip
        } else {
            Compression::None
        }),
        timeout: timeout(resolver, signal),
        certificate: text_of(resolver, signal, "CERTIFICATE").map(|(_, path)| PathBuf::from(path)),
        client_identity: client_identity(resolver, signal),
        concurrency: concurrency.unwrap_or(if is_honeycomb { 4 } else { 1 }),
    })
}

/// The value of the variable for `signal`, else of the general one, with the variable's name.
fn text_of(resolver: &Resolver<'_>, signal: Signal, name: &str) -> Option<(String, String)> {
    [signal.prefix(), "OTEL_EXPORTER_OTLP_"].into_iter().find_map(|prefix| {
        let variable = format!("{prefix}{name}");
        let text = resolver.raw.text(&variable)?.to_owned();
        Some((variable, text))
    })
}

fn endpoint_text(resolver: &Resolver<'_>, signal: Signal) -> (String, String) {
    text_of(resolver, signal, "ENDPOINT").unwrap_or_else(|| {
        let text = resolver.raw.text(HONEYCOMB_ENDPOINT).unwrap_or("https://api.honeycomb.io");
        (HONEYCOMB_ENDPOINT.to_owned(), text.to_owned())
    })
}

fn protocol(resolver: &mut Resolver<'_>, signal: Signal) -> Protocol {
    match text_of(resolver, signal, "PROTOCOL") {
        None => Protocol::Grpc,
        Some((variable, text)) => match text.trim() {
            "grpc" => Protocol::Grpc,
            "http/protobuf" => Protocol::HttpProtobuf,
            _ => {
                resolver.fault(&variable, "use grpc (port 4317 is usual) or http/protobuf (4318)");
                Protocol::Grpc
            }
        },
    }
}

/// The proxy on the way to `endpoint`: TLS goes through it in a tunnel, plaintext and this machine are reached directly.
fn proxy(resolver: &mut Resolver<'_>, endpoint: &Uri) -> Option<Proxy> {
    let (variable, text) = ["HTTPS_PROXY", "ALL_PROXY"].into_iter().find_map(|variable| {
        let text = resolver.raw.text(variable)?.trim().to_owned();
        Some((variable, text))
    })?;
    let host = endpoint.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_here = host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    if endpoint.scheme_str() != Some("https") || is_here {
        return None;
    }
    let without = resolver.raw.text("NO_PROXY").unwrap_or_default();
    let matcher = Matcher::builder().https(text.as_str()).no(without).build();
    // Whether it is a proxy at all, and then whether it is one for this host.
    let is_http = !text.contains("://") || text.starts_with("http://");
    match Matcher::builder().https(text.as_str()).build().intercept(endpoint) {
        Some(proxy) if is_http && has_port_or_none(proxy.uri()) => {}
        _ => {
            resolver.fault(variable, "use the URL of an HTTP proxy, such as http://proxy.example:3128, or remove it");
            return None;
        }
    }
    let proxy = matcher.intercept(endpoint)?;
    let authorization = proxy.basic_auth().cloned().map(|mut value| {
        value.set_sensitive(true);
        value
    });
    Some(Proxy { uri: proxy.uri().clone(), authorization })
}

/// False for what stands where a port does and is none, such as a password after which the host is missing.
fn has_port_or_none(uri: &Uri) -> bool {
    let authority = uri.authority();
    uri.port_u16().is_some() || authority.is_some_and(|it| it.as_str().trim_end_matches(':').ends_with(it.host()))
}

fn is_insecure(resolver: &mut Resolver<'_>, signal: Signal) -> bool {
    let variable = text_of(resolver, signal, "INSECURE").map(|(variable, _)| variable);
    variable.and_then(|variable| resolver.otel(&variable, values::switch)).unwrap_or(false)
}

/// Scheme, host and port. Without a scheme it is TLS unless said otherwise; without a port it is the usual one.
fn parse_endpoint(text: &str, insecure: bool, is_honeycomb: bool) -> Result<Uri, String> {
    let example = "use a URL such as http://collector:4317 or https://api.honeycomb.io";
    let text = text.trim().trim_end_matches('/');
    let text = if text.contains("://") {
        text.to_owned()
    } else {
        format!("{}://{text}", if insecure { "http" } else { "https" })
    };
    let uri: Uri = text.parse().map_err(|_| example.to_owned())?;
    let scheme = uri.scheme_str().unwrap_or_default();
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| example.to_owned())?;
    if !matches!(scheme, "http" | "https") {
        return Err(example.to_owned());
    }
    let usual = if is_honeycomb && scheme == "https" { 443 } else { default_port(scheme, host) };
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let after_host = authority.rsplit_once('@').map_or(authority, |(_, rest)| rest).strip_prefix(host);
    let port = match after_host.and_then(|rest| rest.strip_prefix(':')).filter(|port| !port.is_empty()) {
        Some(port) => port.parse().ok().filter(|port: &u16| *port > 0).ok_or_else(|| example.to_owned())?,
        None => usual,
    };
    format!("{scheme}://{host}:{port}").parse().map_err(|_| example.to_owned())
}

/// A whole URL, below it `path`. Without a scheme it is TLS unless said otherwise; the port is the scheme's (OTLP/HTTP,
/// "Endpoint URLs").
fn parse_url(text: &str, insecure: bool, path: &str) -> Result<Uri, String> {
    let example = "use a URL such as http://collector:4318 or https://api.honeycomb.io";
    let text = text.trim();
    let text = if text.contains("://") {
        text.to_owned()
    } else {
        format!("{}://{text}", if insecure { "http" } else { "https" })
    };
    let uri: Uri = text.parse().map_err(|_| example.to_owned())?;
    let (scheme, host) = (uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default());
    let usual = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return Err(example.to_owned()),
    };
    if host.is_empty() || uri.port_u16() == Some(0) || !has_port_or_none(&uri) {
        return Err(example.to_owned());
    }
    let port = uri.port_u16().unwrap_or(usual);
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let base = if path.is_empty() { uri.path() } else { uri.path().trim_end_matches('/') };
    format!("{scheme}://{host}:{port}{base}{path}{query}").parse().map_err(|_| example.to_owned())
}

fn default_port(scheme: &str, host: &str) -> u16 {
    if scheme == "https" && is_honeycomb(host) { 443 } else { 4317 }
}

/// The key goes to the endpoint that it is meant for, and to no other.
fn headers(resolver: &mut Resolver<'_>, signal: Signal, gets_key: bool, needs_key: bool) -> Vec<(String, Secret)> {
    let mut headers: Vec<(String, Secret)> = Vec::new();
    if let Some((variable, _)) = text_of(resolver, signal, "HEADERS") {
        for (name, value) in resolver.otel(&variable, values::pairs).unwrap_or_default() {
            headers.push((name.to_ascii_lowercase(), Secret::new(value)));
        }
    }
    let key = resolver.raw.text(API_KEY).map(|key| key.trim().to_owned());
    let has_key = headers.iter().any(|(name, _)| name == "x-honeycomb-team");
    match key {
        Some(key) if gets_key && !has_key => {
            if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                resolver.fault(API_KEY, "a key has only letters, digits, - and _: copy it again");
            }
            let has_dataset = headers.iter().any(|(name, _)| name == "x-honeycomb-dataset");
            if is_classic(&key) && signal == Signal::Traces && !has_dataset {
                headers.push(("x-honeycomb-dataset".to_owned(), Secret::new(dataset(resolver, signal))));
            }
            headers.push(("x-honeycomb-team".to_owned(), Secret::new(key)));
        }
        None if needs_key && !has_key && signal == Signal::Traces => resolver.fault(
            API_KEY,
            "it is not set: set it to a Honeycomb ingest key (Honeycomb → Environment settings → API keys), \
             or set OTEL_EXPORTER_OTLP_ENDPOINT to send to a Collector, or use --export pretty to see spans here",
        ),
        _ => {}
    }
    headers
}

/// Honeycomb takes a service name for the dataset of spans, but not of metrics. Nothing is sent to it without a key.
fn headers_of_metrics(
    resolver: &Resolver<'_>,
    mut headers: Vec<(String, Secret)>,
    is_honeycomb: bool,
) -> Option<Vec<(String, Secret)>> {
    let has = |wanted: &str| headers.iter().any(|(name, _)| name == wanted);
    if is_honeycomb && !has("x-honeycomb-team") {
        return None;
    }
    if has("x-honeycomb-team") && !has("x-honeycomb-dataset") {
        let dataset = dataset(resolver, Signal::Metrics);
        headers.push(("x-honeycomb-dataset".to_owned(), Secret::new(dataset)));
    }
    Some(headers)
}

/// The dataset of the spans or of the metrics, which is also their `service.name`.
pub(super) fn dataset(resolver: &Resolver<'_>, signal: Signal) -> String {
    let (variable, default) = match signal {
        Signal::Traces => ("HONEYCOMB_DATASET", "hny-network-agent"),
        Signal::Metrics => ("HONEYCOMB_STATS_DATASET", "hny-network-agent-stats"),
    };
    resolver.raw.text(variable).unwrap_or(default).trim().to_owned()
}

/// A classic key names no environment, so that the dataset must be said (32 hexadecimal digits, or `hc?ic_…`).
fn is_classic(key: &str) -> bool {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (key.len() == 32 && key.bytes().all(is_hex))
        || (key.len() == 64 && key.starts_with("hc") && key.get(3..6) == Some("ic_"))
}

fn compression(resolver: &mut Resolver<'_>, signal: Signal) -> Option<Compression> {
    let (variable, _) = text_of(resolver, signal, "COMPRESSION")?;
    resolver.otel(&variable, |text| match text.trim().to_ascii_lowercase().as_str() {
        "gzip" => Ok(Compression::Gzip),
        "zstd" => Ok(Compression::Zstd),
        "none" => Ok(Compression::None),
        _ => Err("use gzip, zstd or none".to_owned()),
    })
}

fn timeout(resolver: &mut Resolver<'_>, signal: Signal) -> Duration {
    let variable = text_of(resolver, signal, "TIMEOUT").map(|(variable, _)| variable);
    let timeout = variable.and_then(|variable| resolver.otel(&variable, millis)).unwrap_or(Duration::from_secs(10));
    let most = match signal {
        Signal::Traces => resolver.otel("OTEL_BSP_EXPORT_TIMEOUT", millis),
        Signal::Metrics => resolver.otel("OTEL_METRIC_EXPORT_TIMEOUT", millis),
    };
    match most.filter(|most| !most.is_zero()) {
        Some(most) if timeout.is_zero() || most < timeout => most,
        _ => timeout,
    }
}

fn client_identity(resolver: &mut Resolver<'_>, signal: Signal) -> Option<(PathBuf, PathBuf)> {
    match (text_of(resolver, signal, "CLIENT_CERTIFICATE"), text_of(resolver, signal, "CLIENT_KEY")) {
        (Some((_, certificate)), Some((_, key))) => Some((PathBuf::from(certificate), PathBuf::from(key))),
        (Some((variable, _)), None) => {
            resolver.fault(&variable, "a client certificate needs its key: set OTEL_EXPORTER_OTLP_CLIENT_KEY");
            None
        }
        (None, Some((variable, _))) => {
            resolver.fault(&variable, "a client key needs its certificate: set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE");
            None
        }
        (None, None) => None,
    }
}
