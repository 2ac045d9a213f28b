//! Names of header fields → codes, by which their lines are found without comparing letters.
//!
//! Which name a line has is found once, when its head is read: the names that the agent itself reads have codes of their own.
//! Of other names the code tells only how they begin.

/// The name of a header field, compared without case.
#[derive(Clone, Copy, Debug)]
pub struct FieldName<'n> {
    text: &'n str,
    code: FieldCode,
}

/// What lines with one name have in common.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FieldCode(u16);

/// The names that the agent reads, in lower case.
const KNOWN: [&str; 15] = [
    "host",
    "user-agent",
    "content-length",
    "transfer-encoding",
    "upgrade",
    "content-type",
    "traceparent",
    "tracestate",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-sampled",
    "x-b3-flags",
];

/// RFC 9110 §7.2.
pub const HOST: FieldName<'static> = FieldName::known("host");
/// RFC 9110 §10.1.5.
pub const USER_AGENT: FieldName<'static> = FieldName::known("user-agent");
/// RFC 9110 §8.6.
pub const CONTENT_LENGTH: FieldName<'static> = FieldName::known("content-length");
/// RFC 9112 §6.1.
pub const TRANSFER_ENCODING: FieldName<'static> = FieldName::known("transfer-encoding");
/// RFC 9110 §7.8.
pub const UPGRADE: FieldName<'static> = FieldName::known("upgrade");
/// RFC 9110 §8.3.
pub const CONTENT_TYPE: FieldName<'static> = FieldName::known("content-type");
/// W3C Trace Context §3.2.
pub const TRACEPARENT: FieldName<'static> = FieldName::known("traceparent");
/// W3C Trace Context §3.3.
pub const TRACESTATE: FieldName<'static> = FieldName::known("tracestate");
/// RFC 7239 §4.
pub const FORWARDED: FieldName<'static> = FieldName::known("forwarded");
/// What proxies wrote before RFC 7239.
pub const X_FORWARDED_FOR: FieldName<'static> = FieldName::known("x-forwarded-for");
/// Likewise.
pub const X_FORWARDED_PROTO: FieldName<'static> = FieldName::known("x-forwarded-proto");
/// B3 in several headers.
pub const X_B3_TRACE_ID: FieldName<'static> = FieldName::known("x-b3-traceid");
/// Likewise.
pub const X_B3_SPAN_ID: FieldName<'static> = FieldName::known("x-b3-spanid");
/// Likewise.
pub const X_B3_SAMPLED: FieldName<'static> = FieldName::known("x-b3-sampled");
/// Likewise.
pub const X_B3_FLAGS: FieldName<'static> = FieldName::known("x-b3-flags");

impl<'n> FieldName<'n> {
    /// One whose code is known.
    pub const fn coded(text: &'n str, code: FieldCode) -> Self {
        Self { text, code }
    }

    /// The name as it was given.
    pub const fn text(&self) -> &'n str {
        self.text
    }

    /// Its code.
    pub const fn code(&self) -> FieldCode {
        self.code
    }
}

impl FieldName<'static> {
    /// One of [`KNOWN`]; another does not compile.
    const fn known(text: &'static str) -> Self {
        let mut number = 0;
        let mut left: &[&str] = &KNOWN;
        while let [first, rest @ ..] = left {
            if is_same(first.as_bytes(), text.as_bytes()) {
                break;
            }
            number += 1;
            left = rest;
        }
        assert!((number as usize) < KNOWN.len(), "a name that lines are told by");
        Self { text, code: FieldCode::exact(number) }
    }
}

impl<'n> From<&'n str> for FieldName<'n> {
    fn from(text: &'n str) -> Self {
        Self { text, code: FieldCode::of(text.as_bytes()) }
    }
}

impl FieldCode {
    /// Of what may have any name: a line that begins with space, which is no part of the name; one with space before the
    /// colon; a name that is too short.
    pub(super) const ANY: Self = Self(0);
    /// See [`Self::place`].
    pub(super) const PLACES: usize = 1 << 10;
    /// Of a line that holds no field, and of a name that no line has.
    pub(super) const NOTHING: Self = Self(2);

