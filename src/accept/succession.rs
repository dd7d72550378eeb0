//! The news that a successor has the listeners of a server, for the loops that accept.

use std::sync::atomic::{AtomicBool, Ordering};

/// Tells the listeners of a server that a successor holds duplicates of them. From then on a listener that closes leaves to
/// the successor the connections that wait, and the file of a Unix socket.
#[derive(Default)]
pub(crate) struct Succession(AtomicBool);

impl Succession {
    #[cfg(unix)]
    pub(crate) fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(super) fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
