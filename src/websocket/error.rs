//! The errors that end a connection because of what the peer sent, or did not send.

use std::error::Error;
use std::fmt;

use super::close::CloseCode;
use super::handshake::{ClientHandshakeError, HandshakeError};

/// The error behind a [`CloseReason::Protocol`](crate::CloseReason::Protocol) of a WebSocket connection.
///
/// The peer was told of it: by an HTTP answer before the connection was open, by a close frame afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WebSocketError {
    /// The opening handshake was refused.
    Handshake(HandshakeError),
    /// The server's answer does not accept the client's opening handshake.
    ClientHandshake(ClientHandshakeError),
    /// The opening handshake took longer than [`WebSocket::handshake_timeout`](super::WebSocket::handshake_timeout).
    HandshakeTimeout,
    /// The peer violated RFC 6455; close code 1002.
    Violation(Violation),
    /// A text message, or the reason of a close frame, is not UTF-8; close code 1007.
    InvalidUtf8,
    /// A compressed message could not be inflated; close code 1007.
    InvalidCompression,
    /// A message is longer than [`WebSocket::max_message`](super::WebSocket::max_message), inflated or not; close code 1009.
    MessageTooBig,
    /// A compressed message inflates by a larger factor than `Deflate::max_ratio` allows; close code 1009.
    CompressionRatio,
    /// The headers of a message's fragments take more than
    /// [`WebSocket::fragment_overhead`](super::WebSocket::fragment_overhead); close code 1009.
    TooManyFragments,
    /// More control frames in a second than [`WebSocket::control_rate`](super::WebSocket::control_rate); close code 1008.
    TooManyControlFrames,
    /// More messages in a second than [`WebSocket::message_rate`](super::WebSocket::message_rate); close code 1008.
    TooManyMessages,
    /// The peer was silent for [`WebSocket::pong_timeout`](super::WebSocket::pong_timeout) after a ping, or after
    /// [`Conn::shutdown_write`](crate::Conn::shutdown_write); close code 1008.
    PongTimeout,
}

impl WebSocketError {
    /// The code of the close frame that told the peer; `None` if the handshake was not over.
    pub fn close_code(&self) -> Option<CloseCode> {
        Some(match self {
            WebSocketError::Handshake(_)
            | WebSocketError::ClientHandshake(_)
            | WebSocketError::HandshakeTimeout => return None,
            WebSocketError::Violation(_) => CloseCode::PROTOCOL_ERROR,
            WebSocketError::InvalidUtf8 | WebSocketError::InvalidCompression => {
                CloseCode::INVALID_PAYLOAD
            }
            WebSocketError::MessageTooBig
            | WebSocketError::CompressionRatio
            | WebSocketError::TooManyFragments => CloseCode::TOO_BIG,
            WebSocketError::TooManyControlFrames
            | WebSocketError::TooManyMessages
            | WebSocketError::PongTimeout => CloseCode::POLICY,
        })
    }
}

/// The rule of RFC 6455 that a peer violated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// An opcode that is not assigned (section 5.2).
    UnknownOpcode,
    /// A reserved bit without an extension that gives it a meaning (section 5.2).
    ReservedBit,
    /// A client's frame without a mask (section 5.1).
    Unmasked,
    /// A server's frame with a mask (section 5.1).
    Masked,
    /// A length that is not in its shortest form (section 5.2).
    LengthNotMinimal,
    /// A length of 2^63 or more (section 5.2).
    LengthTooLarge,
    /// A control frame in fragments (section 5.5).
    FragmentedControl,
    /// A control frame with more than 125 bytes (section 5.5).
    LongControl,
    /// A continuation frame without a message to continue (section 5.4).
    StrayContinuation,
    /// A new message within an unfinished one (section 5.4).
    UnfinishedMessage,
    /// A close frame with one byte, which is half of a code (section 5.5.1).
    CloseLength,
    /// A close code that must not be sent (section 7.4).
    CloseCode,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Violation::UnknownOpcode => "an unknown opcode",
            Violation::ReservedBit => "a reserved bit is set",
            Violation::Unmasked => "a client's frame is not masked",
            Violation::Masked => "a server's frame is masked",
            Violation::LengthNotMinimal => "a length is not in its shortest form",
            Violation::LengthTooLarge => "a length is 2^63 or more",
            Violation::FragmentedControl => "a control frame is fragmented",
            Violation::LongControl => "a control frame is longer than 125 bytes",
            Violation::StrayContinuation => "a continuation without a message",
            Violation::UnfinishedMessage => "a new message within an unfinished one",
            Violation::CloseLength => "a close frame with one byte",
            Violation::CloseCode => "a close code that must not be sent",
        })
    }
}

impl Error for Violation {}

impl fmt::Display for WebSocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WebSocketError::Handshake(error) => write!(f, "the handshake was refused: {error}"),
            WebSocketError::ClientHandshake(error) => write!(f, "the handshake failed: {error}"),
            WebSocketError::HandshakeTimeout => f.write_str("the handshake took too long"),
            WebSocketError::Violation(violation) => violation.fmt(f),
            WebSocketError::InvalidUtf8 => f.write_str("a text is not UTF-8"),
            WebSocketError::InvalidCompression => f.write_str("a message cannot be inflated"),
            WebSocketError::MessageTooBig => f.write_str("a message is longer than allowed"),
            WebSocketError::CompressionRatio => {
                f.write_str("a message inflates by a larger factor than allowed")
            }
            WebSocketError::TooManyFragments => {
                f.write_str("a message has more fragments than allowed")
            }
            WebSocketError::TooManyControlFrames => {
                f.write_str("more control frames in a second than allowed")
            }
            WebSocketError::TooManyMessages => {
                f.write_str("more messages in a second than allowed")
            }
            WebSocketError::PongTimeout => f.write_str("a ping was not answered in time"),
        }
    }
}

impl Error for WebSocketError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            WebSocketError::Handshake(error) => Some(error),
            WebSocketError::ClientHandshake(error) => Some(error),
            WebSocketError::Violation(violation) => Some(violation),
            _ => None,
        }
    }
}

impl From<Violation> for WebSocketError {
    fn from(violation: Violation) -> Self {
        WebSocketError::Violation(violation)
    }
}
