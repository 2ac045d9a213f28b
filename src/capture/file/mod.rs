//! A pcap or pcapng file, or standard input → `RawPacket`.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use self::input::{Input, Stop, Stream};
use self::pcap::Pcap;
use self::pcapng::PcapNg;
use super::filter::PacketFilter;
use super::{CaptureError, CaptureStatistics, FileConfig, PacketSource, Received, system};
use crate::packet::RawPacket;
use crate::time::Timestamp;

mod clock;
mod endian;
mod input;
mod pcap;
mod pcapng;
#[cfg(test)]
mod tests;

/// Bytes of one packet, four times what libpcap takes; offloading makes packets of up to 512 KiB (BIG TCP). Stops a
/// length made up to take memory.
const MAX_PACKET: u32 = 1 << 20;
/// Records looked at by one call of [`PacketSource::receive`]; bounds the time until a stop is noticed.
const BATCH: usize = 1024;

/// Size of the file in bytes; `None` for standard input, a pipe, or a file that is not there.
pub fn size(config: &FileConfig) -> Option<u64> {
    let metadata = std::fs::metadata(config.path.as_ref()?).ok()?;
    metadata.is_file().then_some(metadata.len())
}

/// Gives the packets of a capture file in the order of the file.
pub struct FileSource {
    /// The file as the user named it.
    name: String,
    input: Input,
    format: Format,
    filter: PacketFilter,
    /// Bytes read of the file itself; `input` may count unpacked ones.
    read: Arc<AtomicU64>,
    /// For a pipe or a terminal: the descriptor to wait for.
    waits_for: Option<OwnedFd>,
    /// Time of the last packet in the file.
    last: Timestamp,
    received: u64,
    /// What comes after the packets that were handed over last.
    pending: Option<Stop>,
    ended: bool,
}

enum Format {
    /// The first bytes have not come yet, or the first unpacked ones.
    Unknown(Packing),
    Pcap(Pcap),
    PcapNg(PcapNg),
}

/// Unpacking is done once: a stream can unpack to itself for ever.
#[derive(Clone, Copy)]
enum Packing {
    Unknown,
    Gzip,
}

impl FileSource {
    /// Opens the file and reads its header, unless it is a pipe that has given nothing yet.
    ///
    /// # Errors
    /// [`CaptureError::Unreadable`], [`CaptureError::NotACapture`], and [`CaptureError::Filter`] for a pcap file; of a
    /// pcapng file the filter is compiled for each link type when its first packet comes.
    pub fn open(config: &FileConfig) -> Result<Self, CaptureError> {
        let name =
            config.path.as_deref().map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
        let unreadable = |error: io::Error| CaptureError::Unreadable { path: name.clone(), reason: error.to_string() };
        let file = open_file(config.path.as_deref()).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_dir() {
            let reason = "it is a directory; name a capture file in it".to_owned();
            return Err(CaptureError::Unreadable { path: name, reason });
        }
        if file.is_terminal() {
            let reason = "it is a terminal; pipe a capture into it, such as that of tcpdump -w -".to_owned();
            return Err(CaptureError::Unreadable { path: name, reason });
        }
        let waits_for = if metadata.is_file() { None } else { Some(file.as_fd().try_clone_to_owned()) };
        let waits_for = waits_for.transpose().map_err(unreadable)?;
        let read = Arc::<AtomicU64>::default();
        let stream = Stream { file, may_wait: waits_for.is_some(), read: read.clone() };
        let source = Self { read, waits_for, ..Self::of(name, stream, config.filter.clone()) };
        source.begin()
    }

    /// A source that reads `stream`, whose format is not known yet.
    fn of(name: String, stream: impl Read + Send + 'static, filter: Option<String>) -> Self {
        Self {
            name,
            input: Input::new(stream),
            format: Format::Unknown(Packing::Unknown),
            filter: PacketFilter::new(filter),
            read: Arc::default(),
            waits_for: None,
            last: Timestamp::default(),
            received: 0,
            pending: None,
            ended: false,
        }
    }

    /// Reads the header, as far as it is there.
    fn begin(mut self) -> Result<Self, CaptureError> {
        match self.recognise() {
            Ok(()) | Err(Stop::Waiting) => {}
            Err(stop) => return self.finish(stop).map(|_| self),
        }
        if let Format::Pcap(pcap) = &self.format {
            self.filter.compile(pcap.link())?;
        }
        Ok(self)
    }

    /// Finds out the format from the first bytes, if that has not been done.
    fn recognise(&mut self) -> Result<(), Stop> {
        while let Format::Unknown(packing) = self.format {
            let magic: [u8; 4] = match self.input.peek(4) {
                Ok(bytes) => bytes.first_chunk().copied().unwrap_or_default(),
                Err(Stop::End) => return Err(Stop::Refused("it is empty".to_owned())),
                Err(Stop::Cut) => {
                    let found = self.input.buffered();
                    return Err(Stop::Refused(format!("it has only {found} bytes; {UNDERSTOOD}")));
                }
                Err(other) => return Err(other),
            };
            match (magic, packing) {
                ([0x1f, 0x8b, ..], Packing::Unknown) => {
                    self.format = Format::Unknown(Packing::Gzip);
                    self.input.gunzip();
                }
                _ if Pcap::recognises(magic) => self.format = Format::Pcap(Pcap::begin(&mut self.input)?),
                _ if PcapNg::recognises(magic) => self.format = Format::PcapNg(PcapNg::begin(&mut self.input)?),
                _ => return Err(Stop::Refused(unknown_format(magic))),
            }
        }
        Ok(())
    }

