//! A BPF expression and a choice of interfaces → the program that the kernel runs on every packet.
//!
//! libpcap compiles the expression for the cooked link layer that a capture on all interfaces has. In the kernel such a
//! packet begins with its network layer, so offsets move, and what the cooked header would say is asked of the kernel
//! ("ancillary data"). libpcap does the same when it sets a filter itself, but throws away what comes meanwhile; set by
//! us, one filter takes the place of another between two packets, and none is lost.

use pcap::{Capture, Linktype};

use super::selection::Choice;
use crate::capture::CaptureError;
use crate::capture::filter::filter_error;

/// Kernel's `BPF_MAXINSNS`.
const MAX_INSTRUCTIONS: usize = 4096;

/// Interfaces that are compared in a row: a conditional jump goes 255 instructions far.
const GROUP: usize = 250;

/// Instruction classes and modes (`linux/bpf_common.h`).
const LD: u16 = 0x00;
const LDX: u16 = 0x01;
const JMP: u16 = 0x05;
const RET: u16 = 0x06;
const W: u16 = 0x00;
const ABS: u16 = 0x20;
const IND: u16 = 0x40;
const MSH: u16 = 0xa0;
const JEQ: u16 = 0x10;
const JA: u16 = 0x00;

/// Where the kernel answers instead of the packet (`linux/filter.h`).
const ANCILLARY: u32 = 0xffff_f000;
const PROTOCOL: u32 = 0;
const PACKET_TYPE: u32 = 4;
const INTERFACE: u32 = 8;
const HARDWARE_TYPE: u32 = 28;

/// A compiled expression.
#[derive(Clone, Debug)]
pub(super) struct Program(Vec<libc::sock_filter>);

impl Program {
    /// Compiles `expression` for a cooked capture of link type `link`; what passes is kept up to `snap_length` bytes.
    ///
    /// # Errors
    /// [`CaptureError::Filter`]: it does not compile, or looks at what only libpcap could.
    pub(super) fn compile(expression: &str, link: Linktype, snap_length: u32) -> Result<Self, CaptureError> {
        let compiled = Capture::dead(link)
            .and_then(|capture| capture.compile(expression, true))
            .map_err(|error| filter_error(expression, &error))?;
        let mut program = Vec::new();
        for instruction in compiled.get_instructions() {
            // Code, two jumps and the constant.
            let text = instruction.to_string();
            let fields: Vec<u32> = text.split(' ').filter_map(|field| field.parse().ok()).collect();
            let &[code, jt, jf, k] = fields.as_slice() else { return Err(unusable(expression)) };
            let (Ok(code), Ok(jt), Ok(jf)) = (u16::try_from(code), u8::try_from(jt), u8::try_from(jf)) else {
                return Err(unusable(expression));
            };
            let k = in_kernel(code, k, link, snap_length).ok_or_else(|| unusable(expression))?;
            program.push(libc::sock_filter { code, jt, jf, k });
        }
        Ok(Self(program))
    }

    /// The program for packets of `choice` alone; `None` when there are too many interfaces for the kernel.
    pub(super) fn on(&self, choice: &Choice) -> Option<Vec<libc::sock_filter>> {
        let (indices, is_in): (&[u32], bool) = match choice {
            Choice::All => return Some(self.0.clone()),
            Choice::Only(indices) => (indices, true),
            Choice::AllBut(indices) => (indices, false),
        };
        let mut program = vec![libc::sock_filter { code: LD | W | ABS, jt: 0, jf: 0, k: ANCILLARY + INTERFACE }];
        let refused = libc::sock_filter { code: RET, jt: 0, jf: 0, k: 0 };
        let named = indices.len() + 2 * indices.len().div_ceil(GROUP);
        for group in indices.chunks(GROUP) {
            let last = group.len() - 1;
            for (place, index) in group.iter().enumerate() {
                // If this is the interface, to what the group ends with.
                let found = u8::try_from(last - place + 1).unwrap_or(u8::MAX);
                program.push(libc::sock_filter { code: JMP | JEQ, jt: found, jf: 0, k: *index });
            }
            program.push(jump(1));
            // From here to the expression.
            let rest = named - program.len() + usize::from(is_in);
            program.push(if is_in { jump(rest) } else { refused });
        }
        if is_in {
            program.push(refused);
        }
        program.extend_from_slice(&self.0);
        (program.len() <= MAX_INSTRUCTIONS).then_some(program)
    }
}

/// Skips so many instructions.
fn jump(over: usize) -> libc::sock_filter {
    libc::sock_filter { code: JMP | JA, jt: 0, jf: 0, k: u32::try_from(over).unwrap_or(u32::MAX) }
}

/// The constant of an instruction as the kernel needs it; `None` for what it has not.
fn in_kernel(code: u16, k: u32, link: Linktype, snap_length: u32) -> Option<u32> {
    let class = code & 0x07;
    let mode = code & 0xe0;
    match (class, mode) {
        (LD | LDX, ABS | IND | MSH) if k < ANCILLARY => beyond_cooked_header(k, link),
        (RET, _) if k > 0 => Some(snap_length),
        _ => Some(k),
    }
}

