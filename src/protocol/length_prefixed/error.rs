//! What is wrong with a frame.

use std::error::Error;
use std::fmt;

/// Why [`LengthPrefixed`](super::LengthPrefixed) refused its input.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LengthPrefixedError {
    /// More bytes are to follow the length field than the limit allows.
    TooLong {
        /// Bytes that are to follow: the value of the length field, adjusted, or `u64::MAX` if it is beyond that.
        length: u64,
        /// The most bytes that may follow.
        limit: usize,
    },
    /// The adjustment makes the number of bytes that are to follow the length field negative.
    Negative {
        /// The value of the length field.
        length: u64,
        /// What is added to it.
        adjustment: i64,
    },
    /// The frame is shorter than what is to be stripped from it.
    ShorterThanStrip {
        /// Bytes of the whole frame.
        length: usize,
        /// Bytes to strip.
        strip: usize,
    },
}

impl fmt::Display for LengthPrefixedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LengthPrefixedError::TooLong { length, limit } => {
                write!(
                    f,
                    "a frame announces {length} bytes, and {limit} are allowed"
                )
            }
            LengthPrefixedError::Negative { length, adjustment } => {
                write!(
                    f,
                    "a length of {length}, adjusted by {adjustment}, is negative"
                )
            }
            LengthPrefixedError::ShorterThanStrip { length, strip } => {
                write!(
                    f,
                    "a frame has {length} bytes, fewer than the {strip} to strip"
                )
            }
        }
    }
}

impl Error for LengthPrefixedError {}
