//! Listeners that are bound, and their way to the workers or to the acceptor.

use std::any::TypeId;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use crate::accept::listener::Listener;
use crate::accept::spare::Spare;
use crate::accept::succession::Succession;
use crate::handler::Handler;
use crate::handler::mailbox::AnyMailbox;
use crate::io::address::Address;
use crate::io::listening_socket::ListeningSocket;
use crate::io::socket_options::SocketOptions;
use crate::opening::terms::OpeningTerms;
use crate::server::endpoint::{AnyEndpoint, Endpoint, HandlerSource};
use crate::server::listen::Listen;
use crate::server::worker::Worker;

/// A bound listener with one socket for each of its addresses, and the endpoint of its connections.
pub(super) struct BoundListener {
    pub(super) sockets: Vec<(Address, ListeningSocket)>,
    pub(super) options: SocketOptions,
    pub(super) endpoint: Box<dyn AnyEndpoint>,
    /// The stages in which connections open; `None` if there are none.
    pub(super) opening: Option<Arc<OpeningTerms>>,
}

impl BoundListener {
    /// Binds the addresses of `listen`.
    pub(super) fn bind<H: Handler>(
        mut listen: Listen<H::Protocol>,
        handlers: Box<dyn HandlerSource<H>>,
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
}

/// Gives each worker a service for each listener. Returns the mailboxes of the services, by the type of their handler.
pub(super) fn make_services(
    listeners: &[BoundListener],
    workers: &mut [Worker],
) -> HashMap<TypeId, Vec<AnyMailbox>> {
    let mut mailboxes: HashMap<TypeId, Vec<AnyMailbox>> = HashMap::new();
    for (index, listener) in (0u16..).zip(listeners) {
        let BoundListener {
            endpoint, opening, ..
        } = listener;
        let of_handler = mailboxes.entry(endpoint.handler_type()).or_default();
        for worker in workers.iter_mut() {
            let (service, mailbox) = endpoint.for_worker(&worker.shared, index);
            worker.services.push(service);
            worker.openings.push(opening.clone());
            of_handler.push(mailbox);
        }
    }
    mailboxes
}

/// Gives the workers the listeners from which they accept by themselves: all that share their port, and every listener
/// if there is a single worker. Returns the others, for the acceptor.
pub(super) fn place_listeners(
    listeners: Vec<BoundListener>,
    burst: usize,
    succession: &Arc<Succession>,
    workers: &mut [Worker],
) -> io::Result<Vec<Listener>> {
    let spare = Arc::new(Spare::new());
    let mut for_acceptor = Vec::new();
    for (index, bound) in (0u16..).zip(listeners) {
        let opening = bound.opening.as_ref();
        let peers_are_proxies = opening.is_some_and(|opening| opening.proxies.is_some());
        let listener = |socket| {
            let (spare, succession) = (spare.clone(), succession.clone());
            Listener::new(socket, index, bound.options, burst, spare, succession)
                .with_proxies(peers_are_proxies)
        };
        for (address, socket) in bound.sockets {
            if workers.len() > 1 && !bound.options.reuse_port {
                for_acceptor.push(listener(socket));
                continue;
            }
            // A Unix socket and one that was adopted share nothing, and so are here only if there is a single worker.
            if let Some(address) = address.socket_addr() {
                for worker in workers.iter_mut().skip(1) {
                    let socket = ListeningSocket::Tcp(bound.options.listen(address)?);
                    worker.listeners.push(listener(socket));
                }
            }
            workers[0].listeners.push(listener(socket));
        }
    }
    Ok(for_acceptor)
}
