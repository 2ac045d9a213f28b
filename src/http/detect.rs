//! The first bytes of a direction → what they are.

use memchr::memchr;

use super::Role;
use super::plain::{self, MAX_METHOD, is_tchar};

/// The client connection preface of HTTP/2 (RFC 9113 §3.4), as far as no HTTP/1 request can begin like it.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
const HTTP1: &[u8] = b"HTTP/1.";

/// What the bytes at a possible start line are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Detected {
    /// A start line of HTTP/1.0 or 1.1, whole.
    StartLine(Role),
    /// The preface of HTTP/2.
    Http2,
    /// Neither.
    Other,
    /// It may be a start line; more bytes will tell.
    NeedMore,
}

/// Looks at bytes that stand where a start line may stand, without leading empty lines.
///
/// The whole line must be there, with its version, before it counts: the first word alone is in many protocols.
pub(super) fn detect(bytes: &[u8]) -> Detected {
    // As nearly all are.
    if let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', b' ', a, b, c, b' ' | b'\r' | b'\n', ..] = bytes
        && [a, b, c].into_iter().all(u8::is_ascii_digit)
    {
        return Detected::StartLine(Role::Response);
    }
    let may_be_method = bytes.first().is_some_and(|byte| is_tchar(*byte));
    let line = if may_be_method { memchr(b'\n', bytes).and_then(|end| bytes.get(..=end)) } else { None };
    if line.and_then(plain::request_line).is_some() {
        return Detected::StartLine(Role::Request);
    }
    if starts_alike(bytes, HTTP1) {
        return match_status_line(bytes);
    }
    if starts_alike(bytes, HTTP2_PREFACE) && bytes.len() >= 4 {
        return if bytes.len() >= HTTP2_PREFACE.len() { Detected::Http2 } else { Detected::NeedMore };
    }
    match_request_line(bytes)
}

/// As [`detect`], for a place that may be the middle of a message: words of a body are no request line. The method is
/// in capitals, as all registered ones (RFC 9110 §16.1), and neither it nor the target is followed by a second space.
pub(super) fn detect_strictly(bytes: &[u8]) -> Detected {
    let found = detect(bytes);
    let is_request = match found {
        Detected::StartLine(Role::Request) => true,
        Detected::NeedMore => !starts_alike(bytes, HTTP1) && !starts_alike(bytes, HTTP2_PREFACE),
        Detected::StartLine(Role::Response) | Detected::Http2 | Detected::Other => false,
    };
    if is_request && !is_strict_request_line(bytes) { Detected::Other } else { found }
}

/// Whether the request line, or as much of it as is there, has one space between its three parts.
fn is_strict_request_line(bytes: &[u8]) -> bool {
    let line = bytes.get(..memchr(b'\n', bytes).unwrap_or(bytes.len())).unwrap_or_default();
    let mut parts = line.trim_ascii_end().split(|byte| *byte == b' ');
    let is_capital = |byte: &u8| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_');
    let method = parts.next().unwrap_or_default();
    let (target, version) = (parts.next(), parts.next());
    let has_version = version.is_none_or(|version| starts_alike(version, HTTP1) || version.starts_with(HTTP1));
    method.iter().all(is_capital)
        && target.is_none_or(|target| !target.is_empty())
        && has_version
        && parts.next().is_none()
}

/// `HTTP/1.x SP 3DIGIT` (RFC 9112 §4).
fn match_status_line(bytes: &[u8]) -> Detected {
    let pattern = |place: usize, byte: u8| match place {
        7 => matches!(byte, b'0' | b'1'),
        8 => byte == b' ',
        9..=11 => byte.is_ascii_digit(),
        12 => matches!(byte, b' ' | b'\r' | b'\n'),
        _ => true,
    };
    if !bytes.iter().take(13).enumerate().all(|(place, byte)| pattern(place, *byte)) {
        return Detected::Other;
    }
    if bytes.len() >= 13 { Detected::StartLine(Role::Response) } else { Detected::NeedMore }
}

/// `method SP request-target SP HTTP/1.x` (RFC 9112 §3).
fn match_request_line(bytes: &[u8]) -> Detected {
    let method = bytes.iter().take(MAX_METHOD + 1).take_while(|byte| is_tchar(**byte)).count();
    let after = bytes.get(method..).unwrap_or_default();
    match after.first() {
        None if method <= MAX_METHOD => return Detected::NeedMore,
        Some(b' ') if method > 0 => {}
        _ => return Detected::Other,
    }
    let end = memchr(b'\n', after);
    let line = after.get(..end.unwrap_or(after.len())).unwrap_or_default();
    if line.iter().any(|byte| *byte < b' ' && *byte != b'\t' && *byte != b'\r') {
        return Detected::Other;
    }
    match end {
        None => Detected::NeedMore,
        Some(_) if ends_with_version(line.trim_ascii_end()) => Detected::StartLine(Role::Request),
        Some(_) => Detected::Other,
    }
}

