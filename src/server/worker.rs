//! A worker that is built and does not run yet.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use mio::Poll;

use crate::accept::admission::Admission;
use crate::accept::control::AcceptorControl;
use crate::accept::listener::Listener;
use crate::accept::listeners::Listeners;
use crate::event_loop::EventLoop;
use crate::event_loop::change::LoopChange;
use crate::event_loop::newcomers::Newcomers;
use crate::opening::Openings;
use crate::opening::room::WaitingRoom;
use crate::opening::terms::OpeningTerms;
use crate::reactor::{Reactor, ReactorConfig};
use crate::server::endpoint::ServiceSeed;
use crate::server::handle::ServerHandle;
use crate::shared::LoopShared;
use crate::shared::command::Command;
use crate::shared::current::CurrentWorker;

/// A function that is called on each worker's thread before the worker begins.
pub(crate) type WorkerHook = dyn Fn(usize) + Send + Sync;

/// The worker for which a handler is made by
/// [`ServerBuilder::listen_with_factory`](crate::ServerBuilder::listen_with_factory).
///
/// ```
/// use ringwheel::{Conn, Connections, Handler, Listen, Server, protocol::Lines};
///
/// struct Relay {
///     worker: usize,
///     all: Connections<Relay>,
/// }
///
/// impl Handler for Relay {
///     type Protocol = Lines;
///     type Session = ();
///     fn on_open(&mut self, conn: &mut Conn<'_, Lines>) {
///         conn.send(&format!("you are on worker {}", self.worker));
///     }
///     fn on_message(&mut self, _conn: &mut Conn<'_, Lines>, _session: &mut (), line: &str) {
///         let _ = self.all.broadcast(line);
///     }
/// }
///
/// let builder = Server::builder().listen_with_factory(Listen::on("127.0.0.1:0"), |start| Relay {
///     worker: start.index(),
///     all: start.server().connections_of().expect("it has a listener"),
/// })?;
/// # drop(builder);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct WorkerStart<'a> {
    index: usize,
    server: &'a ServerHandle,
}

impl<'a> WorkerStart<'a> {
    pub(super) fn new(index: usize, server: &'a ServerHandle) -> Self {
        WorkerStart { index, server }
    }

    /// The worker's index.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// A handle to the server, for a handler that broadcasts, schedules tasks, or shuts the server down.
    #[must_use]
    pub fn server(&self) -> ServerHandle {
        self.server.clone()
    }
}

/// The parts of a worker, on their way to its thread. Handlers are made there, so they need not be `Send`.
pub(crate) struct Worker {
    pub(crate) poll: Poll,
    pub(crate) shared: Arc<LoopShared>,
    pub(crate) commands: Receiver<Command>,
    pub(crate) changes: Receiver<LoopChange>,
    /// The listeners from which this worker accepts by itself.
    pub(crate) listeners: Vec<Listener>,
    /// The services, by the index of their listener.
    pub(crate) services: Vec<ServiceSeed>,
    /// The stages in which the connections of each service open.
    pub(crate) openings: Vec<Option<Arc<OpeningTerms>>>,
    /// The number of connections that may be opening at a time.
    pub(crate) opening_limit: usize,
    pub(crate) config: ReactorConfig,
    pub(crate) admission: Arc<Admission>,
    /// The acceptor that hands connections over, if there is one.
    pub(crate) acceptor: Option<Arc<AcceptorControl>>,
    pub(crate) busy_poll: Option<Duration>,
    pub(crate) on_start: Arc<WorkerHook>,
    /// Last, so that the mailboxes are closed when it calls the senders that wait.
    pub(crate) mail_end: MailEnd,
}

/// Calls back the senders that wait for room in a worker's mailboxes, and releases its waker, when it is dropped: when the
/// worker has ended, has failed to start, or will never run.
pub(crate) struct MailEnd(pub(crate) Arc<LoopShared>);

impl Drop for MailEnd {
    fn drop(&mut self) {
        self.0.end_mail();
        self.0.release_waker();
    }
}

impl Worker {
    pub(crate) fn index(&self) -> usize {
        self.shared.worker
    }

    /// Runs the worker's loop on the current thread until the server ends.
    pub(crate) fn run(self, server: &ServerHandle) -> io::Result<()> {
        // Taken out first, and so dropped last.
        let Worker {
            mail_end: _mail_end,
            poll,
            shared,
            commands,
            changes,
            listeners,
            services,
            openings,
            opening_limit,
            config,
            admission,
            acceptor,
            busy_poll,
            on_start,
        } = self;
        let index = shared.worker;
        let _current = CurrentWorker::enter(&shared);
        on_start(index);
        let start = WorkerStart::new(index, server);
        let services = services.into_iter().map(|make| make(start)).collect();
        let reactor = Reactor::new(&config, shared.clone(), services, shared.clock());
        let listeners = Listeners::register(listeners, poll.registry())?;
        let openings = Openings::new(
            openings,
            opening_limit,
            config.clock,
            shared.clone(),
            admission.clone(),
        );
        let room = WaitingRoom::new(opening_limit, shared.clone(), admission.clone());
        let event_loop = EventLoop {
            poll,
            reactor,
            listeners,
            newcomers: Newcomers::new(openings, room),
            shared,
            commands,
            changes,
            admission,
            acceptor,
            untold: 0,
            busy_poll,
        };
        event_loop.run()
    }
}
