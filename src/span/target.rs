//! Request target and `Host` → scheme, host, port, path and query (RFC 9112 §3.2, RFC 9110 §7.2).

use std::borrow::Cow;

use super::redact;
use super::text::{ascii_without, lossy};
use crate::http::RequestHead;
use crate::http::field_name::HOST;

/// What a request says of where it goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Target<'a> {
    /// Of the absolute form; the other forms say none.
    pub(super) scheme: Option<Cow<'a, str>>,
    /// Host, without brackets around an IPv6 address; `None` when nothing says it.
    pub(super) host: Option<Cow<'a, str>>,
    /// Port, when it is said.
    pub(super) port: Option<u16>,
    /// Path, with its leading slash, or `*`; empty for the authority form.
    pub(super) path: Cow<'a, str>,
    /// Query without `?`, as it was sent.
    query: Option<&'a [u8]>,
    /// Whether the authority held user information.
    pub(super) has_userinfo: bool,
}

impl<'a> Target<'a> {
    /// Reads the target, and the `Host` line where the target does not say the host.
    #[inline(never)]
    pub(super) fn of(head: &'a RequestHead) -> Self {
        let target = head.target();
        let host_line = head.header(HOST).unwrap_or_default();
        if head.method() == b"CONNECT" {
            return Self::new(None, target, b"");
        }
        let absolute = if target.starts_with(b"/") { None } else { split_at_text(target, b"://") };
        match absolute {
            Some((scheme, rest)) if is_scheme(scheme) => {
                let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
                let (authority, rest) = rest.split_at(end);
                Self::new(Some(scheme), authority, rest)
            }
            _ => Self::new(None, host_line, target),
        }
    }

    /// Query without `?`, secrets replaced.
    pub(super) fn query(&self) -> Option<Cow<'a, str>> {
        self.query.map(|query| redact::query(lossy(query)))
    }

    /// The scheme that the server is asked with, which may be a proxy's.
    pub(super) fn immediate_scheme(&self) -> &str {
        self.scheme.as_deref().unwrap_or("http")
    }

    /// `scheme://host[:port]path[?query]`, as the client addressed it.
    pub(super) fn full(&self, scheme: &str, host: &str, include_query: bool) -> String {
        let query = Some(self).filter(|_| include_query).and_then(Self::query);
        let lengths = [scheme.len(), host.len(), self.path.len(), query.as_ref().map_or(0, |query| query.len())];
        // With room for what stands between them.
        let mut full = String::with_capacity(lengths.iter().sum::<usize>() + 32);
        full.push_str(scheme);
        full.push_str("://");
        if self.has_userinfo {
            full.push_str("REDACTED:REDACTED@");
        }
        let brackets = host.contains(':');
        full.push_str(if brackets { "[" } else { "" });
        full.push_str(host);
        full.push_str(if brackets { "]" } else { "" });
        if let Some(port) = self.port.filter(|port| Some(*port) != default_port(scheme)) {
            full.push(':');
            full.push_str(&port.to_string());
        }
        if self.path != "*" {
            full.push_str(&self.path);
        }
        if let Some(query) = query {
            full.push('?');
            full.push_str(&query);
        }
        full
    }

    fn new(scheme: Option<&'a [u8]>, authority: &'a [u8], rest: &'a [u8]) -> Self {
        let (path, query) = path_and_query(rest);
        let path = if path.is_empty() && scheme.is_some() { Cow::Borrowed("/") } else { path };
        let (host, port, has_userinfo) = host_and_rest(authority.trim_ascii());
        Self {
            scheme: scheme.map(|scheme| Cow::Owned(String::from_utf8_lossy(scheme).to_ascii_lowercase())),
            host: Some(host).filter(|host| !host.is_empty()),
            port,
            path,
            query,
            has_userinfo,
        }
    }
}

/// The port that a scheme means when none is said.
pub(super) fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

/// Host and port of an authority, and whether it has user information (RFC 3986 §3.2).
fn host_and_rest(authority: &[u8]) -> (Cow<'_, str>, Option<u16>, bool) {
    // Mostly it is a host alone.
    if let Some(host) = ascii_without(authority, *b"@:").filter(|host| !host.starts_with('[')) {
        return (Cow::Borrowed(host), None, false);
    }
    let at = memchr::memrchr(b'@', authority);
    let (host, port) = host_and_port(at.map_or(authority, |at| authority.get(at + 1..).unwrap_or_default()));
    (lossy(host), port, at.is_some())
}

