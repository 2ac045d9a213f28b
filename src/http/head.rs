//! Message heads: owned in one allocation, read by name without another.

use super::field_name::FieldName;
use super::fields::KeptFields;
pub use super::lines::Headers;
use super::lines::LineIndex;

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

/// The head of a request as it was on the wire, from the first byte of the method on: its start line, and those of its header
/// lines that [`KeptFields`] names; folded ones (RFC 9112 §5.2) have been unfolded with spaces.
/// Invariant: `method_end <= target_start <= target_end <= headers_start <= bytes.len()`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestHead {
    pub(super) bytes: Vec<u8>,
    pub(super) method_end: u32,
    pub(super) target_start: u32,
    pub(super) target_end: u32,
    pub(super) headers_start: u32,
    pub(super) version: Version,
    pub(super) complete: bool,
    /// High and low half: as one number it would have to stand on a boundary of 16 bytes.
    pub(super) digest: [u64; 2],
    pub(super) lines: LineIndex,
}

impl RequestHead {
    /// Reads a whole head, from the first byte of the method to the empty line, as leniently as the agent reads
    /// captured ones; `None` when it is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Self::parse_keeping(bytes, &KeptFields::All)
    }

    /// As [`Self::parse`], of whose header lines only `fields` are kept.
    pub fn parse_keeping(bytes: &[u8], fields: &KeptFields) -> Option<Self> {
        super::http1::parse_request(bytes, true, fields)
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
        Headers::of(self.section())
    }

    /// Whether no header line has this name: told at once where few lines are kept.
    #[inline]
    pub fn lacks(&self, name: FieldName<'_>) -> bool {
        self.lines.lacks(self.section(), name.code())
    }

    /// Value of the first header line with this name, compared without case, without surrounding space.
    #[inline]
    pub fn header<'n>(&self, name: impl Into<FieldName<'n>>) -> Option<&[u8]> {
        let name = name.into();
        // What is looked up is mostly not there.
        if self.lacks(name) { None } else { self.lines.first(self.section(), name) }
    }

    /// Values of all header lines with this name, likewise.
    #[inline]
    pub fn lines<'a, 'n, N: Into<FieldName<'n>>>(&'a self, name: N) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n, N> {
        self.lines.values(self.section(), name.into())
    }

    /// The header lines.
    fn section(&self) -> &[u8] {
        self.bytes.get(self.headers_start as usize..).unwrap_or_default()
    }

    /// `false` when the capture lost the end of the head: header lines may be missing.
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// The head as it is kept.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// XXH3-128 of the first 4 KiB of the whole head with all its lines: a head that some views have cut further on is still
    /// the same.
    pub fn digest(&self) -> u128 {
        let [high, low] = self.digest;
        u128::from(high) << 64 | u128::from(low)
    }
}

/// The head of a response, from `HTTP/` on; as [`RequestHead`] otherwise.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ResponseHead {
    pub(super) bytes: Vec<u8>,
    pub(super) headers_start: u32,
    pub(super) status: u16,
    pub(super) version: Version,
    pub(super) complete: bool,
    pub(super) lines: LineIndex,
}

impl ResponseHead {
    /// Reads a whole head, as [`RequestHead::parse`] does.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Self::parse_keeping(bytes, &KeptFields::All)
    }

    /// As [`Self::parse`], of whose header lines only `fields` are kept.
    pub fn parse_keeping(bytes: &[u8], fields: &KeptFields) -> Option<Self> {
        super::http1::parse_response(bytes, true, fields)
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
        Headers::of(self.section())
    }

    /// Whether no header line has this name: told at once where few lines are kept.
    #[inline]
    pub fn lacks(&self, name: FieldName<'_>) -> bool {
        self.lines.lacks(self.section(), name.code())
    }

    /// Value of the first header line with this name, compared without case, without surrounding space.
    #[inline]
    pub fn header<'n>(&self, name: impl Into<FieldName<'n>>) -> Option<&[u8]> {
        let name = name.into();
        // What is looked up is mostly not there.
        if self.lacks(name) { None } else { self.lines.first(self.section(), name) }
    }

    /// Values of all header lines with this name, likewise.
    #[inline]
    pub fn lines<'a, 'n, N: Into<FieldName<'n>>>(&'a self, name: N) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n, N> {
        self.lines.values(self.section(), name.into())
    }

    /// The header lines.
    fn section(&self) -> &[u8] {
        self.bytes.get(self.headers_start as usize..).unwrap_or_default()
    }

    /// `false` when the capture lost the end of the head.
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// The head as it is kept.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn slice(bytes: &[u8], start: u32, end: u32) -> &[u8] {
    bytes.get(start as usize..end as usize).unwrap_or_default()
}
