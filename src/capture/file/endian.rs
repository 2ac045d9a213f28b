//! Bytes of a file or a section → numbers, in its byte order.

/// The byte order of a file or a section. Fields beyond the end of `bytes` read as zero: whoever relies on a field
/// has asked for its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Endian {
    Little,
    Big,
}

impl Endian {
    pub(super) fn u16(self, bytes: &[u8], at: usize) -> u16 {
        let field = field(bytes, at);
        match self {
            Self::Little => u16::from_le_bytes(field),
            Self::Big => u16::from_be_bytes(field),
        }
    }

    pub(super) fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let field = field(bytes, at);
        match self {
            Self::Little => u32::from_le_bytes(field),
            Self::Big => u32::from_be_bytes(field),
        }
    }

    pub(super) fn u64(self, bytes: &[u8], at: usize) -> u64 {
        let field = field(bytes, at);
        match self {
            Self::Little => u64::from_le_bytes(field),
            Self::Big => u64::from_be_bytes(field),
        }
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}
