//! Listeners that are bound, and their way to the workers or to the acceptor.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::accept::listener::Listener;
use crate::accept::spare::Spare;
use crate::accept::succession::Succession;
use crate::handler::Handler;
use crate::io::address::Address;
use crate::io::listening_socket::ListeningSocket;
use crate::io::socket_options::SocketOptions;
use crate::opening::terms::OpeningTerms;
use crate::server::endpoint::{AnyEndpoint, Endpoint, HandlerSource};
use crate::server::listen::Listen;

/// A listener that is bound and has no place in a loop yet.
pub(super) struct BoundListener {
    /// A socket for each address.
    pub(super) sockets: Vec<(Address, ListeningSocket)>,
    pub(super) options: SocketOptions,
    pub(super) endpoint: Box<dyn AnyEndpoint + Send>,
    /// The stages in which connections open; `None` if there are none.
    pub(super) opening: Option<Arc<OpeningTerms>>,
}

/// The loops that accept at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// The acceptor, for all workers.
    Acceptor,
    /// The first worker, for itself.
    FirstWorker,
    /// Each worker for itself, on a socket of its own.
    EachWorker,
}

/// A listener for each loop that accepts at an address.
pub(super) struct Placed {
    pub(super) address: Address,
    pub(super) home: Home,
    /// One, or as many as there are workers.
    pub(super) listeners: Vec<Listener>,
}

/// The parts that all listeners of a server share.
pub(super) struct ListenerKit {
    /// Connections accepted in a row.
    burst: usize,
    succession: Arc<Succession>,
    /// The spare descriptor, which the listeners hold: once there are none, no handle keeps it open.
    spare: Mutex<Weak<Spare>>,
}

impl BoundListener {
    pub(super) fn bind<H: Handler>(
        mut listen: Listen<H::Protocol>,
        handlers: Box<dyn HandlerSource<H> + Send>,
    ) -> io::Result<BoundListener> {
        let sockets = listen.bind()?;
        let mut addresses = sockets.iter().map(|(address, _)| address);
        let unix_address = addresses.find(|address| address.ip().is_none()).cloned();
        Ok(BoundListener {
            sockets,
            options: listen.options,
            opening: listen.opening.has_stages().then(|| listen.opening.into()),
            endpoint: Box::new(Endpoint {
                protocol: listen.protocol,
                limits: listen.limits,
                timeouts: listen.timeouts,
                tick: listen.tick,
                unix_address,
                handlers,
            }),
        })
    }

    /// Makes the listeners of a server with so many workers; `service` is the index of the service on each of them.
    ///
    /// With several workers one acceptor accepts for all, unless each has a socket of its own ([`Listen::reuse_port`]).
    pub(super) fn place(
        self,
        service: u16,
        workers: usize,
        kit: &ListenerKit,
    ) -> io::Result<Vec<Placed>> {
        let options = self.options;
        let opening = self.opening.as_ref();
        let peers_are_proxies = opening.is_some_and(|opening| opening.proxies.is_some());
        let listener = |socket| {
            let listener = kit.listener(socket, service, options);
            listener.with_proxies(peers_are_proxies)
        };
        let place = |(address, socket): (Address, ListeningSocket)| {
            let (home, others) = match address.socket_addr() {
                _ if workers == 1 => (Home::FirstWorker, Vec::new()),
                // A Unix socket and one that was adopted share nothing.
                Some(address) if options.reuse_port => {
                    let bind = |_| Ok(ListeningSocket::Tcp(options.listen(address)?));
                    let others = (1..workers).map(bind).collect::<io::Result<_>>()?;
                    (Home::EachWorker, others)
                }
                _ => (Home::Acceptor, Vec::new()),
            };
            let listeners = std::iter::once(socket)
                .chain(others)
                .map(listener)
                .collect();
            Ok(Placed {
                address,
                home,
                listeners,
            })
        };
        self.sockets.into_iter().map(place).collect()
    }
}

impl ListenerKit {
    pub(super) fn new(burst: usize, succession: Arc<Succession>) -> Self {
        ListenerKit {
            burst,
            succession,
            spare: Mutex::default(),
        }
    }

    fn listener(&self, socket: ListeningSocket, service: u16, options: SocketOptions) -> Listener {
        let succession = self.succession.clone();
        Listener::new(
            socket,
            service,
            options,
            self.burst,
            self.spare(),
            succession,
        )
    }

    fn spare(&self) -> Arc<Spare> {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.upgrade().unwrap_or_else(|| {
            let new = Arc::new(Spare::new());
            *spare = Arc::downgrade(&new);
            new
        })
    }
}
