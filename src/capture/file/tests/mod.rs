//! What holds for both formats: what is refused, filtered, unpacked, piped, random.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::capture::OwnedPacket;
use crate::packet::LinkType;

mod pcap_tests;
mod pcapng_tests;

const NO_WAIT: Duration = Duration::ZERO;

/// What reading gave: the packets, and how it ended.
struct Outcome {
    packets: Vec<OwnedPacket>,
    result: Result<(), CaptureError>,
}

impl Outcome {
    fn data(&self) -> Vec<&[u8]> {
        self.packets.iter().map(|packet| packet.data.as_slice()).collect()
    }

    fn message(&self) -> String {
        self.result.as_ref().unwrap_err().to_string()
    }
}

fn drain(source: Result<FileSource, CaptureError>) -> Outcome {
    let mut packets = Vec::new();
    let mut source = match source {
        Ok(source) => source,
        Err(error) => return Outcome { packets, result: Err(error) },
    };
    loop {
        let before = packets.len();
        match source.receive(NO_WAIT, &mut |packet| packets.push(packet.into())) {
            Ok(Received::Packets(count)) => assert_eq!(packets.len() - before, count),
            Ok(Received::Idle { .. }) => {}
            Ok(Received::End) => {
                assert_eq!(source.statistics().received, packets.len() as u64);
                return Outcome { packets, result: Ok(()) };
            }
            Err(error) => {
                assert_eq!(source.receive(NO_WAIT, &mut |_| ()).unwrap(), Received::End);
                return Outcome { packets, result: Err(error) };
            }
        }
    }
}

fn read_filtered(bytes: &[u8], filter: Option<&str>) -> Outcome {
    let filter = filter.map(str::to_owned);
    drain(FileSource::of("x".to_owned(), Cursor::new(bytes.to_vec()), filter).begin())
}

fn read(bytes: &[u8]) -> Outcome {
    read_filtered(bytes, None)
}

/// Writes numbers in a byte order.
#[derive(Clone, Copy)]
struct Order {
    big: bool,
}

const LITTLE: Order = Order { big: false };
const BIG: Order = Order { big: true };

impl Order {
    fn u16(self, number: u16) -> Vec<u8> {
        if self.big { number.to_be_bytes().to_vec() } else { number.to_le_bytes().to_vec() }
    }

    fn u32(self, number: u32) -> Vec<u8> {
        if self.big { number.to_be_bytes().to_vec() } else { number.to_le_bytes().to_vec() }
    }

    fn u64(self, number: u64) -> Vec<u8> {
        if self.big { number.to_be_bytes().to_vec() } else { number.to_le_bytes().to_vec() }
    }

    fn pcap_header(self, magic: u32, version: (u16, u16), link: u32) -> Vec<u8> {
        let (major, minor) = version;
        let fields = [self.u32(0), self.u32(0), self.u32(65_535), self.u32(link)];
        [self.u32(magic), self.u16(major), self.u16(minor), fields.concat()].concat()
    }

