//! The framings that the generator speaks.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::frames::client_header_length;

/// Largest payload, in bytes.
pub(crate) const MAX_SIZE: usize = 16 * 1024 * 1024;

/// The framing of messages: the bytes around each payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Framing {
    /// No framing: the server echoes bytes.
    #[default]
    Raw,
    /// The payload's length as a big-endian `u32`.
    LengthPrefixed,
    /// A line feed behind the payload; the payload is printable ASCII, since servers may treat lines as text.
    Lines,
    /// A WebSocket binary frame, masked from the client and unmasked from the server, after a handshake (RFC 6455).
    #[value(name = "websocket")]
    WebSocket,
    /// A WebSocket text frame with a JSON document, deflated in both directions without context takeover (RFC 7692).
    /// The size is that of the document.
    #[value(name = "websocket-deflate")]
    WebSocketDeflate,
}

impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::LengthPrefixed => "length-prefixed",
            Self::Lines => "lines",
            Self::WebSocket => "WebSocket",
            Self::WebSocketDeflate => "WebSocket-deflate",
        })
    }
}

impl Framing {
    /// Every framing.
    pub const ALL: [Self; 5] = [
        Self::Raw,
        Self::LengthPrefixed,
        Self::Lines,
        Self::WebSocket,
        Self::WebSocketDeflate,
    ];

    /// True if there is a handshake, followed by WebSocket frames.
    pub fn is_websocket(self) -> bool {
        matches!(self, Self::WebSocket | Self::WebSocketDeflate)
    }

    /// Bytes sent around a payload of `size` bytes that is not deflated.
    pub(crate) fn overhead(self, size: usize) -> usize {
        match self {
            Self::Raw => 0,
            Self::LengthPrefixed => 4,
            Self::Lines => 1,
            Self::WebSocket | Self::WebSocketDeflate => client_header_length(size),
        }
    }
}
