//! A server that runs on a thread of its own.

use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::io::address::Address;
use crate::server::handle::ServerHandle;

/// A server that runs on a thread of its own. Made by [`Server::spawn`](crate::Server::spawn).
///
/// Dropping it does not end the server.
///
/// ```
/// # use ringwheel::{Conn, Handler, protocol::Raw};
/// # #[derive(Clone)]
/// # struct Echo;
/// # impl Handler for Echo {
/// #     type Protocol = Raw;
/// #     type Session = ();
/// #     fn on_open(&mut self, _conn: &mut Conn<'_, Raw>) {}
/// #     fn on_message(&mut self, _conn: &mut Conn<'_, Raw>, _session: &mut (), _bytes: &[u8]) {}
/// # }
/// use std::time::Duration;
/// use ringwheel::Server;
///
/// let server = Server::builder().workers(1).listen("127.0.0.1:0", Echo)?.spawn()?;
/// println!("listening on {}", server.local_addrs()[0]);
/// // The program does something else meanwhile.
/// server.shutdown(Duration::from_secs(10))?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct RunningServer {
    pub(super) handle: ServerHandle,
    pub(super) thread: JoinHandle<io::Result<()>>,
}

impl RunningServer {
    /// A handle to the server, for any thread.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// As [`ServerHandle::local_addrs`].
    #[must_use]
    pub fn local_addrs(&self) -> Vec<Address> {
        self.handle.local_addrs()
    }

    /// The first of [`local_addrs`](Self::local_addrs) that is an IP address.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.handle.local_addr()
    }

    /// Waits until the server has ended.
    ///
    /// # Errors
    /// As [`Server::run`](crate::Server::run).
    pub fn join(self) -> io::Result<()> {
        self.thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the server's thread panicked")))
    }

    /// Shuts the server down, as [`ServerHandle::shutdown`], and waits until it has ended.
    ///
    /// # Errors
    /// As [`Server::run`](crate::Server::run).
    pub fn shutdown(self, deadline: Duration) -> io::Result<()> {
        self.handle.shutdown(deadline);
        self.join()
    }
}
