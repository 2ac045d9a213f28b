//! The bytes of a head → `RequestHead` or `ResponseHead`, through `httparse`.

use std::mem::MaybeUninit;

use httparse::{EMPTY_HEADER, Header, ParserConfig, Request, Response, Status};
use memchr::{memchr, memchr_iter};
use xxhash_rust::xxh3::xxh3_128;

use super::super::Role;
use super::super::fields::{KeptFields, KeptLines, Names};
use super::super::head::{RequestHead, ResponseHead, Version};
use super::super::lines::{LineIndex, folds};
use super::super::plain::{self, RequestLine};
use super::super::scan::Scan;

/// Header slots on the stack; heads with more lines are parsed again with slots on the heap.
const SLOTS: usize = 64;

/// Bytes of a request's head that its digest is of.
const DIGESTED: usize = 4096;

/// Where the head in `bytes` ends: after the first empty line. `scanned` bytes were searched before.
pub(super) fn find_end(bytes: &[u8], scanned: usize) -> Option<usize> {
    // The empty line's start may be among the last bytes that were searched before.
    let from = scanned.saturating_sub(2);
    for found in memchr_iter(b'\n', bytes.get(from..)?) {
        let line_end = from + found + 1;
        match bytes.get(line_end..)? {
            [b'\n', ..] => return Some(line_end + 1),
            [b'\r', b'\n', ..] => return Some(line_end + 2),
            _ => {}
        }
    }
    None
}

/// The bytes of a head.
pub(super) enum Head<'a> {
    /// All of one packet.
    Whole(&'a Whole<'a>),
    /// Of several packets.
    Gathered(&'a [u8]),
    /// Those that the capture has.
    Cut(&'a [u8]),
}

impl Head<'_> {
    /// As far as it is there.
    pub(super) const fn bytes(&self) -> &[u8] {
        match self {
            Self::Whole(whole) => whole.bytes(),
            Self::Gathered(bytes) | Self::Cut(bytes) => bytes,
        }
    }

    /// Read as a request's; of its header lines `fields` are kept.
    pub(super) fn as_request(&self, fields: &KeptFields) -> Option<RequestHead> {
        match self {
            Self::Whole(whole) => parse_whole_request(whole, fields),
            Self::Gathered(bytes) => parse_request(bytes, true, fields),
            Self::Cut(bytes) => parse_request(bytes, false, fields),
        }
    }

    /// Read as a response's, likewise.
    pub(super) fn as_response(&self, fields: &KeptFields) -> Option<ResponseHead> {
        match self {
            Self::Whole(whole) => parse_whole_response(whole, fields),
            Self::Gathered(bytes) => parse_response(bytes, true, fields),
            Self::Cut(bytes) => parse_response(bytes, false, fields),
        }
    }
}

/// A head that is whole in the bytes of one packet, with its lines, which were found with its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole<'a> {
    bytes: &'a [u8],
    scan: Scan,
    kept: &'a KeptLines,
    /// If that is regular.
    line: Option<StartLine>,
}

/// What a start line says.
#[derive(Clone, Copy, Debug)]
enum StartLine {
    Request(RequestLine),
    Status(u16, Version),
}

impl<'a> Whole<'a> {
    /// The head that `bytes` begin with, if its end is among them, of a message in this direction; of its lines those that
    /// `fields` names are put into `kept`, which is made anew: a place for them that need not be moved.
    pub(super) fn find(bytes: &'a [u8], role: Role, fields: &KeptFields, kept: &'a mut KeptLines) -> Option<Self> {
        kept.clear();
        let scan = Scan::of(bytes, fields.of(role), kept)?;
        let bytes = bytes.get(..scan.end)?;
        let line = bytes.get(..scan.headers_start)?;
        let line = match role {
            Role::Request => plain::request_line(line).map(StartLine::Request),
            Role::Response => plain::status_line(line).map(|(status, version)| StartLine::Status(status, version)),
        };
        Some(Self { bytes, scan, kept, line })
    }

    /// Whether its start line is regular: such a one is what [`detect`](crate::http::detect::detect) looks for.
    pub(super) const fn begins_regularly(&self) -> bool {
        self.line.is_some()
    }

