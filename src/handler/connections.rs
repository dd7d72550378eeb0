//! All connections of a handler, for any thread.

use std::fmt;
use std::sync::Arc;

use super::Handler;
use super::conn::Conn;
use super::count::Count;
use super::letter::{Letter, Mail, Named, Request, Visit, Visitor};
use super::local::LocalConnections;
use super::mailbox::Mailbox;
use super::publication::{Publication, Published};
use crate::connection::id::ConnId;
use crate::connection::send_error::SendError;
use crate::protocol::{Encode, OwnedOf, Protocol};

/// All connections of the listeners that have a handler of type `H`, for any thread.
///
/// Made by [`ServerHandle::connections_of`](crate::ServerHandle::connections_of).
///
/// ```
/// # use ringwheel::{Conn, Handler, SendError, protocol::Lines};
/// use ringwheel::{Connections, ServerHandle};
/// # #[derive(Clone)]
/// # struct Chat;
/// # impl Handler for Chat {
/// #     type Protocol = Lines;
/// #     type Session = ();
/// #     fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) {}
/// #     fn on_message(&mut self, _conn: &mut Conn<'_, Lines>, _session: &mut (), _line: &str) {}
/// # }
///
/// /// Called from any thread.
/// fn announce(server: &ServerHandle) -> Result<(), SendError<()>> {
///     let clients: Connections<Chat> = server.connections_of().expect("`Chat` has a listener");
///     clients.broadcast("the server restarts at noon")?;
///     clients.publish("lobby", "see you afterwards")?;
///     clients.broadcast_if("you have sent nothing yet", |conn, _session| conn.stats().messages_in == 0)
/// }
/// ```
pub struct Connections<H: Handler> {
    /// By listener, and for each listener by worker.
    mailboxes: Arc<[Arc<Mailbox<H>>]>,
    /// Number of mailboxes of each listener, at least 1.
    workers: usize,
}

impl<H: Handler> Connections<H> {
    /// Number of connections that one letter of [`send_to_all_of`](Self::send_to_all_of) reaches at most.
    const SENT_TOGETHER: usize = 256;

    pub(crate) fn new(mailboxes: Vec<Arc<Mailbox<H>>>) -> Self {
        let first = mailboxes.first().map(|mailbox| mailbox.service);
        let of_first = mailboxes.iter().filter(|it| Some(it.service) == first);
        Connections {
            workers: of_first.count().max(1),
            mailboxes: mailboxes.into(),
        }
    }

    /// Sends one message to every open connection.
    ///
    /// Each connection packs it when its worker reads its mail. One whose protocol cannot express it
    /// ([`PackError`](crate::protocol::PackError), such as a line that is too long) does not get it: this is still an `Ok`, and the log gets a
    /// warning, at most one per second of each worker.
    ///
    /// # Errors
    /// [`SendError::Full`] if the mailbox of some worker is full, [`SendError::Closed`] if one has ended: the
    /// connections of that worker do not get the message, the others do.
    pub fn broadcast(&self, item: impl Into<OwnedOf<H::Protocol>>) -> Result<(), SendError<()>> {
        self.broadcast_if(item, |_, _| true)
    }

    /// Sends one message to every open connection for which `filter` says so. The filter runs on the workers.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    pub fn broadcast_if(
        &self,
        item: impl Into<OwnedOf<H::Protocol>>,
        filter: impl Fn(&Conn<'_, H::Protocol>, &H::Session) -> bool + Send + Sync + 'static,
    ) -> Result<(), SendError<()>> {
        let item = item.into();
        let size = <H::Protocol as Protocol>::Encoder::owned_size(&item);
        self.put_visit(size, move |conn, session| {
            if filter(conn, session) {
                let status = conn.send_owned(&item);
                conn.log_unsent(status);
            }
        })
    }

    /// Sends one message to every open connection that has [subscribed](crate::Conn::subscribe) to a topic.
    ///
    /// A protocol encodes the message once for all of them where that saves work. Each worker writes it to its subscribers
    /// when it reads its mail, with each connection's own limits. It waits for one whose output is above
    /// [`Limits::high_water`](crate::Limits::high_water), for no longer than [`Limits::patience`](crate::Limits::patience) says, and
    /// keeps its place in the mailbox. One whose output is full after that does not get it, and what else follows for it,
    /// [`Limits::overflow`](crate::Limits::overflow) says. One whose protocol cannot express it does not get it, as with
    /// [`broadcast`](Self::broadcast); [`Published::dropped`](crate::Published::dropped) counts both.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast): after an error some workers may have the publication, so another try may reach their
    /// subscribers twice. [`publish_then`](Self::publish_then) tells how many workers have not taken it.
    pub fn publish(
        &self,
        topic: &str,
        item: impl Into<OwnedOf<H::Protocol>>,
    ) -> Result<(), SendError<()>> {
        self.put_publication(Publication::new(topic, item.into(), None))
    }