    /// Hands over the packets of at most [`BATCH`] records, and says why they were not so many.
    fn read_batch(&mut self, handle: &mut dyn FnMut(&RawPacket<'_>)) -> (usize, Result<(), Stop>) {
        if let Err(stop) = self.recognise() {
            return (0, Err(stop));
        }
        let mut count = 0;
        for _ in 0..BATCH {
            let next = match &mut self.format {
                Format::Unknown(_) => Err(Stop::Waiting),
                Format::Pcap(pcap) => pcap.next(&mut self.input).map(Some),
                Format::PcapNg(pcapng) => pcapng.next(&mut self.input),
            };
            match next {
                Ok(Some(packet)) => {
                    self.last = packet.at;
                    match self.filter.passes(&packet) {
                        Ok(true) => {
                            handle(&packet);
                            self.received += 1;
                            count += 1;
                        }
                        Ok(false) => {}
                        Err(error) => return (count, Err(Stop::Unfiltered(error))),
                    }
                }
                Ok(None) => {}
                Err(stop) => return (count, Err(stop)),
            }
        }
        (count, Ok(()))
    }

    /// What a stop that is final means to the caller; nothing comes after it.
    fn finish(&mut self, stop: Stop) -> Result<Received, CaptureError> {
        self.ended = true;
        let path = self.name.clone();
        if let Format::PcapNg(pcapng) = &self.format {
            if let Some(reason) = pcapng.unreadable() {
                return Err(CaptureError::NotACapture { path, reason });
            }
            if let Some(packets) = pcapng.passed_over() {
                tracing::warn!("{path}: passed over packets of link types that cannot be read: {packets}");
            }
        }
        let (offset, packets) = (self.input.offset(), self.received);
        match stop {
            Stop::End | Stop::Waiting => Ok(Received::End),
            Stop::Cut => {
                tracing::warn!("{path}: the file is cut in the middle of a packet, the {packets} before it were read");
                Ok(Received::End)
            }
            Stop::Refused(reason) => Err(CaptureError::NotACapture { path, reason }),
            Stop::Damaged(reason) => {
                let reason =
                    format!("it is damaged at byte {offset}: {reason}; the {packets} packets before were read");
                Err(CaptureError::NotACapture { path, reason })
            }
            Stop::Unfiltered(error) => Err(error),
            Stop::Failed(error) => Err(CaptureError::Unreadable { path, reason: error.to_string() }),
        }
    }
}

impl PacketSource for FileSource {
    fn receive(&mut self, wait: Duration, handle: &mut dyn FnMut(&RawPacket<'_>)) -> Result<Received, CaptureError> {
        if self.ended {
            return Ok(Received::End);
        }
        if let Some(stop) = self.pending.take() {
            return self.finish(stop);
        }
        let (mut count, mut outcome) = self.read_batch(handle);
        if let (0, Err(Stop::Waiting), Some(descriptor)) = (count, &outcome, &self.waits_for) {
            match system::wait_readable(&[descriptor.as_fd()], wait) {
                Ok(_) => (count, outcome) = self.read_batch(handle),
                Err(error) => outcome = Err(Stop::Failed(error)),
            }
        }
        match outcome {
            Ok(()) | Err(Stop::Waiting) if count == 0 => Ok(Received::Idle { at: self.last }),
            Ok(()) | Err(Stop::Waiting) => Ok(Received::Packets(count)),
            Err(stop) if count == 0 => self.finish(stop),
            Err(stop) => {
                self.pending = Some(stop);
                Ok(Received::Packets(count))
            }
        }
    }

    fn statistics(&mut self) -> CaptureStatistics {
        let losses = match &self.format {
            Format::PcapNg(pcapng) => pcapng.losses(),
            Format::Unknown(_) | Format::Pcap(_) => CaptureStatistics::default(),
        };
        CaptureStatistics { received: self.received, ..losses }
    }

    fn position(&self) -> Option<u64> {
        Some(self.read.load(Ordering::Relaxed))
    }
}

fn open_file(path: Option<&Path>) -> io::Result<File> {
    match path {
        Some(path) => File::open(path),
        None => Ok(io::stdin().as_fd().try_clone_to_owned()?.into()),
    }
}

const UNDERSTOOD: &str = "pcap and pcapng files are understood, also when packed by gzip";

/// What a file that begins so may be, and what to do.
fn unknown_format(magic: [u8; 4]) -> String {
    let packed_by = match magic {
        [0x1f, 0x8b, ..] => Some("gzip twice"),
        [0x28, 0xb5, 0x2f, 0xfd] => Some("zstd"),
        [0xfd, b'7', b'z', b'X'] => Some("xz"),
        [b'B', b'Z', b'h', _] => Some("bzip2"),
        [0x04, 0x22, 0x4d, 0x18] => Some("lz4"),
        [b'P', b'K', 0x03, 0x04] => Some("zip"),
        _ => None,
    };
    match packed_by {
        Some(packer) => format!("it is packed by {packer}; unpack it first ({UNDERSTOOD})"),
        None => format!("it is no capture file, it begins with \"{}\"; {UNDERSTOOD}", magic.escape_ascii()),
    }
}
