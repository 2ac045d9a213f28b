//! Batches → records of a segment file, and back.
//!
//! ```text
//! segment = magic record…
//! record  = state (1) zero (3) length (4) spans (4) CRC-32 (4) batch (length)      numbers are little-endian
//! ```
//!
//! The checksum covers length, spans and batch. `state` is written again when the record is done with: what a crash leaves
//! behind is sent from where it was.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"NASPOOL1";
/// Bytes of what stands before a batch.
const HEAD: usize = 16;
const WAITING: u8 = 0;
const DONE: u8 = 1;

/// What stands before a batch.
#[derive(Clone, Copy, Debug)]
struct Head {
    is_done: bool,
    length: u32,
    spans: u32,
    checksum: u32,
}

impl Head {
    fn of(bytes: &[u8], spans: u32) -> io::Result<Self> {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        Ok(Self { is_done: false, length, spans, checksum: checksum(length, spans, bytes) })
    }

    fn encode(self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        bytes[0] = if self.is_done { DONE } else { WAITING };
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.spans.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    fn decode(bytes: [u8; HEAD]) -> Option<Self> {
        let [state, 0, 0, 0, rest @ ..] = bytes else { return None };
        let number = |at: usize| rest.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let (length, spans, checksum) = (number(0)?, number(4)?, number(8)?);
        matches!(state, WAITING | DONE).then_some(Self { is_done: state == DONE, length, spans, checksum })
    }
}

fn checksum(length: u32, spans: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(&spans.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// A record that was read.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Record {
    /// Where it begins.
    pub(super) offset: u64,
    pub(super) spans: u64,
    pub(super) bytes: Vec<u8>,
}

/// One file, and what of it is not done with.
#[derive(Debug)]
pub(super) struct Segment {
    /// Grows from file to file.
    pub(super) number: u64,
    path: PathBuf,
    file: File,
    /// Bytes of whole records, with the magic.
    pub(super) length: u64,
    /// Where the next record to be read begins.
    next: u64,
    /// Spans of records that were not read.
    pub(super) unread: u64,
    /// Records that are not done with.
    pub(super) open: u64,
    /// Of them: those that were not read.
    unread_records: u64,
    /// Something in it is not what was written: nothing more is.
    pub(super) is_damaged: bool,
}

impl Segment {
    /// The file of a segment's number in `folder`.
    pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
        folder.join(format!("{number:020}.spool"))
    }

    /// The number that the name of a file stands for.
    pub(super) fn number(path: &Path) -> Option<u64> {
        let name = path.file_name()?.to_str()?.strip_suffix(".spool")?;
        if name.len() == 20 { name.parse().ok() } else { None }
    }

    /// A new and empty one. Only its owner may read it: it holds what was said on the network.
    pub(super) fn create(folder: &Path, number: u64) -> io::Result<Self> {
        let path = Self::path(folder, number);
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        if let Err(error) = file.write_all(MAGIC) {
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        let length = MAGIC.len() as u64;
        Ok(Self { number, path, file, length, next: length, unread: 0, open: 0, unread_records: 0, is_damaged: false })
    }

    /// One that another run has left. Ends where the first record is not whole, as after a crash in the middle of writing;
    /// the rest of the file is cut off.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let number = Self::number(&path).ok_or_else(|| io::Error::other("it is no segment"))?;
        let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
        let size = file.metadata()?.len();
        let mut magic = [0; MAGIC.len()];
        let begin = magic.len().min(usize::try_from(size).unwrap_or(usize::MAX));
        file.read_exact(magic.get_mut(..begin).unwrap_or_default())?;
        if magic.get(..begin) != MAGIC.get(..begin) {
            return Err(io::Error::other("it does not begin as a segment does"));
        }
        let length = MAGIC.len() as u64;
        let mut segment =
            Self { number, path, file, length, next: 0, unread: 0, open: 0, unread_records: 0, is_damaged: false };
        if size < length {
            // A crash in the middle of making it.
            segment.file.rewind()?;
            segment.file.write_all(MAGIC)?;
        } else {
            segment.find_records(size)?;
        }
        if segment.next == 0 {
            segment.next = segment.length;
        }
        Ok(segment)
    }

    fn find_records(&mut self, size: u64) -> io::Result<()> {
        while let Some(head) = self.head(self.length)? {
            let end = self.length + Self::cost(head.length as usize);
            if end > size {
                break;
            }
            if !head.is_done {
                if self.next == 0 {
                    self.next = self.length;
                }
                self.unread += u64::from(head.spans);
                self.open += 1;
                self.unread_records += 1;
            }
            self.length = end;
        }
        if self.length < size {
            let (bytes, file) = (size - self.length, self.path.display());
            tracing::warn!(bytes, %file, "The last record of a file of the spool is not whole, as after a crash; it is cut off.");
            self.file.set_len(self.length)?;
        }
        Ok(())
    }

    fn head(&self, at: u64) -> io::Result<Option<Head>> {
        let mut bytes = [0; HEAD];
        match self.file.read_exact_at(&mut bytes, at) {
            Ok(()) => Ok(Head::decode(bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Bytes that a batch will take.
    pub(super) const fn cost(bytes: usize) -> u64 {
        HEAD as u64 + bytes as u64
    }

    /// Bytes of a file without records.
    pub(super) const fn overhead() -> u64 {
        MAGIC.len() as u64
    }

    /// Writes a batch behind the others. Nothing of it stays when it fails, and what was there before is as it was.
    pub(super) fn append(&mut self, bytes: &[u8], spans: u64) -> io::Result<()> {
        let spans = u32::try_from(spans).map_err(io::Error::other)?;
        let head = Head::of(bytes, spans)?;
        let written = self.write(&head.encode(), bytes);
        if written.is_err() {
            let _ = self.file.set_len(self.length);
            return written;
        }
        self.length += Self::cost(bytes.len());
        self.unread += u64::from(spans);
        self.open += 1;
        self.unread_records += 1;
        Ok(())
    }

    fn write(&mut self, head: &[u8], bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.length))?;
        self.file.write_all(head)?;
        self.file.write_all(bytes)
    }

    /// The next record that is not done with; `None` behind the last.
    ///
    /// # Errors
    /// When the file cannot be read or a record is not what was written: nothing behind it can be trusted.
    pub(super) fn read(&mut self) -> io::Result<Option<Record>> {
        while self.next < self.length {
            let (offset, damaged) = (self.next, || io::Error::other("a record is damaged"));
            let head = self.head(offset)?.ok_or_else(damaged)?;
            let end = offset + Self::cost(head.length as usize);
            if end > self.length {
                return Err(damaged());
            }
            if !head.is_done {
                let mut bytes = vec![0; head.length as usize];
                self.file.read_exact_at(&mut bytes, offset + HEAD as u64)?;
                if checksum(head.length, head.spans, &bytes) != head.checksum {
                    return Err(damaged());
                }
                self.next = end;
                self.unread = self.unread.saturating_sub(u64::from(head.spans));
                self.unread_records = self.unread_records.saturating_sub(1);
                return Ok(Some(Record { offset, spans: u64::from(head.spans), bytes }));
            }
            self.next = end;
        }
        Ok(None)
    }

    /// Gives up what was not read; so many spans.
    pub(super) fn give_up(&mut self) -> u64 {
        self.next = self.length;
        self.open = self.open.saturating_sub(std::mem::take(&mut self.unread_records));
        std::mem::take(&mut self.unread)
    }

    /// A record that was read is to be read again by the next run.
    pub(super) fn give_back(&mut self, spans: u64) {
        self.unread += spans;
        self.unread_records += 1;
    }

    /// Whether everything was read.
    pub(super) const fn is_read(&self) -> bool {
        self.next >= self.length
    }

    /// The record at `offset` is never to be read again.
    pub(super) fn done(&mut self, offset: u64) -> io::Result<()> {
        self.open = self.open.saturating_sub(1);
        self.file.write_all_at(&[DONE], offset)
    }

    /// Puts what was written on the disk itself.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Ends the file.
    pub(super) fn remove(&self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn records(segment: &mut Segment) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| segment.read().unwrap()).map(|record| record.bytes).collect()
    }

    #[test]
    fn what_was_written_is_read_in_order_also_by_the_next_run() {
        let folder = folder();
        let mut segment = Segment::create(folder.path(), 7).unwrap();
        segment.append(b"one", 1).unwrap();
        segment.append(b"two", 2).unwrap();
        assert_eq!((segment.unread, segment.open), (3, 2));
        assert_eq!(records(&mut segment), [b"one", b"two"]);
        let mut again = Segment::open(Segment::path(folder.path(), 7)).unwrap();
        assert_eq!((again.number, again.unread, again.open), (7, 3, 2));
        assert_eq!(records(&mut again), [b"one", b"two"]);
    }

    #[test]
    fn what_is_done_with_is_not_read_by_the_next_run() {
        let folder = folder();
        let mut segment = Segment::create(folder.path(), 0).unwrap();
        for text in ["one", "two", "three"] {
            segment.append(text.as_bytes(), 1).unwrap();
        }
        let first = segment.read().unwrap().unwrap();
        segment.read().unwrap();
        let third = segment.read().unwrap().unwrap();
        segment.done(first.offset).unwrap();
        segment.done(third.offset).unwrap();
        let mut again = Segment::open(Segment::path(folder.path(), 0)).unwrap();
        assert_eq!((again.unread, again.open), (1, 1));
        assert_eq!(records(&mut again), [b"two"]);
    }

    #[test]
    fn a_file_cut_anywhere_gives_every_record_that_is_whole() {
        let folder = folder();
        let mut segment = Segment::create(folder.path(), 0).unwrap();
        let mut ends = Vec::new();
        for text in ["one", "", "three"] {
            segment.append(text.as_bytes(), 1).unwrap();
            ends.push(segment.length);
        }
        let path = Segment::path(folder.path(), 0);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut again = Segment::open(path.clone()).unwrap();
            let wanted = ends.iter().filter(|end| **end <= cut as u64).count();
            assert_eq!(records(&mut again).len(), wanted, "cut at {cut}");
            again.append(b"new", 1).unwrap();
            assert_eq!(records(&mut again), [b"new"], "cut at {cut}");
            let mut third = Segment::open(path.clone()).unwrap();
            assert_eq!(records(&mut third).len(), wanted + 1, "cut at {cut}");
        }
    }

    #[test]
    fn a_record_with_any_bit_changed_is_not_taken_for_what_was_written() {
        let folder = folder();
        let path = Segment::path(folder.path(), 0);
        Segment::create(folder.path(), 0).unwrap().append(b"spans", 5).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &damaged).unwrap();
            // Its beginning is left alone: it may be another program's.
            let Ok(mut again) = Segment::open(path.clone()) else {
                assert!(bit < 64);
                continue;
            };
            // Either it is known to be damaged, or it is done with, or the file ends before it.
            assert!(!matches!(again.read(), Ok(Some(_))), "bit {bit}");
        }
    }

    #[test]
    fn a_file_of_another_name_is_no_segment() {
        for name in ["1.spool", "00000000000000000001.spool.bak", "x", "0000000000000000000x.spool"] {
            assert_eq!(Segment::number(Path::new(name)), None, "{name}");
        }
    }
}
