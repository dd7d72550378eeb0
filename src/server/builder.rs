//! Builds a server: collects its listeners and settings, then makes workers, services and acceptor of them.

mod ranges;

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, unbounded};
use mio::Poll;
use ringwheel_ringbuffer::PoolConfig;

use crate::accept::acceptor::Acceptor;
use crate::accept::admission::Admission;
use crate::accept::balance::{Balance, RoundRobin};
use crate::connection::memory::Bounds;
use crate::event_loop::change::LoopChange;
use crate::handler::Handler;
use crate::io::address::Address;
use crate::reactor::{MailBudget, ReactorConfig};
use crate::server::bound_listener::{BoundListener, ListenerKit};
use crate::server::endpoint::{Clones, Factory, HandlerSource};
use crate::server::handle::{ServerHandle, ServerShared};
use crate::server::listen::Listen;
use crate::server::listening::Listening;
use crate::server::running::RunningServer;
use crate::server::worker::{MailEnd, Worker, WorkerHook, WorkerStart};
use crate::server::{Lead, Server};
use crate::shared::LoopShared;
use crate::shared::token::MAX_LISTENERS;
use crate::shared::waker::waker;
use crate::wheel::TickClock;

/// Builds a [`Server`], from its listeners and its settings. Made by [`Server::builder`].
///
/// Each setting has a default. A server needs at least one listener, and listens on at most 1,024 addresses.
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
    ipv6_prefix: u8,
    accept_burst: usize,
    handover_limit: usize,
    pub(super) opening_limit: usize,
    /// Letters and bytes that may wait for one worker.
    mailbox: (usize, usize),
    busy_poll: Option<Duration>,
    tick: Duration,
    reactor: ReactorConfig,
    on_worker_start: Arc<WorkerHook>,
    listeners: Vec<BoundListener>,
}

impl ServerBuilder {
    pub(crate) fn new() -> Self {
        ServerBuilder {
            workers: None,
            balance: Box::new(RoundRobin::default()),
            max_connections: 100_000,
            max_connections_per_ip: None,
            ipv6_prefix: 64,
            accept_burst: 128,
            handover_limit: 256,
            opening_limit: 1024,
            mailbox: (65_536, 64 * 1024 * 1024),
            busy_poll: None,
            tick: TickClock::DEFAULT_TICK,
            reactor: ReactorConfig {
                clock: TickClock::default(),
                pool: PoolConfig::default(),
                receive_buffer: 32 * 1024,
                read_budget: 256 * 1024,
                mail: MailBudget::default(),
                callback_limit: usize::MAX,
                memory: Bounds::default(),
            },
            on_worker_start: Arc::new(|_| {}),
            listeners: Vec::new(),
        }
    }

    /// The number of worker loops, each on a thread of its own, at most 65,536; 0 counts as 1. Default: one for each processor.
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

    /// The limit of connections open at one time; one more is closed at once, with 0 every one. Default
    /// 100,000.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// The limit of connections open from one IP address at one time; one more is closed at once, with 0 every one. Peers
    /// without an IP address (Unix sockets) are not counted. IPv6 addresses of one network count as one: see
    /// [`ipv6_prefix`](Self::ipv6_prefix). Default: no limit.
    pub fn max_connections_per_ip(mut self, connections: usize) -> Self {
        self.max_connections_per_ip = Some(connections);
        self
    }

    /// IPv6 addresses that have so many leading bits in common count as one for
    /// [`max_connections_per_ip`](Self::max_connections_per_ip), from 1 to 128. Default 64.
    ///
    /// A subscriber usually has at least a /64 (RFC 6177), and so 2^64 addresses: counted one by one they would have no limit.
    /// Where many users share a /64, such as in a data centre, 128 counts each address on its own.
    pub fn ipv6_prefix(mut self, bits: u8) -> Self {
        self.ipv6_prefix = bits;
        self
    }

