//! What becomes of a message when it is sent.

use crate::protocol::PackError;

/// What became of a message that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SendStatus {
    /// It is on its way, or waits for its turn.
    Queued,
    /// As `Queued`, and the pending output is now above the high-water mark: better hold back until
    /// [`Handler::on_drained`](crate::Handler::on_drained). The connection's input is not read meanwhile.
    AboveHighWater,
    /// Nothing of it will be sent.
    Refused(Refusal),
}

impl SendStatus {
    /// Whether the message was taken.
    pub fn is_queued(self) -> bool {
        !matches!(self, SendStatus::Refused(_))
    }
}

/// Why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The connection is closing, its write side was shut down, or the peer has gone.
    Closing,
    /// It does not fit below [`Limits::output`](crate::Limits::output), and the policy is [`Overflow::Refuse`](crate::Overflow::Refuse), or [`Overflow::Close`](crate::Overflow::Close) and the
    /// connection now ends.
    OutputLimit,
    /// It does not fit below [`Limits::output`](crate::Limits::output), and the policy is [`Overflow::DropMessage`](crate::Overflow::DropMessage).
    Dropped,
    /// The protocol cannot express it.
    Pack(PackError),
}
