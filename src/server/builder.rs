//! Builds a server: collects its listeners and settings, then makes workers, services and acceptor of them.

use std::any::TypeId;
use std::collections::HashMap;
use std::error::Error;
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
use crate::accept::listener::Listener;
use crate::handler::Handler;
use crate::handler::mailbox::AnyMailbox;
use crate::io::address::Address;
use crate::io::socket_options::SocketOptions;
use crate::reactor::ReactorConfig;
use crate::server::endpoint::{AnyEndpoint, Clones, Endpoint, Factory, HandlerSource};
use crate::server::handle::{ServerHandle, ServerShared};
use crate::server::listen::Listen;
use crate::server::running::RunningServer;
use crate::server::worker::{MailEnd, Worker, WorkerHook, WorkerStart};
use crate::server::{Lead, Server};
use crate::shared::LoopShared;
use crate::shared::token::MAX_LISTENERS;
use crate::shared::waker::waker;
use crate::wheel::TickClock;

/// Builds a [`Server`], from its listeners and its settings. Made by [`Server::builder`].
///
/// Each setting has a default, and a server needs at least one listener, at most 1,024.
///
/// ```
/// use ringwheel::{Conn, Handler, Server, protocol::Lines};
///
/// #[derive(Clone)]
/// struct Shout;
///
/// impl Handler for Shout {
///     type Protocol = Lines;
///     type Session = ();
///     fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) {}
///     fn on_message(&mut self, conn: &mut Conn<'_, Lines>, _session: &mut (), line: &str) {
///         conn.send(&line.to_uppercase());
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// let server = Server::builder()
///     .workers(2)
///     .max_connections(10_000)
///     .listen("127.0.0.1:0", Shout)?
///     .build()?;
/// assert_ne!(server.local_addr().unwrap().port(), 0);
/// # Ok(())
/// # }
/// ```
#[must_use = "a server accepts nothing until it is built and runs"]
pub struct ServerBuilder {
    workers: Option<usize>,
    balance: Box<dyn Balance>,
    max_connections: usize,
    max_connections_per_ip: Option<usize>,
    accept_burst: usize,
    mailbox_limit: usize,
    busy_poll: Option<Duration>,
    reactor: ReactorConfig,
    on_worker_start: Arc<WorkerHook>,
    listeners: Vec<BoundListener>,
}

/// A bound listener, and the endpoint of its connections.
struct BoundListener {
    socket: TcpListener,
    address: SocketAddr,
    options: SocketOptions,
    endpoint: Box<dyn AnyEndpoint>,
}

/// Workers that a server has at most: the name of a connection has 16 bits for its worker.
const MAX_WORKERS: usize = 1 << 16;

impl ServerBuilder {
    pub(crate) fn new() -> Self {
        ServerBuilder {
            workers: None,
            balance: Box::new(RoundRobin::default()),
            max_connections: 100_000,
            max_connections_per_ip: None,
            accept_burst: 128,
            mailbox_limit: 65_536,
            busy_poll: None,
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

    /// The number of worker loops, each on a thread of its own; 0 counts as 1. Default: one for each processor.
    ///
    /// A single worker accepts its connections by itself and runs on the thread that runs the server.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers.max(1));
        self
    }

    /// Picks the worker for each connection that the acceptor takes. Default [`RoundRobin`].
    ///
    /// The balancer is not asked when workers accept by themselves: if there is a single worker, or with
    /// [`Listen::reuse_port`].
    pub fn balance(mut self, balance: impl Balance) -> Self {
        self.balance = Box::new(balance);
        self
    }

    /// The limit of connections open at one time; one more is closed at once. Default 100,000.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// The limit of connections open from one IP address at one time; one more is closed at once. Peers without an IP
    /// address (Unix sockets) are not counted. Default: no limit.
    pub fn max_connections_per_ip(mut self, connections: usize) -> Self {
        self.max_connections_per_ip = Some(connections);
        self
    }

    /// Connections that a listener accepts in a row before other sources have their turn; 0 counts as 1. Default 128.
    pub fn accept_burst(mut self, connections: usize) -> Self {
        self.accept_burst = connections.max(1);
        self
    }

    /// The limit of letters from other threads that wait for one worker; one more is given back to its sender. Default
    /// 65,536.
    ///
    /// A send, a close, a closure and a broadcast is one letter each, however large. With 0 every letter is given back.
    pub fn mailbox_limit(mut self, letters: usize) -> Self {
        self.mailbox_limit = letters;
        self
    }

    /// Bytes read from one connection before the others of its worker have their turn, at least 1. Default 256 KiB.
    ///
    /// Work counts, too: 16 bytes for each message, and what the protocol [reports](crate::protocol::UnpackContext::charge), such
    /// as the bytes that a WebSocket message inflates to. Once the budget is spent the turn ends behind the current message,
    /// and the rest is kept for the connection's next turn.
    pub fn read_budget(mut self, bytes: usize) -> Self {
        self.reactor.read_budget = bytes.max(1);
        self
    }

    /// Bytes of the buffer into which a worker receives, at least 4 KiB. Default 32 KiB.
    ///
    /// Measured, messages of a mebibyte cost less with 32 KiB than with 64 KiB, and others the same.
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.reactor.receive_buffer = bytes.max(4096);
        self
    }