fn beyond_cooked_header(k: u32, link: Linktype) -> Option<u32> {
    let fields: &[(u32, u32)] = match link {
        Linktype::LINUX_SLL => &[(0, PACKET_TYPE), (2, HARDWARE_TYPE), (14, PROTOCOL)],
        _ => &[(0, PROTOCOL), (4, INTERFACE), (8, HARDWARE_TYPE), (10, PACKET_TYPE)],
    };
    let header = if link == Linktype::LINUX_SLL { 16 } else { 20 };
    match k.checked_sub(header) {
        Some(offset) => Some(offset),
        None => fields.iter().find(|(offset, _)| *offset == k).map(|(_, ancillary)| ANCILLARY + ancillary),
    }
}

fn unusable(expression: &str) -> CaptureError {
    CaptureError::Filter {
        filter: expression.to_owned(),
        reason: "it looks at link-layer addresses, which a capture on all interfaces does not have".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLL2: Linktype = Linktype(276);

    fn compile(expression: &str) -> Result<Program, CaptureError> {
        Program::compile(expression, SLL2, 1000)
    }

    /// What the kernel would do with an IPv4 packet of an interface.
    fn run(program: &[libc::sock_filter], interface: u32, packet: &[u8]) -> u32 {
        let (mut a, mut x, mut at) = (0_u32, 0_u32, 0);
        loop {
            let libc::sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let load = |offset: u32, size: usize| {
                let start = offset as usize;
                packet[start..start + size].iter().fold(0, |value, byte| value << 8 | u32::from(*byte))
            };
            let size = match code & 0x18 {
                0x00 => 4,
                0x08 => 2,
                _ => 1,
            };
            match (code & 0x07, code & 0xe0) {
                (LD, ABS) if k == ANCILLARY + INTERFACE => a = interface,
                (LD, ABS) if k == ANCILLARY + PROTOCOL => a = 0x0800,
                (LD, ABS) => a = load(k, size),
                (LD, IND) => a = load(x + k, size),
                (LDX, MSH) => x = 4 * (load(k, 1) & 0xf),
                (LDX, _) => x = k,
                (JMP, _) => {
                    let holds = match code & 0xf0 {
                        0x10 => a == k,
                        0x20 => a > k,
                        0x30 => a >= k,
                        0x40 => a & k != 0,
                        _ => {
                            at += k as usize;
                            continue;
                        }
                    };
                    at += usize::from(if holds { jt } else { jf });
                }
                (RET, _) => return k,
                (0x04, _) => match code & 0xf0 {
                    0x50 => a &= k,
                    other => panic!("{other:x}"),
                },
                other => panic!("{other:?}"),
            }
        }
    }

    fn tcp(port: u16) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend(port.to_be_bytes());
        packet.extend([0; 18]);
        packet
    }

    #[test]
    fn only_the_chosen_interfaces_pass_and_only_what_the_expression_wants() {
        let program = compile("tcp port 80").unwrap();
        let everything: Vec<u32> = (0..12).collect();
        for (choice, passes) in [
            (Choice::All, everything.clone()),
            (Choice::Only(vec![3, 5, 9]), vec![3, 5, 9]),
            (Choice::Only(vec![]), vec![]),
            (Choice::AllBut(vec![2, 7]), everything.iter().copied().filter(|index| ![2, 7].contains(index)).collect()),
            (Choice::AllBut(vec![]), everything.clone()),
            (Choice::Only((6..1000).collect()), (6..12).collect()),
            (Choice::AllBut((6..1000).collect()), (0..6).collect()),
            (Choice::Only((100..600).chain([7]).collect()), vec![7]),
        ] {
            let program = program.on(&choice).unwrap();
            let found: Vec<u32> = (0..12).filter(|index| run(&program, *index, &tcp(80)) == 1000).collect();
            assert_eq!(found, passes, "{choice:?}");
            assert!((0..12).all(|index| run(&program, index, &tcp(81)) == 0), "{choice:?}");
        }
    }

    #[test]
    fn more_interfaces_than_a_program_can_name_are_told() {
        let program = compile("tcp").unwrap();
        assert!(program.on(&Choice::Only((0..3500).collect())).is_some());
        assert!(program.on(&Choice::Only((0..4500).collect())).is_none());
    }

    #[test]
    fn what_a_cooked_capture_does_not_have_is_refused_with_the_reason() {
        let refused = compile("ether host 02:00:00:00:00:01");
        assert!(matches!(refused, Err(CaptureError::Filter { .. })), "{refused:?}");
        assert!(compile("tcp prot 80").is_err());
    }

    #[test]
    fn the_default_filter_runs_in_the_kernel() {
        let filter = crate::capture::default_filter(&["192.0.2.1:4317".parse().unwrap()]);
        for link in [SLL2, Linktype::LINUX_SLL] {
            let program = Program::compile(&filter, link, 1000).unwrap().on(&Choice::All).unwrap();
            assert_eq!(run(&program, 1, &tcp(8080)), 1000);
        }
    }
}
