//! `Forwarded` and `X-Forwarded-…` lines → the client before all proxies (RFC 7239).

use std::borrow::Cow;

use super::target::host_and_port;
use super::text::lossy;
use crate::http::RequestHead;
use crate::http::field_name::{FORWARDED, X_FORWARDED_FOR, X_FORWARDED_PROTO};

/// Whether no line tells of a client before proxies.
pub(super) fn is_missing(head: &RequestHead) -> bool {
    head.lacks(FORWARDED) && head.lacks(X_FORWARDED_FOR) && head.lacks(X_FORWARDED_PROTO)
}

/// The client's address and port, as the first proxy saw it.
pub(super) fn client(head: &RequestHead) -> Option<(Cow<'_, str>, Option<u16>)> {
    let node = match head.header(FORWARDED) {
        Some(value) => parameter(value, b"for"),
        None => head.header(X_FORWARDED_FOR).map(first),
    }?;
    let (host, port) = host_and_port(node);
    // An obfuscated identifier begins with `_` (RFC 7239 §6.3); `unknown` says nothing.
    let says_address = !host.is_empty() && !host.starts_with(b"_") && !host.eq_ignore_ascii_case(b"unknown");
    says_address.then(|| (lossy(host), port))
}

/// The scheme that the client used to the first proxy.
pub(super) fn scheme(head: &RequestHead) -> Option<String> {
    let value = match head.header(FORWARDED) {
        Some(value) => parameter(value, b"proto"),
        None => head.header(X_FORWARDED_PROTO).map(first),
    }?;
    let scheme = std::str::from_utf8(value).ok()?.to_ascii_lowercase();
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    (!scheme.is_empty() && scheme.bytes().all(valid)).then_some(scheme)
}

/// The value of a parameter of the first element (RFC 7239 §4), without quotes.
fn parameter<'a>(value: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    first(value).split(|byte| *byte == b';').find_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (key, value) = pair.split_at(equals);
        let value = value.get(1..)?.trim_ascii();
        let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        key.trim_ascii().eq_ignore_ascii_case(name).then_some(value)
    })
}

/// The first element of a list.
fn first(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == b',').next().unwrap_or_default().trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_of(lines: &str) -> Option<(String, Option<u16>)> {
        let head = RequestHead::parse(format!("GET / HTTP/1.1\r\n{lines}\r\n\r\n").as_bytes()).unwrap();
        client(&head).map(|(host, port)| (host.into_owned(), port))
    }

    #[test]
    fn the_leftmost_client_counts() {
        let cases = [
            ("X-Forwarded-For: 203.0.113.7, 10.0.0.1", Some(("203.0.113.7", None))),
            ("Forwarded: for=192.0.2.60;proto=http, for=10.0.0.1", Some(("192.0.2.60", None))),
            ("Forwarded: proto=https; For=\"[2001:db8:cafe::17]:4711\"", Some(("2001:db8:cafe::17", Some(4711)))),
            ("Forwarded: for=_hidden\r\nX-Forwarded-For: 1.2.3.4", None),
            ("Forwarded: for=unknown", None),
            ("X-Forwarded-For: ", None),
            ("Host: x", None),
        ];
        for (lines, wanted) in cases {
            assert_eq!(client_of(lines), wanted.map(|(host, port)| (host.to_owned(), port)), "{lines}");
        }
    }

    #[test]
    fn the_scheme_is_a_scheme_or_none() {
        let of =
            |line: &str| scheme(&RequestHead::parse(format!("GET / HTTP/1.1\r\n{line}\r\n\r\n").as_bytes()).unwrap());
        assert_eq!(of("X-Forwarded-Proto: HTTPS, http"), Some("https".to_owned()));
        assert_eq!(of("Forwarded: proto=https"), Some("https".to_owned()));
        assert_eq!(of("X-Forwarded-Proto: <script>"), None);
    }
}
