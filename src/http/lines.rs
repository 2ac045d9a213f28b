//! The header lines of a head: where each begins, found once, so that looking up a name reads the beginning of each alone.

use memchr::{memchr, memchr_iter};

use super::fields::{KeptLines, Names};

/// Lines whose place is known of a head that is kept.
pub(super) const HELD: usize = 8;

/// Where header lines begin: of the first [`HELD`], further ones are looked through as they stand. Together with the head it
/// tells what every line holds.
///
/// Invariant: lines `0..count` begin at `starts`, each after the one before, all before `rest`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct LineIndex {
    /// From the beginning of the header lines.
    starts: [u16; HELD],
    /// Of the first bytes of each line, by [`tag`]: most lines need no further look.
    tags: [u16; HELD],
    count: u8,
    /// [`bit`] is set for the tag of each line that is kept; all are when one may begin with anything.
    present: u64,
    /// Where the lines begin whose places are not kept.
    rest: u32,
}

/// A head that is whole, in one pass.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    /// Where its header lines begin.
    pub(super) headers_start: usize,
    /// After its first empty line.
    pub(super) end: usize,
    pub(super) kept: KeptLines,
    /// Whether a line goes on with the next one (obs-fold, RFC 9112 §5.2).
    pub(super) folds: bool,
    /// How many of its header lines end with CR and LF, the empty line among them.
    pub(super) carriages: usize,
}

impl Scan {
    /// The head that `bytes` begin with, if its end is among them; of its lines those with one of `names`, or all.
    pub(super) fn of(bytes: &[u8], names: Option<&Names>) -> Option<Self> {
        let mut ends = memchr_iter(b'\n', bytes);
        let headers_start = ends.next()? + 1;
        let section = bytes.get(headers_start..)?;
        let mut scan = Self { headers_start, end: 0, kept: KeptLines::default(), folds: false, carriages: 0 };
        let mut start = 0;
        for end in ends {
            let next = end + 1 - headers_start;
            let line = section.get(start..next)?;
            scan.carriages += usize::from(line.ends_with(b"\r\n"));
            scan.kept.look_at(line, start, names);
            if matches!(line, b"\r\n" | b"\n") {
                scan.end = headers_start + next;
                return Some(scan);
            }
            scan.folds |= matches!(section.get(next), Some(b' ' | b'\t'));
            start = next;
        }
        None
    }
}

/// Whether a header line of `section` goes on with the next one (obs-fold, RFC 9112 §5.2).
pub(super) fn folds(section: &[u8]) -> bool {
    memchr_iter(b'\n', section).any(|end| matches!(section.get(end + 1), Some(b' ' | b'\t')))
}

impl LineIndex {
    /// Of no lines.
    pub(super) const EMPTY: Self = Self { starts: [0; HELD], tags: [0; HELD], count: 0, present: 0, rest: 0 };

    /// Keeps the place of a line with this tag, if it follows those that are kept.
    #[inline]
    pub(super) fn push(&mut self, start: usize, next: usize, tag: u16) {
        let slots = (self.starts.get_mut(usize::from(self.count)), self.tags.get_mut(usize::from(self.count)));
        if let ((Some(place), Some(mark)), Ok(from)) = (slots, u16::try_from(start))
            && start == self.rest as usize
        {
            (*place, *mark) = (from, tag);
            self.present |= if tag == ANY { u64::MAX } else { bit(tag) };
            self.count += 1;
            self.rest = u32::try_from(next).unwrap_or(u32::MAX);
        }
    }

    /// Values of the lines of `section` with this name, in order.
    #[inline]
    pub(super) fn values<'a, 'n>(&'a self, section: &'a [u8], name: &'n [u8]) -> Values<'a, 'n> {
        let rest = Headers::of(section.get(self.rest as usize..).unwrap_or_default());
        let tag = tag(name);
        let next = if tag == ANY || self.present & bit(tag) != 0 { 0 } else { usize::from(self.count) };
        Values { index: self, tag, next, section, name, rest }
    }

    /// The first line from `from` on that may begin with what has this tag.
    #[inline]
    fn find(&self, from: usize, tag: u16) -> Option<usize> {
        let tags = self.tags.get(from..usize::from(self.count))?;
        let found = match tag {
            ANY => (!tags.is_empty()).then_some(0),
            // No line begins with anything.
            _ if self.present != u64::MAX => tags.iter().position(|known| *known == tag),
            _ => tags.iter().position(|known| *known == tag || *known == ANY),
        };
        found.map(|found| from + found)
    }

    /// A line with the end of it.
    fn line<'a>(&self, place: usize, section: &'a [u8]) -> &'a [u8] {
        let start = |place: usize| self.starts.get(place).map_or(0, |start| usize::from(*start));
        let after = if place + 1 < usize::from(self.count) { start(place + 1) } else { self.rest as usize };
        section.get(start(place)..after).unwrap_or_default()
    }
}

/// The tag of what may begin with anything.
pub(super) const ANY: u16 = 0;
/// The tag of what holds no field: no name has it, because theirs are odd.
const NOTHING: u16 = 2;

