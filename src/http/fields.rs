//! Which header lines are kept of a head: those that somebody will read, and those that frame its body.
//!
//! A head has some ten lines, of which a span needs two or three. What nobody reads would be copied, held as long as the
//! exchange is open, handed from thread to thread and freed, and this is most of what an exchange weighs.

use std::sync::{Arc, LazyLock};

use smallvec::SmallVec;

use super::Role;
use super::field_name::{CONTENT_LENGTH, FieldCode, TRANSFER_ENCODING, UPGRADE, known};
use super::lines::{HELD, LineIndex, Margins};

/// What framing a body and following the connection need (RFC 9112 §6.3, RFC 9110 §7.8).
const FRAMING: [&str; 3] = [CONTENT_LENGTH.text(), TRANSFER_ENCODING.text(), UPGRADE.text()];

/// In [`Names::places`] and [`Name::next`]: no name.
const NONE: u32 = 0;

/// Where all lines are kept, of these is it told that they have one of the names that the agent reads.
static ALL: LazyLock<Names> = LazyLock::new(|| Names::new(known()));

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
    list: Vec<Name>,
    /// By the [`FieldCode::of_beginning`] of names, one more than the number of the first of them in `list`; most lines need no
    /// further look.
    places: Box<[u32; FieldCode::PLACES]>,
    /// Some name is too short to be told by its beginning.
    any_short: bool,
}

#[derive(Debug)]
struct Name {
    /// In lower case.
    text: Box<[u8]>,
    /// As it is mostly written: `Content-Length`.
    usual: Box<[u8]>,
    code: FieldCode,
    /// The next one in the same place, as in [`Names::places`].
    next: u32,
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
        let mut all = Self { list: Vec::new(), places: Box::new([NONE; FieldCode::PLACES]), any_short: false };
        for name in FRAMING.into_iter().chain(names) {
            let text: Box<[u8]> = name.to_ascii_lowercase().into_bytes().into();
            let code = FieldCode::of(&text);
            if code == FieldCode::NOTHING || all.list.iter().any(|known| known.text == text) {
                continue;
            }
            let beginning = FieldCode::of_beginning(&text);
            all.any_short |= beginning == FieldCode::ANY;
            let place = all.places.get_mut(beginning.place());
            if let (Some(place), Ok(number)) = (place, u32::try_from(all.list.len() + 1)) {
                let next = std::mem::replace(place, number);
                all.list.push(Name { code, usual: usual(&text), text, next });
            }
        }
        all
    }

    /// What is known of `line` if it has one of the names; one that begins with space may have any.
    #[inline]
    fn find(&self, line: &[u8]) -> Option<Found> {
        let beginning = FieldCode::of_beginning(line);
        let first = self.places.get(beginning.place()).copied().unwrap_or(NONE);
        let may_be_any = beginning == FieldCode::ANY || self.any_short;
        match self.find_from(first, line) {
            None if may_be_any => self.may_have_any(line).then_some(Found::ANY),
            found => found,
        }
    }

    /// Whether a line that does not begin like one of the names has none of them, if it does not begin with space.
    pub(super) const fn are_told_by_their_beginning(&self) -> bool {
        !self.any_short
    }

    /// Whether a line may have one of the names, or is empty, or begins with space: told by how it begins, where names
    /// [are](Self::are_told_by_their_beginning).
    #[inline]
    pub(super) fn may_begin(&self, beginning: [u8; 4]) -> bool {
        let [first, ..] = beginning;
        first <= b' ' || self.places.get(FieldCode::of_letters(beginning).place()) != Some(&NONE)
    }

    #[inline]
    fn find_from(&self, first: u32, line: &[u8]) -> Option<Found> {
        let mut next = first;
        while let Some(name) = self.list.get((next as usize).wrapping_sub(1)) {
            if let Some(found) = name.find(line) {
                return Some(found);
            }
            next = name.next;
        }
        None
    }

    #[inline(never)]
    fn may_have_any(&self, line: &[u8]) -> bool {
        is_spaced(line) || self.list.iter().any(|name| name.find(line).is_some())
    }
}

