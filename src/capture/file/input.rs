//! A stream of bytes → whole records of it, in one buffer that is used again and again.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flate2::bufread::MultiGzDecoder;

use crate::capture::{CaptureError, system};

/// Bytes asked of the system at once. The buffer grows beyond it only for a record that is longer.
const CHUNK: usize = 256 << 10;

/// Why there is no further record.
#[derive(Debug)]
pub(super) enum Stop {
    /// The stream has nothing more at present.
    Waiting,
    /// The stream ended between two records.
    End,
    /// The stream ended inside a record.
    Cut,
    /// The whole file cannot be read, and why.
    Refused(String),
    /// The record cannot be what it says, and nothing tells where the next one begins.
    Damaged(String),
    /// The filter does not compile for a link type in the file.
    Unfiltered(CaptureError),
    /// The system refused to read.
    Failed(io::Error),
}

/// The bytes that were read and not yet taken. Invariant: `start <= end <= buffer.len()`.
pub(super) struct Input {
    reader: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes taken or skipped since the stream began.
    offset: u64,
    /// Bytes that shall not be seen, before the next record.
    to_skip: u64,
    ended: Option<Ended>,
}

/// How a stream ended.
#[derive(Clone, Copy)]
enum Ended {
    Properly,
    /// The compressed stream below was cut.
    Early,
}

impl Input {
    pub(super) fn new(reader: impl Read + Send + 'static) -> Self {
        Self { reader: Box::new(reader), buffer: Vec::new(), start: 0, end: 0, offset: 0, to_skip: 0, ended: None }
    }

    /// The next `wanted` bytes, which stay.
    pub(super) fn peek(&mut self, wanted: usize) -> Result<&[u8], Stop> {
        self.fill(wanted)?;
        self.buffer.get(self.start..self.start + wanted).ok_or(Stop::Cut)
    }

    /// The next `wanted` bytes, all of them or none. The caller bounds `wanted`: so much memory is held.
    pub(super) fn take(&mut self, wanted: usize) -> Result<&[u8], Stop> {
        self.fill(wanted)?;
        let from = self.start;
        self.start += wanted;
        self.offset += wanted as u64;
        self.buffer.get(from..self.start).ok_or(Stop::Cut)
    }

    /// Passes over the next `count` bytes without holding them.
    pub(super) fn skip(&mut self, count: u64) {
        self.to_skip = self.to_skip.saturating_add(count);
    }

    /// Bytes that are in the buffer.
    pub(super) fn buffered(&self) -> usize {
        self.end - self.start
    }

    /// Where the next record begins, in bytes since the stream began.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Unpacks the stream from here on by gzip.
    pub(super) fn gunzip(&mut self) {
        let held = self.buffer.get(self.start..self.end).unwrap_or_default().to_vec();
        let reader = std::mem::replace(&mut self.reader, Box::new(io::empty()));
        let packed = BufReader::with_capacity(CHUNK, Cursor::new(held).chain(reader));
        *self = Self::new(MultiGzDecoder::new(packed));
    }

    /// Makes the buffer hold `wanted` bytes.
    fn fill(&mut self, wanted: usize) -> Result<(), Stop> {
        while self.to_skip > 0 {
            self.pass_over()?;
        }
        while self.buffered() < wanted {
            self.read_more(wanted)?;
            match self.ended {
                Some(Ended::Properly) if self.buffered() == 0 => return Err(Stop::End),
                Some(_) if self.buffered() < wanted => return Err(Stop::Cut),
                _ => {}
            }
        }
        Ok(())
    }

    fn pass_over(&mut self) -> Result<(), Stop> {
        if self.buffered() == 0 {
            self.read_more(1)?;
            if self.buffered() == 0 && self.ended.is_some() {
                return Err(Stop::Cut);
            }
        }
        let held = self.buffered();
        let step = usize::try_from(self.to_skip).unwrap_or(usize::MAX).min(held);
        self.start += step;
        self.offset += step as u64;
        self.to_skip -= step as u64;
        Ok(())
    }