const fn bit(tag: u16) -> u64 {
    1 << (tag >> 1 & 63)
}

/// The tag of a line with its end.
pub(super) fn line_tag(line: &[u8]) -> u16 {
    if matches!(line, b"\r\n" | b"\n") { NOTHING } else { tag(line) }
}

/// The same for all that begins with the same four bytes, whatever their case; [`ANY`] for a name that is shorter and for a
/// line that begins with space, which is no part of the name.
#[inline]
pub(super) fn tag(bytes: &[u8]) -> u16 {
    match bytes.first_chunk::<4>() {
        Some(start) if !start.first().is_some_and(u8::is_ascii_whitespace) => {
            let [.., high, low] =
                ((u32::from_le_bytes(*start) | 0x2020_2020).wrapping_mul(0x9e37_79b1) >> 12).to_be_bytes();
            u16::from_be_bytes([high, low]) | 1
        }
        _ => ANY,
    }
}

/// The values of one name; see [`LineIndex::values`].
#[derive(Clone, Debug)]
pub(super) struct Values<'a, 'n> {
    index: &'a LineIndex,
    tag: u16,
    next: usize,
    section: &'a [u8],
    name: &'n [u8],
    rest: Headers<'a>,
}

impl<'a> Iterator for Values<'a, '_> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        // What is looked up is mostly not there.
        let is_over = self.next >= usize::from(self.index.count) && self.rest.rest.is_empty();
        if is_over { None } else { self.look_on() }
    }
}

impl<'a> Values<'a, '_> {
    fn look_on(&mut self) -> Option<&'a [u8]> {
        while let Some(place) = self.index.find(self.next, self.tag) {
            self.next = place + 1;
            if let Some(value) = value_of(self.index.line(place, self.section), self.name) {
                return Some(value);
            }
        }
        self.rest.find(|(name, _)| name.eq_ignore_ascii_case(self.name)).map(|(_, value)| value)
    }
}

/// The value of `line`, if that is its name.
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, rest) = line.split_at_checked(name.len())?;
    if found.eq_ignore_ascii_case(name)
        && let [b':', value @ ..] = rest
    {
        return Some(value.trim_ascii());
    }
    // Space around a name is rare, and against RFC 9112 §5.1.
    let is_spaced = |part: &[u8]| part.first().is_some_and(u8::is_ascii_whitespace);
    let may_have_space = is_spaced(line) || (is_spaced(rest) && found.eq_ignore_ascii_case(name));
    if !may_have_space {
        return None;
    }
    let (found, value) = Headers::of(line).next()?;
    found.eq_ignore_ascii_case(name).then_some(value)
}

/// Header lines as `(name, value)`, in order, without the space around the value (RFC 9112 §5.1).
/// Lines without a colon are skipped.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Headers<'a> {
    /// Of the lines in `section`.
    pub(super) const fn of(section: &'a [u8]) -> Self {
        Self { rest: section }
    }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn looking_up_by_name_finds_what_reading_all_lines_finds(
            lines in proptest::collection::vec((" ?[A-Za-z-]{0,4}[ \t\u{c}]?", "[:]{0,2}", "[a-z :]{0,6}\r?"), 0..40),
            name in "[A-Za-z-]{0,4}",
            pick in 0_usize..40,
        ) {
            let text: Vec<String> = lines.iter().map(|(name, colon, value)| format!("{name}{colon}{value}\n")).collect();
            let text = text.concat();
            let section = text.as_bytes();
            let index = KeptLines::of(section, None).behind(b"", section).1;
            let present = lines.get(pick).map_or(name.as_str(), |(name, ..)| name.trim());
            for name in [&name, present, &present.to_ascii_uppercase()] {
                let is_it = |found: &[u8]| found.eq_ignore_ascii_case(name.as_bytes());
                let all = Headers::of(section).filter(|(found, _)| is_it(found)).map(|(_, value)| value);
                let all: Vec<&[u8]> = all.collect();
                prop_assert_eq!(index.values(section, name.as_bytes()).collect::<Vec<_>>(), all);
            }
            let is_continued = |line: &str| line.starts_with([' ', '\t']);
            prop_assert_eq!(folds(section), text.lines().skip(1).any(is_continued));
        }
    }

    #[test]
    fn lines_of_a_head_that_is_too_long_for_the_index_are_found() {
        for filler in [0, 30_000, 70_000] {
            let many = "x: y\r\n".repeat(HELD - 3);
            let section = format!("{many}long: {}\r\na: 1\r\nb: 2\r\na: 3\r\nb: 4\r\n\r\n", "f".repeat(filler));
            let index = KeptLines::of(section.as_bytes(), None).behind(b"", section.as_bytes()).1;
            let values = |name: &str| index.values(section.as_bytes(), name.as_bytes()).collect::<Vec<_>>();
            assert_eq!((values("A"), values("b")), (vec![&b"1"[..], b"3"], vec![&b"2"[..], b"4"]));
            assert_eq!(values("c"), Vec::<&[u8]>::new());
        }
    }
}