    /// Its bytes, to the end of the empty line.
    pub(super) const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What is kept of it, if nothing about it needs a general parser: that accepts every head with a regular start line whose
    /// lines do not begin with space and that has no NUL, and no CR but before LF.
    fn plain(&self) -> Option<(Owned, StartLine)> {
        let found = self.line.filter(|_| !self.scan.is_odd)?;
        let (line, section) = self.bytes.split_at_checked(self.scan.headers_start)?;
        Some((Owned::of(line, section, self.kept), found))
    }
}

/// Parses a request's head: all of it when `complete`, else what the capture has of it.
pub(in crate::http) fn parse_request(bytes: &[u8], complete: bool, fields: &KeptFields) -> Option<RequestHead> {
    let (head, line) = parse(bytes, complete, |bytes| request_line(bytes).or_else(|| request_line(&regular(bytes))))?;
    Some(request_head(head.keep(fields.of_request()), &head.bytes, line, complete))
}

/// Parses the head of a request that is whole.
pub(super) fn parse_whole_request(whole: &Whole<'_>, fields: &KeptFields) -> Option<RequestHead> {
    match whole.plain() {
        Some((head, StartLine::Request(line))) => Some(request_head(head, whole.bytes, line, true)),
        _ => parse_request(whole.bytes, true, fields),
    }
}

/// Parses the head of a response that is whole.
pub(super) fn parse_whole_response(whole: &Whole<'_>, fields: &KeptFields) -> Option<ResponseHead> {
    match whole.plain() {
        Some((head, StartLine::Status(status, version))) => response_head(head, (status, version), true),
        _ => parse_response(whole.bytes, true, fields),
    }
}

/// Of `whole`, what is kept of it, and its start line.
fn request_head(head: Owned, whole: &[u8], line: RequestLine, complete: bool) -> RequestHead {
    let Owned { bytes, headers_start, lines } = head;
    RequestHead {
        lines,
        method_end: number(line.method_end),
        target_start: number(line.target.0),
        target_end: number(line.target.1),
        headers_start,
        version: line.version,
        complete,
        digest: halves(xxh3_128(whole.get(..DIGESTED).unwrap_or(whole))),
        bytes,
    }
}

fn halves(number: u128) -> [u64; 2] {
    let half = |number: u128| u64::try_from(number & u128::from(u64::MAX)).unwrap_or_default();
    [half(number >> 64), half(number)]
}

fn request_line(bytes: &[u8]) -> Option<RequestLine> {
    with_slots(bytes, |bytes, slots| {
        let mut request = Request::new(&mut []);
        let status = config().parse_request_with_uninit_headers(&mut request, bytes, slots);
        let Status::Complete(_) = status? else { return Ok(None) };
        let (Some(method), Some(path), Some(version)) = (request.method, request.path, request.version) else {
            return Ok(None);
        };
        let target = span_of(path.as_bytes(), bytes);
        Ok(Some(RequestLine { method_end: method.len(), target, version: version_of(version) }))
    })
}

/// A copy with the start line as it should be, up to the target's end byte for byte in the same places: visible ASCII for
/// the spaces and the bytes of other character sets in the target, which are against RFC 9112 §3.2 and are sent all the
/// same, and version 1.0 or 1.1 for another of 1.
fn regular(bytes: &[u8]) -> Vec<u8> {
    const VERSION: &[u8] = b" HTTP/1.";

    let mut copy = bytes.to_vec();
    let line = copy.get_mut(..start_line_end(bytes)).unwrap_or_default();
    let first = memchr(b' ', line).unwrap_or(0);
    let Some(last) = memchr::memmem::rfind(line, VERSION) else { return copy };
    for byte in line.get_mut(first + 1..last).unwrap_or_default() {
        if *byte == b' ' || !byte.is_ascii() {
            *byte = b'+';
        }
    }
    let start = last + VERSION.len();
    let version = line.get(start..).unwrap_or_default().split(|byte| matches!(byte, b'\r' | b'\n')).next();
    let version = version.unwrap_or_default();
    let minor = version.split(|byte| !byte.is_ascii_digit()).next().unwrap_or_default();
    // A minor version that is not known is understood as the highest that is (RFC 9110 §2.5).
    let known = if minor.iter().all(|digit| *digit == b'0') { b'0' } else { b'1' };
    let end = start + version.len();
    copy.splice(start..end, [known]);
    copy
}

fn start_line_end(bytes: &[u8]) -> usize {
    memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1)
}

