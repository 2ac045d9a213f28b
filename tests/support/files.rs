//! Frames → capture files.

use super::Frame;

/// A classic capture file with nanoseconds; all frames have one link type.
pub fn pcap(frames: &[Frame]) -> Vec<u8> {
    [preamble(frames), packets(frames)].concat()
}

/// What stands before the packets of [`pcap`].
pub fn preamble(frames: &[Frame]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(0xa1b2_3c4d_u32.to_le_bytes());
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.extend(262_144_u32.to_le_bytes());
    file.extend(frames.first().map_or(1, |frame| frame.link.code()).to_le_bytes());
    file
}

/// The packets of [`pcap`].
pub fn packets(frames: &[Frame]) -> Vec<u8> {
    let mut file = Vec::new();
    for frame in frames {
        let (seconds, nanos) = (frame.at / 1_000_000_000, frame.at % 1_000_000_000);
        file.extend(u32::try_from(seconds).unwrap().to_le_bytes());
        file.extend(u32::try_from(nanos).unwrap().to_le_bytes());
        file.extend(u32::try_from(frame.data.len()).unwrap().to_le_bytes());
        file.extend(frame.wire_length.to_le_bytes());
        file.extend(&frame.data);
    }
    file
}

/// A pcapng file with an interface for each link type, microseconds.
pub fn pcapng(frames: &[Frame]) -> Vec<u8> {
    let mut links = Vec::new();
    for frame in frames {
        if !links.contains(&frame.link) {
            links.push(frame.link);
        }
    }
    let mut file = block(0x0a0d_0d0a, &[&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat());
    for link in &links {
        let code = u16::try_from(link.code()).unwrap();
        file.extend(block(1, &[&code.to_le_bytes()[..], &[0, 0], &262_144_u32.to_le_bytes()].concat()));
    }
    for frame in frames {
        let interface = u32::try_from(links.iter().position(|link| *link == frame.link).unwrap()).unwrap();
        let micros = frame.at / 1000;
        let mut body = Vec::new();
        body.extend(interface.to_le_bytes());
        body.extend(u32::try_from(micros >> 32).unwrap().to_le_bytes());
        body.extend(u32::try_from(micros & 0xffff_ffff).unwrap().to_le_bytes());
        body.extend(u32::try_from(frame.data.len()).unwrap().to_le_bytes());
        body.extend(frame.wire_length.to_le_bytes());
        body.extend(&frame.data);
        file.extend(block(6, &body));
    }
    file
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let padding = (4 - body.len() % 4) % 4;
    let length = u32::try_from(12 + body.len() + padding).unwrap().to_le_bytes();
    [&kind.to_le_bytes()[..], &length, body, &[0; 3][..padding], &length].concat()
}
