//! WebSocket frames made and read by hand, so that the codec is not its own judge.

pub(crate) const FIN: u8 = 0x80;
pub(crate) const RSV1: u8 = 0x40;
pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// A frame (RFC 6455, section 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// FIN, the reserved bits and the opcode.
    pub(crate) first: u8,
    pub(crate) key: Option<[u8; 4]>,
    /// Not masked.
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn opcode(&self) -> u8 {
        self.first & 0xF
    }

    /// As it is sent, its length in the shortest form.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let length = self.payload.len();
        let mask_bit = if self.key.is_some() { 0x80 } else { 0 };
        let mut bytes = vec![self.first];
        match length {
            0..126 => bytes.push(mask_bit | length as u8),
            126..65536 => {
                bytes.push(mask_bit | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(mask_bit | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend(self.key.iter().flatten());
        let key = self.key.unwrap_or_default();
        let masked = self.payload.iter().zip(key.iter().cycle());
        bytes.extend(masked.map(|(byte, key)| byte ^ key));
        bytes
    }

    /// The frame at the front of `bytes` and its size, if it is whole. Its length must be in the shortest form.
    pub(crate) fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        let (length, rest) = match second & 0x7F {
            126 => {
                let (length, rest) = rest.split_first_chunk()?;
                (u64::from(u16::from_be_bytes(*length)), rest)
            }
            127 => {
                let (length, rest) = rest.split_first_chunk()?;
                (u64::from_be_bytes(*length), rest)
            }
            short => (u64::from(short), rest),
        };
        let (key, rest) = match second & 0x80 {
            0 => (None, rest),
            _ => {
                let (key, rest) = rest.split_first_chunk()?;
                (Some(*key), rest)
            }
        };
        let header = bytes.len() - rest.len();
        let length = usize::try_from(length).ok()?;
        let masked = rest.get(..length)?.iter();
        let payload = masked
            .zip(key.unwrap_or_default().iter().cycle())
            .map(|(byte, key)| byte ^ key)
            .collect();
        let frame = Frame {
            first,
            key,
            payload,
        };
        assert!(
            bytes.starts_with(&frame.bytes()),
            "a length that is not minimal"
        );
        Some((frame, header + length))
    }
}
