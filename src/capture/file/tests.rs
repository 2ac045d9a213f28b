//! Every variant of both formats, whole, cut and damaged.

use std::io::Cursor;

use pcap_file::DataLink;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::{PcapNgBlock, PcapNgWriter};
use proptest::prelude::*;

use super::*;
use crate::capture::OwnedPacket;
use crate::packet::LinkType;

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

/// What libpcap makes of a file.
fn by_libpcap(bytes: &[u8]) -> Vec<OwnedPacket> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    io::Write::write_all(&mut file, bytes).unwrap();
    let mut capture = ::pcap::Capture::from_file_with_precision(file.path(), ::pcap::Precision::Nano).unwrap();
    let link = LinkType::from_code(u32::try_from(capture.get_datalink().0).unwrap()).unwrap();
    let mut packets = Vec::new();
    capture
        .for_each(None, |packet| {
            let ts = packet.header.ts;
            let at = u64::try_from(ts.tv_sec * 1_000_000_000 + ts.tv_usec).unwrap();
            let (data, wire_length) = (packet.data.to_vec(), packet.header.len);
            packets.push(OwnedPacket { at: Timestamp::from_nanos(at), data, wire_length, link, interface: 0 });
        })
        .unwrap();
    packets
}

#[test]
fn pcap_is_read_as_libpcap_reads_it_in_every_byte_order_and_resolution() {
    for order in [LITTLE, BIG] {
        for (magic, extra) in [(0xa1b2_c3d4, 0), (0xa1b2_3c4d, 0), (0xa1b2_cd34, 8)] {
            let record = |seconds: u32, wire: u32, data: &[u8]| {
                let lengths = (u32::try_from(data.len()).unwrap(), wire);
                order.record((seconds, 123_456), lengths, &[vec![9; extra], data.to_vec()].concat())
            };
            let records = [record(1, 4, b"abcd"), record(u32::MAX >> 1, 1500, b"efg"), record(2, 0, b"")];
            let file = [order.pcap_header(magic, (2, 4), 1), records.concat()].concat();
            let outcome = read(&file);
            assert!(outcome.result.is_ok());
            assert_eq!(outcome.packets, by_libpcap(&file), "{magic:x}");
            assert_eq!(outcome.data(), [b"abcd".as_slice(), b"efg", b""]);
        }
    }
}

#[test]
fn pcap_of_old_versions_has_its_lengths_the_other_way_round() {
    for (version, lengths) in [((2, 2), (1500, 3)), ((2, 3), (1500, 3)), ((2, 3), (3, 1500)), ((2, 4), (3, 1500))] {
        let header = LITTLE.pcap_header(0xa1b2_c3d4, version, 1);
        let file = [header, LITTLE.record((1, 2), lengths, b"abc")].concat();
        assert_eq!(read(&file).packets, by_libpcap(&file));
        assert_eq!(read(&file).packets[0].wire_length, 1500);
    }
}

