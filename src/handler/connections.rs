//! All connections of a handler, for any thread.

use std::fmt;
use std::sync::Arc;

use super::Handler;
use super::conn::Conn;
use super::letter::{Mail, Visitor};
use super::mailbox::Mailbox;
use super::publication::{Publication, Published};
use crate::connection::send_error::SendError;
use crate::protocol::OwnedOf;

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

    pub(crate) fn put_publication(
        &self,
        publication: Publication<H::Protocol>,
    ) -> Result<(), SendError<()>> {
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
            if let Err(error) = mailbox.put(mail()) {
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