/// `host[:port]` or `[IPv6][:port]` (RFC 3986 §3.2.2).
pub(super) fn host_and_port(authority: &[u8]) -> (&[u8], Option<u16>) {
    let authority = authority.trim_ascii();
    if let Some(rest) = authority.strip_prefix(b"[") {
        let Some((host, rest)) = split_at(rest, b']') else { return (authority, None) };
        return (host, rest.strip_prefix(b":").and_then(port));
    }
    match split_at(authority, b':') {
        // More than one colon: an IPv6 address without its brackets.
        Some((host, rest)) if !rest.contains(&b':') => (host, port(rest)),
        _ => (authority, None),
    }
}

fn port(digits: &[u8]) -> Option<u16> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Without the fragment.
fn path_and_query(rest: &[u8]) -> (Cow<'_, str>, Option<&[u8]>) {
    if let Some(path) = ascii_without(rest, *b"?#") {
        return (Cow::Borrowed(path), None);
    }
    let Some((path, behind)) = memchr::memchr2(b'?', b'#', rest).and_then(|end| rest.split_at_checked(end)) else {
        return (lossy(rest), None);
    };
    let query = behind.strip_prefix(b"?");
    (lossy(path), query.map(|query| split_at(query, b'#').map_or(query, |(before, _)| before)))
}

/// RFC 3986 §3.1.
fn is_scheme(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

fn split_at(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let place = memchr::memchr(separator, bytes)?;
    Some((bytes.get(..place)?, bytes.get(place + 1..)?))
}

fn split_at_text<'a>(bytes: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let place = memchr::memmem::find(bytes, separator)?;
    Some((bytes.get(..place)?, bytes.get(place + separator.len()..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str, host: &str, check: impl Fn(Target<'_>)) {
        let head = format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        check(Target::of(&RequestHead::parse(head.as_bytes()).unwrap()));
    }

    #[test]
    fn origin_form_takes_its_host_from_the_host_line() {
        read("GET /a/b?x=1&sig=s#f", "shop.example:8080", |target| {
            assert_eq!((target.host.as_deref(), target.port), (Some("shop.example"), Some(8080)));
            assert_eq!((&*target.path, target.query().as_deref()), ("/a/b", Some("x=1&sig=REDACTED")));
            assert_eq!(target.scheme, None);
            assert_eq!(target.full("http", "shop.example", false), "http://shop.example:8080/a/b");
        });
    }

    #[test]
    fn absolute_form_beats_the_host_line_and_loses_its_password() {
        read("GET HTTP://u:p@[fd00::1]:81?q", "other", |target| {
            assert_eq!(
                (target.scheme.as_deref(), target.host.as_deref(), target.port),
                (Some("http"), Some("fd00::1"), Some(81))
            );
            assert_eq!((&*target.path, target.query().as_deref()), ("/", Some("q")));
            assert_eq!(target.full("http", "fd00::1", true), "http://REDACTED:REDACTED@[fd00::1]:81/?q");
        });
    }

    #[test]
    fn authority_and_asterisk_forms_have_no_path_of_their_own() {
        read("CONNECT db.example:443", "x", |target| {
            assert_eq!((target.host.as_deref(), target.port, &*target.path), (Some("db.example"), Some(443), ""));
        });
        read("OPTIONS *", "x", |target| assert_eq!((&*target.path, target.host.as_deref()), ("*", Some("x"))));
    }

    #[test]
    fn a_url_in_the_query_is_not_the_absolute_form() {
        read("GET /go?to=http://evil/", "x", |target| {
            assert_eq!((&*target.path, target.host.as_deref()), ("/go", Some("x")));
        });
    }

    #[test]
    fn addresses_without_brackets_have_no_port() {
        assert_eq!(host_and_port(b"fd00::1"), (&b"fd00::1"[..], None));
        assert_eq!(host_and_port(b"[fd00::1]:9"), (&b"fd00::1"[..], Some(9)));
        assert_eq!(host_and_port(b"a:99999"), (&b"a"[..], None));
        assert_eq!(host_and_port(b""), (&b""[..], None));
    }
}
