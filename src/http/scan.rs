//! A head that is whole → its end, its lines and what is odd about them, in one pass.

use super::fields::{KeptLines, Names, is_empty};
use super::line_feeds::LineFeeds;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scan {
    /// Where its header lines begin.
    pub(super) headers_start: usize,
    /// After its first empty line.
    pub(super) end: usize,
    /// Whether a general parser is needed: a header line begins with space, so that it goes on with the one before (obs-fold,
    /// RFC 9112 §5.2) or breaks the rules, or one holds NUL, or CR that ends no line.
    pub(super) is_odd: bool,
}

impl Scan {
    /// The head that `bytes` begin with, if its end is among them; of its lines those with one of `names`, or all, are put into
    /// `kept`.
    pub(super) fn of(bytes: &[u8], names: Option<&Names>, kept: &mut KeptLines) -> Option<Self> {
        let mut line_feeds = LineFeeds::of(bytes);
        let headers_start = line_feeds.next()? + 1;
        let (mut end, mut is_odd) = (headers_start, false);
        let by_beginning = names.filter(|names| names.are_told_by_their_beginning());
        loop {
            let start;
            (start, end) = match by_beginning {
                Some(names) => line_feeds.next_line(end, |beginning| names.may_begin(beginning))?,
                None => (end, line_feeds.next()? + 1),
            };
            let line = bytes.get(start..end)?;
            let is_last = match line.first() {
                Some(b'!'..) => false,
                Some(first) => {
                    let is_last = is_empty(line);
                    is_odd |= !is_last && first.is_ascii_whitespace();
                    is_last
                }
                None => return None,
            };
            match by_beginning {
                Some(names) => kept.look_at_beginning(line, start - headers_start, names),
                None => kept.look_at(line, start - headers_start, names),
            }
            if is_last {
                is_odd |= line_feeds.may_be_odd() && bytes.get(headers_start..end).is_some_and(has_odd_bytes);
                return Some(Self { headers_start, end, is_odd });
            }
        }
    }
}

/// Whether there is NUL, or CR that ends no line.
#[cold]
fn has_odd_bytes(lines: &[u8]) -> bool {
    let ends_line = |place: usize| lines.get(place + 1) == Some(&b'\n');
    lines.iter().enumerate().any(|(place, byte)| *byte == 0 || (*byte == b'\r' && !ends_line(place)))
}
