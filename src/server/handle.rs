//! The handle of a server, for any thread.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::accept::admission::{Admission, ServerStats};
use crate::accept::control::{AcceptorControl, Course};
use crate::accept::succession::Succession;
use crate::handler::Handler;
use crate::handler::connections::Connections;
use crate::handler::mailbox::Mailbox;
use crate::io::address::Address;
use crate::server::listening::Listening;
use crate::server::task_handle::TaskHandle;
use crate::server::unknown_handler::UnknownHandlerError;
use crate::shared::LoopShared;
use crate::shared::command::Command;
use crate::shared::task::{Task, Ticket};

/// The parts of a server that all its handles share.
pub(crate) struct ServerShared {
    pub(crate) loops: Vec<Arc<LoopShared>>,
    /// `None` if all workers accept by themselves.
    pub(crate) acceptor: Option<Arc<AcceptorControl>>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) succession: Arc<Succession>,
    pub(super) listening: Listening,
}

/// A handle to a server, for any thread. It is cheap to clone, and dropping it does nothing.
///
/// ```no_run
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
/// let server = Server::builder().listen("127.0.0.1:1833", Echo)?.build()?;
/// let handle = server.handle();
/// server.handle().run_every(Duration::from_secs(60), move || {
///     let stats = handle.stats();
///     println!("{} open, {} accepted", stats.connections, stats.accepted);
/// });
/// let handle = server.handle();
/// server.handle().run_after(Duration::from_secs(3600), move || {
///     handle.shutdown(Duration::from_secs(10));
/// });
/// server.run()
/// # ; Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct ServerHandle {
    shared: Arc<ServerShared>,
}

impl ServerHandle {
    pub(crate) fn new(shared: ServerShared) -> Self {
        ServerHandle {
            shared: Arc::new(shared),
        }
    }

    pub(super) fn loops(&self) -> &[Arc<LoopShared>] {
        &self.shared.loops
    }

    pub(super) fn acceptor(&self) -> Option<&AcceptorControl> {
        self.shared.acceptor.as_deref()
    }

    pub(super) fn listening(&self) -> &Listening {
        &self.shared.listening
    }

