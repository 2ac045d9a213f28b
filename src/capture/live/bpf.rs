//! Instructions of the kernel's packet filter (`linux/bpf_common.h`, `linux/filter.h`).

pub(super) use libc::sock_filter as Instruction;

/// Classes.
pub(super) const LD: u16 = 0x00;
pub(super) const LDX: u16 = 0x01;
pub(super) const ALU: u16 = 0x04;
pub(super) const JMP: u16 = 0x05;
pub(super) const RET: u16 = 0x06;

/// Sizes of what is loaded: four bytes, two, one.
pub(super) const W: u16 = 0x00;
pub(super) const H: u16 = 0x08;
pub(super) const B: u16 = 0x10;

/// Where it is: at an offset, at one beyond the index register; four times the low half of a byte, into that register.
pub(super) const ABS: u16 = 0x20;
pub(super) const IND: u16 = 0x40;
pub(super) const MSH: u16 = 0xa0;

/// Operations.
pub(super) const SUB: u16 = 0x10;
pub(super) const JA: u16 = 0x00;
pub(super) const JEQ: u16 = 0x10;
pub(super) const JGE: u16 = 0x30;
pub(super) const JSET: u16 = 0x40;

/// Where the kernel answers instead of the packet.
pub(super) const ANCILLARY: u32 = 0xffff_f000;
pub(super) const PROTOCOL: u32 = 0;
pub(super) const PACKET_TYPE: u32 = 4;
pub(super) const INTERFACE: u32 = 8;
pub(super) const HARDWARE_TYPE: u32 = 28;

/// An instruction without a condition.
pub(super) const fn statement(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

/// Skips `jt` instructions where the condition holds, `jf` where not.
pub(super) const fn jump(condition: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code: JMP | condition, jt, jf, k }
}

/// Asks the kernel for `field` of what it knows beside the packet.
pub(super) const fn load(field: u32) -> Instruction {
    statement(LD | W | ABS, ANCILLARY + field)
}

#[cfg(test)]
pub(super) mod machine {
    //! What the kernel would do.

    use super::*;

    /// What it knows beside the packet.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::capture::live) struct Known {
        pub(in crate::capture::live) protocol: u32,
        pub(in crate::capture::live) interface: u32,
        pub(in crate::capture::live) hardware_type: u32,
        pub(in crate::capture::live) packet_type: u32,
    }

    impl Default for Known {
        fn default() -> Self {
            Self { protocol: 0x0800, interface: 1, hardware_type: 1, packet_type: 0 }
        }
    }

    /// How many bytes of `packet`, which begins with its network layer, are kept.
    pub(in crate::capture::live) fn run(program: &[Instruction], known: Known, packet: &[u8]) -> u32 {
        let (mut a, mut x, mut at) = (0_u32, 0_u32, 0);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let fetch = |offset: u32| {
                let size = match code & 0x18 {
                    W => 4,
                    H => 2,
                    _ => 1,
                };
                let bytes = packet.get(offset as usize..offset as usize + size)?;
                Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
            };
            let loaded = match (code & 0x07, code & 0xe0) {
                (LD, ABS) if k >= ANCILLARY => Some(match k - ANCILLARY {
                    PROTOCOL => known.protocol,
                    INTERFACE => known.interface,
                    HARDWARE_TYPE => known.hardware_type,
                    PACKET_TYPE => known.packet_type,
                    other => panic!("{other}"),
                }),
                (LD, ABS) => fetch(k),
                (LD, IND) => fetch(x + k),
                (LDX, MSH) => fetch(k),
                _ => Some(0),
            };
            // The kernel ends the program at a load from beyond the packet.
            let Some(loaded) = loaded else { return 0 };
            match (code & 0x07, code & 0xf0) {
                (LD, _) => a = loaded,
                (LDX, _) if code & 0xe0 == MSH => x = 4 * (loaded & 0xf),
                (LDX, _) => x = k,
                (ALU, SUB) => a = a.wrapping_sub(k),
                (ALU, 0x50) => a &= k,
                (JMP, JA) => at += k as usize,
                (JMP, condition) => {
                    let holds = match condition {
                        JEQ => a == k,
                        JGE => a >= k,
                        JSET => a & k != 0,
                        _ => a > k,
                    };
                    at += usize::from(if holds { jt } else { jf });
                }
                (RET, _) => return k,
                other => panic!("{other:?}"),
            }
        }
    }
}
