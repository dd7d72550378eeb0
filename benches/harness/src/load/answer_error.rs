//! Reasons for which a deflated answer is wrong.

use std::fmt;

use super::frames::DEFLATED_TEXT;

/// What is wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// Its first byte does not say: one frame, deflated, text.
    FirstByte(u8),
    /// It is masked, as only a client's frames are.
    Masked,
    /// It is not shorter than the document: nothing was deflated.
    NotShorter {
        /// Bytes of payload.
        length: u64,
    },
    /// It does not inflate.
    Corrupt,
    /// It inflates to something else.
    OtherText {
        /// The first byte that differs, or is missing, or is too many.
        offset: usize,
    },
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstByte(byte) => write!(
                f,
                "begins with {byte:#04x} and not {DEFLATED_TEXT:#04x}: one frame, deflated, text"
            ),
            Self::Masked => write!(f, "is masked"),
            Self::NotShorter { length } => {
                write!(f, "has {length} bytes, not less than the document")
            }
            Self::Corrupt => write!(f, "does not inflate"),
            Self::OtherText { offset } => {
                write!(f, "differs from byte {offset} on, inflated")
            }
        }
    }
}

impl std::error::Error for AnswerError {}
