//! The layout of a frame's body, behind the length.

/// Bytes before the payload: kind, sequence number and checksum.
pub(crate) const HEADER: usize = 9;

/// The kinds of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Message = 0,
    Ping = 1,
    Pong = 2,
}

impl Kind {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Kind::Message, Kind::Ping, Kind::Pong]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// The header of a frame with this content.
pub(crate) fn header(kind: Kind, sequence: u32, payload: &[u8]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[0] = kind as u8;
    header[1..5].copy_from_slice(&sequence.to_be_bytes());
    header[5..].copy_from_slice(&checksum(kind as u8, sequence, payload).to_be_bytes());
    header
}

/// FNV-1a over the kind, the sequence number and the payload.
pub(crate) fn checksum(kind: u8, sequence: u32, payload: &[u8]) -> u32 {
    let bytes = [kind].into_iter().chain(sequence.to_be_bytes());
    bytes
        .chain(payload.iter().copied())
        .fold(0x811c_9dc5, |hash: u32, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        })
}