    /// The tick of the timing wheels, the precision of all timers and deadlines. Default 1 ms.
    pub fn tick(mut self, tick: Duration) -> Self {
        self.reactor.clock = TickClock::new(tick);
        self
    }

    /// The number and size of the rings that a worker keeps for reuse. Default [`PoolConfig::default`].
    pub fn ring_pool(mut self, config: PoolConfig) -> Self {
        self.reactor.pool = config;
        self
    }

    /// The time after an event during which a worker polls without sleeping. Default zero: it sleeps at once.
    ///
    /// Busy polling saves some microseconds of latency, and keeps a processor busy.
    pub fn busy_poll(mut self, duration: Duration) -> Self {
        self.busy_poll = (!duration.is_zero()).then_some(duration);
        self
    }

    /// Calls a function with each worker's index, on the worker's thread, before the worker begins: for example to pin the
    /// thread to a processor. The first worker may run on the thread that calls [`Server::run`].
    pub fn on_worker_start(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> Self {
        self.on_worker_start = Arc::new(hook);
        self
    }

    /// Binds the address now, and will serve its connections with a clone of the handler on each worker.
    ///
    /// The protocol, the limits and the timeouts are the defaults. Peers can connect as soon as this returns: they wait in
    /// the backlog until the server runs.
    ///
    /// # Errors
    /// When the address cannot be resolved or bound; the error names it.
    pub fn listen<H>(self, address: impl ToSocketAddrs + fmt::Debug, handler: H) -> io::Result<Self>
    where
        H: Handler + Clone + Send,
        H::Protocol: Default,
    {
        self.listen_with(Listen::on(address), handler)
    }

    /// Binds the address of `listen` now, and will serve its connections on the terms of `listen` with a clone of the
    /// handler on each worker.
    ///
    /// # Errors
    /// When the address cannot be resolved or bound, or the limits contradict one another.
    pub fn listen_with<H>(self, listen: Listen<H::Protocol>, handler: H) -> io::Result<Self>
    where
        H: Handler + Clone + Send,
    {
        self.bind(listen, Box::new(Clones(handler)))
    }

    /// Binds the address of `listen` now, and will serve its connections on the terms of `listen` with a handler that
    /// `make` makes on each worker's thread.
    ///
    /// Such a handler need not be `Send`. `make` learns the worker's index, and can get a handle to the server.
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
        self.bind(listen, Box::new(Factory(Arc::new(make))))
    }

