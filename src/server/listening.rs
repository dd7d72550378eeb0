//! The listeners of a server that serves: their addresses, and how listeners are added and closed.

use std::any::TypeId;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;

use crate::accept::listener::Listener;
use crate::accept::listeners::ListenerChange;
use crate::event_loop::change::LoopChange;
use crate::handler::Handler;
use crate::handler::mailbox::AnyMailbox;
use crate::io::address::Address;
#[cfg(feature = "tls")]
use crate::io::wire::handshake::SealSource;
use crate::opening::terms::OpeningTerms;
use crate::server::bound_listener::{BoundListener, Home, ListenerKit, Placed};
use crate::server::endpoint::{Clones, ServiceSeed};
use crate::server::handle::ServerHandle;
use crate::server::listen::Listen;
use crate::server::worker::{Worker, WorkerStart};
use crate::shared::LoopShared;
use crate::shared::command::Command;
use crate::shared::token::MAX_LISTENERS;

/// Most listeners that a server can have had since it was built: a service stays for the connections of a listener that has
/// closed, and its index has 16 bits.
const MAX_SERVICES: usize = 1 << 16;

/// The part of a server that listens, for all its handles.
pub(super) struct Listening {
    kit: ListenerKit,
    /// The channel for changes of each worker.
    changes: Vec<Sender<LoopChange>>,
    list: Mutex<List>,
}

/// The listeners, and the mailboxes of their handlers.
#[derive(Default)]
struct List {
    /// Number of services on each worker.
    services: usize,
    /// The mailboxes of all workers, by the type of their handler.
    mailboxes: HashMap<TypeId, Vec<AnyMailbox>>,
    addresses: Vec<Listed>,
}

/// An address on which the server listens.
struct Listed {
    address: Address,
    home: Home,
    /// The stages in which connections open that come there; `None` if there are none.
    #[cfg(feature = "tls")]
    opening: Option<Arc<OpeningTerms>>,
}

/// The parts of one listener for the loops.
pub(super) struct Prepared {
    /// The service of each worker.
    seeds: Vec<ServiceSeed>,
    /// The stages in which its connections open.
    opening: Option<Arc<OpeningTerms>>,
    placed: Vec<Placed>,
}

impl Listening {
    pub(super) fn new(kit: ListenerKit, changes: Vec<Sender<LoopChange>>) -> Self {
        Listening {
            kit,
            changes,
            list: Mutex::default(),
        }
    }

    pub(super) fn addresses(&self) -> Vec<Address> {
        let list = self.list();
        list.addresses.iter().map(|it| it.address.clone()).collect()
    }

    /// The mailboxes of all workers for a type of handler.
    pub(super) fn mailboxes_of<H: Handler>(&self) -> Option<Vec<AnyMailbox>> {
        self.list().mailboxes.get(&TypeId::of::<H>()).cloned()
    }

    /// The sources of the seals of all listeners.
    #[cfg(feature = "tls")]
    pub(super) fn seal_sources(&self) -> Vec<Arc<dyn SealSource>> {
        let list = self.list();
        let openings = list.addresses.iter().filter_map(|it| it.opening.as_ref());
        let mut sources: Vec<_> = openings.filter_map(|it| it.seal.clone()).collect();
        // Several addresses of one listener have the same.
        sources.dedup_by(|one, other| Arc::ptr_eq(one, other));
        sources
    }

    /// Gives a listener its place in the list, and makes its parts for the loops.
    pub(super) fn prepare(
        &self,
        bound: BoundListener,
        loops: &[Arc<LoopShared>],
    ) -> io::Result<Prepared> {
        self.list().prepare(bound, loops, &self.kit)
    }

    fn list(&self) -> MutexGuard<'_, List> {
        // Each change of the list is made as a whole, so a panic elsewhere leaves it intact.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, worker: &LoopShared, change: LoopChange) {
        // A worker that has ended changes nothing any more.
        let _ = self.changes[worker.worker].send(change);
        let _ = worker.command(Command::LookAtChanges);
    }
}

