//! The framings that the generator speaks.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::frames::client_header_length;

/// Largest payload, in bytes.
pub(crate) const MAX_SIZE: usize = 16 * 1024 * 1024;

/// The framing of messages: the bytes around each payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Framing {
    /// Nothing: the server echoes bytes.
    #[default]
    Raw,
    /// The payload's length as a big-endian `u32`.
    LengthPrefixed,
    /// Nothing, and a line feed behind it; the payload is printable ASCII, since servers may take lines for text.
    Lines,
    /// A WebSocket binary frame, masked on its way there and not on its way back, after a handshake (RFC 6455).
    #[value(name = "websocket")]
    WebSocket,
    /// A WebSocket text frame with a JSON document, deflated in both directions without context takeover (RFC 7692); the
    /// size is that of the document.
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

    /// True if a handshake comes first, and frames of WebSocket then.
    pub fn is_websocket(self) -> bool {
        matches!(self, Self::WebSocket | Self::WebSocketDeflate)
    }

    /// Bytes that are sent around a payload of `size` bytes, which is not deflated.
    pub(crate) fn overhead(self, size: usize) -> usize {
        match self {
            Self::Raw => 0,
            Self::LengthPrefixed => 4,
            Self::Lines => 1,
            Self::WebSocket | Self::WebSocketDeflate => client_header_length(size),
        }
    }
}
