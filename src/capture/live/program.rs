//! A BPF expression and a choice of interfaces → the program that the kernel runs on every packet.
//!
//! libpcap compiles the expression for the cooked link layer that a capture on all interfaces has. In the kernel such a
//! packet begins with its network layer, so offsets move, and what the cooked header would say is asked of the kernel
//! ("ancillary data"). libpcap does the same when it sets a filter itself, but throws away what comes meanwhile; set by
//! us, one filter takes the place of another between two packets, and none is lost.
//!
//! A packet of the loopback interface is shown twice, on its way out and in. libpcap leaves the first one out when it reads
//! it; here the kernel does, before it copies it.

use pcap::{Capture, Linktype};

use super::bpf::{
    ABS, ANCILLARY, HARDWARE_TYPE, IND, INTERFACE, Instruction, JA, JEQ, JMP, LD, LDX, MSH, PACKET_TYPE, PROTOCOL, RET,
    jump, load, statement,
};
use super::selection::Choice;
use super::shorten::ending;
use crate::capture::CaptureError;
use crate::capture::filter::filter_error;
use crate::tcp::Bulk;

/// Kernel's `BPF_MAXINSNS`.
const MAX_INSTRUCTIONS: usize = 4096;

/// Interfaces that are compared in a row: a conditional jump goes 255 instructions far.
const GROUP: usize = 250;

/// The hardware type of loopback interfaces (`linux/if_arp.h`).
const LOOPBACK: u32 = 772;
/// The type of packets that this machine sends (`linux/if_packet.h`).
const OUTGOING: u32 = 4;

/// Gives back no byte of what goes out by a loopback interface; then goes on.
const WITHOUT_ECHOES: [Instruction; 5] =
    [load(HARDWARE_TYPE), jump(JEQ, LOOPBACK, 0, 3), load(PACKET_TYPE), jump(JEQ, OUTGOING, 0, 1), statement(RET, 0)];

/// A compiled expression, and how much is kept of what passes it.
#[derive(Clone, Debug)]
pub(super) struct Program {
    instructions: Vec<Instruction>,
    snap_length: u32,
}

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
            let k = in_kernel(code, k, link).ok_or_else(|| unusable(expression))?;
            program.push(Instruction { code, jt, jf, k });
        }
        Ok(Self { instructions: program, snap_length })
    }

    /// The program for packets of `choice` alone, that keeps little of those of `bulk`; `None` when there are too many
    /// interfaces for the kernel.
    pub(super) fn on(&self, choice: &Choice, bulk: &[Bulk]) -> Option<Vec<Instruction>> {
        let mut program = WITHOUT_ECHOES.to_vec();
        program.extend(passes(choice));
        let last = self.instructions.len();
        program.extend(self.instructions.iter().enumerate().map(|(place, instruction)| match *instruction {
            // What passes goes on to the end.
            Instruction { code: RET, k: 1.., .. } => skip(last - place - 1),
            other => other,
        }));
        program.extend(ending(bulk, self.snap_length));
        (program.len() <= MAX_INSTRUCTIONS).then_some(program)
    }
}

/// Goes on for packets of `choice` alone.
fn passes(choice: &Choice) -> Vec<Instruction> {
    let (indices, is_in): (&[u32], bool) = match choice {
        Choice::All => return Vec::new(),
        Choice::Only(indices) => (indices, true),
        Choice::AllBut(indices) => (indices, false),
    };
    let mut program = vec![load(INTERFACE)];
    let named = indices.len() + 2 * indices.len().div_ceil(GROUP);
    for group in indices.chunks(GROUP) {
        let last = group.len() - 1;
        for (place, index) in group.iter().enumerate() {
            // If this is the interface, to what the group ends with.
            let found = u8::try_from(last - place + 1).unwrap_or(u8::MAX);
            program.push(jump(JEQ, *index, found, 0));
        }
        program.push(skip(1));
        // From here to the expression.
        let rest = named - program.len() + usize::from(is_in);
        program.push(if is_in { skip(rest) } else { statement(RET, 0) });
    }
    if is_in {
        program.push(statement(RET, 0));
    }
    program
}

/// Skips so many instructions.
fn skip(over: usize) -> Instruction {
    statement(JMP | JA, u32::try_from(over).unwrap_or(u32::MAX))
}

/// The constant of an instruction as the kernel needs it; `None` for what it has not.
fn in_kernel(code: u16, k: u32, link: Linktype) -> Option<u32> {
    let class = code & 0x07;
    let mode = code & 0xe0;
    match (class, mode) {
        (LD | LDX, ABS | IND | MSH) if k < ANCILLARY => beyond_cooked_header(k, link),
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
    use super::super::bpf::machine::{Known, run};
    use super::*;

    const SLL2: Linktype = Linktype(276);

    fn compile(expression: &str) -> Result<Program, CaptureError> {
        Program::compile(expression, SLL2, 1000)
    }

    fn seen_on(interface: u32) -> Known {
        Known { interface, ..Known::default() }
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
            let program = program.on(&choice, &[]).unwrap();
            let found: Vec<u32> = (0..12).filter(|index| run(&program, seen_on(*index), &tcp(80)) == 1000).collect();
            assert_eq!(found, passes, "{choice:?}");
            assert!((0..12).all(|index| run(&program, seen_on(index), &tcp(81)) == 0), "{choice:?}");
        }
    }

    #[test]
    fn more_interfaces_than_a_program_can_name_are_told() {
        let program = compile("tcp").unwrap();
        assert!(program.on(&Choice::Only((0..3500).collect()), &[]).is_some());
        assert!(program.on(&Choice::Only((0..4500).collect()), &[]).is_none());
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
            let program = Program::compile(&filter, link, 1000).unwrap().on(&Choice::All, &[]).unwrap();
            assert_eq!(run(&program, seen_on(1), &tcp(8080)), 1000);
        }
    }

    #[test]
    fn what_goes_out_by_loopback_is_captured_when_it_comes_in_alone() {
        let program = compile("tcp").unwrap().on(&Choice::All, &[]).unwrap();
        for (hardware_type, packet_type, passes) in [(772, 4, false), (772, 0, true), (1, 4, true), (1, 0, true)] {
            let known = Known { hardware_type, packet_type, ..Known::default() };
            assert_eq!(run(&program, known, &tcp(80)) > 0, passes, "type {hardware_type}, {packet_type}");
        }
    }
}
