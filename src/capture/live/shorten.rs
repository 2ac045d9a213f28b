//! Streams whose payload nobody reads → the end of a filter that keeps only the beginning of their packets.
//!
//! What the kernel does not copy into the ring leaves room there for what matters, and time for the machine.

use std::net::{IpAddr, SocketAddr};

use super::bpf::{
    ABS, ALU, B, H, IND, Instruction, JA, JEQ, JGE, JMP, JSET, LD, LDX, MSH, PROTOCOL, RET, SUB, W, jump, load,
    statement,
};
use crate::tcp::Bulk;

/// Bytes that are kept of such a packet, from its network layer on: the longest headers, and the beginning of a start line
/// should another connection have come with the same addresses, ports and numbers.
const KEPT: u32 = 256;

/// Protocol numbers (`linux/if_ether.h`, RFC 9293 §3.1).
const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;
const TCP: u32 = 6;
const SYN: u32 = 2;
/// How far a fragment is from the datagram's beginning (RFC 791 §3.1).
const FRAGMENT_OFFSET: u32 = 0x1fff;

/// What follows a filter that has let a packet pass: [`KEPT`] bytes of a packet of `bulk`, `whole` of any other.
///
/// ```text
/// protocol ─ IPv4 ─▶ TCP, no later fragment, no SYN ─▶ a stream of these? a number of this part? ─▶ KEPT
///     └───── IPv6 ─▶ TCP at once, no SYN ────────────▶ likewise
/// ```
pub(super) fn ending(bulk: &[Bulk], whole: u32) -> Vec<Instruction> {
    let (kept, whole) = (statement(RET, KEPT.min(whole)), statement(RET, whole));
    if bulk.is_empty() {
        return vec![whole];
    }
    let mut ipv4 = vec![
        statement(LD | B | ABS, 9),
        jump(JEQ, TCP, 1, 0),
        whole,
        statement(LD | H | ABS, 6),
        jump(JSET, FRAGMENT_OFFSET, 0, 1),
        whole,
        // From here on the index register holds the length of the header.
        statement(LDX | B | MSH, 0),
        statement(LD | B | IND, 13),
        jump(JSET, SYN, 0, 1),
        whole,
    ];
    let mut ipv6 = vec![
        statement(LD | B | ABS, 6),
        jump(JEQ, TCP, 1, 0),
        whole,
        statement(LD | B | ABS, 40 + 13),
        jump(JSET, SYN, 0, 1),
        whole,
    ];
    for stream in bulk {
        match (stream.source.ip(), stream.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let addresses = [source.octets(), destination.octets()].concat();
                ipv4.extend(only(kept, stream, &addresses, 12, (IND, 0)));
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let addresses = [source.octets(), destination.octets()].concat();
                ipv6.extend(only(kept, stream, &addresses, 8, (ABS, 40)));
            }
            _ => {}
        }
    }
    ipv4.push(whole);
    ipv6.push(whole);
    let over_ipv4 = u32::try_from(ipv4.len()).unwrap_or(u32::MAX);
    let family = [
        load(PROTOCOL),
        jump(JEQ, IPV4, 0, 1),
        statement(JMP | JA, 3),
        jump(JEQ, IPV6, 1, 0),
        whole,
        statement(JMP | JA, over_ipv4),
    ];
    family.into_iter().chain(ipv4).chain(ipv6).collect()
}

/// Ends with `kept` for a packet of `stream`, and goes on for others. `addresses` are `at` that offset; the TCP header is at
/// an offset of a mode.
fn only(kept: Instruction, stream: &Bulk, addresses: &[u8], at: u32, (mode, tcp): (u16, u32)) -> Vec<Instruction> {
    let ports = |from: SocketAddr, to: SocketAddr| u32::from(from.port()) << 16 | u32::from(to.port());
    let words = addresses.chunks(4).map(|word| word.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)));
    let mut program = vec![statement(LD | W | mode, tcp), jump(JEQ, ports(stream.source, stream.destination), 0, 0)];
    for (offset, word) in (at..).step_by(4).zip(words) {
        program.extend([statement(LD | W | ABS, offset), jump(JEQ, word, 0, 0)]);
    }
    // The distance from the beginning of the part, modulo 2³².
    program.extend([statement(LD | W | mode, tcp + 4), statement(ALU | SUB, stream.from.value())]);
    program.extend([jump(JGE, stream.length, 0, 0), kept]);
    let length = program.len();
    for (place, instruction) in program.iter_mut().enumerate() {
        let to_the_next = u8::try_from(length - place - 1).unwrap_or(u8::MAX);
        if instruction.code == JMP | JEQ {
            instruction.jf = to_the_next;
        } else if instruction.code == JMP | JGE {
            instruction.jt = to_the_next;
        }
    }
    program
}

#[cfg(test)]
mod tests {
    use super::super::bpf::machine::{Known, run};
    use super::*;
    use crate::packet::SequenceNumber;

    const WHOLE: u32 = 9000;