    /// Connections that a listener accepts in a row before other sources have their turn; 0 counts as 1. Default 128.
    pub fn accept_burst(mut self, connections: usize) -> Self {
        self.accept_burst = connections.max(1);
        self
    }

    /// The limit of connections that the acceptor hands over to one worker and that the worker has not taken yet; 0 counts
    /// as 1. Default 256.
    ///
    /// While no worker has room nothing is accepted, and peers wait in the kernel's [backlog](Listen::backlog). A balancer that
    /// insists on a worker without room stops the acceptor until that worker has taken half of them. A worker takes them once in
    /// each iteration of its loop. Those that it cannot adopt then wait in a room of its own, which
    /// [`opening_limit`](Self::opening_limit) bounds.
    pub fn handover_limit(mut self, connections: usize) -> Self {
        self.handover_limit = connections.max(1);
        self
    }

    /// The number of places for letters that wait for one worker; a letter that finds no place is given back to its sender as
    /// [`SendError::Full`](crate::SendError::Full). From 0 to 16,777,215, default 65,536. A letter takes a place for each connection that it may reach on its worker, from 1 to a 64th of all places. So the places
    /// bound the work that waits, and with it the time for which one sender's letters hold up those of another.
    ///
    /// | letter | places |
    /// | --- | --- |
    /// | a send or a closure for one connection, a count of subscribers | 1 |
    /// | a publication, whose delivery has a budget of its own | 1 |
    /// | a message to some connections ([`send_to_all_of`](crate::Connections::send_to_all_of)) | one for each that is named |
    /// | a broadcast, a visit | one for each connection of the worker |
    /// | a closure with all connections ([`on_worker`](crate::Connections::on_worker)) | one for each connection of the worker, at most 64 |
    ///
    /// Each thread has a share: it may have as many places as the other threads leave free, so one alone gets half of them, for
    /// example 32 broadcasts to 1,024 connections or more. For many messages to all, publish them to a topic, or wait with
    /// [`Connections::when_room`](crate::Connections::when_room). Publications of connections have no share.
    ///
    /// A connection whose callbacks post is slowed down: [`Limits::publications`](crate::Limits::publications) bounds its mail on its
    /// way. One that posts to mailboxes of which callbacks have more than half, without what threads have, is not read until all of its
    /// mail is carried out; one whose letter is refused, also not until the worker has next read its mail. With 0 every letter is given back.
    pub fn mailbox_limit(mut self, letters: usize) -> Self {
        self.mailbox.0 = letters;
        self
    }

    /// The limit of bytes in the letters that wait for one worker, as [`mailbox_limit`](Self::mailbox_limit) is that of their
    /// places. Less than 1 TiB, default 64 MiB. Each letter counts 64 bytes besides its item; an item that several letters share
    /// counts in each. A publication counts until all subscribers on the worker have it.
    ///
    /// A connection that publishes is slowed down, but refused with [`SendError::Full`](crate::SendError::Full) if all publishers
    /// together exceed this limit. None is while their number, times the sum of
    /// [`Limits::publications`](crate::Limits::publications) (256 KiB) and the longest message, is below it: with the defaults about
    /// 240 publishers of messages of 4 KiB, or 50 of 1 MiB.
    pub fn mailbox_bytes(mut self, bytes: usize) -> Self {
        self.mailbox.1 = bytes;
        self
    }

    /// Bytes read from one connection before the others of its worker have their turn, at least 1. Default 256 KiB.
    ///
    /// Work counts, too: 16 bytes for each message, what the protocol [reports](crate::protocol::UnpackContext::charge), such as
    /// inflated bytes, each byte of output that the kernel takes meanwhile, and 1 for each 10 ns that a message takes. One message in
    /// 32 of a worker is measured; after one that has taken more than 10 µs, all are for 10 s. Once the budget is spent the turn ends
    /// behind the current message, and the rest is kept for the next turn.
    ///
    /// A connection of which a turn of the last 10 s took more than an eighth of the budget is heavy: its turns come behind those of
    /// light connections. One iteration of the loop gives heavy connections turns until they have done the work of four budgets
    /// together, so that others wait for these, and not for all heavy ones. Once light connections have done the work of two budgets
    /// in an iteration, each further one has only a 32nd part of it, but at least one message, and is heavy if it needs more. Once they
    /// have done the work of four, the others wait for the next iteration. IP addresses take turns among the connections that wait.
    pub fn read_budget(mut self, bytes: usize) -> Self {
        self.reactor.read_budget = bytes.max(1);
        self
    }