    /// A record whose lengths are written as given.
    fn record(self, time: (u32, u32), lengths: (u32, u32), data: &[u8]) -> Vec<u8> {
        let fields = [time.0, time.1, lengths.0, lengths.1].map(|field| self.u32(field));
        [fields.concat().as_slice(), data].concat()
    }

    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
        let length = self.u32(u32::try_from(body.len() + padding.len() + 12).unwrap());
        [self.u32(kind), length.clone(), body.to_vec(), padding, length].concat()
    }

    fn section(self) -> Vec<u8> {
        self.block(0x0a0d_0d0a, &[self.u32(0x1a2b_3c4d), self.u16(1), self.u16(0), self.u64(u64::MAX)].concat())
    }

    fn option(self, code: u16, value: &[u8]) -> Vec<u8> {
        let padding = vec![0; value.len().next_multiple_of(4) - value.len()];
        [self.u16(code), self.u16(u16::try_from(value.len()).unwrap()), value.to_vec(), padding].concat()
    }

    fn interface(self, link: u16, snap_length: u32, options: &[u8]) -> Vec<u8> {
        self.block(1, &[self.u16(link), self.u16(0), self.u32(snap_length), options.to_vec()].concat())
    }

    fn time(self, ticks: u64) -> Vec<u8> {
        [self.u32(u32::try_from(ticks >> 32).unwrap()), self.u32(u32::try_from(ticks & 0xffff_ffff).unwrap())].concat()
    }

    fn enhanced(self, interface: u32, ticks: u64, wire: u32, data: &[u8]) -> Vec<u8> {
        let padding = vec![0; data.len().next_multiple_of(4) - data.len()];
        let comment = self.option(1, b"a comment");
        let lengths = [self.u32(u32::try_from(data.len()).unwrap()), self.u32(wire)].concat();
        self.block(6, &[self.u32(interface), self.time(ticks), lengths, data.to_vec(), padding, comment].concat())
    }

    fn obsolete(self, interface: u16, ticks: u64, data: &[u8]) -> Vec<u8> {
        let length = self.u32(u32::try_from(data.len()).unwrap());
        let head = [self.u16(interface), self.u16(3), self.time(ticks), length.clone(), length];
        self.block(2, &[head.concat().as_slice(), data].concat())
    }

    fn simple(self, wire: u32, data: &[u8]) -> Vec<u8> {
        self.block(3, &[self.u32(wire), data.to_vec()].concat())
    }
}

fn pcap(packets: &[&[u8]]) -> Vec<u8> {
    let record = |(number, data): (u32, &&[u8])| {
        let length = u32::try_from(data.len()).unwrap();
        LITTLE.record((100 + number, number), (length, length), data)
    };
    let records: Vec<_> = (0..).zip(packets).map(record).collect();
    [LITTLE.pcap_header(0xa1b2_c3d4, (2, 4), 1), records.concat()].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    flate2::read::GzEncoder::new(bytes, flate2::Compression::fast()).read_to_end(&mut packed).unwrap();
    packed
}

#[test]
fn a_packet_of_half_a_mebibyte_is_read_and_one_that_cannot_be_is_refused() {
    let big = vec![7; 512 << 10];
    assert_eq!(read(&pcap(&[b"a", &big, b"b"])).data(), [b"a".as_slice(), &big, b"b"]);
    let section = [LITTLE.section(), LITTLE.interface(1, 0, &[])].concat();
    let file = [section, LITTLE.enhanced(0, 1, 512 << 10, &big), LITTLE.enhanced(0, 1, 1, b"b")].concat();
    assert_eq!(read(&file).data(), [big.as_slice(), b"b"]);

    let impossible = LITTLE.record((1, 2), (u32::MAX, u32::MAX), b"abc");
    let outcome = read(&[pcap(&[b"a"]), impossible].concat());
    assert_eq!(outcome.data(), [b"a"]);
    assert_eq!(
        outcome.message(),
        "x: it is damaged at byte 41: a packet of 4294967295 bytes cannot be; the 1 packets before were read"
    );
}

#[test]
fn a_file_without_a_readable_link_type_is_refused_by_number_and_name() {
    let pcapng = [LITTLE.section(), LITTLE.interface(127, 0, &[]), LITTLE.enhanced(0, 1, 1, b"a")].concat();
    for file in [pcapng, LITTLE.pcap_header(0xa1b2_c3d4, (2, 4), 127)] {
        let outcome = read(&file);
        assert!(matches!(outcome.result, Err(CaptureError::NotACapture { .. })));
        assert!(outcome.message().contains("link type 127 (IEEE802_11_RADIO) cannot be read"), "{}", outcome.message());
    }
}

