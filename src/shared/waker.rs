//! Interrupts the sleep of a loop from any thread.

use std::io;
use std::sync::PoisonError;

use mio::Registry;

use crate::shared::sync::{Mutex, MutexGuard};
use crate::shared::token::Token;

/// Interrupts a poll. It is a closure so that simulation and model checks can watch it.
pub(crate) type Wake = dyn Fn() -> io::Result<()> + Send + Sync;

/// The waker of one loop. Handles share it, and may be kept for ever; so it is released when the loop has ended, and its
/// descriptor with it.
pub(crate) struct Waker {
    wake: Mutex<Option<Box<Wake>>>,
}

/// Makes the closure that interrupts the poll of a registry.
pub(crate) fn waker(registry: &Registry) -> io::Result<Box<Wake>> {
    let waker = mio::Waker::new(registry, Token::Waker.encode())?;
    Ok(Box::new(move || waker.wake()))
}

impl Waker {
    pub(crate) fn new(wake: Box<Wake>) -> Self {
        Waker {
            wake: Mutex::new(Some(wake)),
        }
    }

    /// Interrupts the poll. Does nothing once the waker is released.
    pub(crate) fn wake(&self) -> io::Result<()> {
        self.lock().as_ref().map_or(Ok(()), |wake| wake())
    }

    /// Closes the waker's descriptor: the loop has ended, or will never run.
    pub(crate) fn release(&self) {
        // Dropped without the lock.
        let wake = self.lock().take();
        drop(wake);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Wake>>> {
        // The value is replaced as a whole, so a panic elsewhere leaves it intact.
        self.wake.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_released_waker_does_nothing_and_holds_nothing() {
        let held = Arc::new(());
        let by_waker = held.clone();
        let waker = Waker::new(Box::new(move || {
            let _ = &by_waker;
            Err(io::ErrorKind::Other.into())
        }));
        assert!(waker.wake().is_err());
        waker.release();
        assert!(waker.wake().is_ok());
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
