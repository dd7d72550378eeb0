//! What is known of one connection.

use crate::buffers::Buffer;

/// A connection that receives and sends at the same time.
///
/// Invariants: while `sending` is nothing, `unsent` is empty; `sent` is less than the length of what is being sent.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    pub(crate) receiving: Receiving,
    /// What the kernel is sending. It must not change until the completion.
    pub(crate) sending: Sending,
    /// How much of `sending` has left.
    pub(crate) sent: usize,
    /// What has arrived meanwhile.
    pub(crate) unsent: Vec<u8>,
    /// The peer has sent its end.
    pub(crate) ended: bool,
    /// The connection is to be closed as it is.
    pub(crate) failed: bool,
}

/// The state of the multishot receive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Receiving {
    #[default]
    Stopped,
    Armed,
    /// Asked to stop; the last completion is still to come.
    Stopping,
}

/// What the kernel is sending.
#[derive(Debug, Default)]
pub(crate) enum Sending {
    #[default]
    Nothing,
    /// Straight from where it was received.
    Received(Buffer),
    /// What had to wait behind something else.
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
