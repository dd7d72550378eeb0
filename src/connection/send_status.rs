//! The answer to sending a message.

use crate::protocol::PackError;

/// The answer to sending a message.
///
/// ```
/// use ringwheel::{Conn, Refusal, SendStatus, protocol::Lines};
///
/// /// True if there is room for more.
/// fn send(conn: &mut Conn<'_, Lines>, line: &str) -> bool {
///     match conn.send(line) {
///         SendStatus::Queued => true,
///         // Sent, but the peer is slow: `on_drained` tells when to go on.
///         SendStatus::AboveHighWater => false,
///         SendStatus::Refused(Refusal::Pack(error)) => panic!("{error}"),
///         SendStatus::Refused(_) => false,
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SendStatus {
    /// The message is in the output, or has left already.
    Queued,
    /// As `Queued`, and the pending output is now above [`Limits::high_water`](crate::Limits::high_water), or more than 512 KiB
    /// have left in this turn, to a peer that reads fast, or 128 KiB were compressed: send no more before [`Handler::on_drained`](crate::Handler::on_drained)
    /// if you can, so that other connections have their turns. The connection's input is not read meanwhile.
    AboveHighWater,
    /// Nothing of it will be sent.
    Refused(Refusal),
}

impl SendStatus {
    /// True if the message was taken.
    pub fn is_queued(self) -> bool {
        !matches!(self, SendStatus::Refused(_))
    }
}

/// The reason why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The connection is closing, its write side was shut down, or the peer has gone.
    Closing,
    /// It does not fit below [`Limits::output`](crate::Limits::output). With [`Overflow::Close`](crate::Overflow::Close) the
    /// connection now ends. With [`Overflow::Refuse`](crate::Overflow::Refuse) its input is held back until there is room, and
    /// [`Handler::on_drained`](crate::Handler::on_drained) then tells so once. Only a message that does not even fit into an
    /// empty output is followed by nothing: [`Conn::send_from`](crate::Conn::send_from) sends what is larger.
    OutputLimit,
    /// It does not fit below [`Limits::output`](crate::Limits::output), and
    /// [`Overflow::DropMessage`](crate::Overflow::DropMessage) says to go on without it. What follows is as with
    /// [`OutputLimit`](Self::OutputLimit).
    Dropped,
    /// The connection has as many sources as [`Limits::sources`](crate::Limits::sources) allows.
    Sources,
    /// The protocol cannot express the item.
    Pack(PackError),
}
