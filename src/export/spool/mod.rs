//! Batches that memory cannot hold → files in a folder, and back to the destination, the oldest first.
//!
//! The folder holds segments of bounded size. Over the bound of all of them the oldest goes with what it holds. A record is
//! marked when the destination has taken it, a segment is removed when all of its records are: a run that ends in any
//! way, and the next one that begins, neither lose what was written nor send much of it twice.

use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::AccessFlags;

use crate::export::ExportError;
use crate::export::batch::Batch;

mod desk;
mod segment;

pub(super) use desk::{Desk, Report};
use segment::Segment;

/// Where what memory cannot hold waits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SpoolConfig {
    /// `AGENT_SPOOL_DIRECTORY`: made when it is not there. One agent has it at a time.
    pub directory: PathBuf,
    /// `AGENT_SPOOL_BYTES`: the most that its files take.
    pub max_bytes: u64,
}

/// Where a batch stands in the spool.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Position {
    segment: u64,
    offset: u64,
}

/// The folder and its segments.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    max_bytes: u64,
    segment_bytes: u64,
    /// In the order of their numbers; the last one is written.
    segments: VecDeque<Segment>,
    next_number: u64,
    /// Held as long as the spool is open.
    _lock: Flock<File>,
}

impl Spool {
    /// The largest segment: what is lost at once when the oldest has to go.
    const SEGMENT_BYTES: u64 = 8 << 20;
    /// The number of the first segment: what is older than all others goes before it.
    const FIRST_NUMBER: u64 = 1 << 32;

