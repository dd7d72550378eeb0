//! Frames encoded and parsed independently of the codec, so that the codec is not its own judge.

/// The masking key of frames whose key does not matter.
pub const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

const FIN: u8 = 0x80;
pub const RSV1: u8 = 0x40;
const MASKED: u8 = 0x80;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;

/// A frame, valid or not (RFC 6455, section 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// FIN, the reserved bits and the opcode.
    pub first: u8,
    pub key: Option<[u8; 4]>,
    /// The payload before masking.
    pub payload: Vec<u8>,
}

impl Frame {
    /// An unmasked and final frame.
    pub fn new(opcode: u8, payload: impl AsRef<[u8]>) -> Self {
        Frame {
            first: FIN | opcode,
            key: None,
            payload: payload.as_ref().to_vec(),
        }
    }

    pub fn continuation(payload: impl AsRef<[u8]>) -> Self {
        Frame::new(CONTINUATION, payload)
    }

    pub fn text(payload: impl AsRef<[u8]>) -> Self {
        Frame::new(TEXT, payload)
    }

    pub fn binary(payload: impl AsRef<[u8]>) -> Self {
        Frame::new(BINARY, payload)
    }

    pub fn close(code: u16, reason: impl AsRef<[u8]>) -> Self {
        Frame::new(CLOSE, [&code.to_be_bytes(), reason.as_ref()].concat())
    }

    pub fn close_without_code() -> Self {
        Frame::new(CLOSE, b"")
    }

    pub fn ping(payload: impl AsRef<[u8]>) -> Self {
        Frame::new(PING, payload)
    }

    pub fn pong(payload: impl AsRef<[u8]>) -> Self {
        Frame::new(PONG, payload)
    }

    /// Clears FIN: the frame is not the last fragment.
    pub fn fragment(mut self) -> Self {
        self.first &= !FIN;
        self
    }

    /// Sets reserved bits.
    pub fn reserved(mut self, bits: u8) -> Self {
        self.first |= bits;
        self
    }

    pub fn masked(mut self, key: [u8; 4]) -> Self {
        self.key = Some(key);
        self
    }

    pub fn opcode(&self) -> u8 {
        self.first & 0xF
    }

    pub fn is_final(&self) -> bool {
        self.first & FIN != 0
    }

    /// The code and the reason of a close frame.
    #[track_caller]
    pub fn close_words(&self) -> Option<(u16, &str)> {
        assert_eq!(self.opcode(), CLOSE, "{self:?}");
        let (code, reason) = self.payload.split_first_chunk()?;
        let reason = std::str::from_utf8(reason).expect("a reason is UTF-8");
        Some((u16::from_be_bytes(*code), reason))
    }

    /// The frame's bytes, with its length in the shortest form.
    pub fn bytes(&self) -> Vec<u8> {
        let length = self.payload.len();
        let form = match length {
            0..126 => 0,
            126..65536 => 2,
            _ => 8,
        };
        self.bytes_with_length(length as u64, form)
    }

    /// The frame's bytes, with any length in a field of `form` further bytes (0, 2 or 8).
    pub fn bytes_with_length(&self, length: u64, form: usize) -> Vec<u8> {
        let short = match form {
            0 => length as u8,
            2 => 126,
            _ => 127,
        };
        let mask_bit = if self.key.is_some() { MASKED } else { 0 };
        let mut bytes = vec![self.first, short | mask_bit];
        bytes.extend_from_slice(&length.to_be_bytes()[8 - form..]);
        let key = self.key.unwrap_or_default();
        bytes.extend_from_slice(&key[..if self.key.is_some() { 4 } else { 0 }]);
        let masked = self.payload.iter().zip(key.iter().cycle());
        bytes.extend(masked.map(|(byte, key)| byte ^ key));
        bytes
    }

    /// The frame at the front of `bytes`, and its size; `None` if it is incomplete.
    pub fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        let (length, rest) = match second & !MASKED {
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
        let (key, rest) = match second & MASKED {
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
        Some((frame, header + length))
    }

    /// All frames of a stream, which must end with a whole one. Their lengths must be in the shortest form.
    #[track_caller]
    pub fn parse_all(mut bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let (frame, size) = Frame::parse(bytes).expect("a whole frame");
            assert_eq!(size, frame.bytes().len(), "a length that is not minimal");
            frames.push(frame);
            bytes = &bytes[size..];
        }
        frames
    }
}

/// The bytes of `frames`, all masked like a client's.
pub fn from_client(frames: &[Frame]) -> Vec<u8> {
    let masked = frames.iter().map(|frame| frame.clone().masked(KEY).bytes());
    masked.collect::<Vec<_>>().concat()
}
