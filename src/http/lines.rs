//! The header lines of a head: where each begins, found once, so that looking up a name reads the beginning of each alone.

use memchr::{memchr, memchr_iter};

use super::field_name::{FieldCode, FieldName};
use super::packed::take;

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
    /// Of the name of each line.
    codes: [FieldCode; HELD],
    /// Of each line whose code is exact: what stands before its value and after it.
    margins: [Margins; HELD],
    count: u8,
    /// [`FieldCode::bit`] is set for each line that is kept; all are when one may have any name.
    present: u64,
    /// Where the lines begin whose places are not kept.
    rest: u32,
}

/// Bytes of a line before its value and after it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Margins {
    before: u8,
    after: u8,
}

impl Margins {
    /// Not known.
    pub(super) const NONE: Self = Self { before: 0, after: 0 };

    /// Of `line`, whose name is `name` bytes long and ends with the colon; `None` where that is too much space to be held.
    pub(super) fn of(line: &[u8], name: usize) -> Option<Self> {
        let value = line.get(name + 1..)?;
        // As nearly all are.
        if let [b' ', text @ .., b'\r', b'\n'] = value
            && let (Some(b'!'..), Some(b'!'..)) = (text.first(), text.last())
        {
            return Some(Self { before: u8::try_from(name + 2).ok()?, after: 2 });
        }
        let value = value.trim_ascii_start();
        let before = u8::try_from(line.len() - value.len()).ok()?;
        let after = u8::try_from(value.len() - value.trim_ascii_end().len()).ok()?;
        Some(Self { before, after })
    }

    fn within(self, line: &[u8]) -> &[u8] {
        let end = line.len().saturating_sub(self.after.into());
        line.get(self.before.into()..end).unwrap_or_default()
    }
}

/// Whether a header line of `section` goes on with the next one (obs-fold, RFC 9112 §5.2).
pub(super) fn folds(section: &[u8]) -> bool {
    memchr_iter(b'\n', section).any(|end| matches!(section.get(end + 1), Some(b' ' | b'\t')))
}

impl LineIndex {
    /// Of no lines.
    pub(super) const EMPTY: Self = Self {
        starts: [0; HELD],
        codes: [FieldCode::ANY; HELD],
        margins: [Margins::NONE; HELD],
        count: 0,
        present: 0,
        rest: 0,
    };

    /// Keeps the place of a line with this code, if it follows those that are kept.
    #[inline]
    pub(super) fn push(&mut self, start: usize, next: usize, code: FieldCode, margins: Margins) {
        let number = usize::from(self.count);
        if let (Some(place), Some(mark), Some(held), Ok(from)) = (
            self.starts.get_mut(number),
            self.codes.get_mut(number),
            self.margins.get_mut(number),
            u16::try_from(start),
        ) && start == self.rest as usize
        {
            (*place, *mark, *held) = (from, code, margins);
            self.present |= code.present();
            self.count += 1;
            self.rest = u32::try_from(next).unwrap_or(u32::MAX);
        }
    }

    /// How many lines it has the places of, and where the others begin.
    pub(super) const fn size(&self) -> (u8, u32) {
        (self.count, self.rest)
    }

    /// Appends to `packed` what it has beside its size.
    pub(super) fn pack(&self, packed: &mut Vec<u8>) {
        for ((start, code), margins) in self.starts.iter().zip(&self.codes).zip(&self.margins).take(self.count.into()) {
            let ([a, b], [c, d]) = (start.to_le_bytes(), code.number().to_le_bytes());
            packed.extend_from_slice(&[a, b, c, d, margins.before, margins.after]);
        }
    }

    /// Becomes one of this size with what `packed` begins with, which is behind it then.
    pub(super) fn unpack(&mut self, count: u8, rest: u32, packed: &mut &[u8]) {
        *self = Self { count, rest, ..Self::EMPTY };
        let places = self.starts.iter_mut().zip(&mut self.codes).zip(&mut self.margins).take(count.into());
        for ((start, code), margins) in places {
            let [a, b, c, d, before, after] = take(packed);
            *start = u16::from_le_bytes([a, b]);
            *code = FieldCode::from_number(u16::from_le_bytes([c, d]));
            *margins = Margins { before, after };
            self.present |= code.present();
        }
    }

    /// Values of the lines of `section` with this name, in order.
    #[inline]
    pub(super) fn values<'a, 'n>(&'a self, section: &'a [u8], name: FieldName<'n>) -> Values<'a, 'n> {
        let rest = Headers::of(section.get(self.rest as usize..).unwrap_or_default());
        let code = name.code();
        let is_possible = code == FieldCode::ANY || self.present & code.bit() != 0;
        let next = if is_possible { 0 } else { usize::from(self.count) };
        Values { index: self, next, section, name, rest }
    }

