//! A server, before and while it runs.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::acceptor::Acceptor;
use crate::builder::Builder;
use crate::contain::contain_drop;
use crate::server_handle::ServerHandle;
use crate::worker::Worker;

/// A server that is built and bound, and not running yet.
///
/// ```no_run
/// use ringwheel::{Conn, Handler, Server, protocol::Raw};
///
/// #[derive(Clone)]
/// struct Echo;
///
/// impl Handler for Echo {
///     type Protocol = Raw;
///     type Session = ();
///     fn on_open(&mut self, _conn: &mut Conn<'_, Raw>) {}
///     fn on_message(&mut self, conn: &mut Conn<'_, Raw>, _session: &mut (), bytes: &[u8]) {
///         conn.send(bytes);
///     }
/// }
///
/// fn main() -> std::io::Result<()> {
///     Server::builder().workers(4).listen("127.0.0.1:1833", Echo)?.run()
/// }
/// ```
pub struct Server {
    pub(crate) acceptor: Acceptor,
    pub(crate) workers: Vec<Worker>,
    pub(crate) handle: ServerHandle,
}

impl Server {
    /// Begins to build a server.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The addresses of the listeners, in the order in which they were added.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        self.handle.local_addrs()
    }

    /// A handle for other threads; it works before the server runs, too.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Runs the server until it is shut down: the acceptor on this thread, each worker on one of its own.
    ///
    /// # Errors
    /// When a thread cannot be started, or a poll fails; the rest of the server is then stopped first.
    pub fn run(self) -> io::Result<()> {
        let Server {
            mut acceptor,
            workers,
            handle,
        } = self;
        let mut outcome = Ok(());
        let mut threads: Vec<JoinHandle<io::Result<()>>> = Vec::with_capacity(workers.len());
        for worker in workers {
            let handle = handle.clone();
            let name = format!("ringwheel-{}", worker.index());
            // One that fails, or panics outside of any connection, takes the server down with it.
            let run = move || {
                let outcome = catch_unwind(AssertUnwindSafe(|| worker.run(&handle)));
                let outcome =
                    outcome.unwrap_or_else(|_| Err(io::Error::other("a worker panicked")));
                outcome.inspect_err(|_| handle.stop())
            };
            match thread::Builder::new().name(name).spawn(run) {
                Ok(thread) => threads.push(thread),
                Err(error) => outcome = Err(error),
            }
        }
        if outcome.is_ok() {
            let ended = catch_unwind(AssertUnwindSafe(|| acceptor.run()));
            outcome = ended.unwrap_or_else(|_| Err(io::Error::other("the acceptor panicked")));
        }
        if outcome.is_err() {
            handle.stop();
        }
        contain_drop(acceptor);
        for thread in threads {
            let ended = thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("a worker thread panicked")));
            outcome = outcome.and(ended);
        }
        outcome
    }

    /// Runs the server on a thread of its own.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn spawn(self) -> io::Result<RunningServer> {
        let handle = self.handle();
        let thread = thread::Builder::new()
            .name("ringwheel-acceptor".into())
            .spawn(|| self.run())?;
        Ok(RunningServer { handle, thread })
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("listeners", &self.local_addrs())
            .finish_non_exhaustive()
    }
}

/// A server that runs on a thread of its own.
#[derive(Debug)]
pub struct RunningServer {
    handle: ServerHandle,
    thread: JoinHandle<io::Result<()>>,
}

impl RunningServer {
    /// A handle to the server.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// The addresses of the listeners, in the order in which they were added.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        self.handle.local_addrs()
    }

    /// Waits until the server has ended.
    ///
    /// # Errors
    /// As [`Server::run`].
    pub fn join(self) -> io::Result<()> {
        self.thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the acceptor thread panicked")))
    }

    /// Shuts the server down, as [`ServerHandle::shutdown`], and waits until it has ended.
    ///
    /// # Errors
    /// As [`Server::run`].
    pub fn shutdown(self, deadline: Duration) -> io::Result<()> {
        self.handle.shutdown(deadline);
        self.join()
    }
}