    /// The addresses of the listeners, in the order in which they were added, with the ports that the system has chosen.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<Address> {
        self.shared.listening.addresses()
    }

    /// The first of [`local_addrs`](Self::local_addrs) that is an IP address.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addrs().iter().find_map(Address::socket_addr)
    }

    /// Ends the server in order: no connection is accepted any more, input that has arrived is answered, output is flushed,
    /// and every connection closes with [`CloseReason::Shutdown`](crate::CloseReason).
    ///
    /// A connection that subscribes to topics is told of the end only once all connections of all workers have answered, and
    /// what they publish and mail has arrived. What a closure publishes that they have sent to another worker arrives, too, and
    /// what the next closure of such a chain publishes, up to the sixth. It waits for connections that are held back (paused by their
    /// handler, with output above [`Limits::high_water`](crate::Limits::high_water), or for want of memory) for no longer than half of
    /// `deadline`, and for others for no longer than three quarters. What is published after that may miss it.
    ///
    /// Connections that are still open after `deadline` are dropped, also those that were not told of the end by then, because callbacks
    /// have taken the time. `on_close` and completions are called for each of them all the same, and take as long as they take. A
    /// second call does not change the deadline of the first.
    pub fn shutdown(&self, deadline: Duration) {
        self.shared.succession.rule_out();
        self.drain(deadline);
    }

    fn drain(&self, deadline: Duration) {
        match &self.shared.acceptor {
            Some(acceptor) => acceptor.steer(Course::Drain(deadline)),
            None => LoopShared::drain_all(&self.shared.loops, deadline),
        }
    }

    /// Ends the server in order, as [`shutdown`](Self::shutdown) does, in favour of a successor that holds
    /// [duplicates](crate::Server::duplicate_listeners) of its listeners. Only on Unix.
    ///
    /// Connections that wait in the backlog are left to the successor, where `shutdown` accepts and soon closes them, and so are
    /// the files of Unix sockets, which `shutdown` removes. So nobody who connects is refused. Connections that this server has
    /// accepted already are drained as by `shutdown`. A client may be about to ask something on them: a handler that must lose no
    /// answer says a last word in [`on_shutdown`](crate::Handler::on_shutdown), and lets the client close.
    ///
    /// A connection that is accepted and still opening is closed, so that its client must connect again: at once if its peer has sent
    /// nothing before TLS or a PROXY header, or is within the opening handshake of the protocol, and otherwise at the deadline.
    ///
    /// If nobody else holds the listeners, clients that wait are reset, and files stay on which nobody listens.
    ///
    /// The first call that ends the server decides: behind `shutdown` or [`stop`](Self::stop) this changes nothing.
    ///
    /// ```
    /// # use ringwheel::{Conn, Handler, protocol::Lines};
    /// # #[derive(Clone)]
    /// # struct Echo;
    /// # impl Handler for Echo {
    /// #     type Protocol = Lines;
    /// #     type Session = ();
    /// #     fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) {}
    /// #     fn on_message(&mut self, conn: &mut Conn<'_, Lines>, _session: &mut (), line: &str) {
    /// #         conn.send(line);
    /// #     }
    /// # }
    /// use std::io::{BufRead, BufReader, Write};
    /// use std::net::TcpStream;
    /// use std::time::Duration;
    /// use ringwheel::{Listen, Server};
    ///
    /// let old = Server::builder().listen("127.0.0.1:0", Echo)?.build()?;
    /// let (address, descriptor) = old.duplicate_listeners()?.remove(0);
    /// let old = old.spawn()?;
    /// // The successor may be another process, to which the descriptor is passed.
    /// let new = Server::builder().listen_with(Listen::adopt(descriptor), Echo)?.spawn()?;
    /// assert_eq!(new.local_addrs(), [address.clone()]);
    /// old.handle().retire(Duration::from_secs(10));
    /// old.join()?;
    ///
    /// let mut client = TcpStream::connect(address)?;
    /// client.write_all(b"hello\n")?;
    /// assert_eq!(BufReader::new(&client).lines().next().unwrap()?, "hello");
    /// drop(client);
    /// new.shutdown(Duration::from_secs(10))?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[cfg(unix)]
    pub fn retire(&self, deadline: Duration) {
        self.shared.succession.begin();
        self.drain(deadline);
    }

    /// Ends the server at once; pending input and output is lost. Every open connection still gets its `on_close`.
    pub fn stop(&self) {
        self.shared.succession.rule_out();
        if let Some(acceptor) = &self.shared.acceptor {
            acceptor.steer(Course::Stop);
        }
        for worker in &self.shared.loops {
            // A worker that has ended needs no stopping.
            let _ = worker.command(Command::Stop);
        }
    }

    /// Runs a closure on worker 0 once `after` has passed. Tasks are the program's own, so their number has no limit.
    ///
    /// A task that is scheduled after the server has ended never runs, nor does one that has not run when the server ends.
    pub fn run_after(&self, after: Duration, task: impl FnOnce() + Send + 'static) -> TaskHandle {
        let mut task = Some(task);
        self.schedule(after, None, move || {
            if let Some(task) = task.take() {
                task();
            }
        })
    }

    /// Runs a closure on worker 0 every `period`, first after one period. A period of zero counts as one tick.
    ///
    /// Runs that are missed while the worker is busy are not made up for. A task that panics has run for the last time: the
    /// panic is logged, and the closure is dropped, since what it holds may be half changed.
    pub fn run_every(&self, period: Duration, task: impl FnMut() + Send + 'static) -> TaskHandle {
        self.schedule(period, Some(period), task)
    }

    fn schedule(
        &self,
        after: Duration,
        every: Option<Duration>,
        run: impl FnMut() + Send + 'static,
    ) -> TaskHandle {
        let ticket = Ticket::new();
        let worker = &self.shared.loops[0];
        let task = Task {
            due: worker.clock().saturating_add(after),
            every,
            run: Box::new(run),
            ticket: ticket.clone(),
        };
        // Nothing runs on a worker that has ended.
        let _ = worker.command(Command::Schedule(task));
        TaskHandle::new(ticket, worker.clone())
    }

    /// All connections of the listeners whose handler is of type `H`.
    ///
    /// # Errors
    /// When no listener has a handler of this type, so that there would never be a connection.
    pub fn connections_of<H: Handler>(&self) -> Result<Connections<H>, UnknownHandlerError> {
        let mailboxes = self.shared.listening.mailboxes_of::<H>();
        let typed = mailboxes
            .ok_or_else(UnknownHandlerError::new::<H>)?
            .into_iter()
            .map(|any| any.downcast::<Mailbox<H>>());
        Ok(Connections::new(typed.filter_map(Result::ok).collect()))
    }

    /// The number of connections of each worker, by its index.
    #[must_use]
    pub fn connections_per_worker(&self) -> Vec<usize> {
        self.shared
            .loops
            .iter()
            .map(|shared| shared.connections())
            .collect()
    }

    /// The bytes that the connections of each worker hold, by its index: what
    /// [`ServerBuilder::worker_memory`](crate::ServerBuilder::worker_memory) limits. Each is as of some moment in the worker's
    /// current or last iteration.
    #[must_use]
    pub fn memory_per_worker(&self) -> Vec<usize> {
        let held = |shared: &Arc<LoopShared>| shared.held.load(Ordering::Relaxed);
        self.shared.loops.iter().map(held).collect()
    }

    /// The server's counters.
    #[must_use]
    pub fn stats(&self) -> ServerStats {
        self.shared.admission.stats()
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle")
            .field("listeners", &self.local_addrs())
            .finish_non_exhaustive()
    }
}
