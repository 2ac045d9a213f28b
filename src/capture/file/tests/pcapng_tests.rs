//! The blocks of pcapng, in both byte orders, whole, cut and damaged.

use pcap_file::DataLink;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::{PcapNgBlock, PcapNgWriter};

use super::*;

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
