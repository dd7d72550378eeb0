//! A worker on its way to its thread.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use mio::Poll;

use crate::accept::admission::Admission;
use crate::accept::listener::Listener;
use crate::accept::listeners::Listeners;
use crate::event_loop::EventLoop;
use crate::reactor::{Reactor, ReactorConfig, ServiceSlot};
use crate::server::handle::ServerHandle;
use crate::shared::LoopShared;
use crate::shared::command::Command;

/// Called on each worker's thread before it begins.
pub(crate) type WorkerHook = dyn Fn(usize) + Send + Sync;

/// Makes a worker's service, on the worker's own thread.
pub(crate) type ServiceSeed = Box<dyn FnOnce(WorkerStart<'_>) -> ServiceSlot + Send>;

/// Where a handler is made: for [`ServerBuilder::listen_with_factory`](crate::ServerBuilder::listen_with_factory).
#[derive(Clone, Copy, Debug)]
pub struct WorkerStart<'a> {
    index: usize,
    server: &'a ServerHandle,
}

impl WorkerStart<'_> {
    /// The worker's index.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The server: for a handler that broadcasts, schedules, or shuts down.
    pub fn server(&self) -> ServerHandle {
        self.server.clone()
    }
}

/// All that a worker's thread needs. Handlers are made there, so they need not be `Send`.
pub(crate) struct Worker {
    pub(crate) poll: Poll,
    pub(crate) shared: Arc<LoopShared>,
    pub(crate) commands: Receiver<Command>,
    /// The listeners from which this worker accepts by itself.
    pub(crate) listeners: Vec<Listener>,
    pub(crate) seeds: Vec<ServiceSeed>,
    pub(crate) config: ReactorConfig,
    pub(crate) admission: Arc<Admission>,
    pub(crate) busy_poll: Duration,
    pub(crate) on_start: Arc<WorkerHook>,
}

impl Worker {
    pub(crate) fn index(&self) -> usize {
        self.shared.worker
    }

    /// Runs the worker's loop on the current thread until the server ends.
    pub(crate) fn run(self, server: &ServerHandle) -> io::Result<()> {
        (self.on_start)(self.index());
        let start = WorkerStart {
            index: self.index(),
            server,
        };
        let services = self.seeds.into_iter().map(|seed| seed(start)).collect();
        let reactor = Reactor::new(&self.config, self.shared.clone(), services);
        let listeners = Listeners::register(self.listeners, self.poll.registry())?;
        let event_loop = EventLoop {
            poll: self.poll,
            reactor,
            listeners,
            shared: self.shared,
            commands: self.commands,
            admission: self.admission,
            busy_poll: self.busy_poll,
        };
        event_loop.run()
    }
}