#[test]
fn what_is_no_capture_is_refused_with_what_was_found() {
    for (bytes, expected) in [
        (b"".as_slice(), "x: it is empty"),
        (b"ab", "x: it has only 2 bytes; pcap and pcapng files are understood"),
        (b"GET / HTTP/1.1", "x: it is no capture file, it begins with \"GET \"; pcap and pcapng"),
        (b"\x28\xb5\x2f\xfd....", "x: it is packed by zstd; unpack it first"),
        (b"\xd4\xc3\xb2\xa1\x02\0", "x: it is cut inside its header, 6 of 24 bytes are there"),
        (b"\x0a\x0d\x0d\x0a\0\0\0\x1cabcdefgh", "x: its section header is damaged"),
    ] {
        let outcome = read(bytes);
        assert!(matches!(outcome.result, Err(CaptureError::NotACapture { .. })));
        assert!(outcome.message().starts_with(expected), "{}", outcome.message());
    }
    let header = LITTLE.pcap_header(0xa1b2_c3d4, (3, 0), 1);
    assert_eq!(read(&header).message(), "x: it is of pcap version 3.0; 2.0 to 2.4 are understood");
}

#[test]
fn gzip_is_unpacked_and_a_cut_in_it_keeps_the_whole_packets() {
    let packed = gzip(&pcap(&[b"abcd", b"efgh"]));
    assert_eq!(read(&packed).data(), [b"abcd", b"efgh"]);
    let pcapng = [LITTLE.section(), LITTLE.interface(1, 0, &[]), LITTLE.enhanced(0, 1, 1, b"a")].concat();
    assert_eq!(read(&gzip(&pcapng)).data(), [b"a"]);
    // The checksum and the length behind the packets are missing.
    let cut = read(&packed[..packed.len() - 6]);
    assert!(cut.result.is_ok());
    assert_eq!(cut.data(), [b"abcd", b"efgh"]);
    assert!(read(&gzip(&packed)).message().starts_with("x: it is packed by gzip twice"));
}

#[test]
fn files_that_cannot_be_opened_say_why() {
    let directory = tempfile::tempdir().unwrap();
    let open = |path: &Path| FileSource::open(&FileConfig { path: Some(path.to_owned()), filter: None });
    let Err(error) = open(directory.path()) else { panic!("a directory was opened") };
    assert!(matches!(&error, CaptureError::Unreadable { reason, .. } if reason.starts_with("it is a directory")));
    let missing = directory.path().join("none.pcap");
    let Err(error) = open(&missing) else { panic!("a missing file was opened") };
    assert_eq!(error.to_string(), format!("cannot read {}: No such file or directory (os error 2)", missing.display()));
}

#[test]
fn a_file_knows_its_size_and_how_much_was_read() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    io::Write::write_all(&mut file, &pcap(&[b"abcd".as_slice(); 100])).unwrap();
    let config = FileConfig { path: Some(file.path().to_owned()), filter: None };
    assert_eq!(size(&config), Some(2024));
    assert_eq!(size(&FileConfig { path: None, filter: None }), None);
    let mut source = FileSource::open(&config).unwrap();
    while source.receive(NO_WAIT, &mut |_| ()).unwrap() != Received::End {}
    assert_eq!(source.position(), Some(2024));
}

#[test]
fn a_pipe_gives_packets_as_they_come_and_time_stands_still_between() {
    let directory = tempfile::tempdir().unwrap();
    let (reader, mut writer) = io::pipe().unwrap();
    // The same way as standard input and the shell's <(…) take: a path that is no regular file.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
    let mut source = FileSource::open(&FileConfig { path: Some(path.into()), filter: None }).unwrap();
    drop((directory, reader));
    let mut seen = Vec::new();
    let mut receive = |source: &mut FileSource| {
        let received = source.receive(NO_WAIT, &mut |packet| seen.push(packet.data.to_vec())).unwrap();
        (received, seen.len())
    };
    let mut write = |bytes: &[u8]| io::Write::write_all(&mut writer, bytes).unwrap();
    let idle = |seconds: u64| Received::Idle { at: Timestamp::from_nanos(seconds * 1_000_000_000) };

    assert_eq!(receive(&mut source), (idle(0), 0));
    let bytes = pcap(&[b"abcd", b"efgh"]);
    write(&bytes[..3]);
    assert_eq!(receive(&mut source), (idle(0), 0));
    write(&bytes[3..50]);
    assert_eq!(receive(&mut source), (Received::Packets(1), 1));
    assert_eq!(receive(&mut source), (idle(100), 1));
    write(&bytes[50..]);
    assert_eq!(receive(&mut source), (Received::Packets(1), 2));
    drop(writer);
    assert_eq!(receive(&mut source), (Received::End, 2));
}

