//! The variants of pcap, whole and cut, beside what libpcap makes of them.

use super::*;

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
