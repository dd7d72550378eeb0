//! Servers: built from listeners and settings, then run on threads, and reached through handles.

mod bound_listener;
pub(crate) mod builder;
mod endpoint;
pub(crate) mod handle;
pub(crate) mod listen;
mod listening;
pub(crate) mod opening_settings;
pub(crate) mod place;
pub(crate) mod running;
pub(crate) mod setting_error;
pub(crate) mod task_handle;
pub(crate) mod unknown_handler;
pub(crate) mod worker;

use std::fmt;
use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};

use crate::accept::acceptor::Acceptor;
#[cfg(unix)]
use crate::accept::listener::Listener;
use crate::io::address::Address;
use crate::panics::contain_drop;
use crate::server::builder::ServerBuilder;
use crate::server::handle::ServerHandle;
use crate::server::running::RunningServer;
use crate::server::worker::Worker;

/// A server that is built and bound, and does not run yet.
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
#[must_use = "a server accepts nothing until it runs"]
pub struct Server {
    lead: Lead,
    /// The workers that run on threads of their own.
    workers: Vec<Worker>,
    handle: ServerHandle,
}

impl Server {
    /// A builder with all defaults and no listener.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::new()
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

    /// A handle to the server, for any thread. It works before the server runs, too.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Another descriptor of each listening socket, with its address, for a successor that goes on listening: a new version
    /// of the program, which [adopts](crate::Listen::adopt) them. Only on Unix.
    ///
    /// They are in the order in which the listeners were added; with [`reuse_port`](crate::Listen::reuse_port) each worker has a
    /// socket of its own, and the successor must adopt all of them, or those who wait at the others are reset. The descriptors
    /// are closed in programs that are started, unless they are passed on.
    ///
    /// An address stays taken while there is a duplicate: drop them before [`shutdown`](ServerHandle::shutdown), so that new
    /// clients are refused and do not wait in vain. Once a successor serves, end this server with
    /// [`retire`](ServerHandle::retire), which has an example.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    #[cfg(unix)]
    pub fn duplicate_listeners(&self) -> io::Result<Vec<(Address, OwnedFd)>> {
        let (of_acceptor, lead) = match &self.lead {
            Lead::Acceptor(acceptor) => (Some(acceptor.listeners()), None),
            Lead::Worker(worker) => (None, Some(worker)),
        };
        let workers = lead.into_iter().chain(&self.workers);
        let of_workers = workers.flat_map(|worker| &worker.listeners);
        let mut listeners: Vec<_> = of_acceptor
            .into_iter()
            .flatten()
            .chain(of_workers)
            .collect();
        listeners.sort_by_key(|listener| listener.service());
        listeners.into_iter().map(Listener::duplicate).collect()
    }

    /// Runs the server until it is shut down.
    ///
    /// The acceptor runs on this thread, and each worker on one of its own. Where there is nothing to hand over (one worker,
    /// or listeners with [`reuse_port`](crate::Listen::reuse_port) only) the first worker runs on this thread instead.
    ///
    /// # Errors
    /// When a thread cannot be started, or a poll fails; the rest of the server is stopped before this returns.
    pub fn run(self) -> io::Result<()> {
        let Server {
            lead,
            workers,
            handle,
        } = self;
        let (threads, started) = start(workers, &handle);
        let mut outcome = started.and_then(|()| lead.run(&handle));
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

/// The loop that runs on the thread that runs the server.
enum Lead {
    /// The acceptor, which hands connections to the workers.
    Acceptor(Acceptor),
    /// The first worker, where all workers accept by themselves. With one worker the process then has a single thread, and
    /// system calls are cheaper.
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

/// Runs a worker. A worker that fails, or panics outside of any connection, stops the server.
fn run_worker(worker: Worker, handle: &ServerHandle) -> io::Result<()> {
    let outcome = catch_unwind(AssertUnwindSafe(|| worker.run(handle)));
    let outcome = outcome.unwrap_or_else(|_| Err(io::Error::other("a worker panicked")));
    outcome.inspect_err(|_| handle.stop())
}

/// Starts each worker on a thread of its own. After a failure the threads so far run on.
fn start(workers: Vec<Worker>, handle: &ServerHandle) -> (Vec<WorkerThread>, io::Result<()>) {
    let mut threads = Vec::with_capacity(workers.len());
    for worker in workers {
        let handle = handle.clone();
        let spawned = thread::Builder::new()
            .name(format!("ringwheel-{}", worker.index()))
            .spawn(move || run_worker(worker, &handle));
        match spawned {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                let text = format!("a worker's thread cannot be started: {error}");
                return (threads, Err(io::Error::new(error.kind(), text)));
            }
        }
    }
    (threads, Ok(()))
}

type WorkerThread = JoinHandle<io::Result<()>>;

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("listeners", &self.local_addrs())
            .finish_non_exhaustive()
    }
}
