//! The error of a wrong deflated answer.

use std::fmt;

use super::frames::DEFLATED_TEXT;

/// The fault of a deflated answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// The first byte does not announce a single deflated text frame.
    FirstByte(u8),
    /// The frame is masked, which only a client's frames are.
    Masked,
    /// The payload is not shorter than the document, so nothing was deflated.
    NotShorter {
        /// Length of the payload in bytes.
        length: u64,
    },
    /// The payload does not inflate.
    Corrupt,
    /// The payload inflates to another text.
    OtherText {
        /// Offset of the first byte that differs, is missing, or is too many.
        offset: usize,
    },
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstByte(byte) => write!(
                f,
                "begins with {byte:#04x} and not {DEFLATED_TEXT:#04x}, a single deflated text frame"
            ),
            Self::Masked => write!(f, "is masked"),
            Self::NotShorter { length } => {
                write!(f, "has {length} bytes, not less than the document")
            }
            Self::Corrupt => write!(f, "does not inflate"),
            Self::OtherText { offset } => {
                write!(f, "differs after inflating, from byte {offset} on")
            }
        }
    }
}

impl std::error::Error for AnswerError {}