    /// Value of the first line of `section` with this name.
    pub(super) fn first<'a>(&'a self, section: &'a [u8], name: FieldName<'_>) -> Option<&'a [u8]> {
        let known = self.known(0, section, name).map(|(value, _)| value);
        known.or_else(|| self.values(section, name).next())
    }

    /// Whether no line of `section` has the name of this code.
    #[inline]
    pub(super) fn lacks(&self, section: &[u8], code: FieldCode) -> bool {
        code != FieldCode::ANY && self.present & code.bit() == 0 && self.rest as usize >= section.len()
    }

    /// The first line from `from` on that may have the name of this code.
    #[inline]
    fn find(&self, from: usize, code: FieldCode) -> Option<usize> {
        let codes = self.codes.get(from..usize::from(self.count))?;
        let found = match code {
            FieldCode::ANY => (!codes.is_empty()).then_some(0),
            // No line may have any name.
            _ if self.present != u64::MAX => codes.iter().position(|known| *known == code),
            _ => codes.iter().position(|known| *known == code || *known == FieldCode::ANY),
        };
        found.map(|found| from + found)
    }

    /// The first line from `from` on that may have this name, where its code tells that it has: mostly so. Its value, and where
    /// the next line is.
    #[inline]
    fn known<'a>(&self, from: usize, section: &'a [u8], name: FieldName<'_>) -> Option<(&'a [u8], usize)> {
        let place = self.find(from, name.code())?;
        Some((self.known_value(place, section, name)?, place + 1))
    }

    /// A line with the end of it.
    #[inline]
    fn line<'a>(&self, place: usize, section: &'a [u8]) -> &'a [u8] {
        let start = |place: usize| self.starts.get(place).map_or(0, |start| usize::from(*start));
        let after = if place + 1 < usize::from(self.count) { start(place + 1) } else { self.rest as usize };
        section.get(start(place)..after).unwrap_or_default()
    }

    /// The value of a line, if its code tells that `name` is its name.
    #[inline]
    fn known_value<'a>(&self, place: usize, section: &'a [u8], name: FieldName<'_>) -> Option<&'a [u8]> {
        let (code, margins) = (self.codes.get(place)?, self.margins.get(place)?);
        (code.is_exact() && *code == name.code()).then(|| margins.within(self.line(place, section)))
    }

    /// The value of a line, if `name` is its name.
    fn value<'a>(&self, place: usize, section: &'a [u8], name: FieldName<'_>) -> Option<&'a [u8]> {
        let known = self.known_value(place, section, name);
        known.or_else(|| value_of(self.line(place, section), name.text().as_bytes()))
    }
}

/// The values of one name; see [`LineIndex::values`].
#[derive(Clone, Debug)]
pub(super) struct Values<'a, 'n> {
    index: &'a LineIndex,
    next: usize,
    section: &'a [u8],
    name: FieldName<'n>,
    rest: Headers<'a>,
}

impl<'a> Iterator for Values<'a, '_> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        // What is looked up is mostly not there.
        let is_over = self.next >= usize::from(self.index.count) && self.rest.rest.is_empty();
        if is_over { None } else { self.known().or_else(|| self.look_on()) }
    }
}

impl<'a> Values<'a, '_> {
    fn known(&mut self) -> Option<&'a [u8]> {
        let (value, next) = self.index.known(self.next, self.section, self.name)?;
        self.next = next;
        Some(value)
    }

    fn look_on(&mut self) -> Option<&'a [u8]> {
        while let Some(place) = self.index.find(self.next, self.name.code()) {
            self.next = place + 1;
            if let Some(value) = self.index.value(place, self.section, self.name) {
                return Some(value);
            }
        }
        self.next = usize::from(self.index.count);
        let wanted = self.name.text().as_bytes();
        self.rest.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
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

    use super::super::fields::KeptLines;
    use super::*;

    proptest! {
        #[test]
        fn looking_up_by_name_finds_what_reading_all_lines_finds(
            lines in proptest::collection::vec(
                (
                    " ?([A-Za-z-]{0,4}|[Hh]ost|content-length|X-Forwarded-For)[ \t\u{c}]?",
                    "[:]{0,2}",
                    "[a-z :]{0,6}\r?|( {250,260}a {250,260})",
                ),
                0..40,
            ),
            name in "[A-Za-z-]{0,4}|HOST",
            pick in 0_usize..40,
        ) {
            let text: Vec<String> = lines.iter().map(|(name, colon, value)| format!("{name}{colon}{value}\n")).collect();
            let text = text.concat();
            let section = text.as_bytes();
            let index = KeptLines::of(section, None).behind(b"", section).1;
            let present = lines.get(pick).map_or(name.as_str(), |(name, ..)| name.trim());
            for name in [name.as_str(), present, &present.to_ascii_uppercase()] {
                let is_it = |found: &[u8]| found.eq_ignore_ascii_case(name.as_bytes());
                let all = Headers::of(section).filter(|(found, _)| is_it(found)).map(|(_, value)| value);
                let all: Vec<&[u8]> = all.collect();
                prop_assert!(all.is_empty() || !index.lacks(section, FieldName::from(name).code()));
                prop_assert_eq!(index.first(section, name.into()), all.first().copied());
                prop_assert_eq!(index.values(section, name.into()).collect::<Vec<_>>(), all);
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
            let values = |name: &str| index.values(section.as_bytes(), name.into()).collect::<Vec<_>>();
            assert_eq!((values("A"), values("b")), (vec![&b"1"[..], b"3"], vec![&b"2"[..], b"4"]));
            assert_eq!(values("c"), Vec::<&[u8]>::new());
        }
    }
}