/// `SP HTTP/1.x`, behind something. Lenient where the proof is not weaker for it: any minor version (RFC 9110 §2.5),
/// and a third number, which devices send (`HTTP/1.0.8`) and servers answer.
fn ends_with_version(line: &[u8]) -> bool {
    let Some((before, minor)) =
        line.iter().rposition(|byte| *byte == b'/').and_then(|at| line.split_at_checked(at + 3))
    else {
        return false;
    };
    let is_number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let mut parts = minor.split(|byte| *byte == b'.');
    before.strip_suffix(HTTP1).is_some_and(|line| line.len() > 1 && line.ends_with(b" "))
        && parts.next().is_some_and(is_number)
        && parts.next().is_none_or(is_number)
        && parts.next().is_none()
}

/// Whether one is the beginning of the other.
pub(super) fn starts_alike(bytes: &[u8], pattern: &[u8]) -> bool {
    let common = bytes.len().min(pattern.len());
    common > 0 && bytes.get(..common) == pattern.get(..common)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Detected = Detected::StartLine(Role::Request);
    const RESPONSE: Detected = Detected::StartLine(Role::Response);

    #[test]
    fn start_lines_are_found_and_other_protocols_are_not() {
        let cases: &[(&[u8], Detected)] = &[
            (b"GET / HTTP/1.1\r\n", REQUEST),
            (b"get / HTTP/1.0\n", REQUEST),
            (b"M-SEARCH * HTTP/1.1\r\n", REQUEST),
            (b"P / HTTP/1.1\r\n", REQUEST),
            (b"PRINT / HTTP/1.1\r\n", REQUEST),
            (b"H / HTTP/1.1\r\n", REQUEST),
            (b"CONNECT a:443 HTTP/1.1 \r\n", REQUEST),
            (b"GET /a HTTP/1.0.8\r\n", REQUEST),
            (b"GET /a HTTP/1.12\r\n", REQUEST),
            ("GET /ü HTTP/1.1\r\n".as_bytes(), REQUEST),
            (b"HTTP/1.1 200 OK\r\n", RESPONSE),
            (b"HTTP/1.0 404\r\n", RESPONSE),
            (b"HTTP/1.1 200\n", RESPONSE),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Detected::Http2),
            (b"HTTP/1.1 2x0 OK\r\n", Detected::Other),
            (b"HTTP/2 200\r\n", Detected::Other),
            (b"GET /\r\n", Detected::Other),
            (b"GET / HTTP/2.0\r\n", Detected::Other),
            (b"GET HTTP/1.1\r\n", Detected::Other),
            (b"GET / HTTP/1.\r\n", Detected::Other),
            (b"GET / HTTP/1.0.\r\n", Detected::Other),
            (b"GET / HTTP/1..8\r\n", Detected::Other),
            (b"GET / HTTP/1.0.8.1\r\n", Detected::Other),
            (b"GET / HTTP/1.0a\r\n", Detected::Other),
            (b"GET / HTTP/10.1\r\n", Detected::Other),
            (b"GET / HTTP/1\r\n", Detected::Other),
            (b"220 mail ESMTP\r\n", Detected::Other),
            (b"SSH-2.0-OpenSSH_9.6 Debian\r\n", Detected::Other),
            (b"\x16\x03\x01\x02\x00\x01", Detected::Other),
            (b"*1\r\n$4\r\nPING\r\n", Detected::Other),
            (b"OPTIONS rtsp://a/ RTSP/1.0\r\n", Detected::Other),
            (b"INVITE sip:a SIP/2.0\r\n", Detected::Other),
        ];
        for (bytes, wanted) in cases {
            assert_eq!(detect(bytes), *wanted, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn every_prefix_of_a_start_line_needs_more() {
        for line in
            [&b"GET /a/b?c HTTP/1.1\r\n"[..], b"HTTP/1.1 200 OK\r\n", b"PRI * HTTP/2.0\r\n", b"HEAD / HTTP/1.0\n"]
        {
            let whole = detect(line);
            for end in 1..line.len() {
                let found = detect(&line[..end]);
                assert!(found == Detected::NeedMore || found == whole, "{end} bytes of {line:?}: {found:?}");
            }
        }
    }

    #[test]
    fn words_are_no_start_line_where_a_body_may_be() {
        for words in [
            &b"brown fox the quick"[..],
            b"THE QUICK BROWN",
            b"POST  /a",
            b"POST /a b HTTP/1.1\r\n",
            b"get / HTTP/1.1\r\n",
        ] {
            assert_eq!(detect_strictly(words), Detected::Other, "{}", String::from_utf8_lossy(words));
        }
        for line in [&b"GET /a HTTP/1.1\r\n"[..], b"M-SEARCH * HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n"] {
            assert_eq!(detect_strictly(line), detect(line));
            for end in 1..line.len() {
                let found = detect_strictly(&line[..end]);
                assert!(found == Detected::NeedMore || found == detect(line), "{end} bytes of {line:?}: {found:?}");
            }
        }
    }

    #[test]
    fn text_without_a_space_is_not_held_for_long() {
        assert_eq!(detect(&[b'A'; MAX_METHOD]), Detected::NeedMore);
        assert_eq!(detect(&[b'A'; MAX_METHOD + 1]), Detected::Other);
    }
}