impl List {
    fn prepare(
        &mut self,
        bound: BoundListener,
        loops: &[Arc<LoopShared>],
        kit: &ListenerKit,
    ) -> io::Result<Prepared> {
        if self.addresses.len() + bound.sockets.len() > MAX_LISTENERS {
            let text = format!("a server listens on at most {MAX_LISTENERS} addresses");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let service = u16::try_from(self.services).map_err(|_| {
            let text = format!("a server has at most {MAX_SERVICES} listeners in its life");
            io::Error::new(io::ErrorKind::InvalidInput, text)
        })?;
        let of_worker = |worker| bound.endpoint.for_worker(worker, service);
        let (seeds, mailboxes): (Vec<_>, Vec<_>) = loops.iter().map(of_worker).unzip();
        let handler = bound.endpoint.handler_type();
        let opening = bound.opening.clone();
        let placed = bound.place(service, loops.len(), kit)?;
        self.services += 1;
        self.mailboxes.entry(handler).or_default().extend(mailboxes);
        self.addresses.extend(placed.iter().map(|it| Listed {
            address: it.address.clone(),
            home: it.home,
            #[cfg(feature = "tls")]
            opening: opening.clone(),
        }));
        Ok(Prepared {
            seeds,
            opening,
            placed,
        })
    }
}

impl Prepared {
    /// Gives the parts to workers and an acceptor that do not run yet.
    pub(super) fn give_out(self, workers: &mut [Worker], for_acceptor: &mut Vec<Listener>) {
        for (worker, seed) in workers.iter_mut().zip(self.seeds) {
            worker.services.push(seed);
            worker.openings.push(self.opening.clone());
        }
        for Placed {
            home, listeners, ..
        } in self.placed
        {
            if home == Home::Acceptor {
                for_acceptor.extend(listeners);
                continue;
            }
            for (worker, listener) in workers.iter_mut().zip(listeners) {
                worker.listeners.push(listener);
            }
        }
    }
}

impl ServerHandle {
    /// Listens on another address while the server serves. Returns the addresses that were bound, with the ports that the system
    /// has chosen.
    ///
    /// Each worker gets a clone of the handler. It may be of a type that listens already; a
    /// [`Connections`](crate::Connections) that was made before does not reach the new connections, and one that is made
    /// afterwards does. A server that has not been run yet begins to accept when it is.
    ///
    /// A server that is shutting down, or has ended, binds the address and closes it again at once.
    ///
    /// The service of a listener stays until the server ends, also if the listener is closed: on each worker it takes some kilobytes,
    /// and 16 bytes for each earlier mailbox of its type of handler, so that the memory grows with the square of their number. Let
    /// tenants or sessions that come and go share a listener.
    ///
    /// # Errors
    /// The address cannot be bound, as for [`ServerBuilder::listen_with`](crate::ServerBuilder::listen_with); or the server listens
    /// on 1,024 addresses already, or has had 65,536 listeners since it was built. If all listeners with which it was built have
    /// [`reuse_port`](Listen::reuse_port) and there are several workers, no loop accepts for all of them: then the error is of kind
    /// [`Unsupported`](io::ErrorKind::Unsupported), unless the new one has `reuse_port`, too.
    ///
    /// ```
    /// # use ringwheel::{Conn, Handler};
    /// # #[derive(Clone)]
    /// # struct Echo;
    /// # impl Handler for Echo {
    /// #     type Protocol = Raw;
    /// #     type Session = ();
    /// #     fn on_open(&mut self, _conn: &mut Conn<'_, Raw>) {}
    /// #     fn on_message(&mut self, _conn: &mut Conn<'_, Raw>, _session: &mut (), _bytes: &[u8]) {}
    /// # }
    /// use std::time::Duration;
    /// use ringwheel::{Listen, Server, protocol::Raw};
    ///
    /// let server = Server::builder().listen("127.0.0.1:0", Echo)?.spawn()?;
    /// let handle = server.handle();
    /// let added = handle.listen(Listen::on("127.0.0.1:0"), Echo)?;
    /// assert_eq!(handle.local_addrs().len(), 2);
    /// assert!(handle.close_listener(&added[0]));
    /// assert_eq!(handle.local_addrs().len(), 1);
    /// server.shutdown(Duration::from_secs(1))?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn listen<H>(&self, listen: Listen<H::Protocol>, handler: H) -> io::Result<Vec<Address>>
    where
        H: Handler + Clone + Send,
    {
        let bound = BoundListener::bind(listen, Box::new(Clones(handler)))?;
        let needs_acceptor = self.loops().len() > 1 && !bound.options.reuse_port;
        if needs_acceptor && self.acceptor().is_none() {
            let text = "no loop accepts for all workers of this server: use reuse_port";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let listening = self.listening();
        // Locked until all workers have got it, so that services have the same index on each.
        let mut list = listening.list();
        let prepared = list.prepare(bound, self.loops(), &listening.kit)?;
        let Prepared {
            seeds,
            opening,
            placed,
        } = prepared;
        let addresses = placed.iter().map(|it| it.address.clone()).collect();
        for (worker, seed) in self.loops().iter().zip(seeds) {
            let (index, server) = (worker.worker, self.clone());
            let make = move || seed(WorkerStart::new(index, &server));
            let service = LoopChange::Serve {
                make: Box::new(make),
                opening: opening.clone(),
            };
            listening.change(worker, service);
        }
        for Placed {
            home, listeners, ..
        } in placed
        {
            let changes = listeners.into_iter().map(ListenerChange::Add);
            self.change_listeners(home, changes);
        }
        Ok(addresses)
    }

    /// Closes the listener at an address, which is one of [`local_addrs`](Self::local_addrs). False if the server does not listen
    /// there.
    ///
    /// It returns at once. The loop accepts those who have connected already, and then nobody finds the address any more: the
    /// file of a Unix socket is removed. Connections that the listener has accepted stay, and so does its handler.
    pub fn close_listener(&self, address: &Address) -> bool {
        let mut list = self.listening().list();
        let position = list.addresses.iter().position(|it| it.address == *address);
        let Some(Listed { address, home, .. }) = position.map(|index| list.addresses.remove(index))
        else {
            return false;
        };
        let count = match home {
            Home::EachWorker => self.loops().len(),
            Home::Acceptor | Home::FirstWorker => 1,
        };
        let change = || ListenerChange::Close(address.clone());
        self.change_listeners(home, std::iter::repeat_with(change).take(count));
        true
    }

    /// Has the loops that accept at an address change their listeners.
    fn change_listeners(&self, home: Home, changes: impl Iterator<Item = ListenerChange>) {
        let to_workers = self.loops().iter().zip(changes);
        match (home, self.acceptor()) {
            (Home::Acceptor, Some(acceptor)) => {
                to_workers.for_each(|(_, change)| acceptor.change_listeners(change));
            }
            _ => to_workers.for_each(|(worker, change)| {
                let change = LoopChange::Listeners(change);
                self.listening().change(worker, change);
            }),
        }
    }
}
