//! One packet of any link type, after itself and its own fragments: whatever it holds, it is a segment or a discard.

use network_agent::packet::LinkType;

use super::books::{Audited, Footprint, small};
use super::owned;

const LINKS: [LinkType; 6] =
    [LinkType::Ethernet, LinkType::LinuxSll, LinkType::LinuxSll2, LinkType::Raw, LinkType::Null, LinkType::Loop];

pub fn words() -> Vec<Vec<u8>> {
    owned(&[
        b"\x08\x00\x45\x00",
        b"\x86\xdd\x60\x00",
        b"\x81\x00\x00\x07",
        b"\x88\xa8\x00\x07",
        b"\x12\xb5",
        b"\x21\x18",
        b"\x17\xc1",
        b"\x65\x58",
        b"\x08\x68",
        b"\x36\xff\0\x20\0\0\0\x2a\0\x01\0\x85\x01\0\x09\0",
        b"\x20\x00",
        b"\x40\x00\x40\x06",
        b"\x40\x00\x40\x2f",
        b"\xff\xff\xff\xff",
        b"\0\0\0\0",
        b"\xff\xff",
        b"\0\0",
    ])
}

pub fn run(data: &[u8]) -> Footprint {
    let mut audited = Audited::new(small());
    for link in LINKS {
        for cut in [0, 7, u32::MAX] {
            audited.feed_data(1, link, data, cut);
        }
    }
    // Half of it and all of it: when it is a fragment, others of its datagram.
    for link in [LinkType::Ethernet, LinkType::Raw] {
        for end in [data.len() / 2, data.len() / 4 * 3, data.len()] {
            audited.feed_data(2, link, data.get(..end).unwrap_or_default(), 0);
        }
    }
    audited.finish().1
}