    /// Reads once, after moving what is held to the front.
    fn read_more(&mut self, wanted: usize) -> Result<(), Stop> {
        if self.ended.is_some() {
            return Ok(());
        }
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.buffered());
        let room = wanted.max(CHUNK);
        if self.buffer.is_empty() {
            // Such memory comes with its zeros from the system, page by page when it is read into.
            self.buffer = vec![0; room];
        } else if self.buffer.len() < room {
            self.buffer.resize(room, 0);
        }
        let space = self.buffer.get_mut(self.end..).unwrap_or_default();
        match self.reader.read(space) {
            Ok(0) => self.ended = Some(Ended::Properly),
            Ok(count) => self.end += count,
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => return Err(Stop::Waiting),
                io::ErrorKind::UnexpectedEof => self.ended = Some(Ended::Early),
                _ => return Err(Stop::Failed(error)),
            },
        }
        Ok(())
    }
}

/// An open file, pipe or terminal that counts what is read, and never makes its reader wait for a writer.
pub(super) struct Stream {
    pub(super) file: File,
    /// Whether reading may have to wait: everything but a regular file.
    pub(super) may_wait: bool,
    /// Bytes read so far.
    pub(super) read: Arc<AtomicU64>,
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.may_wait && !system::wait_readable(&[self.file.as_fd()], Duration::ZERO)?.contains(&true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = self.file.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte a read, and says before each that it would have to wait.
    struct Dribble {
        bytes: Vec<u8>,
        next: usize,
        waited: bool,
    }

    impl Read for Dribble {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.waited = !self.waited;
            if self.waited {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let Some(byte) = self.bytes.get(self.next) else { return Ok(0) };
            self.next += 1;
            buffer[0] = *byte;
            Ok(1)
        }
    }

    fn dribble(bytes: &[u8]) -> Input {
        Input::new(Dribble { bytes: bytes.to_vec(), next: 0, waited: false })
    }

    fn taken(input: &mut Input, wanted: usize) -> (Vec<u8>, usize) {
        let mut waits = 0;
        loop {
            match input.take(wanted) {
                Ok(bytes) => return (bytes.to_vec(), waits),
                Err(Stop::Waiting) => waits += 1,
                Err(stop) => panic!("{stop:?}"),
            }
        }
    }

    fn stopped(input: &mut Input, wanted: usize) -> Stop {
        loop {
            match input.take(wanted) {
                Err(Stop::Waiting) => {}
                other => return other.map(<[u8]>::len).unwrap_err(),
            }
        }
    }

    #[test]
    fn a_record_that_comes_byte_by_byte_is_given_whole() {
        let mut input = dribble(b"abcdef");
        assert_eq!(taken(&mut input, 4), (b"abcd".to_vec(), 4));
        assert_eq!(taken(&mut input, 2), (b"ef".to_vec(), 2));
        assert!(matches!(stopped(&mut input, 1), Stop::End));
        assert_eq!(input.offset(), 6);
    }

    #[test]
    fn an_end_inside_a_record_is_a_cut_and_stays_one() {
        let mut input = dribble(b"abc");
        assert!(matches!(stopped(&mut input, 4), Stop::Cut));
        assert!(matches!(stopped(&mut input, 4), Stop::Cut));
        assert_eq!(input.buffered(), 3);
    }

    #[test]
    fn skipping_holds_nothing_and_counts() {
        let mut input = Input::new(io::repeat(7).take(10 << 20));
        input.skip(9 << 20);
        assert_eq!(input.take(3).unwrap(), [7, 7, 7]);
        assert_eq!(input.offset(), (9 << 20) + 3);
        assert!(input.buffer.len() <= CHUNK);
    }

    #[test]
    fn skipping_beyond_the_end_is_a_cut() {
        let mut input = dribble(b"abc");
        input.skip(u64::from(u32::MAX));
        assert!(matches!(stopped(&mut input, 1), Stop::Cut));
    }

    #[test]
    fn gzip_goes_on_where_it_had_to_wait_and_notices_a_cut() {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"twelve bytes").unwrap();
        let packed = encoder.finish().unwrap();
        let members = [packed.clone(), packed.clone()].concat();
        let mut whole = dribble(&members);
        whole.gunzip();
        assert_eq!(taken(&mut whole, 24).0, b"twelve bytestwelve bytes");
        let mut cut = dribble(&packed[..packed.len() - 9]);
        cut.gunzip();
        assert!(matches!(stopped(&mut cut, 13), Stop::Cut));
    }
}
