//! Which header lines are kept of a head once its body's framing is known: those that somebody will read.
//!
//! A head has some ten lines, of which a span needs two or three. What nobody reads would be copied, held as long as the
//! exchange is open, handed from thread to thread and freed, and this is most of what an exchange weighs.

use std::sync::Arc;

use smallvec::SmallVec;

use super::lines::{ANY, HELD, LineIndex, READ, tag};

/// What framing a body and following the connection need (RFC 9112 §6.3, RFC 9110 §7.8).
const FRAMING: [&str; 3] = ["content-length", "transfer-encoding", "upgrade"];

/// Bits of [`Names::present`].
const BITS: usize = 1024;

/// The header fields that are kept, of requests and of responses.
#[derive(Clone, Debug, Default)]
pub enum KeptFields {
    /// All of them.
    #[default]
    All,
    /// Those of these names, and what framing needs.
    These {
        /// Of requests.
        request: Arc<Names>,
        /// Of responses.
        response: Arc<Names>,
    },
}

/// Names of header fields, compared without case.
#[derive(Debug)]
pub struct Names {
    /// Each with its [`tag`].
    names: Vec<(u16, Box<[u8]>)>,
    /// A bit for each tag: most lines need no further look.
    present: [u64; BITS / 64],
    /// Some name is too short for a tag.
    any_short: bool,
}

impl KeptFields {
    /// Keeps fields of these names, and what framing needs.
    pub fn these<'a>(request: impl IntoIterator<Item = &'a str>, response: impl IntoIterator<Item = &'a str>) -> Self {
        Self::These { request: Arc::new(Names::new(request)), response: Arc::new(Names::new(response)) }
    }

    /// Of requests; `None` for all.
    pub(super) fn of_request(&self) -> Option<&Names> {
        match self {
            Self::All => None,
            Self::These { request, .. } => Some(request),
        }
    }

    /// Of responses, likewise.
    pub(super) fn of_response(&self) -> Option<&Names> {
        match self {
            Self::All => None,
            Self::These { response, .. } => Some(response),
        }
    }
}

impl Names {
    fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut all = Self { names: Vec::new(), present: [0; BITS / 64], any_short: false };
        for name in names.into_iter().chain(FRAMING) {
            let name = name.to_ascii_lowercase().into_bytes();
            let tag = tag(&name);
            all.any_short |= tag == ANY;
            if let Some(word) = all.present.get_mut(word_of(tag)) {
                *word |= bit_of(tag);
            }
            if !all.names.iter().any(|(_, known)| **known == *name) {
                all.names.push((tag, name.into()));
            }
        }
        all
    }

    /// Whether `line`, whose tag is `tag`, is a field of one of the names. A line that begins with space may be of any.
    #[inline]
    fn keeps(&self, tag: u16, line: &[u8]) -> bool {
        let is_candidate = self.present.get(word_of(tag)).is_some_and(|word| word & bit_of(tag) != 0);
        (is_candidate || self.any_short || tag == ANY) && self.has(tag, line)
    }

    fn has(&self, tag: u16, line: &[u8]) -> bool {
        let is_spaced = |bytes: &[u8]| bytes.first().is_some_and(u8::is_ascii_whitespace);
        let is_of = |name: &[u8]| {
            line.split_at_checked(name.len()).is_some_and(|(found, rest)| {
                found.eq_ignore_ascii_case(name) && (rest.first() == Some(&b':') || is_spaced(rest))
            })
        };
        let candidates = self.names.iter().filter(|(known, _)| *known == tag || *known == ANY);
        is_spaced(line) || candidates.into_iter().any(|(_, name)| is_of(name))
    }
}

const fn word_of(tag: u16) -> usize {
    (tag >> 1) as usize / 64 % (BITS / 64)
}

const fn bit_of(tag: u16) -> u64 {
    1 << (tag >> 1 & 63)
}

/// The header lines of a head that are kept, in order.
pub(super) struct Kept<'a> {
    lines: SmallVec<[(u16, &'a [u8]); 8]>,
    bytes: usize,
}

impl<'a> Kept<'a> {
    /// Of the header lines in `section`, whose places are in `index`.
    pub(super) fn of(section: &'a [u8], index: &'a LineIndex<READ>, names: &Names) -> Self {
        let mut kept = Self { lines: SmallVec::new(), bytes: 0 };
        for (tag, line) in index.tagged(section) {
            if names.keeps(tag, line) {
                kept.bytes += line.len();
                kept.lines.push((tag, line));
            }
        }
        kept
    }

    /// The start line with these lines behind it, and where they are.
    pub(super) fn behind(&self, start_line: &[u8]) -> (Box<[u8]>, LineIndex<HELD>) {
        let mut bytes = Vec::with_capacity(start_line.len() + self.bytes);
        bytes.extend_from_slice(start_line);
        let mut index = LineIndex::EMPTY;
        let mut start = 0;
        for (tag, line) in &self.lines {
            bytes.extend_from_slice(line);
            index.push(start, start + line.len(), *tag);
            start += line.len();
        }
        (bytes.into_boxed_slice(), index)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::{RequestHead, ResponseHead};

    fn values<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
        lines.map(<[u8]>::to_vec).collect()
    }

    proptest! {
        #[test]
        fn what_is_kept_reads_as_before_and_the_rest_is_gone(
            lines in proptest::collection::vec((" ?[A-Ca-c-]{0,6}[ \t]?", ":?", "[a-z :]{0,6}"), 0..50),
            filler in prop_oneof![Just(0_usize), Just(70_000)],
            names in proptest::collection::vec("[a-c-]{1,6}", 0..4),
            other in "[a-c-]{1,6}",
        ) {
            let lines: Vec<String> = lines.iter().map(|(name, colon, value)| format!("{name}{colon}{value}\r\n")).collect();
            let section = format!("long: {}\r\nContent-Length: 5\r\n{}\r\n", "f".repeat(filler), lines.concat());
            let fields = KeptFields::these(names.iter().map(String::as_str), names.iter().map(String::as_str));
            let request = format!("GET / HTTP/1.1\r\n{section}");
            let (whole, kept) = (RequestHead::parse(request.as_bytes()), RequestHead::parse_keeping(request.as_bytes(), &fields));
            prop_assert_eq!(whole.is_some(), kept.is_some());
            let response = format!("HTTP/1.1 200 OK\r\n{section}");
            let answer = ResponseHead::parse(response.as_bytes());
            let answer = answer.zip(ResponseHead::parse_keeping(response.as_bytes(), &fields));
            for name in names.iter().map(String::as_str).chain(FRAMING) {
                if let (Some(whole), Some(kept)) = (&whole, &kept) {
                    prop_assert_eq!(values(kept.lines(name)), values(whole.lines(name)));
                    prop_assert_eq!(kept.digest(), whole.digest());
                }
                if let Some((whole, kept)) = &answer {
                    prop_assert_eq!(values(kept.lines(name)), values(whole.lines(name)));
                }
            }
            // Of lines that begin with space nobody can say at a glance whose they are.
            let is_plain = !lines.iter().any(|line| line.starts_with(' '));
            if let Some(kept) = kept.filter(|_| is_plain && !names.contains(&other)) {
                prop_assert_eq!(values(kept.lines(&other)), Vec::<Vec<u8>>::new());
            }
        }
    }
}
