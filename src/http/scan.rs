//! A head that is whole → its end, its lines and what is odd about them, in one pass.

use super::controls::Controls;
use super::fields::{KeptLines, Names, is_empty};

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    /// Where its header lines begin.
    pub(super) headers_start: usize,
    /// After its first empty line.
    pub(super) end: usize,
    pub(super) kept: KeptLines,
    /// Whether a general parser is needed: a header line begins with space, so that it goes on with the one before (obs-fold,
    /// RFC 9112 §5.2) or breaks the rules, or one holds NUL, or CR that ends no line.
    pub(super) is_odd: bool,
}

impl Scan {
    /// The head that `bytes` begin with, if its end is among them; of its lines those with one of `names`, or all.
    pub(super) fn of(bytes: &[u8], names: Option<&Names>) -> Option<Self> {
        let mut controls = Controls::of(bytes);
        let headers_start = controls.find(|place| bytes.get(*place) == Some(&b'\n'))? + 1;
        let mut scan = Self { headers_start, end: headers_start, kept: KeptLines::default(), is_odd: false };
        let by_beginning = names.filter(|names| names.are_told_by_their_beginning());
        while let Some(place) = controls.next() {
            let next = match bytes.get(place..)? {
                [b'\r', b'\n', ..] => controls.next()? + 1,
                [b'\n', ..] => place + 1,
                [control, ..] => {
                    scan.is_odd |= matches!(control, 0 | b'\r');
                    continue;
                }
                [] => return None,
            };
            let (start, line) = (scan.end, bytes.get(scan.end..next)?);
            match by_beginning {
                Some(names) => scan.kept.look_at_beginning(line, start - headers_start, names),
                None => scan.kept.look_at(line, start - headers_start, names),
            }
            scan.end = next;
            if is_empty(line) {
                return Some(scan);
            }
            scan.is_odd |= line.first().is_some_and(u8::is_ascii_whitespace);
        }
        None
    }
}
