//! Names and values → a span's attributes, within the limits on their number and length.

#![expect(clippy::ptr_arg, reason = "a list keeps a text that is borrowed as it is")]
#![expect(
    clippy::inline_always,
    reason = "where a name is told in advance, its length and place are known to the compiler"
)]

use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

use smallvec::SmallVec;

use super::text::{AddressText, ascii_without};
use super::{Attribute, BlockKey, Held, Key, MAX_TEXT, SpanSettings, Value};

/// Where attributes go, one after the other.
pub trait AttributeSink<'a> {
    /// Takes a text.
    fn text(&mut self, key: &'a Key, text: &Cow<'a, str>);

    /// Takes a text that is gone afterwards.
    fn passing(&mut self, key: &'a Key, text: &str);

    /// Takes a list of one text.
    fn only(&mut self, key: &'a Key, text: &Cow<'a, str>);

    /// Takes a list of texts.
    fn texts(&mut self, key: &'a Key, texts: SmallVec<[Cow<'a, str>; 1]>);

    /// Takes an integer.
    fn int(&mut self, key: &'a Key, number: i64);

    /// Takes several integers.
    #[inline]
    fn ints<const N: usize>(&mut self, numbers: [(&'a Key, i64); N]) {
        for (key, number) in numbers {
            self.int(key, number);
        }
    }

    /// Takes a floating-point number.
    fn double(&mut self, key: &'a Key, number: f64);

    /// Takes a truth value.
    fn bool(&mut self, key: &'a Key, truth: bool);

    /// Takes one that was made before.
    fn any(&mut self, attribute: &Attribute<'a>);

    /// Takes a part of a block that it remembers, if that has no more than `room` attributes; tells how many.
    fn recall(&mut self, _key: &BlockKey, _part: Part, _room: usize) -> Option<usize> {
        None
    }

    /// Where the next attribute will be, for one that remembers blocks.
    fn position(&self) -> Option<usize> {
        None
    }

    /// May remember what it has taken as the two parts of a block: how many attributes, and between which positions.
    fn remember(&mut self, _key: &BlockKey, _held: Held, _parts: [(usize, Range<usize>); 2]) {}
}

/// Of a block: what stands before other attributes, and what stands behind them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// All of it, where no others stand in the middle.
    Before,
    /// What is left.
    Behind,
}

/// Attributes as a list.
#[derive(Debug, Default)]
pub(super) struct List<'a> {
    pub(super) attributes: Vec<Attribute<'a>>,
}

impl<'a> List<'a> {
    fn push(&mut self, key: &'a Key, value: Value<'a>) {
        self.attributes.push(Attribute { key: key.as_str().into(), value });
    }
}

impl<'a> AttributeSink<'a> for List<'a> {
    fn text(&mut self, key: &'a Key, text: &Cow<'a, str>) {
        self.push(key, Value::String(text.clone()));
    }

    fn passing(&mut self, key: &'a Key, text: &str) {
        self.push(key, Value::String(text.to_owned().into()));
    }

    fn only(&mut self, key: &'a Key, text: &Cow<'a, str>) {
        self.push(key, Value::Strings(SmallVec::from_buf([text.clone()])));
    }

    fn texts(&mut self, key: &'a Key, texts: SmallVec<[Cow<'a, str>; 1]>) {
        self.push(key, Value::Strings(texts));
    }

    fn int(&mut self, key: &'a Key, number: i64) {
        self.push(key, Value::Int(number));
    }

    fn double(&mut self, key: &'a Key, number: f64) {
        self.push(key, Value::Double(number));
    }

    fn bool(&mut self, key: &'a Key, truth: bool) {
        self.push(key, Value::Bool(truth));
    }

    fn any(&mut self, attribute: &Attribute<'a>) {
        self.attributes.push(attribute.clone());
    }
}

/// Attributes of one span, on their way to a sink. What comes first stays when the limit on their number is reached.
#[derive(Debug)]
pub(super) struct Attributes<'s, S> {
    sink: &'s mut S,
    /// How many more may come.
    room: usize,
    dropped: u32,
    /// In bytes.
    length_limit: usize,
}

// What takes one attribute is not inlined: a span has some thirty of them, whose code would not stay in the processor's cache.
impl<'s, 'a, S: AttributeSink<'a>> Attributes<'s, S> {
    /// No attributes yet.
    pub(super) fn new(sink: &'s mut S, settings: &SpanSettings) -> Self {
        let length_limit = settings.attribute_value_length_limit.min(MAX_TEXT);
        Self { sink, room: settings.attribute_count_limit, dropped: 0, length_limit }
    }

    #[inline]
    pub(super) fn text(&mut self, key: &'a Key, text: impl Into<Cow<'a, str>>) {
        self.shared(key, &text.into());
    }

    /// A text that is wanted elsewhere as well.
    #[inline(never)]
    pub(super) fn shared(&mut self, key: &'a Key, text: &Cow<'a, str>) {
        if self.has_room() {
            if text.len() <= self.length_limit {
                self.sink.text(key, text);
            } else {
                self.long(key, text);
            }
        }
    }

    /// The same for one that nearly every span has: its name is told in advance.
    #[inline(always)]
    pub(super) fn usual(&mut self, key: &'a Key, text: &Cow<'a, str>) {
        if text.len() <= self.length_limit {
            if self.has_room() {
                self.sink.text(key, text);
            }
        } else {
            self.shared(key, text);
        }
    }

