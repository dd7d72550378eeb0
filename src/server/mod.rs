//! A server, before and while it runs.

pub(crate) mod builder;
pub(crate) mod handle;
pub(crate) mod listen;
pub(crate) mod worker;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::accept::acceptor::Acceptor;
use crate::io::address::Address;
use crate::panics::contain_drop;
use crate::server::builder::ServerBuilder;
use crate::server::handle::ServerHandle;
use crate::server::worker::Worker;

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
    pub(crate) lead: Lead,
    /// Those that run on threads of their own.
    pub(crate) workers: Vec<Worker>,
    pub(crate) handle: ServerHandle,
}

/// What runs on the thread that runs the server.
pub(crate) enum Lead {
    /// It hands connections to the workers.
    Acceptor(Acceptor),
    /// All workers accept for themselves, so the first may as well run here. With one worker the process then needs no
    /// second thread, and system calls are cheaper for it.
    Worker(Worker),
}

impl Lead {
    fn run(self, handle: &ServerHandle) -> io::Result<()> {
        match self {
            Lead::Acceptor(mut acceptor) => {
                let ended = catch_unwind(AssertUnwindSafe(|| acceptor.run()));
                contain_drop(acceptor);
                ended.unwrap_or_else(|_| Err(io::Error::other("the acceptor panicked")))
            }
            Lead::Worker(worker) => run_worker(worker, handle),
        }
    }
}

/// Runs a worker. One that fails, or panics outside of any connection, takes the server down with it.
fn run_worker(worker: Worker, handle: &ServerHandle) -> io::Result<()> {
    let outcome = catch_unwind(AssertUnwindSafe(|| worker.run(handle)));
    let outcome = outcome.unwrap_or_else(|_| Err(io::Error::other("a worker panicked")));
    outcome.inspect_err(|_| handle.stop())
}

impl Server {
    /// Begins to build a server.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::new()
    }

    /// As [`ServerHandle::local_addrs`].
    #[must_use]
    pub fn local_addrs(&self) -> &[Address] {
        self.handle.local_addrs()
    }

    /// The first of [`local_addrs`](Self::local_addrs) that is an IP address.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.handle.local_addr()
    }

    /// A handle for other threads; it works before the server runs, too.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Runs the server until it is shut down. The acceptor runs on this thread, and each worker on one of its own. Where
    /// there is nothing to hand over (one worker, or listeners with [`reuse_port`](crate::Listen::reuse_port) only) the
    /// first worker runs on this thread instead.
    ///
    /// # Errors
    /// When a thread cannot be started, or a poll fails; the rest of the server is then stopped first.
    pub fn run(self) -> io::Result<()> {
        let Server {
            lead,
            workers,
            handle,
        } = self;
        let mut outcome = Ok(());
        let mut threads: Vec<JoinHandle<io::Result<()>>> = Vec::with_capacity(workers.len());
        for worker in workers {
            let handle = handle.clone();
            let name = format!("ringwheel-{}", worker.index());
            let spawned = thread::Builder::new()
                .name(name)
                .spawn(move || run_worker(worker, &handle));
            match spawned {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    let text = format!("a worker's thread cannot be started: {error}");
                    outcome = Err(io::Error::new(error.kind(), text));
                }
            }
        }
        if outcome.is_ok() {
            outcome = lead.run(&handle);
        }
        if outcome.is_err() {
            handle.stop();
        }
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
            .name("ringwheel".into())
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

    /// As [`ServerHandle::local_addrs`].
    #[must_use]
    pub fn local_addrs(&self) -> &[Address] {
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
    /// As [`Server::run`].
    pub fn join(self) -> io::Result<()> {
        self.thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the server's thread panicked")))
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