/// Parses a response's head, likewise.
pub(in crate::http) fn parse_response(bytes: &[u8], complete: bool, fields: &KeptFields) -> Option<ResponseHead> {
    let (head, (status, version)) = parse(bytes, complete, status_line)?;
    response_head(head.keep(fields.of_response()), (status, version_of(version)), complete)
}

fn response_head(head: Owned, (status, version): (u16, Version), complete: bool) -> Option<ResponseHead> {
    let Owned { bytes, headers_start, lines } = head;
    (status >= 100).then_some(ResponseHead { bytes, headers_start, status, version, complete, lines })
}

fn status_line(bytes: &[u8]) -> Option<(u16, u8)> {
    with_slots(bytes, |bytes, slots| {
        let mut response = Response::new(&mut []);
        let parsed = config().parse_response_with_uninit_headers(&mut response, bytes, slots);
        let Status::Complete(_) = parsed? else { return Ok(None) };
        let (Some(code), Some(version)) = (response.code, response.version) else { return Ok(None) };
        Ok(Some((code, version)))
    })
}

/// What is kept of a head, in an allocation of its own, and where its header lines begin.
struct Owned {
    bytes: Vec<u8>,
    headers_start: u32,
    lines: LineIndex,
}

impl Owned {
    /// The start line and what is kept of `section`.
    fn of(start_line: &[u8], section: &[u8], kept: &KeptLines) -> Self {
        let (bytes, lines) = kept.behind(start_line, section);
        Self { bytes, headers_start: number(start_line.len()), lines }
    }
}

/// A copy of a whole head.
struct Copied {
    bytes: Vec<u8>,
    headers_start: usize,
}

impl Copied {
    fn keep(&self, names: Option<&Names>) -> Owned {
        let (line, section) = self.bytes.split_at_checked(self.headers_start).unwrap_or_default();
        Owned::of(line, section, &KeptLines::of(section, names))
    }
}

/// A copy of the head, and what `read` finds in it.
fn parse<T>(bytes: &[u8], complete: bool, read: impl Fn(&[u8]) -> Option<T>) -> Option<(Copied, T)> {
    let mut head = copy(bytes, complete)?;
    if let Some(found) = read(&head.bytes) {
        return Some((head, found));
    }
    blank_controls(&mut head.bytes);
    read(&head.bytes).map(|found| (head, found))
}

/// Replaces what no field may hold by spaces, as a recipient may (RFC 9110 §5.5): control characters but the tab, and a CR
/// that ends no line. Who sends such a head is answered all the same, if only that it is refused.
fn blank_controls(bytes: &mut [u8]) {
    for place in start_line_end(bytes)..bytes.len() {
        let ends_line = bytes.get(place + 1) == Some(&b'\n');
        if let Some(byte) = bytes.get_mut(place)
            && byte.is_ascii_control()
            && !matches!(byte, b'\t' | b'\n')
            && !(*byte == b'\r' && ends_line)
        {
            *byte = b' ';
        }
    }
}

/// `httparse` as lenient as it can be: the agent reports what was sent, it does not judge it.
fn config() -> ParserConfig {
    let mut config = ParserConfig::default();
    config
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_multiple_spaces_in_request_line_delimiters(true)
        .allow_multiple_spaces_in_response_status_delimiters(true)
        .allow_space_before_first_header_name(true)
        .ignore_invalid_headers_in_requests(true)
        .ignore_invalid_headers_in_responses(true);
    config
}

/// The head, unfolded; one that was cut is ended after its last whole line.
fn copy(bytes: &[u8], complete: bool) -> Option<Copied> {
    let mut copied = if complete {
        bytes.to_vec()
    } else {
        let lines = memchr::memrchr(b'\n', bytes)? + 1;
        let mut copied = Vec::with_capacity(lines + 2);
        copied.extend_from_slice(bytes.get(..lines)?);
        copied.extend_from_slice(b"\r\n");
        copied
    };
    let start = start_line_end(&copied);
    if folds(copied.get(start..).unwrap_or_default()) {
        unfold(&mut copied);
    }
    Some(Copied { bytes: copied, headers_start: start })
}

