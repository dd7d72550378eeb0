//! What a server is to be, step by step.

use std::any::TypeId;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mio::Poll;
use mio::net::TcpListener;
use ringwheel_ringbuffer::PoolConfig;

use crate::accept::acceptor::Acceptor;
use crate::accept::admission::Admission;
use crate::accept::balance::{Balance, RoundRobin};
use crate::accept::control::AcceptorControl;
use crate::accept::listener::Listener;
use crate::accept::listeners::Listeners;
use crate::handler::Handler;
use crate::handler::mailbox::{AnyMailbox, Mailbox};
use crate::handler::outbox::WorkerOutbox;
use crate::io::address::Address;
use crate::io::socket_options::SocketOptions;
use crate::reactor::{ReactorConfig, ServiceSlot};
use crate::server::handle::{ServerHandle, Shared};
use crate::server::listen::Listen;
use crate::server::worker::{ServiceSeed, Worker, WorkerHook, WorkerStart};
use crate::server::{Lead, RunningServer, Server};
use crate::service::hub::Hub;
use crate::shared::LoopShared;
use crate::shared::token::MAX_LISTENERS;
use crate::shared::waker::waker;
use crate::wheel::TickClock;

/// What a server is to be. Made by [`Server::builder`].
pub struct ServerBuilder {
    workers: Option<usize>,
    balance: Box<dyn Balance>,
    max_connections: usize,
    max_connections_per_ip: Option<usize>,
    accept_burst: usize,
    mailbox_limit: usize,
    busy_poll: Duration,
    reactor: ReactorConfig,
    on_worker_start: Arc<WorkerHook>,
    listeners: Vec<BoundListener>,
}

