//! The way from a connection to the mailboxes, whatever the handler's type.

use std::sync::Arc;

use super::Handler;
use super::connections::Connections;
use super::letter::{Letter, Mail};
use super::mailbox::{Mailbox, OwnMail};
use super::publication::Publication;
use crate::connection::id::ConnId;
use crate::connection::send_error::SendError;
use crate::protocol::{OwnedOf, Protocol};
use crate::shared::room::RoomCallback;

/// Reaches the mailboxes of one handler type. It hides that type from the connection, which knows only its protocol.
pub(crate) trait Outbox<P: Protocol>: Send + Sync {
    /// Puts a letter into the mailbox of the worker that this outbox belongs to; a letter that is not taken comes back.
    fn send(&self, letter: Letter<P>) -> Result<(), SendError<Letter<P>>>;
    /// Puts an item for a connection into the mailbox of its worker; an item that is not taken comes back.
    fn send_to(&self, to: ConnId, item: OwnedOf<P>) -> Result<(), SendError<OwnedOf<P>>>;
    /// Calls back once the mailboxes of the worker have room.
    fn when_room(&self, callback: RoomCallback);
    /// Puts the publication of a connection into the mailboxes of all workers.
    fn publish(&self, publication: Publication<P>) -> Result<(), SendError<()>>;
    /// Takes the first of the letters posted by the worker's callbacks that goes to a connection, or that it may subscribe to.
    fn take_own(&self, id: ConnId) -> Option<OwnMail<P>>;
}

/// The outbox of a service on one worker.
pub(crate) struct WorkerOutbox<H: Handler> {
    mailbox: Arc<Mailbox<H>>,
    /// All connections of the handler, on all workers.
    connections: Connections<H>,
}

impl<H: Handler> WorkerOutbox<H> {
    pub(crate) fn new(mailbox: Arc<Mailbox<H>>, connections: Connections<H>) -> Self {
        WorkerOutbox {
            mailbox,
            connections,
        }
    }
}

impl<H: Handler> Outbox<H::Protocol> for WorkerOutbox<H> {
    fn send(&self, letter: Letter<H::Protocol>) -> Result<(), SendError<Letter<H::Protocol>>> {
        let returned = |mail| match mail {
            Mail::One(letter) => letter,
            _ => unreachable!("a letter was put"),
        };
        self.mailbox
            .put(Mail::One(letter))
            .map_err(|error| error.map(returned))
    }

    fn send_to(
        &self,
        to: ConnId,
        item: OwnedOf<H::Protocol>,
    ) -> Result<(), SendError<OwnedOf<H::Protocol>>> {
        self.connections.put_item(to, item)
    }

    fn when_room(&self, callback: RoomCallback) {
        self.mailbox.shared.when_room(callback);
    }

    fn publish(&self, publication: Publication<H::Protocol>) -> Result<(), SendError<()>> {
        self.connections.put_publication_of_connection(publication)
    }

    fn take_own(&self, id: ConnId) -> Option<OwnMail<H::Protocol>> {
        self.mailbox.take_own(id)
    }
}