/// Replaces each obs-fold by spaces (RFC 9112 §5.2), so that a line is a line. The start line is never folded.
fn unfold(bytes: &mut [u8]) {
    let mut from = start_line_end(bytes);
    while let Some(found) = memchr(b'\n', bytes.get(from..).unwrap_or_default()) {
        let end = from + found;
        from = end + 1;
        if matches!(bytes.get(from), Some(b' ' | b'\t')) {
            let carriage = end.checked_sub(1).filter(|place| bytes.get(*place) == Some(&b'\r'));
            for place in [Some(end), carriage].into_iter().flatten() {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = b' ';
                }
            }
        }
    }
}

/// Runs `parse` with enough header slots.
fn with_slots<'b, T>(
    bytes: &'b [u8],
    parse: impl for<'s> Fn(&'b [u8], &'s mut [MaybeUninit<Header<'b>>]) -> Result<Option<T>, httparse::Error>,
) -> Option<T> {
    let mut slots = [MaybeUninit::<Header<'b>>::uninit(); SLOTS];
    match parse(bytes, &mut slots) {
        Err(httparse::Error::TooManyHeaders) => {
            let lines = memchr_iter(b'\n', bytes).count();
            let mut slots = vec![MaybeUninit::new(EMPTY_HEADER); lines];
            parse(bytes, &mut slots).ok().flatten()
        }
        parsed => parsed.ok().flatten(),
    }
}

/// Start and end of `part` within `whole`, of which it is a part.
fn span_of(part: &[u8], whole: &[u8]) -> (usize, usize) {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    (start, start + part.len())
}

const fn version_of(minor: u8) -> Version {
    match minor {
        0 => Version::Http10,
        _ => Version::Http11,
    }
}

fn number(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::detect::{Detected, detect};

    /// Lines of a head, the odd ones among them: folds, spaces, controls, no colon, ends of every kind.
    fn any_lines() -> impl Strategy<Value = String> {
        let name = "[ -~\t\u{0}\u{1}\u{7f}\r]{0,6}";
        let line = (name, "[:]{0,2}", "[ -~\t\u{0}\u{1}\u{e9}\r]{0,8}", "\r?\n");
        proptest::collection::vec(line.prop_map(|(name, colon, value, end)| name + &colon + &value + &end), 0..8)
            .prop_map(|lines| lines.concat())
    }

    fn any_request_line() -> impl Strategy<Value = String> {
        ("[A-Z!a ]{0,5}", " {0,2}", "[/*a-z?<\"é%#\\[| ]{0,8}", " {0,2}", "HTTP/1.[012]{1,2}", "[ \r]{0,1}")
            .prop_map(|(method, one, target, other, version, end)| method + &one + &target + &other + &version + &end)
    }

    fn any_status_line() -> impl Strategy<Value = String> {
        ("HTTP/1.[012]", " {0,2}", "[0-9]{2,4}", "[ -~\té\u{1}]{0,6}", "[ \r]{0,1}")
            .prop_map(|(version, space, code, reason, end)| version + &space + &code + &reason + &end)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3_000))]

        #[test]
        fn a_plain_head_is_read_as_the_general_parser_reads_it(
            request in any_request_line(),
            status in any_status_line(),
            lines in any_lines(),
            ending in prop_oneof![Just("\r\n"), Just("\n")],
            more in "[ -~\r\n]{0,4}",
        ) {
            let some = KeptFields::these(["host", "abcd"], ["abcde"]);
            let short = KeptFields::these(["host", "b3"], ["a"]);
            for line in [request, status] {
                let text = format!("{line}\n{lines}{ending}{more}");
                for fields in [&KeptFields::All, &some, &short] {
                    let mut kept = KeptLines::default();
                    let whole = Whole::find(text.as_bytes(), Role::Request, fields, &mut kept);
                    let whole = whole.expect("it has an empty line");
                    prop_assert_eq!(Some(whole.bytes().len()), find_end(text.as_bytes(), 0));
                    prop_assert_eq!(parse_whole_request(&whole, fields), parse_request(whole.bytes(), true, fields));
                    if whole.begins_regularly() {
                        prop_assert_eq!(detect(text.as_bytes()), Detected::StartLine(Role::Request));
                    }
                    let whole = Whole::find(text.as_bytes(), Role::Response, fields, &mut kept);
                    let whole = whole.expect("it has an empty line");
                    if whole.begins_regularly() {
                        prop_assert_eq!(detect(text.as_bytes()), Detected::StartLine(Role::Response));
                    }
                    prop_assert_eq!(parse_whole_response(&whole, fields), parse_response(whole.bytes(), true, fields));
                }
            }
        }
    }
}
