//! The seam between a stream and what comes before its plaintext: a handshake, without a socket and without a clock.

use std::io;

use super::seal::Seal;
#[cfg(feature = "tls")]
use crate::io::tls::error::TlsError;

/// Begins the handshakes of a listener's connections. The workers share it.
pub(crate) trait SealSource: Send + Sync {
    /// A handshake with a peer that has just connected.
    ///
    /// # Errors
    /// The settings do not allow one.
    fn begin(&self) -> io::Result<Box<dyn Handshake>>;

    /// Reads anew what the settings were made of, and takes it for the handshakes that follow.
    ///
    /// # Errors
    /// The sources cannot be used as they are now; the settings stay as they were.
    #[cfg(feature = "tls")]
    fn reload(&self) -> Result<(), TlsError> {
        Ok(())
    }
}

/// A handshake that is under way.
pub(crate) trait Handshake {
    /// Goes on with the bytes that have come, of which it takes whole records off the front, and appends what is to be sent.
    ///
    /// It may do at most one step that is expensive, such as a signature, and call code of the user.
    ///
    /// # Errors
    /// The peer's bytes are refused. `answers` then has the last words to the peer.
    fn advance(&mut self, received: &mut Vec<u8>, answers: &mut Vec<u8>) -> io::Result<Progress>;

    /// The seal, once [`advance`](Self::advance) has said [`Progress::Done`].
    fn finish(self: Box<Self>) -> Box<dyn Seal>;
}

/// The outcome of [`Handshake::advance`].
#[cfg_attr(not(test), allow(dead_code, reason = "seals are made by features"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More must be received first.
    AwaitsInput,
    /// There is more to do with what has been received, after others had their turn.
    GoesOn,
    /// The handshake is done. Bytes that are left in `received` belong to the [`Seal`].
    Done,
}