    #[cold]
    fn long(&mut self, key: &'a Key, text: &Cow<'a, str>) {
        self.sink.text(key, &cut(text.clone(), self.length_limit));
    }

    /// A text that is gone afterwards; a short one.
    #[inline(never)]
    pub(super) fn passing(&mut self, key: &'a Key, text: &str) {
        if self.has_room() {
            self.sink.passing(key, text.get(..self.length_limit).unwrap_or(text));
        }
    }

    /// Likewise so many bytes, which are ASCII.
    #[inline(always)]
    pub(super) fn letters<const N: usize>(&mut self, key: &'a Key, letters: &[u8; N]) {
        let text = ascii_without(letters, []).unwrap_or_default();
        if N <= self.length_limit {
            if self.has_room() {
                self.sink.passing(key, text);
            }
        } else {
            self.passing(key, text);
        }
    }

    /// A list.
    pub(super) fn texts(&mut self, key: &'a Key, first: Cow<'a, str>, mut further: impl Iterator<Item = Cow<'a, str>>) {
        if !self.has_room() {
            return;
        }
        let first = self.cut(first);
        match further.next() {
            None => self.sink.only(key, &first),
            Some(second) => {
                let further = std::iter::once(second).chain(further).map(|text| self.cut(text));
                self.sink.texts(key, std::iter::once(first).chain(further).collect());
            }
        }
    }

    #[inline]
    pub(super) fn int(&mut self, key: &'a Key, value: impl TryInto<i64>) {
        self.number(key, value.try_into().unwrap_or(i64::MAX));
    }

    #[inline(never)]
    fn number(&mut self, key: &'a Key, value: i64) {
        if self.has_room() {
            self.sink.int(key, value);
        }
    }

    /// Several integers that mostly come together, with names that are known in advance: all of them are written in one go.
    #[inline(always)]
    pub(super) fn ints<const N: usize>(&mut self, numbers: [(&'a Key, u64); N]) {
        let numbers = numbers.map(|(key, number)| (key, i64::try_from(number).unwrap_or(i64::MAX)));
        match self.room.checked_sub(N) {
            Some(left) => {
                self.room = left;
                self.sink.ints(numbers);
            }
            None => numbers.into_iter().for_each(|(key, number)| self.number(key, number)),
        }
    }

    pub(super) fn bool(&mut self, key: &'a Key, value: bool) {
        if self.has_room() {
            self.sink.bool(key, value);
        }
    }

    /// A duration in milliseconds.
    #[inline(always)]
    pub(super) fn millis(&mut self, key: &'a Key, value: Duration) {
        if self.has_room() {
            self.sink.double(key, value.as_secs_f64() * 1000.0);
        }
    }

    #[inline]
    pub(super) fn address(&mut self, key: &'a Key, address: &AddressText) {
        self.passing(key, address.as_str());
    }

    /// All that `write` gives, and it gives the same whenever `key` is the same, as long as `hold` holds what that names.
    pub(super) fn block(&mut self, key: BlockKey, hold: impl FnOnce() -> Held, write: impl FnOnce(&mut Self)) {
        let Some(start) = self.sink.position() else { return write(self) };
        let key = key.within(self.length_limit);
        if self.recalls(&key, Part::Before) {
            return;
        }
        let (dropped, before) = (self.dropped, self.written(start, write));
        if self.dropped == dropped {
            self.sink.remember(&key, hold(), [before, (0, 0..0)]);
        }
    }

    /// Likewise all that `before` and `behind` give, with what `between` gives in the middle, which may differ.
    pub(super) fn around(
        &mut self,
        key: BlockKey,
        before: impl FnOnce(&mut Self),
        between: impl FnOnce(&mut Self),
        behind: impl FnOnce(&mut Self),
    ) {
        let Some(start) = self.sink.position() else {
            before(self);
            between(self);
            return behind(self);
        };
        let key = key.within(self.length_limit);
        if self.recalls(&key, Part::Before) {
            between(self);
            if !self.recalls(&key, Part::Behind) {
                behind(self);
            }
            return;
        }
        let (dropped, before) = (self.dropped, self.written(start, before));
        between(self);
        let start = self.sink.position().unwrap_or_default();
        let behind = self.written(start, behind);
        if self.dropped == dropped {
            self.sink.remember(&key, Held::default(), [before, behind]);
        }
    }

    fn recalls(&mut self, key: &BlockKey, part: Part) -> bool {
        let count = self.sink.recall(key, part, self.room);
        self.room -= count.unwrap_or_default();
        count.is_some()
    }

    /// How many attributes `write` gave, and where they stand.
    fn written(&mut self, start: usize, write: impl FnOnce(&mut Self)) -> (usize, Range<usize>) {
        let room = self.room;
        write(self);
        (room - self.room, start..self.sink.position().unwrap_or_default())
    }

    /// How many found no room.
    pub(super) const fn dropped(&self) -> u32 {
        self.dropped
    }

    #[inline]
    const fn has_room(&mut self) -> bool {
        if self.room > 0 {
            self.room -= 1;
            return true;
        }
        self.dropped = self.dropped.saturating_add(1);
        false
    }

    fn cut(&self, text: Cow<'a, str>) -> Cow<'a, str> {
        if text.len() <= self.length_limit { text } else { cut(text, self.length_limit) }
    }
}

fn cut(text: Cow<'_, str>, limit: usize) -> Cow<'_, str> {
    let end = (0..=limit).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(..end).unwrap_or_default()),
        Cow::Owned(mut text) => {
            text.truncate(end);
            Cow::Owned(text)
        }
    }
}
