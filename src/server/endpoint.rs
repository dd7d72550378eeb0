//! Endpoints: the typed side of a listener, which makes one service for each worker.

use std::any::TypeId;
use std::sync::Arc;
use std::time::Duration;

use crate::connection::limits::{Limits, Timeouts};
use crate::handler::Handler;
use crate::handler::mailbox::{AnyMailbox, Mailbox};
use crate::handler::outbox::WorkerOutbox;
use crate::io::address::Address;
use crate::reactor::ServiceEntry;
use crate::server::worker::WorkerStart;
use crate::service::hub::Hub;
use crate::shared::LoopShared;

/// A listener's protocol, limits and handlers.
pub(crate) struct Endpoint<H: Handler> {
    pub(crate) protocol: H::Protocol,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    /// Interval of [`Handler::on_tick`].
    pub(crate) tick: Option<Duration>,
    /// The address of the listener if it is a Unix socket.
    pub(crate) unix_address: Option<Address>,
    pub(crate) handlers: Box<dyn HandlerSource<H> + Send>,
}

/// An [`Endpoint`] of any handler type.
pub(crate) trait AnyEndpoint {
    /// The type of the handler.
    fn handler_type(&self) -> TypeId;
    /// Makes, for one worker, its service (on the worker's thread) and the mailbox that reaches it.
    /// `service` is the index that the service will have on the worker.
    fn for_worker(&self, worker: &Arc<LoopShared>, service: u16) -> (ServiceSeed, AnyMailbox);
}

/// Makes a service on the thread of its worker.
pub(crate) type ServiceSeed = Box<dyn FnOnce(WorkerStart<'_>) -> ServiceEntry + Send>;

impl<H: Handler> AnyEndpoint for Endpoint<H> {
    fn handler_type(&self) -> TypeId {
        TypeId::of::<H>()
    }

    fn for_worker(&self, worker: &Arc<LoopShared>, service: u16) -> (ServiceSeed, AnyMailbox) {
        let (mailbox, mail) = Mailbox::<H>::new(worker.clone(), service);
        let mailbox = Arc::new(mailbox);
        let any_mailbox: AnyMailbox = mailbox.clone();
        let make_handler = self.handlers.for_worker();
        let (protocol, limits, timeouts) = (self.protocol.clone(), self.limits, self.timeouts);
        let (tick, unix_address) = (self.tick, self.unix_address.clone());
        let seed = move |start: WorkerStart<'_>| {
            let connections = start.server().connections_of::<H>();
            let connections = connections.expect("this endpoint is of a listener");
            let outbox = WorkerOutbox::new(mailbox.clone(), connections);
            let handler = make_handler(start);
            let hub = Hub::new(
                handler,
                protocol,
                limits,
                timeouts,
                Arc::new(outbox),
                (mailbox, mail),
            );
            ServiceEntry {
                service: Box::new(hub.reached_at(unix_address)),
                limits,
                timeouts,
                tick,
                tick_due: Duration::ZERO,
            }
        };
        (Box::new(seed), any_mailbox)
    }
}

/// Makes a handler on the thread of its worker.
type HandlerSeed<H> = dyn FnOnce(WorkerStart<'_>) -> H + Send;

/// Makes the handlers of an endpoint, one for each worker.
pub(crate) trait HandlerSource<H> {
    fn for_worker(&self) -> Box<HandlerSeed<H>>;
}

/// Gives each worker a clone of one handler.
pub(crate) struct Clones<H>(pub(crate) H);

impl<H: Clone + Send + 'static> HandlerSource<H> for Clones<H> {
    fn for_worker(&self) -> Box<HandlerSeed<H>> {
        let handler = self.0.clone();
        Box::new(move |_| handler)
    }
}

/// Has each worker call a function that makes its handler, which need not be `Send`.
pub(crate) struct Factory<F>(pub(crate) Arc<F>);

impl<H, F: Fn(WorkerStart<'_>) -> H + Send + Sync + 'static> HandlerSource<H> for Factory<F> {
    fn for_worker(&self) -> Box<HandlerSeed<H>> {
        let make = self.0.clone();
        Box::new(move |start| make(start))
    }
}