type HandlerSeed<H> = dyn FnOnce(WorkerStart<'_>) -> H + Send;

/// A listener that is bound, with what makes its services.
struct BoundListener {
    socket: TcpListener,
    address: SocketAddr,
    options: SocketOptions,
    handler: TypeId,
    /// For a worker: the seed of the service there, and its mailbox.
    sow: Box<Sow>,
}

type Sow = dyn Fn(&Arc<LoopShared>, u16) -> (ServiceSeed, AnyMailbox);

impl ServerBuilder {
    pub(crate) fn new() -> Self {
        ServerBuilder {
            workers: None,
            balance: Box::new(RoundRobin::default()),
            max_connections: 100_000,
            max_connections_per_ip: None,
            accept_burst: 128,
            mailbox_limit: 65_536,
            busy_poll: Duration::ZERO,
            reactor: ReactorConfig {
                clock: TickClock::default(),
                pool: PoolConfig::default(),
                receive_buffer: 32 * 1024,
                read_budget: 256 * 1024,
            },
            on_worker_start: Arc::new(|_| {}),
            listeners: Vec::new(),
        }
    }

    /// How many worker loops, each on a thread of its own; 0 counts as 1. Default: one for each processor. A single one
    /// accepts its connections itself and runs on the thread that runs the server.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers.max(1));
        self
    }

    /// How the acceptor picks the worker for a new connection. Default [`RoundRobin`]. Not asked where there is one worker:
    /// that accepts for itself.
    #[must_use]
    pub fn balance(mut self, balance: impl Balance) -> Self {
        self.balance = Box::new(balance);
        self
    }

    /// Connections that may be open at one time; one more is closed at once. Default 100,000.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// Connections that may be open from one IP address at one time; one more is closed at once. Peers without an IP
    /// address (Unix sockets) are not counted. Default: no limit.
    #[must_use]
    pub fn max_connections_per_ip(mut self, connections: usize) -> Self {
        self.max_connections_per_ip = Some(connections);
        self
    }

    /// Connections that a listener takes in a row before others have their turn; 0 counts as 1. Default 128.
    #[must_use]
    pub fn accept_burst(mut self, connections: usize) -> Self {
        self.accept_burst = connections.max(1);
        self
    }

    /// Letters (sends, closes, closures, broadcasts; however large) from other threads that may wait for one worker; one more is given
    /// back to its sender. Default 65,536.
    #[must_use]
    pub fn mailbox_limit(mut self, letters: usize) -> Self {
        self.mailbox_limit = letters;
        self
    }

    /// Bytes read from one connection before the others of its worker have their turn; each message counts as 16 bytes
    /// more. Default 256 KiB.
    #[must_use]
    pub fn read_budget(mut self, bytes: usize) -> Self {
        self.reactor.read_budget = bytes.max(1);
        self
    }

    /// Bytes of the buffer into which a worker receives, at least 4 KiB. Default 32 KiB: measured, messages of a mebibyte cost
    /// less with it than with 64 KiB, and others the same.
    #[must_use]
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.reactor.receive_buffer = bytes.max(4096);
        self
    }

    /// The tick of the timing wheels: no timer is more precise. Default 1 ms.
    #[must_use]
    pub fn tick(mut self, tick: Duration) -> Self {
        self.reactor.clock = TickClock::new(tick);
        self
    }

    /// How many rings a worker keeps for reuse, and how large. Default [`PoolConfig::default`].
    #[must_use]
    pub fn ring_pool(mut self, config: PoolConfig) -> Self {
        self.reactor.pool = config;
        self
    }

    /// After an event a worker asks again for so long before it sleeps: some microseconds of latency for a processor
    /// that is never idle. Default zero: it sleeps at once.
    #[must_use]
    pub fn busy_poll(mut self, duration: Duration) -> Self {
        self.busy_poll = duration;
        self
    }

    /// Called with each worker's index on its thread before it begins: the place to pin it to a processor. (The first may run
    /// on the thread that calls [`Server::run`].)
    #[must_use]
    pub fn on_worker_start(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> Self {
        self.on_worker_start = Arc::new(hook);
        self
    }

    /// Listens on an address with the protocol's defaults. Each worker gets a clone of the handler.
    ///
    /// # Errors
    /// When the address cannot be resolved or bound.
    pub fn listen<H>(self, address: impl ToSocketAddrs, handler: H) -> io::Result<Self>
    where
        H: Handler + Clone + Send,
        H::Protocol: Default,
    {
        self.listen_with(Listen::on(address), handler)
    }

    /// Listens as `listen` says. Each worker gets a clone of the handler.
    ///
    /// # Errors
    /// When the address cannot be resolved or bound, or the limits contradict one another.
    pub fn listen_with<H>(self, listen: Listen<H::Protocol>, handler: H) -> io::Result<Self>
    where
        H: Handler + Clone + Send,
    {
        self.bind(listen, move || {
            let handler = handler.clone();
            Box::new(move |_| handler)
        })
    }

    /// Listens as `listen` says. `make` is called on each worker's thread to make the handler there, which need not be
    /// `Send`. It is told the worker's index, and can get a handle to the server.
    ///
    /// # Errors
    /// As [`listen_with`](Self::listen_with).
    pub fn listen_with_factory<H>(
        self,
        listen: Listen<H::Protocol>,
        make: impl Fn(WorkerStart<'_>) -> H + Send + Sync + 'static,
    ) -> io::Result<Self>
    where
        H: Handler,
    {
        let make = Arc::new(make);
        self.bind(listen, move || {
            let make = make.clone();
            Box::new(move |start: WorkerStart<'_>| make(start))
        })
    }

    fn bind<H: Handler>(
        mut self,
        mut listen: Listen<H::Protocol>,
        make: impl Fn() -> Box<HandlerSeed<H>> + 'static,
    ) -> io::Result<Self> {
        if self.listeners.len() == MAX_LISTENERS {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("at most {MAX_LISTENERS} listeners"),
            ));
        }
        let socket = listen.bind()?;
        let address = socket.local_addr()?;
        let options = listen.options;
        let sow = move |shared: &Arc<LoopShared>, index: u16| {
            let (mailbox, mail) = Mailbox::<H>::new(shared.clone(), index);
            let mailbox = Arc::new(mailbox);
            let make_handler = make();
            let (protocol, limits, timeouts) =
                (listen.protocol.clone(), listen.limits, listen.timeouts);
            let own_mailbox = mailbox.clone();
            let seed: ServiceSeed = Box::new(move |start| ServiceSlot {
                service: Box::new(Hub::new(
                    make_handler(start),
                    protocol,
                    limits,
                    timeouts,
                    Arc::new(WorkerOutbox::new(
                        own_mailbox,
                        start.server().connections_of::<H>(),
                    )),
                    mail,
                )),
                limits,
                timeouts,
                tick: listen.tick,
                tick_due: Duration::ZERO,
            });
            (seed, mailbox as AnyMailbox)
        };
        let handler = TypeId::of::<H>();
        self.listeners.push(BoundListener {
            socket,
            address,
            options,
            handler,
            sow: Box::new(sow),
        });
        Ok(self)
    }

    /// The addresses of the listeners so far, with the ports that the system has chosen.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<Address> {
        let addresses = self.listeners.iter().map(|listener| listener.address);
        addresses.map(Address::Ip).collect()
    }

    /// The first of [`local_addrs`](Self::local_addrs) that is an IP address.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.listeners.first().map(|listener| listener.address)
    }

    /// Makes the workers' polls and all that they share; nothing is accepted yet.
    ///
    /// # Errors
    /// When a poll cannot be made, or a port cannot be shared.
    pub fn build(self) -> io::Result<Server> {
        let count = self
            .workers
            .unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        let admission = Arc::new(Admission::new(
            self.max_connections,
            self.max_connections_per_ip,
        ));
        let mut loops = Vec::with_capacity(count);
        let mut workers = Vec::with_capacity(count);
        for index in 0..count {
            let poll = Poll::new()?;
            let (shared, commands) =
                LoopShared::new(index, waker(poll.registry())?, self.mailbox_limit);
            loops.push(shared.clone());
            workers.push(Worker {
                poll,
                shared,
                commands,
                listeners: Vec::new(),
                seeds: Vec::new(),
                config: self.reactor.clone(),
                admission: admission.clone(),
                busy_poll: self.busy_poll,
                on_start: self.on_worker_start.clone(),
            });
        }
        let addresses = self.local_addrs();
        let mut mailboxes: HashMap<TypeId, Vec<AnyMailbox>> = HashMap::new();
        let mut listeners = Vec::new();
        for (index, bound) in (0u16..).zip(self.listeners) {
            let of_handler = mailboxes.entry(bound.handler).or_default();
            for worker in &mut workers {
                let (seed, mailbox) = (bound.sow)(&worker.shared, index);
                worker.seeds.push(seed);
                of_handler.push(mailbox);
            }
            let listener = |socket| Listener::new(socket, index, bound.options, self.accept_burst);
            // A single worker accepts for itself: there is nothing to hand over.
            if bound.options.reuse_port || count == 1 {
                for worker in workers.iter_mut().skip(1) {
                    worker
                        .listeners
                        .push(listener(bound.options.listen(bound.address)?));
                }
                workers[0].listeners.push(listener(bound.socket));
            } else {
                listeners.push(listener(bound.socket));
            }
        }
        let poll = Poll::new()?;
        let acceptor = match listeners.is_empty() {
            true => None,
            false => Some(Arc::new(AcceptorControl::new(waker(poll.registry())?))),
        };
        let handle = ServerHandle {
            shared: Arc::new(Shared {
                loops: loops.clone(),
                acceptor: acceptor.clone(),
                admission: admission.clone(),
                mailboxes,
                addresses,
            }),
        };
        let lead = match acceptor {
            Some(control) => Lead::Acceptor(Acceptor {
                listeners: Listeners::register(listeners, poll.registry())?,
                poll,
                control,
                admission,
                balance: self.balance,
                workers: loops,
            }),
            None => Lead::Worker(workers.remove(0)),
        };
        Ok(Server {
            lead,
            workers,
            handle,
        })
    }

    /// Builds the server and runs it until it is shut down.
    ///
    /// # Errors
    /// As [`build`](Self::build) and [`Server::run`].
    pub fn run(self) -> io::Result<()> {
        self.build()?.run()
    }

    /// Builds the server and runs it on a thread of its own.
    ///
    /// # Errors
    /// As [`build`](Self::build) and [`Server::spawn`].
    pub fn spawn(self) -> io::Result<RunningServer> {
        self.build()?.spawn()
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("listeners", &self.local_addrs())
            .finish_non_exhaustive()
    }
}