impl Name {
    /// What is known of `line`, if it has this name.
    #[inline]
    fn find(&self, line: &[u8]) -> Option<Found> {
        let end = self.text.len();
        let after = line.get(end)?;
        let is_it = (*after == b':' || after.is_ascii_whitespace())
            && line.get(..end).is_some_and(|found| *found == *self.usual || found.eq_ignore_ascii_case(&self.text));
        let found = || match Margins::of(line, end) {
            Some(margins) if *after == b':' => Found { code: self.code, margins },
            _ => Found::ANY,
        };
        is_it.then(found)
    }
}

/// A name in lower case → with a capital letter for each of its words.
fn usual(name: &[u8]) -> Box<[u8]> {
    let words = name.split_inclusive(|byte| *byte == b'-');
    let capital = |word: &[u8]| {
        let mut word = word.to_vec();
        word.first_mut().into_iter().for_each(u8::make_ascii_uppercase);
        word
    };
    words.flat_map(capital).collect()
}

/// What is known of a line.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    code: FieldCode,
    margins: Margins,
}

impl Found {
    /// It may have any name.
    const ANY: Self = Self { code: FieldCode::ANY, margins: Margins::NONE };
    /// It has none.
    const NOTHING: Self = Self { code: FieldCode::NOTHING, margins: Margins::NONE };

    /// Of `line`, where every line is kept.
    fn of(line: &[u8]) -> Self {
        let unknown = || Self { code: FieldCode::of_beginning(line), margins: Margins::NONE };
        ALL.find(line).unwrap_or_else(unknown)
    }
}

/// Whether a line is nothing but its end.
#[inline]
pub(super) fn is_empty(line: &[u8]) -> bool {
    matches!(line, b"\r\n" | b"\n")
}

fn is_spaced(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(u8::is_ascii_whitespace)
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
    found: Found,
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

    /// Of no lines.
    pub(super) fn clear(&mut self) {
        self.lines.clear();
        self.bytes = 0;
    }

    /// Keeps `line`, which begins at `start`, if it has one of `names`; any line, if there are none.
    #[inline]
    pub(super) fn look_at(&mut self, line: &[u8], start: usize, names: Option<&Names>) {
        let found = match names {
            _ if is_empty(line) => names.is_none().then_some(Found::NOTHING),
            Some(names) => names.find(line),
            None => Some(Found::of(line)),
        };
        if let Some(found) = found {
            self.keep(line, start, found);
        }
    }

    /// The same, where names are told by their beginning and `line` does not begin with space.
    #[inline]
    pub(super) fn look_at_beginning(&mut self, line: &[u8], start: usize, names: &Names) {
        let Some(beginning) = line.first_chunk() else { return };
        let place = FieldCode::of_letters(*beginning).place();
        let first = names.places.get(place).copied().unwrap_or(NONE);
        if first != NONE
            && let Some(found) = names.find_from(first, line)
        {
            self.keep(line, start, found);
        }
    }

    #[inline(never)]
    fn keep(&mut self, line: &[u8], start: usize, found: Found) {
        let number = |place| u32::try_from(place).unwrap_or(u32::MAX);
        self.lines.push(KeptLine { start: number(start), end: number(start + line.len()), found });
        self.bytes += line.len();
    }

    /// The start line with these lines of `section` behind it, and where they are then.
    pub(super) fn behind(&self, start_line: &[u8], section: &[u8]) -> (Vec<u8>, LineIndex) {
        let mut bytes = Vec::with_capacity(start_line.len() + self.bytes);
        bytes.extend_from_slice(start_line);
        let mut index = LineIndex::EMPTY;
        let mut start = 0;
        for KeptLine { start: from, end, found } in &self.lines {
            let text = section.get(*from as usize..*end as usize).unwrap_or_default();
            bytes.extend_from_slice(text);
            index.push(start, start + text.len(), found.code, found.margins);
            start += text.len();
        }
        (bytes, index)
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
            lines in proptest::collection::vec(
                (" ?([A-Ca-c-]{0,6}|[Hh]ost|[Hh]ost:a|b3)[ \t]?", ":?", "[a-z :]{0,6}"),
                0..50,
            ),
            filler in prop_oneof![Just(0_usize), Just(70_000)],
            names in proptest::collection::vec("[a-c-]{1,6}|host|host:a|b3", 0..5),
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
                prop_assert_eq!(values(kept.lines(&*other)), Vec::<Vec<u8>>::new());
            }
        }
    }
}
