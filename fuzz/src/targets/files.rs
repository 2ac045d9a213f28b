//! A capture file, pcap or pcapng, packed or not: read to its end or to a fault that says what is wrong.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use network_agent::capture::{FileConfig, Received, SourceConfig, open};
use network_agent::packet::RawPacket;

use super::books::{Audited, Footprint, small};
use super::owned;

/// Each look at a regular file takes a batch of records, and inputs are small.
const MAX_LOOKS: usize = 10_000;

pub fn words() -> Vec<Vec<u8>> {
    owned(&[
        b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00",
        b"\xa1\xb2\xc3\xd4\x00\x02\x00\x04",
        b"\x4d\x3c\xb2\xa1",
        b"\x0a\x0d\x0d\x0a",
        b"\x4d\x3c\x2b\x1a",
        b"\x1a\x2b\x3c\x4d",
        b"\x01\x00\x00\x00\x14\x00\x00\x00",
        b"\x06\x00\x00\x00",
        b"\x03\x00\x00\x00",
        b"\x02\x00\x00\x00",
        b"\x05\x00\x00\x00",
        b"\x09\x00\x01\x00\x09\x00\x00\x00",
        b"\x1f\x8b\x08\x00",
        b"\xff\xff\xff\xff",
        b"\xff\xff\xff\x7f",
        b"\0\0\0\0",
    ])
}

pub fn run(data: &[u8]) -> Footprint {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let name = format!("network-agent-fuzz-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    fs::write(&path, data).expect("the folder for temporary files takes files");
    let config = SourceConfig::File(FileConfig { path: Some(path.clone()), filter: None });
    let mut audited = Audited::new(small());
    let mut received = 0_u64;
    match open(&config) {
        Ok(mut sources) => {
            let mut source = sources.pop().expect("a file is one source");
            let mut ended = None;
            for _ in 0..MAX_LOOKS {
                let before = received;
                let mut handle = |packet: &RawPacket<'_>| {
                    received += 1;
                    assert!(packet.data.len() <= 1 << 20, "a packet of {} bytes", packet.data.len());
                    audited.feed(packet);
                };
                match source.receive(Duration::ZERO, &mut handle) {
                    Ok(Received::Packets(count)) => assert_eq!(count as u64, received - before),
                    Ok(Received::Idle { .. }) => assert_eq!(received, before),
                    Ok(Received::End) => {
                        ended = Some(String::new());
                        break;
                    }
                    Err(error) => {
                        ended = Some(error.to_string());
                        break;
                    }
                }
            }
            let words = ended.expect("every file ends");
            assert!(words.is_empty() || words.contains("network-agent-fuzz-"), "which file? {words}");
            assert_eq!(source.statistics().received, received);
            assert!(matches!(source.receive(Duration::ZERO, &mut |_| ()), Ok(Received::End)), "the end stays the end");
        }
        Err(error) => assert!(error.to_string().contains("network-agent-fuzz-"), "which file? {error}"),
    }
    fs::remove_file(&path).expect("what was written can be removed");
    let mut footprint = audited.finish().1;
    footprint.note(received);
    footprint
}
