//! Reaching a server from any thread.

use std::any::TypeId;
use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::accept::admission::{Admission, ServerStats};
use crate::accept::control::{AcceptorControl, Course};
use crate::handler::Handler;
use crate::handler::connections::Connections;
use crate::handler::mailbox::{AnyMailbox, Mailbox};
use crate::io::address::Address;
use crate::shared::LoopShared;
use crate::shared::command::Command;
use crate::shared::task::Task;

/// What all handles of a server share.
pub(crate) struct Shared {
    pub(crate) loops: Vec<Arc<LoopShared>>,
    /// Where workers accept for themselves there is none.
    pub(crate) acceptor: Option<Arc<AcceptorControl>>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) mailboxes: HashMap<TypeId, Vec<AnyMailbox>>,
    pub(crate) addresses: Vec<Address>,
}

/// A server, for any thread. Cheap to clone; dropping it does nothing.
#[derive(Clone)]
pub struct ServerHandle {
    pub(crate) shared: Arc<Shared>,
}

impl ServerHandle {
    /// The addresses of the listeners, in the order in which they were added, with the ports that the system has chosen.
    #[must_use]
    pub fn local_addrs(&self) -> &[Address] {
        &self.shared.addresses
    }

    /// The first of [`local_addrs`](Self::local_addrs) that is an IP address.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addrs().iter().find_map(Address::socket_addr)
    }

    /// Ends the server in order: no connection is accepted any more, what has arrived is answered, what is pending is
    /// flushed, and every connection closes with [`CloseReason::Shutdown`](crate::CloseReason). What is left after
    /// `deadline` is dropped. A second call does not change the deadline of the first.
    pub fn shutdown(&self, deadline: Duration) {
        match &self.shared.acceptor {
            Some(acceptor) => acceptor.steer(Course::Drain(deadline)),
            None => LoopShared::drain_all(&self.shared.loops, deadline),
        }
    }

    /// Ends the server at once; all that is pending is lost. Every connection still sees its `on_close`.
    pub fn stop(&self) {
        if let Some(acceptor) = &self.shared.acceptor {
            acceptor.steer(Course::Stop);
        }
        for worker in &self.shared.loops {
            // One that has ended needs no stopping.
            let _ = worker.command(Command::Stop);
        }
    }

    /// Runs a closure on worker 0 once `after` has passed. Tasks are the program's own, so their number has no limit; one
    /// that is scheduled after the server has ended never runs.
    pub fn run_after(&self, after: Duration, task: impl FnOnce() + Send + 'static) -> TaskHandle {
        let mut task = Some(task);
        self.schedule(after, None, move || {
            if let Some(task) = task.take() {
                task();
            }
        })
    }

    /// Runs a closure on worker 0 every `period`, first after one period. Rounds that are missed while the worker is
    /// busy are not made up for. A period of zero counts as one tick.
    pub fn run_every(&self, period: Duration, task: impl FnMut() + Send + 'static) -> TaskHandle {
        self.schedule(period, Some(period), task)
    }

    fn schedule(
        &self,
        after: Duration,
        every: Option<Duration>,
        run: impl FnMut() + Send + 'static,
    ) -> TaskHandle {
        let cancelled = Arc::new(AtomicBool::new(false));
        let worker = &self.shared.loops[0];
        let task = Task {
            due: worker.clock().saturating_add(after),
            every,
            run: Box::new(run),
            cancelled: cancelled.clone(),
        };
        // Nothing runs on a worker that has ended.
        let _ = worker.command(Command::Schedule(task));
        TaskHandle::new(cancelled, worker.clone())
    }

    /// All connections of the listeners whose handler is of type `H`; none, for good, if no listener has such a handler.
    pub fn connections_of<H: Handler>(&self) -> Connections<H> {
        let mailboxes = self
            .shared
            .mailboxes
            .get(&TypeId::of::<H>())
            .map_or(&[][..], Vec::as_slice);
        let typed = mailboxes
            .iter()
            .map(|any| any.clone().downcast::<Mailbox<H>>());
        Connections::new(typed.filter_map(Result::ok).collect())
    }

    /// Connections of each worker.
    pub fn connections_per_worker(&self) -> Vec<usize> {
        self.shared
            .loops
            .iter()
            .map(|shared| shared.connections())
            .collect()
    }

    /// The server's counters.
    pub fn stats(&self) -> ServerStats {
        self.shared.admission.stats()
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle")
            .field("listeners", &self.shared.addresses)
            .finish_non_exhaustive()
    }
}

/// A task that was scheduled with [`ServerHandle::run_after`](crate::ServerHandle::run_after) or
/// [`run_every`](crate::ServerHandle::run_every). Dropping it leaves the task alone.
#[derive(Clone)]
pub struct TaskHandle {
    cancelled: Arc<AtomicBool>,
    shared: Arc<LoopShared>,
}

impl TaskHandle {
    pub(crate) fn new(cancelled: Arc<AtomicBool>, shared: Arc<LoopShared>) -> Self {
        TaskHandle { cancelled, shared }
    }

    /// Cancels the task: it does not begin to run after this returns, unless it is just beginning. True if it was not
    /// cancelled before.
    pub fn cancel(&self) -> bool {
        let first = !self.cancelled.swap(true, Ordering::AcqRel);
        if first {
            self.shared.sweep();
        }
        first
    }
}

impl fmt::Debug for TaskHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHandle")
            .field("cancelled", &self.cancelled)
            .finish_non_exhaustive()
    }
}
