//! A spare descriptor, with which a server out of descriptors can still accept one peer in order to close it.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mio::net::TcpListener;

/// A descriptor that is kept open to be closed when there are no others: then a waiting peer can be accepted and closed,
/// and learns that there is no room, instead of hanging in the backlog.
///
/// All listeners of a server share one; with one each, they would take the descriptors from one another.
#[derive(Debug)]
pub(crate) struct Spare {
    file: Mutex<Option<File>>,
    /// The spare may be closed; checked before taking the lock.
    may_be_closed: AtomicBool,
}

/// The outcome of an attempt to shed one waiting peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shed {
    /// A peer was accepted and closed.
    One,
    /// No peer waits.
    Nobody,
    /// The attempt failed: a peer may wait or not. Without a descriptor the kernel does not tell.
    Unknown,
}

impl Spare {
    /// Only where descriptors are a limit that accept(2) reports.
    const IS_OF_USE: bool = cfg!(unix);

    pub(crate) fn new() -> Self {
        let spare = Spare {
            file: Mutex::new(None),
            may_be_closed: AtomicBool::new(Self::IS_OF_USE),
        };
        spare.ensure();
        spare
    }

    /// Opens the spare if it is closed. True if it is open now.
    ///
    /// [`shed`](Self::shed) leaves it closed if another thread was quicker to take the descriptor.
    #[inline]
    pub(crate) fn ensure(&self) -> bool {
        !self.may_be_closed.load(Ordering::Acquire) || self.open(&mut self.lock())
    }

    fn open(&self, file: &mut Option<File>) -> bool {
        if file.is_none() && Self::IS_OF_USE {
            *file = File::open("/dev/null").ok();
            self.may_be_closed.store(file.is_none(), Ordering::Release);
        }
        file.is_some() || !Self::IS_OF_USE
    }

    /// Closes the spare, accepts one waiting peer with the descriptor, closes that, and opens the spare again.
    pub(crate) fn shed(&self, listener: &TcpListener) -> Shed {
        let mut file = self.lock();
        if !Self::IS_OF_USE || !self.open(&mut file) {
            return Shed::Unknown;
        }
        // Another thread that takes the descriptor first sees this in `ensure`, and waits for the lock.
        self.may_be_closed.store(true, Ordering::Release);
        *file = None;
        let outcome = listener.accept();
        let shed = match &outcome {
            Ok(_) => Shed::One,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Shed::Nobody,
            Err(_) => Shed::Unknown,
        };
        drop(outcome);
        self.open(&mut file);
        shed
    }

    fn lock(&self) -> MutexGuard<'_, Option<File>> {
        // The value is replaced as a whole, so a panic elsewhere leaves it intact.
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_spare_is_opened_again() {
        let spare = Spare::new();
        assert!(spare.ensure());
        spare.lock().take();
        spare.may_be_closed.store(true, Ordering::Release);
        assert!(spare.ensure());
        assert_eq!(spare.lock().is_some(), Spare::IS_OF_USE);
        assert!(!spare.may_be_closed.load(Ordering::Acquire));
    }

    #[test]
    fn a_waiting_peer_is_shed_and_the_spare_is_open_again() {
        let spare = Spare::new();
        let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        if !Spare::IS_OF_USE {
            return assert_eq!(spare.shed(&listener), Shed::Unknown);
        }
        assert_eq!(spare.shed(&listener), Shed::Nobody);
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(spare.shed(&listener), Shed::One);
        assert_eq!(spare.shed(&listener), Shed::Nobody);
        assert!(spare.lock().is_some());
    }
}
