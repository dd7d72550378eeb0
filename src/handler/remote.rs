//! Handles that leave the loop: to one connection, and to all connections of a handler.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::connection::completion::{Completion, SendOutcome};
use crate::connection::id::ConnId;
use crate::connection::topics::{Publication, Publish, Published};
use crate::handler::Handler;
use crate::handler::conn::Conn;
use crate::handler::mailbox::{Content, Letter, Mail, Mailbox, Post, Undeliverable, Visitor};
use crate::protocol::{OwnedOf, Protocol};

/// A handle to one connection, for any thread.
///
/// What it is asked for is put into the mailbox of the connection's worker and done there, in order. Once the connection
/// has ended every call says so, and none can reach a later connection.
pub struct ConnHandle<P: Protocol> {
    id: ConnId,
    post: Arc<dyn Post<P>>,
    alive: Arc<AtomicBool>,
}

/// Why something could not be sent from another thread; it gives back what was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError<T> {
    /// The connection, or its worker, has ended.
    Closed(T),
    /// The worker has [`ServerBuilder::mailbox_limit`](crate::ServerBuilder::mailbox_limit) letters waiting.
    Full(T),
}

impl<T> SendError<T> {
    /// What was to be sent.
    pub fn into_inner(self) -> T {
        match self {
            SendError::Closed(value) | SendError::Full(value) => value,
        }
    }

    fn discard(self) -> SendError<()> {
        match self {
            SendError::Closed(_) => SendError::Closed(()),
            SendError::Full(_) => SendError::Full(()),
        }
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::Closed(_) => "the connection has ended",
            SendError::Full(_) => "the worker's mailbox is full",
        })
    }
}

impl<T: fmt::Debug> std::error::Error for SendError<T> {}

impl<P: Protocol> ConnHandle<P> {
    pub(crate) fn new(id: ConnId, post: Arc<dyn Post<P>>, alive: Arc<AtomicBool>) -> Self {
        ConnHandle { id, post, alive }
    }

    /// The connection's name.
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// Whether the connection has not ended, as far as this thread can know.
    pub fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    /// Sends one message.
    ///
    /// # Errors
    /// [`SendError`], with the item, if the connection has ended or the mailbox is full. An `Ok` means that the worker
    /// has it; should the connection end before, only [`send_then`](Self::send_then) tells.
    pub fn send(&self, item: impl Into<OwnedOf<P>>) -> Result<(), SendError<OwnedOf<P>>> {
        self.post_item(item.into(), None)
    }

    /// Sends one message, and calls `done` on the worker's thread when all of it was handed to the kernel or when it is
    /// certain that it will not be. If the worker does not take it, `done` is called before this returns.
    ///
    /// # Errors
    /// As [`send`](Self::send); `done` is then called with [`SendOutcome::Lost`].
    pub fn send_then(
        &self,
        item: impl Into<OwnedOf<P>>,
        done: impl FnOnce(SendOutcome) + Send + 'static,
    ) -> Result<(), SendError<OwnedOf<P>>> {
        self.post_item(item.into(), Some(Completion::new(done)))
    }

    fn post_item(
        &self,
        item: OwnedOf<P>,
        done: Option<Completion>,
    ) -> Result<(), SendError<OwnedOf<P>>> {
        self.post(Content::Send(item, done))
            .map_err(|error| match error {
                SendError::Closed(Content::Send(item, _)) => SendError::Closed(item),
                SendError::Full(Content::Send(item, _)) => SendError::Full(item),
                _ => unreachable!("what comes back is what was posted"),
            })
    }

    /// Closes the connection in order, after all that was sent before: as [`Conn::close`].
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn close(&self) -> Result<(), SendError<()>> {
        self.post(Content::Close).map_err(SendError::discard)
    }

    /// Ends the connection with a reset: as [`Conn::abort`].
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn abort(&self) -> Result<(), SendError<()>> {
        self.post(Content::Abort).map_err(SendError::discard)
    }

    /// Runs a closure on the connection's worker, if the connection is still open then.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn run(
        &self,
        job: impl FnOnce(&mut Conn<'_, P>) + Send + 'static,
    ) -> Result<(), SendError<()>> {
        self.post(Content::Run(Box::new(job)))
            .map_err(SendError::discard)
    }

