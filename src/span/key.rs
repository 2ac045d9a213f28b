//! An attribute's name, laid out so that who encodes it stores it without looking at its length.

use std::borrow::Cow;

/// The name of an attribute.
#[derive(Clone, Debug)]
pub struct Key {
    name: Cow<'static, str>,
    padded: [u8; Self::PADDED],
    length: u8,
}

impl Key {
    /// Names of spans' attributes are mostly shorter.
    const PADDED: usize = 48;

    /// A name that is known in advance.
    pub(super) const fn new(name: &'static str) -> Self {
        let (padded, length) = padded(name.as_bytes());
        Self { name: Cow::Borrowed(name), padded, length }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The name with zeros behind it, and how long it is without: [`u8::MAX`] for an empty one and for one that is too long, which
    /// have only [`Self::as_str`].
    #[inline]
    pub const fn padded(&self) -> (&[u8; Self::PADDED], u8) {
        (&self.padded, self.length)
    }
}

impl From<String> for Key {
    fn from(name: String) -> Self {
        let (padded, length) = padded(name.as_bytes());
        Self { name: Cow::Owned(name), padded, length }
    }
}

const fn padded(mut name: &[u8]) -> ([u8; Key::PADDED], u8) {
    let mut bytes = [0; Key::PADDED];
    if name.is_empty() || name.len() > Key::PADDED {
        return (bytes, u8::MAX);
    }
    let (mut left, mut length) = (bytes.as_mut_slice(), 0);
    while let ([byte, rest @ ..], [place, behind @ ..]) = (name, left) {
        *place = *byte;
        (name, left) = (rest, behind);
        length += 1;
    }
    (bytes, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_padded_where_it_fits() {
        for length in 0..100 {
            let name = "n".repeat(length);
            let key = Key::from(name.clone());
            let (padded, short) = key.padded();
            assert_eq!(key.as_str(), name);
            let fits = (1..=Key::PADDED).contains(&length);
            assert_eq!(short, if fits { u8::try_from(length).unwrap() } else { u8::MAX });
            let expected = if fits { &*name } else { "" };
            assert_eq!(padded[..], *format!("{expected:\0<48}").as_bytes());
        }
    }
}