    /// As [`publish`](Self::publish), and calls `done` when all workers are done with it: on the thread of the last of
    /// them, or on this one if one could not be reached.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast); `done` is called all the same.
    pub fn publish_then(
        &self,
        topic: &str,
        item: impl Into<OwnedOf<H::Protocol>>,
        done: impl FnOnce(Published) + Send + 'static,
    ) -> Result<(), SendError<()>> {
        self.put_publication(Publication::new(topic, item.into(), Some(Box::new(done))))
    }

    fn put_publication(&self, publication: Publication<H::Protocol>) -> Result<(), SendError<()>> {
        self.share_publication(publication.by_callback(), Mailbox::put)
    }

    /// Puts in the publication of a connection, which is held back while many are on their way.
    pub(crate) fn put_publication_of_connection(
        &self,
        publication: Publication<H::Protocol>,
    ) -> Result<(), SendError<()>> {
        self.share_publication(publication, Mailbox::put_for_publisher)
    }

    fn share_publication(
        &self,
        publication: Publication<H::Protocol>,
        put: impl Fn(&Mailbox<H>, Mail<H>) -> Result<(), SendError<Mail<H>>>,
    ) -> Result<(), SendError<()>> {
        let mut left = self.mailboxes.len();
        let mut own = Some(Arc::new(publication.with_workers(left)));
        // The last mailbox gets the only `Arc` that this thread holds. So the last worker drops the publication and calls the
        // completion, and never this thread, however fast the workers are.
        let share = || {
            left -= 1;
            let share = if left == 0 { own.take() } else { own.clone() };
            Mail::Topic(share.expect("it is taken with the last"))
        };
        let missed = |returned| {
            if let Mail::Topic(publication) = returned {
                publication.miss();
            }
        };
        self.put_all(share, put, missed)
    }

    /// Sends one message to one connection, by its name. What comes to a connection without room slows a connection that sends
    /// down, as [`Limits::publications`](crate::Limits::publications) says, and no thread.
    ///
    /// A close by [`ConnHandle::close`](crate::ConnHandle::close) does not wait for it, but for what was sent through handles.
    ///
    /// # Errors
    /// [`SendError`], with the item, if no listener of this handler type can have such a connection, or if its worker has
    /// ended or its mailbox is full. An `Ok` means that the worker has it; if the connection has ended, nothing happens, and if
    /// its protocol cannot express the item, the log gets a warning.
    pub fn send_to(
        &self,
        id: ConnId,
        item: impl Into<OwnedOf<H::Protocol>>,
    ) -> Result<(), SendError<OwnedOf<H::Protocol>>> {
        self.put_item(id, item.into())
    }

    pub(crate) fn put_item(
        &self,
        to: ConnId,
        item: OwnedOf<H::Protocol>,
    ) -> Result<(), SendError<OwnedOf<H::Protocol>>> {
        let Some(mailbox) = self.mailbox_of(to) else {
            return Err(SendError::Closed(item));
        };
        let returned = |mail| match mail {
            Mail::One(Letter {
                request: Request::Send(item, _),
                ..
            }) => item,
            _ => unreachable!("an item was put"),
        };
        let letter = Letter {
            to,
            request: Request::Send(item, None),
            control: None,
        };
        mailbox
            .put(Mail::One(letter))
            .map_err(|error| error.map(returned))
    }

    /// The mailbox of the service that has, or had, a connection.
    fn mailbox_of(&self, id: ConnId) -> Option<&Mailbox<H>> {
        let mut of_listeners = self.mailboxes.chunks(self.workers);
        let of_listener = of_listeners.find(|mailboxes| mailboxes[0].service == id.service)?;
        of_listener.get(id.worker()).map(|mailbox| &**mailbox)
    }

