//! The seam between a stream and its plaintext. A seal has no socket and no clock: bytes in, bytes out.

use std::io;

use super::sealed::RECORD_COST;
#[cfg(feature = "tls")]
use crate::io::tls::session::TlsSession;

/// The two directions of a sealed stream once its handshake is done.
///
/// TLS is one, and a double without cryptography checks the connection's life cycle in the simulation. The plaintext goes into the
/// caller's buffer, as in the coming API of rustls 0.24.
pub(crate) trait Seal {
    /// Opens the records at the front of `input`, and writes their plaintext to `plain`.
    ///
    /// It stops when `plain` is full, when no whole record is left, or at the peer's end. Answers of the seal itself are appended
    /// to `answers`; they leave ahead of all that is sealed later.
    ///
    /// # Errors
    /// The peer's bytes are refused. `answers` then has the last words to the peer. What was opened before the bad record was
    /// returned by earlier calls.
    fn unseal(
        &mut self,
        input: &mut [u8],
        plain: &mut [u8],
        answers: &mut Vec<u8>,
    ) -> io::Result<Unsealed>;

    /// Seals the front of `plain` into `sealed`, which has room for a piece of [`PIECE`](super::sealed::PIECE) bytes and what its
    /// records add. A call makes progress: it takes at least one byte, or it writes something that must leave first.
    ///
    /// # Errors
    /// The stream can carry nothing more.
    fn seal(&mut self, plain: &[u8], sealed: &mut [u8]) -> io::Result<SealedPiece>;

    /// Appends the end of our stream, behind all that was sealed.
    fn end(&mut self, answers: &mut Vec<u8>);

    /// The work of opening a record, as a number of received bytes. The seals of the simulation, where
    /// budgets are small, have costs of their own.
    fn record_cost(&self) -> usize {
        RECORD_COST
    }

    /// Bytes of memory that the seal holds beyond what an idle one needs: plaintext of an opened record that had no room.
    fn held(&self) -> usize {
        0
    }

    /// The TLS session, if the seal is of TLS.
    #[cfg(feature = "tls")]
    fn tls(&self) -> Option<TlsSession<'_>> {
        None
    }
}

/// The outcome of [`Seal::unseal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unsealed {
    /// Bytes of the input that are done with.
    pub(crate) consumed: usize,
    /// Bytes of plaintext.
    pub(crate) written: usize,
    /// Records that were opened, also those without plaintext.
    pub(crate) records: usize,
    pub(crate) rest: Rest,
}

/// The state of a sealed stream behind the plaintext of a call.
#[cfg_attr(not(test), allow(dead_code, reason = "seals are made by features"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// No whole record is left: more must be received first.
    Nothing,
    /// The room was used up, so that more plaintext may be at hand. No event will announce it.
    Perhaps,
    /// The peer has ended its stream, as the seal's own words say. Nothing follows.
    Ended,
}

/// The outcome of [`Seal::seal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SealedPiece {
    /// Bytes of plaintext that were taken.
    pub(crate) taken: usize,
    /// Bytes that were written, to be sent.
    pub(crate) written: usize,
}
