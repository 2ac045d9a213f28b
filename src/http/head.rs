//! Message heads: owned in one allocation, read by name without another.

use memchr::memchr;

/// The protocol version of a start line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

impl Version {
    /// The value of `network.protocol.version`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
        }
    }
}

/// The head of a request as it was on the wire, from the first byte of the method to the empty line;
/// folded header lines (RFC 9112 §5.2) have been unfolded with spaces.
/// Invariant: `method_end <= target_start <= target_end <= headers_start <= bytes.len()`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestHead {
    pub(super) bytes: Box<[u8]>,
    pub(super) method_end: u32,
    pub(super) target_start: u32,
    pub(super) target_end: u32,
    pub(super) headers_start: u32,
    pub(super) version: Version,
    pub(super) complete: bool,
    pub(super) names: Names,
}

impl RequestHead {
    /// Reads a whole head, from the first byte of the method to the empty line, as leniently as the agent reads
    /// captured ones; `None` when it is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        super::http1::parse_request(bytes, true)
    }

    /// The method token, as sent: methods are case-sensitive (RFC 9110 §9.1).
    pub fn method(&self) -> &[u8] {
        slice(&self.bytes, 0, self.method_end)
    }

    /// The request target in whatever form it was sent (RFC 9112 §3.2).
    pub fn target(&self) -> &[u8] {
        slice(&self.bytes, self.target_start, self.target_end)
    }

    /// The version of the request line; 1.0 or 1.1 also when a number more was sent (`HTTP/1.0.8`), 1.1 for a higher one.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Header lines in order.
    pub fn headers(&self) -> Headers<'_> {
        Headers { rest: self.bytes.get(self.headers_start as usize..).unwrap_or_default() }
    }

    /// Value of the first header line with this name, compared without case, without surrounding space.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.lines(name).next()
    }

    /// Values of all header lines with this name, likewise.
    pub fn lines<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.names.lines(name, self.headers())
    }

    /// `false` when the capture lost the end of the head: header lines may be missing.
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// The whole head as it is kept.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The head of a response, from `HTTP/` to the empty line; as [`RequestHead`] otherwise.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ResponseHead {
    pub(super) bytes: Box<[u8]>,
    pub(super) headers_start: u32,
    pub(super) status: u16,
    pub(super) version: Version,
    pub(super) complete: bool,
    pub(super) names: Names,
}

impl ResponseHead {
    /// Reads a whole head, as [`RequestHead::parse`] does.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        super::http1::parse_response(bytes, true)
    }

    /// The status code, 100 to 999.
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The version of the status line.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Header lines in order.
    pub fn headers(&self) -> Headers<'_> {
        Headers { rest: self.bytes.get(self.headers_start as usize..).unwrap_or_default() }
    }

    /// Value of the first header line with this name, compared without case, without surrounding space.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.lines(name).next()
    }

    /// Values of all header lines with this name, likewise.
    pub fn lines<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.names.lines(name, self.headers())
    }

    /// `false` when the capture lost the end of the head.
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// The whole head as it is kept.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Header lines as `(name, value)`, in order, without the space around the value (RFC 9112 §5.1).
/// Lines without a colon are skipped.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let end = memchr(b'\n', self.rest).unwrap_or(self.rest.len());
            let (line, rest) = self.rest.split_at(end);
            self.rest = rest.get(1..).unwrap_or_default();
            if let Some(colon) = memchr(b':', line) {
                let (name, value) = line.split_at(colon);
                let value = value.get(1..).unwrap_or_default();
                return Some((name.trim_ascii(), value.trim_ascii()));
            }
        }
        None
    }
}

/// Which names header lines may have: most of those that are looked for are not there, and need no look at the lines.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Names(u64);

impl Names {
    /// Of the header lines that begin at `start`.
    pub(super) fn of(bytes: &[u8], start: u32) -> Self {
        let headers = Headers { rest: bytes.get(start as usize..).unwrap_or_default() };
        Self(headers.fold(0, |names, (name, _)| names | Self::bit(name)))
    }

    /// `false` when no line has this name, whatever its case.
    pub(super) const fn may_have(self, name: &[u8]) -> bool {
        self.0 & Self::bit(name) != 0
    }

    /// The values of those of `headers` whose name it is.
    fn lines<'a, 'n>(self, name: &'n str, headers: Headers<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let headers = self.may_have(name.as_bytes()).then_some(headers);
        let is_it = move |found: &[u8]| found.eq_ignore_ascii_case(name.as_bytes());
        headers.into_iter().flatten().filter(move |(found, _)| is_it(found)).map(|(_, value)| value)
    }

    /// The same for all cases of a name.
    const fn bit(name: &[u8]) -> u64 {
        let (Some(first), Some(last)) = (name.first(), name.last()) else { return 1 };
        let mixed = name.len() * 37 + (*first | 0x20) as usize * 5 + (*last | 0x20) as usize;
        1 << (mixed % 64)
    }
}

fn slice(bytes: &[u8], start: u32, end: u32) -> &[u8] {
    bytes.get(start as usize..end as usize).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn looking_up_by_name_finds_what_reading_all_lines_finds(
            lines in proptest::collection::vec(("[A-Za-z-]{0,9} ?", "[a-z :]{0,6}"), 0..9),
            name in "[A-Za-z-]{0,9}",
            pick in 0_usize..9,
        ) {
            let text: Vec<String> = lines.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect();
            let text = text.concat();
            let Some(head) = RequestHead::parse(format!("GET / HTTP/1.1\r\n{text}\r\n").as_bytes()) else { return Ok(()) };
            let present = lines.get(pick).map_or(name.as_str(), |(name, _)| name.trim());
            for name in [&name, present, &present.to_ascii_uppercase()] {
                let is_it = |found: &[u8]| found.eq_ignore_ascii_case(name.as_bytes());
                let all: Vec<&[u8]> = head.headers().filter(|(found, _)| is_it(found)).map(|(_, value)| value).collect();
                assert_eq!(head.lines(name).collect::<Vec<_>>(), all);
                assert_eq!(head.header(name), all.first().copied());
            }
        }
    }
}
