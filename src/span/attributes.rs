//! Names and values → a span's attributes, within the limits on their number and length.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use smallvec::SmallVec;

use super::{Attribute, MAX_TEXT, Value};

/// Attributes of one span. What is pushed first stays when the limit is reached.
#[derive(Debug)]
pub(super) struct Attributes<'a> {
    list: Vec<Attribute<'a>>,
    dropped: u32,
    count_limit: usize,
    length_limit: usize,
}

impl<'a> Attributes<'a> {
    /// No attributes yet; `length_limit` is in bytes.
    pub(super) fn new(count_limit: usize, length_limit: usize) -> Self {
        let list = Vec::with_capacity(count_limit.min(40));
        Self { list, dropped: 0, count_limit, length_limit: length_limit.min(MAX_TEXT) }
    }

    pub(super) fn text(&mut self, key: impl Into<Cow<'a, str>>, text: impl Into<Cow<'a, str>>) {
        let text = self.cut(text.into());
        self.push(key, Value::String(text));
    }

    /// Bytes from the wire; what is not UTF-8 becomes U+FFFD.
    pub(super) fn bytes(&mut self, key: impl Into<Cow<'a, str>>, bytes: &'a [u8]) {
        self.text(key, lossy(bytes));
    }

    pub(super) fn texts(&mut self, key: impl Into<Cow<'a, str>>, texts: impl Iterator<Item = Cow<'a, str>>) {
        let texts: SmallVec<[Cow<'a, str>; 1]> = texts.map(|text| self.cut(text)).collect();
        self.push(key, Value::Strings(texts));
    }

    pub(super) fn int(&mut self, key: &'static str, value: impl TryInto<i64>) {
        self.push(key, Value::Int(value.try_into().unwrap_or(i64::MAX)));
    }

    pub(super) fn bool(&mut self, key: &'static str, value: bool) {
        self.push(key, Value::Bool(value));
    }

    /// A duration in milliseconds.
    pub(super) fn millis(&mut self, key: &'static str, value: Duration) {
        self.push(key, Value::Double(value.as_secs_f64() * 1000.0));
    }

    pub(super) fn address(&mut self, key: &'static str, address: IpAddr) {
        self.text(key, text_of(address));
    }

    /// The attributes, and how many found no room.
    pub(super) fn finish(self) -> (Vec<Attribute<'a>>, u32) {
        (self.list, self.dropped)
    }

    fn push(&mut self, key: impl Into<Cow<'a, str>>, value: Value<'a>) {
        if self.list.len() < self.count_limit {
            self.list.push(Attribute { key: key.into(), value });
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    fn cut(&self, text: Cow<'a, str>) -> Cow<'a, str> {
        if text.len() <= self.length_limit {
            return text;
        }
        let end = (0..=self.length_limit).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.get(..end).unwrap_or_default()),
            Cow::Owned(mut text) => {
                text.truncate(end);
                Cow::Owned(text)
            }
        }
    }
}

/// Bytes from the wire; what is not UTF-8 becomes U+FFFD. Most of it is, which is found faster.
pub(super) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// As [`IpAddr`] is displayed; IPv4 without its detours, because a span has four of them.
pub(super) fn text_of(address: IpAddr) -> String {
    let IpAddr::V4(address) = address else { return address.to_string() };
    let mut text = [b'.'; 16];
    let mut end = 0;
    for byte in address.octets() {
        let digits = DECIMAL.get(usize::from(byte)).unwrap_or(&[b'0'; 3]);
        let length = if byte < 10 { 1 } else { 2 + usize::from(byte >= 100) };
        if let Some(place) = text.get_mut(end..end + 3) {
            place.copy_from_slice(digits);
        }
        if let Some(dot) = text.get_mut(end + length) {
            *dot = b'.';
        }
        end += length + 1;
    }
    std::str::from_utf8(text.get(..end - 1).unwrap_or_default()).unwrap_or_default().to_owned()
}

/// The digits of each byte, and whatever behind them.
const DECIMAL: [[u8; 3]; 256] = {
    let mut digits = [[b'0'; 3]; 256];
    let mut byte = 0_u8;
    loop {
        let (hundreds, tens, ones) = (b'0' + byte / 100, b'0' + byte / 10 % 10, b'0' + byte % 10);
        #[expect(clippy::indexing_slicing, reason = "there is a place for every byte")]
        {
            digits[byte as usize] = match byte {
                0..10 => [ones; 3],
                10..100 => [tens, ones, ones],
                _ => [hundreds, tens, ones],
            };
        }
        if byte == u8::MAX {
            break digits;
        }
        byte += 1;
    }
};

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn addresses_read_as_the_standard_library_writes_them() {
        for byte in 0..=255 {
            for octets in [[byte, 0, 10, 255], [1, byte, 99, 100], [9, 200, byte, 0], [0, 0, 0, byte]] {
                let address = Ipv4Addr::from(octets);
                assert_eq!(text_of(address.into()), address.to_string());
            }
        }
        assert_eq!(text_of("2001:db8::1".parse().unwrap()), "2001:db8::1");
    }
}