    /// Opens the folder with what an earlier run has left in it. `None` when the disk is full, or fails: that may pass, and is
    /// no reason to capture nothing.
    ///
    /// # Errors
    /// [`ExportError::Configuration`] when the folder cannot be used, or another agent has it.
    pub fn open(config: &SpoolConfig) -> Result<Option<Self>, ExportError> {
        use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        match Self::open_folder(config) {
            Ok(spool) => Ok(Some(spool)),
            Err(error)
                if matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem)
                    || error.raw_os_error() == Some(libc::EIO) =>
            {
                let folder = config.directory.display();
                tracing::warn!(
                    "AGENT_SPOOL_DIRECTORY={folder} cannot be written: {error}; spans wait in memory alone."
                );
                Ok(None)
            }
            Err(error) => Err(fault(config, &error)),
        }
    }

    fn open_folder(config: &SpoolConfig) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&config.directory)?;
        let lock = Self::lock(&config.directory)?;
        let (segments, next_number) = Self::find(&config.directory)?;
        Ok(Self {
            folder: config.directory.clone(),
            max_bytes: config.max_bytes,
            segment_bytes: (config.max_bytes / 8).min(Self::SEGMENT_BYTES),
            segments,
            next_number,
            _lock: lock,
        })
    }

    /// What is there, in one line, without a change to it.
    ///
    /// # Errors
    /// [`ExportError::Configuration`] when the folder cannot be used.
    pub fn look(config: &SpoolConfig) -> Result<String, ExportError> {
        let there = config.directory.ancestors().find(|folder| folder.exists()).unwrap_or_else(|| Path::new("."));
        if !there.is_dir() {
            return Err(fault(config, &io::Error::from(io::ErrorKind::NotADirectory)));
        }
        nix::unistd::access(there, AccessFlags::W_OK | AccessFlags::X_OK)
            .map_err(|error| fault(config, &io::Error::from(error)))?;
        if there != config.directory {
            return Ok("it will be made".to_owned());
        }
        let is_held =
            File::open(there.join("lock")).is_ok_and(|file| Flock::lock(file, FlockArg::LockSharedNonblock).is_err());
        let files = std::fs::read_dir(there).map_err(|error| fault(config, &error))?.flatten();
        let segments = files.filter(|file| Segment::number(&file.path()).is_some());
        let bytes: u64 = segments.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum();
        let by = if is_held { ", and an agent that runs has it" } else { "" };
        Ok(format!("{bytes} bytes wait in it{by}"))
    }

    fn lock(folder: &Path) -> io::Result<Flock<File>> {
        let path = folder.join("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| io::Error::from(error))
    }

    /// What is there. A segment that cannot be opened is left where it is, for people to look at.
    fn find(folder: &Path) -> io::Result<(VecDeque<Segment>, u64)> {
        let mut paths: Vec<PathBuf> = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if Segment::number(&path).is_some() {
                paths.push(path);
            }
        }
        paths.sort();
        let next = paths.last().and_then(|path| Segment::number(path)).map_or(Self::FIRST_NUMBER, |number| number + 1);
        let mut segments = VecDeque::new();
        for path in paths {
            match Segment::open(path.clone()) {
                Ok(segment) if segment.open == 0 => {
                    if let Err(error) = segment.remove() {
                        tracing::debug!(%error, "A file of the spool could not be removed.");
                    }
                }
                Ok(segment) => segments.push_back(segment),
                Err(error) => {
                    tracing::warn!(%error, file = %path.display(), "A file of the spool cannot be read; it is left alone.");
                }
            }
        }
        Ok((segments, next))
    }

    /// Spans that were not read.
    pub fn unread_spans(&self) -> u64 {
        self.segments.iter().map(|segment| segment.unread).sum()
    }

    /// Whether everything was read.
    pub(super) fn is_read(&self) -> bool {
        self.segments.iter().all(Segment::is_read)
    }

    /// Bytes of the files.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    /// Bytes that can be stored before anything is lost.
    pub(super) fn room(&self) -> u64 {
        self.max_bytes.saturating_sub(self.bytes())
    }

    /// The most that batches of so many bytes in all take of it, with what stands before each.
    pub(super) const fn most_cost(bytes: usize) -> u64 {
        Segment::cost(bytes) + bytes as u64 / 64 + (64 << 10)
    }

    /// Whether a batch of so many bytes can be stored at all.
    pub(super) fn takes(&self, bytes: usize) -> bool {
        Segment::cost(bytes) + Segment::overhead() <= self.max_bytes
    }

    /// Whether it can be stored without losing another.
    fn has_room(&self, bytes: usize) -> bool {
        self.bytes() + Segment::cost(bytes) + Segment::overhead() <= self.max_bytes
    }

    /// The batch from `position` is to be read by the next run. Whether it is still there: its segment may have gone to make
    /// room.
    pub(super) fn give_back(&mut self, position: Position, spans: u64) -> bool {
        match self.segments.iter_mut().find(|segment| segment.number == position.segment) {
            Some(segment) => {
                segment.give_back(spans);
                true
            }
            None => false,
        }
    }

    /// Writes `batch` behind all others. Returns how many spans were lost to make room for it.
    ///
    /// # Errors
    /// When it could not be written, as on a full disk, or is larger than the spool; nothing is lost then but room for
    /// it may have been made.
    pub(super) fn store(&mut self, batch: &Batch) -> (u64, io::Result<()>) {
        if !self.takes(batch.bytes.len()) {
            return (0, Err(io::Error::other("a batch is larger than AGENT_SPOOL_BYTES")));
        }
        let mut lost = 0;
        while !self.has_room(batch.bytes.len()) {
            let Some(mut oldest) = self.segments.pop_front() else { break };
            lost += oldest.give_up();
            if let Err(error) = oldest.remove() {
                return (lost, Err(error));
            }
        }
        (lost, self.append(batch))
    }

    /// Writes `batches`, which are older than all others, before them, and as one: all of them or none. Nothing is lost to make
    /// room for them.
    pub(super) fn store_first(&mut self, batches: &[Batch]) -> io::Result<()> {
        let before = self.segments.front().map_or(self.next_number, |oldest| oldest.number);
        let bytes: u64 = batches.iter().map(|batch| Segment::cost(batch.bytes.len())).sum();
        let number = before.checked_sub(1).filter(|_| bytes + Segment::overhead() <= self.room());
        let mut segment = Segment::create(&self.folder, number.ok_or(io::ErrorKind::StorageFull)?)?;
        for batch in batches {
            if let Err(error) = segment.append(&batch.bytes, batch.spans) {
                let _ = segment.remove();
                return Err(error);
            }
        }
        segment.sync()?;
        self.segments.push_front(segment);
        Ok(())
    }

    fn append(&mut self, batch: &Batch) -> io::Result<()> {
        let cost = Segment::cost(batch.bytes.len());
        let fits = |segment: &Segment| {
            !segment.is_damaged && (segment.length + cost <= self.segment_bytes || segment.open == 0)
        };
        if !self.segments.back().is_some_and(fits) {
            if let Some(full) = self.segments.back() {
                full.sync()?;
            }
            self.segments.push_back(Segment::create(&self.folder, self.next_number)?);
            self.next_number += 1;
        }
        let Some(segment) = self.segments.back_mut() else { return Ok(()) };
        let written = segment.append(&batch.bytes, batch.spans);
        if written.is_err() && segment.open == 0 {
            // An empty file helps nobody.
            let _ = segment.remove();
            self.segments.pop_back();
        }
        written
    }

    /// The oldest batch that was not read, and how many spans were given up because a segment is damaged.
    pub(super) fn read(&mut self) -> (u64, Option<Batch>) {
        let mut lost = 0;
        let read = self.read_first(&mut lost);
        self.segments.retain(|segment| {
            let is_over = segment.open == 0 && segment.is_read();
            if is_over && let Err(error) = segment.remove() {
                tracing::debug!(%error, "A file of the spool could not be removed.");
            }
            !is_over
        });
        (lost, read)
    }

    fn read_first(&mut self, lost: &mut u64) -> Option<Batch> {
        for segment in &mut self.segments {
            match segment.read() {
                Ok(None) => {}
                Ok(Some(record)) => {
                    let at = Position { segment: segment.number, offset: record.offset };
                    let bytes = record.bytes.into();
                    return Some(Batch { bytes, spans: record.spans, spooled: Some(at), ..Batch::default() });
                }
                Err(error) => {
                    segment.is_damaged = true;
                    let spans = segment.give_up();
                    tracing::warn!(%error, spans, "A file of the spool is damaged; the rest of it is lost.");
                    *lost += spans;
                }
            }
        }
        None
    }

    /// The batch from `position` is done with.
    pub(super) fn done(&mut self, position: Position) {
        let Some(index) = self.segments.iter().position(|segment| segment.number == position.segment) else { return };
        let Some(segment) = self.segments.get_mut(index) else { return };
        if let Err(error) = segment.done(position.offset) {
            tracing::debug!(%error, "A batch of the spool could not be marked: it may be sent again by the next run.");
        }
        if segment.open == 0 && segment.is_read() {
            if let Err(error) = segment.remove() {
                tracing::debug!(%error, "A file of the spool could not be removed.");
            }
            self.segments.remove(index);
        }
    }

    /// Puts everything on the disk itself, for the next run.
    pub(super) fn sync(&self) {
        if let Some(last) = self.segments.back()
            && let Err(error) = last.sync()
        {
            tracing::debug!(%error, "The spool could not be synchronized.");
        }
    }
}

fn fault(config: &SpoolConfig, error: &io::Error) -> ExportError {
    let folder = config.directory.display();
    ExportError::Configuration(match error.kind() {
        io::ErrorKind::WouldBlock => {
            format!("AGENT_SPOOL_DIRECTORY={folder} is in use: another agent has it; give each its own")
        }
        _ => format!(
            "AGENT_SPOOL_DIRECTORY={folder} cannot be used; make it a folder that the agent's user may write: {error}"
        ),
    })
}

#[cfg(test)]
mod tests;
