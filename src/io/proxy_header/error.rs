//! The reasons why a PROXY header is refused.

use std::error::Error;
use std::fmt;

/// The reason why [`ProxyHeader`](crate::ProxyHeader) refused input, or could not be made.
///
/// A `kind` is the type of a TLV, or of a TLV within the one about TLS.
///
/// ```
/// use ringwheel::{ProxyHeader, ProxyHeaderError};
///
/// let error = ProxyHeader::parse(b"GET / HTTP/1.1\r\n").unwrap_err();
/// assert_eq!(error, ProxyHeaderError::Signature);
/// assert_eq!(error.to_string(), "the input does not begin a PROXY header");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyHeaderError {
    /// The first bytes begin neither version 1 nor version 2: the peer does not speak the protocol.
    Signature,
    /// A line of version 1 has a byte that cannot stand at its place.
    Line {
        /// Bytes of the line before the wrong one.
        position: usize,
    },
    /// A line of version 1 does not end within the limit.
    LineTooLong {
        /// The limit in bytes, with CR and LF: 107.
        limit: usize,
    },
    /// The binary header is not of version 2.
    Version {
        /// The version.
        version: u8,
    },
    /// The command is neither `LOCAL` nor `PROXY`.
    Command {
        /// The command.
        command: u8,
    },
    /// The address family and transport are not a pair that the specification lists.
    Family {
        /// The byte with both, the family in the upper half.
        family: u8,
    },
    /// The header is about datagrams, which a stream cannot carry.
    Datagram,
    /// A header of version 2 is longer than [`ProxyHeader::MAX_LENGTH`](crate::ProxyHeader::MAX_LENGTH).
    TooLong {
        /// The limit in bytes, with the first 16.
        limit: usize,
    },
    /// A header of version 2 announces too few bytes for its addresses.
    TooShort {
        /// The length that is announced, in bytes, without the first 16.
        length: usize,
        /// The length of the addresses, in bytes.
        least: usize,
    },
    /// The TLVs end in the middle of one.
    TlvTruncated,
    /// The value of a TLV has a wrong length.
    TlvLength {
        /// The type.
        kind: u8,
        /// The length in bytes.
        length: usize,
    },
    /// The value of a TLV should be text, and is not UTF-8, or not ASCII where the specification demands that.
    TlvText {
        /// The type.
        kind: u8,
    },
    /// A TLV that may come once has come again.
    TlvRepeated {
        /// The type.
        kind: u8,
    },
    /// [`ProxyHeader::add_tlv`](crate::ProxyHeader::add_tlv) does not take a TLV of this type.
    TlvNotAllowed {
        /// The type.
        kind: u8,
    },
    /// The checksum is wrong: bytes of the header have changed on their way.
    Checksum {
        /// The checksum in the header.
        received: u32,
        /// The checksum of the bytes that have arrived.
        computed: u32,
    },
    /// Source and destination are not both IPv4, both IPv6 or both Unix sockets.
    MixedAddresses,
    /// The address of a Unix socket cannot be written into a header, or names a file in a way that this system does not have.
    Address,
}

impl fmt::Display for ProxyHeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxyHeaderError::Signature => f.write_str("the input does not begin a PROXY header"),
            ProxyHeaderError::Line { position } => {
                write!(f, "a PROXY line is wrong from its byte {position} on")
            }
            ProxyHeaderError::LineTooLong { limit } => {
                write!(f, "a PROXY line is longer than {limit} bytes")
            }
            ProxyHeaderError::Version { version } => {
                write!(f, "a PROXY header has the unknown version {version}")
            }
            ProxyHeaderError::Command { command } => {
                write!(f, "a PROXY header has the unknown command {command}")
            }
            ProxyHeaderError::Family { family } => {
                write!(f, "a PROXY header has the unknown family {family:#04x}")
            }
            ProxyHeaderError::Datagram => {
                f.write_str("a PROXY header on a stream is for datagrams")
            }
            ProxyHeaderError::TooLong { limit } => {
                write!(f, "a PROXY header is longer than {limit} bytes")
            }
            ProxyHeaderError::TooShort { length, least } => {
                write!(
                    f,
                    "a PROXY header has {length} bytes for addresses of {least}"
                )
            }
            ProxyHeaderError::TlvTruncated => f.write_str("a PROXY header ends within a TLV"),
            ProxyHeaderError::TlvLength { kind, length } => {
                write!(f, "a PROXY TLV of type {kind:#04x} has {length} bytes")
            }
            ProxyHeaderError::TlvText { kind } => {
                write!(f, "a PROXY TLV of type {kind:#04x} is not text")
            }
            ProxyHeaderError::TlvRepeated { kind } => {
                write!(f, "a PROXY TLV of type {kind:#04x} comes twice")
            }
            ProxyHeaderError::TlvNotAllowed { kind } => {
                write!(f, "a PROXY TLV of type {kind:#04x} cannot be added")
            }
            ProxyHeaderError::Checksum { received, computed } => {
                write!(
                    f,
                    "a PROXY header has the checksum {received:#010x} instead of {computed:#010x}"
                )
            }
            ProxyHeaderError::MixedAddresses => {
                f.write_str("the addresses of a PROXY header are of different families")
            }
            ProxyHeaderError::Address => {
                f.write_str("a PROXY header cannot have this address of a Unix socket")
            }
        }
    }
}

impl Error for ProxyHeaderError {}
