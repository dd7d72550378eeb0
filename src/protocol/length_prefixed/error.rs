//! The error of [`LengthPrefixed`](super::LengthPrefixed).

use std::error::Error;
use std::fmt;

/// The reason why [`LengthPrefixed`](super::LengthPrefixed) refused its input.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LengthPrefixedError {
    /// The length field announces more bytes than the limit allows.
    TooLong {
        /// Bytes announced: the value of the length field plus the adjustment, or `u64::MAX` if the sum overflows.
        length: u64,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The adjustment makes the number of bytes after the length field negative.
    Negative {
        /// The value of the length field.
        length: u64,
        /// The number that is added to it.
        adjustment: i64,
    },
    /// The frame is shorter than the bytes to strip from it.
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
