//! A spare descriptor, with which a server out of descriptors can still accept one peer in order to close it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use socket2::{Domain, Socket, Type};

use crate::io::listening_socket::ListeningSocket;

/// A descriptor that is kept open to be closed when there are no others: then a waiting peer can be accepted and closed,
/// and learns that there is no room, instead of hanging in the backlog.
///
/// It is the duplicate of a socket that the server keeps for this, so that opening it again needs nothing but a descriptor:
/// no file, which a sandbox or another root directory may have taken away, and no further socket.
///
/// All listeners of a server share one; with one each, they would take the descriptors from one another.
pub(crate) struct Spare {
    open: Box<Open>,
    socket: Mutex<Option<Socket>>,
    /// The spare may be closed, and it may be possible to open it; checked before taking the lock.
    may_be_closed: AtomicBool,
    /// True once it was logged that there is no spare: once, not for each connection.
    is_reported: AtomicBool,
}

/// Makes a descriptor.
type Open = dyn Fn() -> io::Result<Socket> + Send + Sync;

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
        let original = match Self::IS_OF_USE {
            true => socket(),
            false => Err(io::ErrorKind::Unsupported.into()),
        };
        Spare::with(move || match &original {
            Ok(original) => original.try_clone(),
            Err(_) => socket(),
        })
    }

    fn with(open: impl Fn() -> io::Result<Socket> + Send + Sync + 'static) -> Self {
        let spare = Spare {
            open: Box::new(open),
            socket: Mutex::new(None),
            may_be_closed: AtomicBool::new(Self::IS_OF_USE),
            is_reported: AtomicBool::new(false),
        };
        spare.ensure();
        spare
    }

    /// Opens the spare if it is closed. False if there is no descriptor for it.
    ///
    /// [`shed`](Self::shed) leaves it closed if another thread was quicker to take the descriptor. If it cannot be opened for
    /// another reason, the server does without: then peers wait in the backlog while there are no descriptors.
    #[inline]
    pub(crate) fn ensure(&self) -> bool {
        !self.may_be_closed.load(Ordering::Acquire) || self.open(&mut self.lock())
    }

    fn open(&self, socket: &mut Option<Socket>) -> bool {
        if socket.is_some() || !Self::IS_OF_USE {
            return true;
        }
        let has_failed_for_good = match (self.open)() {
            Ok(opened) => {
                *socket = Some(opened);
                false
            }
            Err(error) if is_out_of_descriptors(&error) => false,
            Err(error) => {
                self.report(&error);
                true
            }
        };
        let may_be_closed = socket.is_none() && !has_failed_for_good;
        self.may_be_closed.store(may_be_closed, Ordering::Release);
        !may_be_closed
    }

    fn report(&self, error: &io::Error) {
        if !self.is_reported.swap(true, Ordering::Relaxed) {
            log::warn!(
                "there is no spare descriptor, so peers will wait while the process has none: {error}"
            );
        }
    }

    /// Closes the spare, accepts one waiting peer with the descriptor, closes that, and opens the spare again.
    pub(crate) fn shed(&self, listener: &ListeningSocket) -> Shed {
        let mut socket = self.lock();
        self.open(&mut socket);
        if socket.is_none() {
            return Shed::Unknown;
        }
        // Another thread that takes the descriptor first sees this in `ensure`, and waits for the lock.
        self.may_be_closed.store(true, Ordering::Release);
        *socket = None;
        let outcome = listener.accept();
        let shed = match &outcome {
            Ok(_) => Shed::One,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Shed::Nobody,
            Err(_) => Shed::Unknown,
        };
        drop(outcome);
        self.open(&mut socket);
        shed
    }

    fn lock(&self) -> MutexGuard<'_, Option<Socket>> {
        // The value is replaced as a whole, so a panic elsewhere leaves it intact.
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a socket. A sandbox may have left the server nothing but Unix sockets.
fn socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None);
    #[cfg(unix)]
    let socket =
        socket.or_else(|error| Socket::new(Domain::UNIX, Type::STREAM, None).map_err(|_| error));
    socket
}

/// True for EMFILE and ENFILE, for which std has no kind; their numbers are the same on every Unix that mio supports.
pub(super) fn is_out_of_descriptors(error: &io::Error) -> bool {
    cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use mio::net::TcpListener;

    /// A spare that can be opened once, and then fails with this error.
    fn opened_once(then: fn() -> io::Error) -> (Spare, Arc<AtomicUsize>) {
        let attempts = Arc::new(AtomicUsize::new(0));
        let count = attempts.clone();
        let spare = Spare::with(move || match count.fetch_add(1, Ordering::Relaxed) {
            0 => Socket::new(Domain::IPV4, Type::STREAM, None),
            _ => Err(then()),
        });
        (spare, attempts)
    }

    fn listener() -> ListeningSocket {
        let address = "127.0.0.1:0".parse().unwrap();
        ListeningSocket::Tcp(TcpListener::bind(address).unwrap())
    }

    /// A sandbox forbids to open it again.
    #[test]
    #[cfg(unix)]
    fn a_server_whose_spare_is_forbidden_accepts_without_it() {
        let (spare, attempts) = opened_once(|| io::ErrorKind::PermissionDenied.into());
        assert_eq!(spare.shed(&listener()), Shed::Nobody);
        assert!(spare.ensure() && spare.ensure());
        assert_eq!(
            attempts.load(Ordering::Relaxed),
            2,
            "not once for each peer"
        );
        assert_eq!(spare.shed(&listener()), Shed::Unknown);
        assert!(spare.ensure());
    }

    #[test]
    #[cfg(unix)]
    fn a_spare_whose_descriptor_was_taken_is_asked_for_again() {
        let (spare, attempts) = opened_once(|| io::Error::from_raw_os_error(24));
        assert_eq!(spare.shed(&listener()), Shed::Nobody);
        assert!(!spare.ensure() && !spare.ensure());
        assert_eq!(attempts.load(Ordering::Relaxed), 4);
    }

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
        let listener = listener();
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