#[test]
fn link_types_of_pcap_are_those_the_decoder_knows() {
    let links = [(0, LinkType::Null), (101, LinkType::Raw), (108, LinkType::Loop), (113, LinkType::LinuxSll)];
    // The upper bits say that four bytes of frame check sequence follow each packet.
    for (code, link) in links.into_iter().chain([(276, LinkType::LinuxSll2), (0x4400_0001, LinkType::Ethernet)]) {
        let file = [LITTLE.pcap_header(0xa1b2_c3d4, (2, 4), code), LITTLE.record((1, 2), (2, 2), b"ab")].concat();
        assert_eq!(read(&file).packets[0].link, link);
    }
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
fn every_prefix_of_a_pcap_file_gives_its_whole_packets() {
    let file = pcap(&[b"abcd", b"efghi", b"", b"jk"]);
    let ends = [44, 65, 81, 99];
    assert_eq!(file.len(), 99);
    for length in 0..file.len() {
        let outcome = read(&file[..length]);
        assert_eq!(outcome.result.is_ok(), length >= 24, "{length}");
        assert_eq!(outcome.packets.len(), ends.iter().filter(|end| **end <= length).count(), "{length}");
    }
}

#[test]
fn every_prefix_of_a_pcapng_file_gives_its_whole_packets() {
    for order in [LITTLE, BIG] {
        let blocks = [
            order.section(),
            order.interface(1, 0, &order.option(9, &[9])),
            order.enhanced(0, 1, 4, b"abcd"),
            order.block(0xbad, b"unknown block"),
            order.simple(3, b"efg"),
            order.obsolete(0, 2, b"hi"),
        ];
        let ends: Vec<usize> = (1..=blocks.len()).map(|count| blocks[..count].concat().len()).collect();
        let file = blocks.concat();
        for length in 0..=file.len() {
            let outcome = read(&file[..length]);
            assert_eq!(outcome.result.is_ok(), length >= ends[0], "{length}");
            let whole = [2, 4, 5].iter().filter(|block| ends[**block] <= length).count();
            assert_eq!(outcome.packets.len(), whole, "{length}");
        }
    }
}

#[test]
fn pcapng_packets_have_the_link_type_and_the_clock_of_their_interface() {
    for order in [LITTLE, BIG] {
        let interfaces = [
            order.interface(1, 0, &[order.option(2, b"eth0"), order.option(9, &[3])].concat()),
            order.interface(276, 0, &order.option(9, &[0x80 + 20])),
            order.interface(101, 0, &[order.option(14, &order.u64(1000)), order.option(9, &[9])].concat()),
            order.interface(0, 0, &[]),
        ];
        let packets = [
            order.enhanced(0, 1_500, 60, b"a"),
            order.enhanced(1, 3 << 19, 2, b"bb"),
            order.enhanced(2, 7, 3, b"ccc"),
            order.obsolete(3, 1_500_000, b"dddd"),
        ];
        let outcome = read(&[order.section(), interfaces.concat(), packets.concat()].concat());
        let seen: Vec<_> =
            outcome.packets.iter().map(|packet| (packet.interface, packet.link, packet.at.as_nanos())).collect();
        let expected = [
            (0, LinkType::Ethernet, 1_500_000_000),
            (1, LinkType::LinuxSll2, 1_500_000_000),
            (2, LinkType::Raw, 1_000_000_000_007),
            (3, LinkType::Null, 1_500_000_000),
        ];
        assert_eq!(seen, expected);
        assert_eq!(outcome.data(), [b"a".as_slice(), b"bb", b"ccc", b"dddd"]);
        assert_eq!(outcome.packets[0].wire_length, 60);
    }
}

#[test]
fn every_decimal_resolution_gives_the_same_time() {
    for digits in 3..=9_u8 {
        let interface = LITTLE.interface(1, 0, &LITTLE.option(9, &[digits]));
        let packet = LITTLE.enhanced(0, 1_234 * 10_u64.pow(u32::from(digits) - 3), 1, b"a");
        let outcome = read(&[LITTLE.section(), interface, packet].concat());
        assert_eq!(outcome.packets[0].at.as_nanos(), 1_234_000_000);
    }
}

#[test]
fn sections_have_a_byte_order_and_interfaces_of_their_own() {
    let first = [LITTLE.section(), LITTLE.interface(1, 0, &[]), LITTLE.enhanced(0, 1, 1, b"a")].concat();
    let second = [BIG.section(), BIG.interface(101, 0, &[]), BIG.enhanced(0, 2, 1, b"b")].concat();
    let outcome = read(&[first, second].concat());
    assert_eq!(outcome.data(), [b"a", b"b"]);
    assert_eq!(outcome.packets[1].link, LinkType::Raw);
    assert_eq!(outcome.packets[1].at.as_nanos(), 2_000);
}

#[test]
fn simple_packets_have_the_last_time_and_are_cut_by_the_snap_length() {
    let file = [
        LITTLE.section(),
        LITTLE.interface(1, 6, &[]),
        LITTLE.enhanced(0, 5, 1, b"a"),
        LITTLE.simple(5, b"bcdef"),
        LITTLE.simple(100, b"ghijkl\0\0"),
    ];
    let outcome = read(&file.concat());
    assert_eq!(outcome.data(), [b"a".as_slice(), b"bcdef", b"ghijkl"]);
    assert_eq!(outcome.packets[2].wire_length, 100);
    assert_eq!(outcome.packets[2].at.as_nanos(), 5_000);
}

#[test]
fn pcapng_written_by_another_library_is_read() {
    let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
    for (linktype, resolution) in [(DataLink::ETHERNET, 9), (DataLink::LINUX_SLL2, 6)] {
        let options = vec![InterfaceDescriptionOption::IfTsResol(resolution)];
        let block = InterfaceDescriptionBlock { linktype, snaplen: 0xffff, options };
        writer.write_pcapng_block(block).unwrap();
    }
    for (interface_id, data) in [(1, b"one".as_slice()), (0, b"zero")] {
        let timestamp = Duration::from_nanos(999_999_999);
        let original_len = u32::try_from(data.len()).unwrap();
        let block = EnhancedPacketBlock { interface_id, timestamp, original_len, data: data.into(), options: vec![] };
        writer.write_block(&block.into_block()).unwrap();
    }
    let outcome = read(&writer.into_inner());
    assert_eq!(outcome.data(), [b"one".as_slice(), b"zero"]);
    assert_eq!([outcome.packets[0].link, outcome.packets[1].link], [LinkType::LinuxSll2, LinkType::Ethernet]);
}

#[test]
fn packets_of_other_link_types_are_passed_over_beside_readable_ones() {
    let file = [
        LITTLE.section(),
        LITTLE.interface(220, 0, &[]),
        LITTLE.interface(1, 0, &[]),
        LITTLE.enhanced(0, 1, 3, b"usb"),
        // More than is ever held, and nothing has to be held of it.
        LITTLE.enhanced(0, 1, 4 << 20, &vec![0; 4 << 20]),
        LITTLE.enhanced(1, 1, 3, b"eth"),
        LITTLE.enhanced(9, 1, 2, b"??"),
    ];
    let mut source = FileSource::of("x".to_owned(), Cursor::new(file.concat()), None).begin().unwrap();
    let mut seen = Vec::new();
    assert_eq!(source.receive(NO_WAIT, &mut |packet| seen.push(packet.data.to_vec())).unwrap(), Received::Packets(1));
    assert_eq!(seen, [b"eth"]);
    let Format::PcapNg(pcapng) = &source.format else { panic!("it is pcapng") };
    assert_eq!(pcapng.passed_over().unwrap(), "2 of 220 (USB_LINUX_MMAPPED), 1 of undescribed interfaces");
    assert_eq!(source.receive(NO_WAIT, &mut |_| ()).unwrap(), Received::End);
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
fn losses_that_a_pcapng_file_reports_are_added_up() {
    let losses = |order: Order, interface: u32, kernel: u64, card: u64| {
        let options = [order.option(5, &order.u64(card)), order.option(7, &order.u64(kernel))].concat();
        order.block(5, &[order.u32(interface), order.time(1), options].concat())
    };
    let section = |order: Order| {
        let interfaces = [order.interface(1, 0, &[]), order.interface(1, 0, &[])].concat();
        // The second statistics block of an interface stands instead of the first.
        let statistics = [losses(order, 0, 1, 1), losses(order, 0, 5, 2), losses(order, 1, 10, 20)].concat();
        [order.section(), interfaces, statistics].concat()
    };
    let file = [section(LITTLE), section(BIG)].concat();
    let mut source = FileSource::of("x".to_owned(), Cursor::new(file), None).begin().unwrap();
    assert_eq!(source.receive(NO_WAIT, &mut |_| ()).unwrap(), Received::End);
    let statistics = source.statistics();
    assert_eq!((statistics.dropped_by_kernel, statistics.dropped_by_interface), (30, 44));
}

#[test]
fn damaged_blocks_end_the_file_with_an_error_after_what_was_whole() {
    let start = [LITTLE.section(), LITTLE.interface(1, 0, &[]), LITTLE.enhanced(0, 1, 1, b"a")].concat();
    let mut two_lengths = LITTLE.block(6, &[0; 40]);
    two_lengths[4] = 48;
    let mut no_room = LITTLE.enhanced(0, 1, 4, b"abcd");
    no_room[20] = 200;
    let short = LITTLE.block(6, &[0; 4]);
    let long = [LITTLE.u32(6), LITTLE.u32(0xffff_fff0), vec![0; 40]].concat();
    let odd = [LITTLE.u32(6), LITTLE.u32(41), vec![0; 40]].concat();
    let tiny = [LITTLE.u32(6), LITTLE.u32(8), vec![0; 40]].concat();
    for (damage, expected) in [
        (two_lengths, "a block of 48 bytes says 0 at its end"),
        (no_room, "a packet of 200 bytes is said to be in a block of 52"),
        (short, "a packet of 0 bytes is said to be in a block of 16"),
        (long, "a block of 4294967280 bytes is more than a packet can have"),
        (odd, "a block of 41 bytes cannot be"),
        (tiny, "a block of 8 bytes cannot be"),
    ] {
        let outcome = read(&[start.clone(), damage, vec![0; 64]].concat());
        assert_eq!(outcome.data(), [b"a"]);
        assert!(outcome.message().contains(expected), "{}", outcome.message());
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