    fn bulk(source: &str, destination: &str, from: u32, length: u32) -> Bulk {
        let [source, destination] = [source, destination].map(|address| address.parse().unwrap());
        Bulk { source, destination, from: SequenceNumber::new(from), length }
    }

    struct Packet<'a> {
        source: &'a str,
        destination: &'a str,
        sequence: u32,
        flags: u8,
        /// Bytes of options, and the fragment field of IPv4.
        options: usize,
        fragment: u16,
    }

    const PLAIN: Packet<'_> = Packet {
        source: "10.0.0.1:443",
        destination: "10.0.0.2:40000",
        sequence: 1000,
        flags: 0x10,
        options: 0,
        fragment: 0x4000,
    };

    impl Packet<'_> {
        fn kept(&self, program: &[Instruction]) -> u32 {
            let [source, destination]: [SocketAddr; 2] =
                [self.source, self.destination].map(|address| address.parse().unwrap());
            let mut tcp = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
            tcp.extend(self.sequence.to_be_bytes());
            tcp.extend([0, 0, 0, 0, 0x50, self.flags, 0, 0, 0, 0, 0, 0]);
            let (protocol, packet) = match (source.ip(), destination.ip()) {
                (IpAddr::V4(source), IpAddr::V4(destination)) => {
                    let mut packet = vec![0x45 + u8::try_from(self.options / 4).unwrap(), 0, 0, 40, 0, 1];
                    packet.extend(self.fragment.to_be_bytes());
                    packet.extend([64, 6, 0, 0]);
                    packet.extend([source.octets(), destination.octets()].concat());
                    packet.extend(vec![1; self.options]);
                    (IPV4, [packet, tcp].concat())
                }
                (IpAddr::V6(source), IpAddr::V6(destination)) => {
                    let mut packet = vec![0x60, 0, 0, 0, 0, 20, 6, 64];
                    packet.extend([source.octets(), destination.octets()].concat());
                    (IPV6, [packet, tcp].concat())
                }
                _ => panic!("two families"),
            };
            run(program, Known { protocol, ..Known::default() }, &packet)
        }
    }

    #[test]
    fn little_is_kept_of_the_named_part_of_a_stream_and_all_of_everything_else() {
        let program = ending(&[bulk(PLAIN.source, PLAIN.destination, 1000, 500)], WHOLE);
        let cases = [
            (PLAIN, KEPT),
            (Packet { sequence: 1499, ..PLAIN }, KEPT),
            (Packet { sequence: 1500, ..PLAIN }, WHOLE),
            (Packet { sequence: 999, ..PLAIN }, WHOLE),
            (Packet { flags: 0x02, ..PLAIN }, WHOLE),
            (Packet { flags: 0x11, ..PLAIN }, KEPT),
            (Packet { options: 8, ..PLAIN }, KEPT),
            (Packet { fragment: 0x2000, ..PLAIN }, KEPT),
            (Packet { fragment: 0x2010, ..PLAIN }, WHOLE),
            (Packet { source: "10.0.0.1:444", ..PLAIN }, WHOLE),
            (Packet { source: "10.0.0.3:443", ..PLAIN }, WHOLE),
            (Packet { destination: "10.0.0.3:40000", ..PLAIN }, WHOLE),
            (Packet { source: PLAIN.destination, destination: PLAIN.source, ..PLAIN }, WHOLE),
        ];
        for (number, (packet, kept)) in cases.iter().enumerate() {
            assert_eq!(packet.kept(&program), *kept, "case {number}");
        }
    }

    #[test]
    fn several_streams_of_both_families_are_told_apart_and_numbers_wrap() {
        let streams: Vec<Bulk> = (0..4)
            .flat_map(|last| {
                let (from, length) = (u32::MAX - 99, 200);
                [
                    bulk(&format!("10.0.0.{last}:443"), "10.1.0.1:5000", from, length),
                    bulk(&format!("[fd00::{last}]:443"), "[fd00:1::1]:5000", from, length),
                ]
            })
            .collect();
        let program = ending(&streams, WHOLE);
        for last in 0..6 {
            for (source, destination) in
                [(format!("10.0.0.{last}:443"), "10.1.0.1:5000"), (format!("[fd00::{last}]:443"), "[fd00:1::1]:5000")]
            {
                for (sequence, is_in) in [(u32::MAX - 100, false), (u32::MAX - 99, true), (99, true), (100, false)] {
                    let packet = Packet { source: &source, destination, sequence, ..PLAIN };
                    let kept = if is_in && last < 4 { KEPT } else { WHOLE };
                    assert_eq!(packet.kept(&program), kept, "{source} {sequence}");
                }
            }
        }
    }

    #[test]
    fn no_more_is_kept_than_without_streams() {
        assert_eq!(PLAIN.kept(&ending(&[], WHOLE)), WHOLE);
        assert_eq!(PLAIN.kept(&ending(&[bulk(PLAIN.source, PLAIN.destination, 0, 5000)], 64)), 64);
    }
}