#[test]
fn a_filter_selects_packets_of_every_link_type() {
    let ip = |port: u16| {
        let tcp = [&[0x30, 0x39], port.to_be_bytes().as_slice(), &[0; 16]].concat();
        [&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2], tcp.as_slice()].concat()
    };
    let ethernet = |port| [[0; 12].as_slice(), &[8, 0], &ip(port)].concat();
    // Loopback of a BSD, captured by a machine of the other byte order.
    let null = |port| [[0, 0, 0, 2].as_slice(), &ip(port)].concat();
    let file = [
        LITTLE.section(),
        LITTLE.interface(1, 0, &[]),
        LITTLE.interface(0, 0, &[]),
        LITTLE.enhanced(0, 1, 54, &ethernet(80)),
        LITTLE.enhanced(0, 1, 54, &ethernet(81)),
        LITTLE.enhanced(1, 1, 44, &null(80)),
        LITTLE.enhanced(1, 9, 44, &null(81)),
    ]
    .concat();
    let outcome = read_filtered(&file, Some("tcp port 80"));
    assert_eq!(outcome.data(), [ethernet(80), null(80)]);
    let error = read_filtered(&file, Some("tcp prot 80"));
    assert!(error.message().starts_with("the filter \"tcp prot 80\" does not compile: "), "{}", error.message());
    assert!(read_filtered(&pcap(&[]), Some("tcp prot 80")).result.is_err());
}

#[test]
fn time_goes_on_while_a_filter_lets_nothing_pass() {
    let file = pcap(&vec![b"abcd".as_slice(); BATCH + 5]);
    let filter = Some("tcp port 80".to_owned());
    let mut source = FileSource::of("x".to_owned(), Cursor::new(file), filter).begin().unwrap();
    let received = source.receive(NO_WAIT, &mut |_| ()).unwrap();
    let Received::Idle { at } = received else { panic!("{received:?}") };
    assert_eq!(at.as_nanos() / 1_000_000_000, 100 + BATCH as u64 - 1);
}

proptest! {
    #[test]
    fn random_bytes_never_panic_and_always_end(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        drop(read(&bytes));
        drop(read(&[LITTLE.pcap_header(0xa1b2_c3d4, (2, 4), 1), bytes.clone()].concat()));
        drop(read(&[LITTLE.section(), LITTLE.interface(1, 0, &[]), bytes].concat()));
    }

    #[test]
    fn damaged_files_never_panic_and_always_end(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let good = [
            BIG.section(),
            BIG.interface(1, 0, &[BIG.option(9, &[9]), BIG.option(14, &[0; 8])].concat()),
            BIG.enhanced(0, 1, 4, b"abcd"),
            BIG.simple(3, b"efg"),
            BIG.obsolete(0, 2, b"hi"),
            BIG.block(5, &[BIG.u32(0), BIG.time(1), BIG.option(5, &[0; 8])].concat()),
        ];
        for mut bytes in [good.concat(), pcap(&[b"abcd", b"efgh"])] {
            for (place, value) in &changes {
                let place = place.index(bytes.len());
                bytes[place] = *value;
            }
            drop(read(&bytes));
        }
    }
}