    /// Sends one message to each of some connections: one letter for each 256 of them on the same worker and listener. One that is
    /// named twice gets it twice. One whose protocol cannot express it does not get it, as with [`broadcast`](Self::broadcast).
    ///
    /// ```
    /// # use ringwheel::{ConnId, Connections, Handler, SendError, protocol::Lines};
    /// fn tell_team<H: Handler<Protocol = Lines>>(
    ///     players: &Connections<H>,
    ///     team: &[ConnId],
    /// ) -> Result<(), SendError<()>> {
    ///     players.send_to_all_of(team, "your turn".to_owned())
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast). Connections that have ended, or belong to another handler type, are passed over.
    pub fn send_to_all_of(
        &self,
        ids: &[ConnId],
        item: impl Into<OwnedOf<H::Protocol>>,
    ) -> Result<(), SendError<()>> {
        let item = Arc::new(item.into());
        let mut outcome = Ok(());
        for mailbox in self.mailboxes.iter() {
            let is_here =
                |id: &ConnId| id.worker() == mailbox.shared.worker && id.service == mailbox.service;
            let here: Vec<ConnId> = ids.iter().copied().filter(is_here).collect();
            for together in here.chunks(Self::SENT_TOGETHER) {
                let named = Named {
                    to: together.to_vec(),
                    item: item.clone(),
                };
                if let Err(error) = mailbox.put(Mail::Several(named)) {
                    outcome = Err(error.map(drop));
                }
            }
        }
        outcome
    }

    /// Runs a closure with the handler, one connection, and its session, on the connection's worker; not at all if the
    /// connection has ended. So state lives in the handler and needs no lock. A panic in it ends the connection, as in a
    /// callback.
    ///
    /// # Errors
    /// [`SendError::Closed`] if no listener of this handler type can have such a connection, or its worker has ended;
    /// [`SendError::Full`] if its mailbox is full.
    pub fn run(
        &self,
        id: ConnId,
        job: impl FnOnce(&mut H, &mut Conn<'_, H::Protocol>, &mut H::Session) + Send + 'static,
    ) -> Result<(), SendError<()>> {
        let Some(mailbox) = self.mailbox_of(id) else {
            return Err(SendError::Closed(()));
        };
        let job = Box::new(
            move |handler: &mut H, connections: &mut LocalConnections<'_, H>| {
                connections.with(id, |conn, session| job(handler, conn, session));
            },
        );
        let size = size_of_val(&*job);
        let mail = Mail::Handler {
            job,
            size,
            reach: Some(1),
        };
        mailbox.put(mail).map_err(|error| error.map(drop))
    }

    /// Runs a closure with the handler and its connections on one worker, by its index. If several listeners have this
    /// handler type, each has a handler value of its own there, and the closure runs with each.
    ///
    /// ```
    /// use ringwheel::{Conn, Connections, Handler, SendError, protocol::Lines};
    ///
    /// #[derive(Clone)]
    /// struct Counter {
    ///     lines: u64,
    /// }
    ///
    /// impl Handler for Counter {
    ///     type Protocol = Lines;
    ///     type Session = ();
    ///     fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) {}
    ///     fn on_message(&mut self, _conn: &mut Conn<'_, Lines>, _session: &mut (), _line: &str) {
    ///         self.lines += 1;
    ///     }
    /// }
    ///
    /// /// The count needs no lock: each worker's is read there.
    /// fn log_counts(connections: &Connections<Counter>) -> Result<(), SendError<()>> {
    ///     connections.on_each_worker(|counter, connections| {
    ///         println!("worker {}: {} lines", connections.worker(), counter.lines);
    ///     })
    /// }
    /// ```
    ///
    /// # Errors
    /// [`SendError::Closed`] if there is no such worker or it has ended, [`SendError::Full`] if its mailbox is full.
    pub fn on_worker(
        &self,
        worker: usize,
        job: impl Fn(&mut H, &mut LocalConnections<'_, H>) + Send + Sync + 'static,
    ) -> Result<(), SendError<()>> {
        let is_here = |mailbox: &&Arc<Mailbox<H>>| mailbox.shared.worker == worker;
        if !self.mailboxes.iter().any(|mailbox| is_here(&mailbox)) {
            return Err(SendError::Closed(()));
        }
        self.put_job(self.mailboxes.iter().filter(is_here), None, job)
    }

    /// Runs a closure with each handler value of this type and its connections: as [`on_worker`](Self::on_worker), on all.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    pub fn on_each_worker(
        &self,
        job: impl Fn(&mut H, &mut LocalConnections<'_, H>) + Send + Sync + 'static,
    ) -> Result<(), SendError<()>> {
        self.put_job(self.mailboxes.iter(), None, job)
    }

    /// Puts in a job that can reach so many connections of a worker; `None` for all.
    fn put_job<'a>(
        &self,
        mailboxes: impl Iterator<Item = &'a Arc<Mailbox<H>>>,
        reach: Option<usize>,
        job: impl Fn(&mut H, &mut LocalConnections<'_, H>) + Send + Sync + 'static,
    ) -> Result<(), SendError<()>> {
        let mut own = Some(Arc::new(job));
        let mut mailboxes = mailboxes.peekable();
        let mut outcome = Ok(());
        while let Some(mailbox) = mailboxes.next() {
            // The last mailbox gets the only `Arc` that this thread holds. So the last worker drops the closure, and never
            // this thread, however fast the workers are.
            let share = match mailboxes.peek() {
                Some(_) => own.clone(),
                None => own.take(),
            };
            let job = share.expect("it is taken with the last");
            let job = Box::new(
                move |handler: &mut H, connections: &mut LocalConnections<'_, H>| {
                    job(handler, connections)
                },
            );
            let size = size_of_val(&*job);
            if let Err(error) = mailbox.put(Mail::Handler { job, size, reach }) {
                outcome = Err(error.map(drop));
            }
        }
        outcome
    }

    /// Calls back once the mailbox of each worker has been no more than a quarter full, or its worker has ended. For a sender that
    /// was refused with [`SendError::Full`]. The callback runs on the thread of the last of these workers, on this one if
    /// there is room already, or on that of another sender that begins to wait just then; it must not block.
    ///
    /// An item that is larger than [`ServerBuilder::mailbox_bytes`](crate::ServerBuilder::mailbox_bytes) never finds room, so do not
    /// try it again.
    pub fn when_room(&self, callback: impl FnOnce() + Send + 'static) {
        let count = Arc::new(Count::new(|_| callback()));
        for mailbox in self.mailboxes.iter() {
            let count = count.clone();
            mailbox.shared.when_room(Box::new(move || count.add(1)));
        }
    }

    /// Counts the subscribers of a topic on all workers, and calls `done` with their number on the thread of the last of
    /// them, or on this one if a worker could not be asked. Subscriptions that come or go meanwhile may be missed, and
    /// connections that are closing count until they have ended.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast): workers that could not be asked count for none. `done` is called all the same.
    pub fn count_subscribers(
        &self,
        topic: &str,
        done: impl FnOnce(usize) + Send + 'static,
    ) -> Result<(), SendError<()>> {
        let topic: Box<str> = topic.into();
        let count = Count::new(done);
        let job = move |_: &mut H, connections: &mut LocalConnections<'_, H>| {
            count.add(connections.subscribers(&topic));
        };
        self.put_job(self.mailboxes.iter(), Some(1), job)
    }

    /// Runs a closure on the workers, once for each open connection.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    pub fn visit(
        &self,
        visitor: impl Fn(&mut Conn<'_, H::Protocol>, &mut H::Session) + Send + Sync + 'static,
    ) -> Result<(), SendError<()>> {
        self.put_visit(0, visitor)
    }

    /// Puts in a visit whose closure refers to this many bytes.
    fn put_visit(
        &self,
        size: usize,
        visitor: impl Fn(&mut Conn<'_, H::Protocol>, &mut H::Session) + Send + Sync + 'static,
    ) -> Result<(), SendError<()>> {
        let size = size + size_of_val(&visitor);
        let visitor: Arc<Visitor<H>> = Arc::new(visitor);
        let visit = || Visit {
            visitor: visitor.clone(),
            size,
        };
        self.put_all(|| Mail::Each(visit()), Mailbox::put, drop)
    }

    /// Puts mail into all mailboxes; `missed` gets that of each that does not take it.
    fn put_all(
        &self,
        mut mail: impl FnMut() -> Mail<H>,
        put: impl Fn(&Mailbox<H>, Mail<H>) -> Result<(), SendError<Mail<H>>>,
        missed: impl Fn(Mail<H>),
    ) -> Result<(), SendError<()>> {
        let mut outcome = Ok(());
        for mailbox in self.mailboxes.iter() {
            if let Err(error) = put(mailbox, mail()) {
                outcome = Err(error.map(&missed));
            }
        }
        outcome
    }
}

impl<H: Handler> Clone for Connections<H> {
    fn clone(&self) -> Self {
        Connections {
            mailboxes: self.mailboxes.clone(),
            workers: self.workers,
        }
    }
}

impl<H: Handler> fmt::Debug for Connections<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let workers: Vec<usize> = self
            .mailboxes
            .iter()
            .map(|mailbox| mailbox.shared.worker)
            .collect();
        f.debug_struct("Connections")
            .field("workers", &workers)
            .finish()
    }
}
