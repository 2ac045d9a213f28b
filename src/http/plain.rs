//! Start lines as nearly all are → their parts, without a general parser.
//!
//! What is not quite regular is no error: it is `None` here, and left to the lenient parser, which reads all that is read
//! here in the same way.

use super::Version;

/// A method longer than this is no method; stops text without spaces from being held.
pub(super) const MAX_METHOD: usize = 64;

const TOKEN: u8 = 1;
const TARGET: u8 = 2;

/// What each byte may be part of: a token (RFC 9110 §5.6.2), a request target (RFC 3986 §2).
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "it is below 256")]
        let (place, byte_value) = (byte, byte as u8);
        #[expect(clippy::indexing_slicing, reason = "it is below 256")]
        {
            if may_be_in_token(byte_value) {
                classes[place] |= TOKEN;
            }
            if is_target(byte_value) {
                classes[place] |= TARGET;
            }
        }
        byte += 1;
    }
    classes
};

const fn may_be_in_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

const fn is_target(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b':'
                | b'/'
                | b'?'
                | b'#'
                | b'['
                | b']'
                | b'@'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b'%'
        )
}

/// A character of a token (RFC 9110 §5.6.2).
pub(super) fn is_tchar(byte: u8) -> bool {
    is_of(byte, TOKEN)
}

/// Whether `text` is a token (RFC 9110 §5.6.2), as methods and names of fields are.
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_tchar)
}

fn is_of(byte: u8, class: u8) -> bool {
    CLASSES.get(usize::from(byte)).is_some_and(|classes| classes & class != 0)
}

/// Whether all bytes are of a class: without a branch for each, because nearly all are.
fn are_all(bytes: &[u8], class: u8) -> bool {
    let classes = |byte: &u8| CLASSES.get(usize::from(*byte)).copied().unwrap_or(0);
    bytes.iter().fold(class, |all, byte| all & classes(byte)) != 0
}

/// A request line: where its parts are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct RequestLine {
    pub(super) method_end: usize,
    /// Start and end.
    pub(super) target: (usize, usize),
    pub(super) version: Version,
}

/// `method SP request-target SP HTTP/1.x` with its line end (RFC 9112 §3).
pub(super) fn request_line(line: &[u8]) -> Option<RequestLine> {
    let line = without_end(line)?;
    let (minor, line) = line.split_last()?;
    let before = line.strip_suffix(b" HTTP/1.")?;
    let version = version(*minor)?;
    let method_end = before.iter().position(|byte| *byte == b' ')?;
    let (method, target) = (before.get(..method_end)?, before.get(method_end + 1..)?);
    if method_end == 0 || method_end > MAX_METHOD || target.is_empty() {
        return None;
    }
    let is_plain = are_all(method, TOKEN) && are_all(target, TARGET);
    is_plain.then_some(RequestLine { method_end, target: (method_end + 1, before.len()), version })
}

/// `HTTP/1.x SP 3DIGIT SP [reason]` with its line end (RFC 9112 §4).
pub(super) fn status_line(line: &[u8]) -> Option<(u16, Version)> {
    let [minor, b' ', a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', reason @ ..] =
        without_end(line)?.strip_prefix(b"HTTP/1.")?
    else {
        return None;
    };
    let version = version(*minor)?;
    let is_plain = match reason {
        [] => true,
        [b' ', reason @ ..] => reason.iter().all(|byte| matches!(byte, b' '..=b'~')),
        _ => false,
    };
    let digit = |byte: &u8| u16::from(byte - b'0');
    if is_plain { Some((100 * digit(a) + 10 * digit(b) + digit(c), version)) } else { None }
}

const fn version(minor: u8) -> Option<Version> {
    match minor {
        b'0' => Some(Version::Http10),
        b'1' => Some(Version::Http11),
        _ => None,
    }
}

fn without_end(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\n")?;
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}