    /// Bytes of the buffer into which a worker receives, from 4 KiB to 256 MiB. Less counts as 4 KiB. Default 32 KiB: messages of a
    /// mebibyte cost more with 64 KiB.
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.reactor.receive_buffer = bytes.max(ranges::MIN_RECEIVE_BUFFER);
        self
    }

    /// The limit of bytes that the peers of one worker make it hold, all connections together: input that is not a whole
    /// message, output that they have not taken, its completions, and subscriptions. At least 1 MiB ([`build`](Self::build)
    /// refuses less); `usize::MAX` for no limit. Default 1 GiB.
    ///
    /// [`Limits`](crate::Limits) bound each connection, and this bounds their sum, of memory as it is allocated: rings with
    /// their unused parts, what decoders hold ([`Decode::held`](crate::protocol::Decode::held)), 24 bytes for each place in a queue
    /// of [completions](crate::Conn::send_then), what these capture and 32 bytes, and for each [subscription](crate::Conn::subscribe)
    /// 288 bytes and the topic's name, in multiples of 64. A server with several workers may take as often as much. Not counted
    /// are sessions, letters, sources, timers and the up to 64 idle rings of [`ring_pool`](Self::ring_pool).
    ///
    /// - Above 3/4 of the limit connections that hold more than their share are not read, until 5/8 or for 5 seconds: time for
    ///   others to finish. A share is half of what each connection would have if all had the same.
    /// - Above the limit the connections that hold most end with
    ///   [`CloseReason::WorkerMemory`](crate::CloseReason::WorkerMemory) and a reset, until the worker holds 7/8 of it.
    ///
    /// So a connection within its share, for example 5 KiB of the default among 100,000 connections, is never slowed or ended.
    pub fn worker_memory(mut self, bytes: usize) -> Self {
        self.reactor.memory.bytes = bytes;
        self
    }

    /// The tick of the timing wheels, the precision of all timers and deadlines, from 1 µs to an hour. Default 1 ms.
    pub fn tick(mut self, tick: Duration) -> Self {
        self.tick = tick;
        self
    }

    /// The number and size of the rings that a worker keeps for reuse. The initial capacity is at most 256 MiB. Default
    /// [`PoolConfig::default`].
    pub fn ring_pool(mut self, config: PoolConfig) -> Self {
        self.reactor.pool = config;
        self
    }

    /// The time after an event during which a worker polls without sleeping. Default zero: it sleeps at once. Busy polling saves
    /// some microseconds of latency, and keeps a processor busy.
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

    /// Binds the address now, and will serve its connections with a clone of the handler on each worker. Of several addresses
    /// all are bound, as [`Listen::on`] describes.
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
    /// When the address cannot be resolved or bound, a descriptor cannot be adopted (`AdoptError`), the limits contradict one
    /// another, or a socket option is out of its range ([`SettingError`](crate::SettingError)).
    pub fn listen_with<H>(self, listen: Listen<H::Protocol>, handler: H) -> io::Result<Self>
    where
        H: Handler + Clone + Send,
    {
        self.bind(listen, Box::new(Clones(handler)))
    }

    /// Binds the address of `listen` now, and will serve its connections on the terms of `listen` with a handler that
    /// `make` makes on each worker's thread.
    ///
    /// Such a handler need not be `Send`. `make` learns the worker's index, and can get a handle to the server. If it panics, the server ends,
    /// and [`run`](Self::run) or [`RunningServer::join`](crate::RunningServer::join) returns an error.
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
        listen: Listen<H::Protocol>,
        handlers: Box<dyn HandlerSource<H> + Send>,
    ) -> io::Result<Self> {
        let bound = BoundListener::bind(listen, handlers)?;
        if self.local_addrs().len() + bound.sockets.len() > MAX_LISTENERS {
            let text = format!("a server listens on at most {MAX_LISTENERS} addresses");
            return Err(invalid_input(text));
        }
        self.listeners.push(bound);
        Ok(self)
    }

    /// The addresses of the listeners so far, with the ports that the system has chosen.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<Address> {
        let sockets = self.listeners.iter().flat_map(|listener| &listener.sockets);
        sockets.map(|(address, _)| address.clone()).collect()
    }

    /// The first of [`local_addrs`](Self::local_addrs) that is an IP address.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addrs().iter().find_map(Address::socket_addr)
    }

    /// Makes the workers' polls and all that they share; nothing is accepted yet.
    ///
    /// # Errors
    /// When there is no listener, a setting is out of its range ([`SettingError`](crate::SettingError)), a poll cannot be made,
    /// or a port cannot be shared.
    pub fn build(mut self) -> io::Result<Server> {
        self.check()?;
        self.reactor.clock = TickClock::new(self.tick);
        let listeners = std::mem::take(&mut self.listeners);
        if listeners.is_empty() {
            return Err(invalid_input("a server needs a listener"));
        }
        let admission = Arc::new(Admission::new(
            self.max_connections,
            self.max_connections_per_ip,
            self.ipv6_prefix,
        ));
        let (mut workers, changes) = self.make_workers(&admission)?;
        let loops: Vec<_> = workers.iter().map(|worker| worker.shared.clone()).collect();
        let succession = Arc::default();
        let kit = ListenerKit::new(self.accept_burst, Arc::clone(&succession));
        let listening = Listening::new(kit, changes);
        let mut for_acceptor = Vec::new();
        for bound in listeners {
            let parts = listening.prepare(bound, &loops)?;
            parts.give_out(&mut workers, &mut for_acceptor);
        }
        let acceptor = match for_acceptor.is_empty() {
            true => None,
            false => Some(Acceptor::new(
                for_acceptor,
                admission.clone(),
                self.balance,
                loops.clone(),
                self.handover_limit,
            )?),
        };
        for worker in &mut workers {
            worker.acceptor = acceptor.as_ref().map(Acceptor::control);
        }
        let handle = ServerHandle::new(ServerShared {
            loops,
            acceptor: acceptor.as_ref().map(Acceptor::control),
            admission,
            succession,
            listening,
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

    fn worker_count(&self) -> usize {
        let each_processor = || thread::available_parallelism().map_or(1, usize::from);
        self.workers.unwrap_or_else(each_processor)
    }

    /// Makes the workers, without listeners and services.
    fn make_workers(
        &self,
        admission: &Arc<Admission>,
    ) -> io::Result<(Vec<Worker>, Vec<Sender<LoopChange>>)> {
        let unmade = |index, error: io::Error| {
            io::Error::new(error.kind(), format!("worker {index} has no poll: {error}"))
        };
        let make = |index| {
            let poll = Poll::new().map_err(|error| unmade(index, error))?;
            let wake = waker(poll.registry()).map_err(|error| unmade(index, error))?;
            let (shared, commands) = LoopShared::new(index, wake, self.mailbox);
            let (sender, changes) = unbounded();
            let worker = Worker {
                mail_end: MailEnd(shared.clone()),
                poll,
                shared,
                commands,
                changes,
                listeners: Vec::new(),
                services: Vec::new(),
                openings: Vec::new(),
                opening_limit: self.opening_limit,
                config: self.reactor.clone(),
                admission: admission.clone(),
                acceptor: None,
                busy_poll: self.busy_poll,
                on_start: self.on_worker_start.clone(),
            };
            Ok((worker, sender))
        };
        let made: io::Result<Vec<_>> = (0..self.worker_count()).map(make).collect();
        Ok(made?.into_iter().unzip())
    }
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