    fn post(&self, content: Content<P>) -> Result<(), SendError<Content<P>>> {
        if !self.is_alive() {
            return Err(SendError::Closed(content));
        }
        let letter = Letter {
            to: self.id,
            content,
        };
        self.post.post(letter).map_err(|(why, letter)| match why {
            Undeliverable::Full => SendError::Full(letter.content),
            Undeliverable::Gone => SendError::Closed(letter.content),
        })
    }
}

impl<P: Protocol> Clone for ConnHandle<P> {
    fn clone(&self) -> Self {
        ConnHandle {
            id: self.id,
            post: self.post.clone(),
            alive: self.alive.clone(),
        }
    }
}

impl<P: Protocol> fmt::Debug for ConnHandle<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnHandle")
            .field("id", &self.id)
            .field("alive", &self.is_alive())
            .finish_non_exhaustive()
    }
}

/// All connections of the listeners that have a handler of type `H`, for any thread.
///
/// Made by [`ServerHandle::connections_of`](crate::ServerHandle::connections_of).
pub struct Connections<H: Handler> {
    mailboxes: Arc<[Arc<Mailbox<H>>]>,
}

impl<H: Handler> Connections<H> {
    pub(crate) fn new(mailboxes: Vec<Arc<Mailbox<H>>>) -> Self {
        Connections {
            mailboxes: mailboxes.into(),
        }
    }

    /// Sends one message to every open connection.
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
        self.visit(move |conn, session| {
            if filter(conn, session) {
                conn.send_owned(&item);
            }
        })
    }

    /// Sends one message to every open connection that has [subscribed](crate::Conn::subscribe) to a topic.
    ///
    /// A protocol encodes the message once for all of them where that saves work. Each worker writes it to its subscribers
    /// when it reads its mail, with each connection's own limits: one whose output is full does not get it, and what else
    /// follows for it, [`Limits::overflow`](crate::Limits::overflow) says.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    pub fn publish(
        &self,
        topic: &str,
        item: impl Into<OwnedOf<H::Protocol>>,
    ) -> Result<(), SendError<()>> {
        self.reach(Publication::new(topic, item.into(), None))
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
        self.reach(Publication::new(topic, item.into(), Some(Box::new(done))))
    }

    fn reach(&self, publication: Publication<H::Protocol>) -> Result<(), SendError<()>> {
        let mut own = Some(Arc::new(publication));
        let mut left = self.mailboxes.len();
        // The last mailbox gets this thread's own share: the completion is the last worker's to call, and not called here
        // because the workers were fast.
        let share = || {
            left -= 1;
            let share = if left == 0 { own.take() } else { own.clone() };
            Mail::Topic(share.expect("it is taken with the last"))
        };
        self.put_all(share, |returned| {
            if let Mail::Topic(publication) = returned {
                publication.miss();
            }
        })
    }

    /// Runs a closure on the workers, once for each open connection.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    pub fn visit(
        &self,
        visitor: impl Fn(&mut Conn<'_, H::Protocol>, &mut H::Session) + Send + Sync + 'static,
    ) -> Result<(), SendError<()>> {
        let visitor: Arc<Visitor<H>> = Arc::new(visitor);
        self.put_all(|| Mail::Each(visitor.clone()), drop)
    }

    /// Puts mail into all mailboxes; `missed` gets that of each that does not take it.
    fn put_all(
        &self,
        mut mail: impl FnMut() -> Mail<H>,
        missed: impl Fn(Mail<H>),
    ) -> Result<(), SendError<()>> {
        let mut outcome = Ok(());
        for mailbox in self.mailboxes.iter() {
            if let Err((why, returned)) = mailbox.put(mail()) {
                missed(returned);
                outcome = Err(match why {
                    Undeliverable::Full => SendError::Full(()),
                    Undeliverable::Gone => SendError::Closed(()),
                });
            }
        }
        outcome
    }
}

impl<H: Handler> Publish<H::Protocol> for Connections<H> {
    fn publish(&self, publication: Publication<H::Protocol>) -> Result<(), SendError<()>> {
        self.reach(publication)
    }
}

impl<H: Handler> Clone for Connections<H> {
    fn clone(&self) -> Self {
        Connections {
            mailboxes: self.mailboxes.clone(),
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
        f.debug_struct("Clients")
            .field("workers", &workers)
            .finish()
    }
}
