//! The state of one connection.

use crate::buffers::Buffer;

/// A connection that receives and sends at the same time.
///
/// Invariants: while `sending` is nothing, `unsent` is empty; `sent` is less than the number of bytes being sent.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    pub(crate) receiving: Receiving,
    /// The bytes that the kernel is sending. They must not change until the completion.
    pub(crate) sending: Sending,
    /// Number of bytes of `sending` that were sent.
    pub(crate) sent: usize,
    /// Bytes that have arrived meanwhile.
    pub(crate) unsent: Vec<u8>,
    /// True if the peer has ended its stream.
    pub(crate) ended: bool,
    /// True if the connection is to be closed without sending the rest.
    pub(crate) failed: bool,
}

/// The state of the multishot receive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Receiving {
    #[default]
    Stopped,
    Armed,
    /// Cancelled; the last completion is still to come.
    Stopping,
}

/// The bytes that the kernel is sending.
#[derive(Debug, Default)]
pub(crate) enum Sending {
    #[default]
    Nothing,
    /// Received bytes, sent directly from their buffer.
    Received(Buffer),
    /// Bytes that had to wait for another send.
    Collected(Vec<u8>),
}

impl Sending {
    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, Sending::Nothing)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Sending::Nothing => &[],
            Sending::Received(buffer) => buffer.bytes(),
            Sending::Collected(bytes) => bytes,
        }
    }
}