    /// Of one name alone.
    const fn exact(number: u16) -> Self {
        Self(4 + 2 * number)
    }

    /// Whether a line with this code has the name of this code, for sure.
    #[inline]
    pub(super) const fn is_exact(self) -> bool {
        self.0 > Self::NOTHING.0 && self.0 & 1 == 0
    }

    /// A place among 64: another code may have the same.
    #[inline]
    pub(super) const fn bit(self) -> u64 {
        1 << (self.0 >> 1 & 63)
    }

    /// The bits of the places where a line with this code may be: all for one that may have any name.
    #[inline]
    pub(super) const fn present(self) -> u64 {
        if self.0 == Self::ANY.0 { u64::MAX } else { self.bit() }
    }

    /// As a number, of which [`Self::from_number`] makes it again.
    pub(super) const fn number(self) -> u16 {
        self.0
    }

    pub(super) const fn from_number(number: u16) -> Self {
        Self(number)
    }

    /// Of `name`. The name of a line ends at its first colon: no line has a name with one.
    pub(super) fn of(name: &[u8]) -> Self {
        let found = (0..).zip(KNOWN).find(|(_, known)| known.as_bytes().eq_ignore_ascii_case(name));
        match found {
            Some((number, _)) => Self::exact(number),
            None if name.contains(&b':') => Self::NOTHING,
            None => Self::of_beginning(name),
        }
    }

    /// The same for all that begins with the same four bytes, whatever their case: odd, or [`Self::ANY`].
    #[inline]
    pub(super) fn of_beginning(bytes: &[u8]) -> Self {
        match bytes.first_chunk::<4>() {
            Some(start) if !start.first().is_some_and(u8::is_ascii_whitespace) => Self::of_letters(*start),
            _ => Self::ANY,
        }
    }

    /// The same, of a beginning that is no space.
    #[inline]
    pub(super) const fn of_letters(beginning: [u8; 4]) -> Self {
        let mixed = (u32::from_le_bytes(beginning) | 0x2020_2020).wrapping_mul(0x9e37_79b1);
        // Of a product only the highest bits depend on all letters.
        let [.., low, high] = mixed.to_le_bytes();
        Self(u16::from_le_bytes([low, high]) | 1)
    }

    /// A place in a table of [`Self::PLACES`].
    #[inline]
    pub(super) const fn place(self) -> usize {
        (self.0 >> 6) as usize
    }
}

/// All of [`KNOWN`].
pub(super) fn known() -> impl Iterator<Item = &'static str> {
    KNOWN.into_iter()
}

const fn is_same(mut one: &[u8], mut other: &[u8]) -> bool {
    while let ([first, rest @ ..], [second, more @ ..]) = (one, other) {
        if *first != *second {
            return false;
        }
        (one, other) = (rest, more);
    }
    one.is_empty() && other.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_are_read_have_codes_of_their_own() {
        let names = [
            HOST,
            USER_AGENT,
            CONTENT_LENGTH,
            TRANSFER_ENCODING,
            UPGRADE,
            CONTENT_TYPE,
            TRACEPARENT,
            TRACESTATE,
            FORWARDED,
            X_FORWARDED_FOR,
            X_FORWARDED_PROTO,
            X_B3_TRACE_ID,
            X_B3_SPAN_ID,
            X_B3_SAMPLED,
            X_B3_FLAGS,
        ];
        assert_eq!(names.map(|name| name.text()), KNOWN);
        for name in names {
            assert!(name.code().is_exact());
            for spelled in [name.text().to_owned(), name.text().to_ascii_uppercase()] {
                assert_eq!(FieldName::from(&*spelled).code(), name.code(), "{spelled}");
            }
        }
        for other in ["", "b3", "hos", "hosts", "x-request-id", "content-lengthy", "host:"] {
            assert!(!FieldName::from(other).code().is_exact(), "{other}");
        }
        assert_eq!(FieldName::from("host:").code(), FieldCode::NOTHING);
    }
}
