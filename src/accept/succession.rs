//! The news that a successor has the listeners of a server, for the loops that accept.

use std::sync::atomic::{AtomicU8, Ordering};

const SERVING: u8 = 0;
const ALONE: u8 = 1;
#[cfg(unix)]
const SUCCEEDED: u8 = 2;

/// Tells the listeners of a server whether a successor holds duplicates of them. If one does, a listener that closes leaves to
/// the successor the connections that wait, and the file of a Unix socket.
///
/// The first call that ends the server decides. Otherwise a retirement behind a shutdown would have the listeners leave to nobody
/// what the shutdown has to remove.
#[derive(Default)]
pub(crate) struct Succession(AtomicU8);

impl Succession {
    /// The server ends in favour of a successor, unless it ends already.
    #[cfg(unix)]
    pub(crate) fn begin(&self) {
        self.decide(SUCCEEDED);
    }

    /// The server ends without a successor, unless it ends already.
    pub(crate) fn rule_out(&self) {
        self.decide(ALONE);
    }

    fn decide(&self, end: u8) {
        // A failure means that the server ends already.
        let _ = self
            .0
            .compare_exchange(SERVING, end, Ordering::AcqRel, Ordering::Acquire);
    }

    pub(super) fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire) > ALONE
    }
}
