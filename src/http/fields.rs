//! Which header lines are kept of a head: those that somebody will read, and those that frame its body.
//!
//! A head has some ten lines, of which a span needs two or three. What nobody reads would be copied, held as long as the
//! exchange is open, handed from thread to thread and freed, and this is most of what an exchange weighs.

use std::sync::Arc;

use smallvec::SmallVec;

use super::Role;
use super::lines::{ANY, HELD, LineIndex, line_tag, tag};

/// What framing a body and following the connection need (RFC 9112 §6.3, RFC 9110 §7.8).
const FRAMING: [&str; 3] = ["content-length", "transfer-encoding", "upgrade"];

/// Places of [`Names::places`].
const PLACES: usize = 1024;
/// In [`Names::places`]: of no name, of several names.
const NONE: u8 = 0;
const SEVERAL: u8 = u8::MAX;

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
    list: Vec<Box<[u8]>>,
    /// By a name's [`tag`], one more than its number in `list`; most lines need no further look.
    places: Box<[u8; PLACES]>,
    /// Some name is too short for a tag.
    any_short: bool,
}

impl KeptFields {
    /// Keeps fields of these names, and what framing needs.
    pub fn these<'a>(request: impl IntoIterator<Item = &'a str>, response: impl IntoIterator<Item = &'a str>) -> Self {
        Self::These { request: Arc::new(Names::new(request)), response: Arc::new(Names::new(response)) }
    }

    /// Of messages in this direction; `None` for all.
    pub(super) fn of(&self, role: Role) -> Option<&Names> {
        match role {
            Role::Request => self.of_request(),
            Role::Response => self.of_response(),
        }
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
        let mut all = Self { list: Vec::new(), places: Box::new([NONE; PLACES]), any_short: false };
        for name in names.into_iter().chain(FRAMING) {
            let name = name.to_ascii_lowercase().into_bytes();
            if all.list.iter().any(|known| **known == *name) {
                continue;
            }
            let tag = tag(&name);
            all.any_short |= tag == ANY;
            all.list.push(name.into());
            if let Some(place) = all.places.get_mut(place_of(tag)) {
                let number = u8::try_from(all.list.len()).unwrap_or(SEVERAL);
                *place = if *place == NONE { number } else { SEVERAL };
            }
        }
        all
    }

    /// Whether `line`, whose tag is `tag`, is a field of one of the names. A line that begins with space may be of any.
    #[inline]
    pub(super) fn keeps(&self, tag: u16, line: &[u8]) -> bool {
        let place = self.places.get(place_of(tag)).copied().unwrap_or(SEVERAL);
        (place != NONE || self.any_short || tag == ANY) && self.has(place, tag, line)
    }

    fn has(&self, place: u8, tag: u16, line: &[u8]) -> bool {
        let one = self.list.get(usize::from(place).wrapping_sub(1)).filter(|_| !self.any_short && tag != ANY);
        match one {
            Some(name) if place != SEVERAL => is_field(line, name),
            _ => is_spaced(line) || self.list.iter().any(|name| is_field(line, name)),
        }
    }
}

fn is_field(line: &[u8], name: &[u8]) -> bool {
    line.split_at_checked(name.len()).is_some_and(|(found, rest)| {
        (rest.first() == Some(&b':') || is_spaced(rest)) && found.eq_ignore_ascii_case(name)
    })
}

fn is_spaced(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(u8::is_ascii_whitespace)
}

const fn place_of(tag: u16) -> usize {
    (tag >> 1) as usize % PLACES
}

/// Header lines of a head that are kept: where they are, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct KeptLines {
    lines: SmallVec<[KeptLine; HELD]>,
    bytes: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct KeptLine {
    start: u32,
    end: u32,
    tag: u16,
}

impl KeptLines {
    /// Of all header lines in `section`.
    pub(super) fn of(section: &[u8], names: Option<&Names>) -> Self {
        let mut kept = Self::default();
        let mut start = 0;
        for line in section.split_inclusive(|byte| *byte == b'\n') {
            kept.look_at(line, start, names);
            start += line.len();
        }
        kept
    }

    /// Keeps `line`, which begins at `start`, if it has one of `names`; any line, if there are none.
    #[inline]
    pub(super) fn look_at(&mut self, line: &[u8], start: usize, names: Option<&Names>) {
        let tag = line_tag(line);
        if names.is_none_or(|names| names.keeps(tag, line)) {
            let number = |place| u32::try_from(place).unwrap_or(u32::MAX);
            self.lines.push(KeptLine { start: number(start), end: number(start + line.len()), tag });
            self.bytes += line.len();
        }
    }

    /// The start line with these lines of `section` behind it, and where they are then.
    pub(super) fn behind(&self, start_line: &[u8], section: &[u8]) -> (Box<[u8]>, LineIndex) {
        let mut bytes = Vec::with_capacity(start_line.len() + self.bytes);
        bytes.extend_from_slice(start_line);
        let mut index = LineIndex::EMPTY;
        let mut start = 0;
        for line in &self.lines {
            let text = section.get(line.start as usize..line.end as usize).unwrap_or_default();
            bytes.extend_from_slice(text);
            index.push(start, start + text.len(), line.tag);
            start += text.len();
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
