//! A descriptor kept back for when there are no others.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mio::net::TcpListener;

/// A descriptor kept back, so that with none left a waiting peer can still be taken, and told by the close that there is
/// no room, instead of hanging in the backlog. One for all listeners of a server: each would rob the others of theirs.
#[derive(Debug)]
pub(crate) struct Reserve {
    file: Mutex<Option<File>>,
    /// It may not be there.
    is_missing: AtomicBool,
}

/// What became of a connection that was to be shed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shed {
    /// It was taken and closed.
    One,
    /// Nobody waits.
    Nobody,
    /// It is not known whether anybody waits: without a descriptor the kernel does not look.
    Unknown,
}

impl Reserve {
    const IS_OF_USE: bool = cfg!(unix);

    pub(crate) fn new() -> Self {
        let reserve = Reserve {
            file: Mutex::new(None),
            is_missing: AtomicBool::new(Self::IS_OF_USE),
        };
        reserve.is_there();
        reserve
    }

    /// Whether there is a reserve; one that was lost, because something else was quicker to take the descriptor, is taken
    /// again if that can be done.
    #[inline]
    pub(crate) fn is_there(&self) -> bool {
        !self.is_missing.load(Ordering::Acquire) || self.refill(&mut self.lock())
    }

    fn refill(&self, file: &mut Option<File>) -> bool {
        if file.is_none() && Self::IS_OF_USE {
            *file = File::open("/dev/null").ok();
            self.is_missing.store(file.is_none(), Ordering::Release);
        }
        file.is_some() || !Self::IS_OF_USE
    }

    /// Takes one waiting connection in place of the reserve, and closes it.
    pub(crate) fn shed(&self, listener: &TcpListener) -> Shed {
        let mut file = self.lock();
        if !Self::IS_OF_USE || !self.refill(&mut file) {
            return Shed::Unknown;
        }
        // Who is quicker to use the descriptor sees this, and waits for the lock.
        self.is_missing.store(true, Ordering::Release);
        *file = None;
        let outcome = listener.accept();
        let shed = match &outcome {
            Ok(_) => Shed::One,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Shed::Nobody,
            Err(_) => Shed::Unknown,
        };
        drop(outcome);
        self.refill(&mut file);
        shed
    }

    fn lock(&self) -> MutexGuard<'_, Option<File>> {
        // There is a file or none; a panic elsewhere does not spoil that.
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_that_was_lost_is_taken_again() {
        let reserve = Reserve::new();
        assert!(reserve.is_there());
        reserve.lock().take();
        reserve.is_missing.store(true, Ordering::Release);
        assert!(reserve.is_there());
        assert_eq!(reserve.lock().is_some(), Reserve::IS_OF_USE);
        assert!(!reserve.is_missing.load(Ordering::Acquire));
    }

    #[test]
    fn one_who_waits_is_shed_and_the_reserve_is_there_again() {
        let reserve = Reserve::new();
        let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        if !Reserve::IS_OF_USE {
            return assert_eq!(reserve.shed(&listener), Shed::Unknown);
        }
        assert_eq!(reserve.shed(&listener), Shed::Nobody);
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(reserve.shed(&listener), Shed::One);
        assert_eq!(reserve.shed(&listener), Shed::Nobody);
        assert!(reserve.lock().is_some());
    }
}