    fn bind<H: Handler>(
        mut self,
        mut listen: Listen<H::Protocol>,
        handlers: Box<dyn HandlerSource<H>>,
    ) -> io::Result<Self> {
        if self.listeners.len() == MAX_LISTENERS {
            return Err(invalid_input(format!("at most {MAX_LISTENERS} listeners")));
        }
        let socket = listen.bind()?;
        self.listeners.push(BoundListener {
            address: socket.local_addr()?,
            socket,
            options: listen.options,
            endpoint: Box::new(Endpoint {
                protocol: listen.protocol,
                limits: listen.limits,
                timeouts: listen.timeouts,
                tick: listen.tick,
                handlers,
            }),
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
    /// When there is no listener, a poll cannot be made, or a port cannot be shared.
    pub fn build(mut self) -> io::Result<Server> {
        let addresses = self.local_addrs();
        let listeners = std::mem::take(&mut self.listeners);
        if listeners.is_empty() {
            return Err(invalid_input("a server needs a listener"));
        }
        let admission = Arc::new(Admission::new(
            self.max_connections,
            self.max_connections_per_ip,
        ));
        let mut workers = self.make_workers(&admission)?;
        let loops: Vec<_> = workers.iter().map(|worker| worker.shared.clone()).collect();
        let mailboxes = make_services(&listeners, &mut workers);
        let for_acceptor = place_listeners(listeners, self.accept_burst, &mut workers)?;
        let acceptor = match for_acceptor.is_empty() {
            true => None,
            false => Some(Acceptor::new(
                for_acceptor,
                admission.clone(),
                self.balance,
                loops.clone(),
            )?),
        };
        let handle = ServerHandle::new(ServerShared {
            loops,
            acceptor: acceptor.as_ref().map(Acceptor::control),
            admission,
            mailboxes,
            addresses,
        });
        let lead = match acceptor {
            Some(acceptor) => Lead::Acceptor(acceptor),
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

    /// Makes the workers, without listeners and services.
    fn make_workers(&self, admission: &Arc<Admission>) -> io::Result<Vec<Worker>> {
        let count = self
            .workers
            .unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        if count > MAX_WORKERS {
            return Err(invalid_input(format!("at most {MAX_WORKERS} workers")));
        }
        let make = |index| {
            let poll = Poll::new()?;
            let wake = waker(poll.registry())?;
            let (shared, commands) = LoopShared::new(index, wake, self.mailbox_limit);
            Ok(Worker {
                mail_end: MailEnd(shared.clone()),
                poll,
                shared,
                commands,
                listeners: Vec::new(),
                services: Vec::new(),
                config: self.reactor.clone(),
                admission: admission.clone(),
                busy_poll: self.busy_poll,
                on_start: self.on_worker_start.clone(),
            })
        };
        (0..count).map(make).collect()
    }
}

/// Gives each worker a service for each listener. Returns the mailboxes of the services, by the type of their handler.
fn make_services(
    listeners: &[BoundListener],
    workers: &mut [Worker],
) -> HashMap<TypeId, Vec<AnyMailbox>> {
    let mut mailboxes: HashMap<TypeId, Vec<AnyMailbox>> = HashMap::new();
    for (index, BoundListener { endpoint, .. }) in (0u16..).zip(listeners) {
        let of_handler = mailboxes.entry(endpoint.handler_type()).or_default();
        for worker in workers.iter_mut() {
            let (service, mailbox) = endpoint.for_worker(&worker.shared, index);
            worker.services.push(service);
            of_handler.push(mailbox);
        }
    }
    mailboxes
}

/// Gives the workers the listeners from which they accept by themselves: all that share their port, and every listener
/// if there is a single worker. Returns the others, for the acceptor.
fn place_listeners(
    listeners: Vec<BoundListener>,
    burst: usize,
    workers: &mut [Worker],
) -> io::Result<Vec<Listener>> {
    let mut for_acceptor = Vec::new();
    for (index, bound) in (0u16..).zip(listeners) {
        let listener = |socket| Listener::new(socket, index, bound.options, burst);
        if workers.len() > 1 && !bound.options.reuse_port {
            for_acceptor.push(listener(bound.socket));
            continue;
        }
        for worker in workers.iter_mut().skip(1) {
            let socket = bound.options.listen(bound.address)?;
            worker.listeners.push(listener(socket));
        }
        workers[0].listeners.push(listener(bound.socket));
    }
    Ok(for_acceptor)
}

fn invalid_input(text: impl Into<Box<dyn Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("listeners", &self.local_addrs())
            .finish_non_exhaustive()
    }
}
