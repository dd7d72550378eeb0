//! How other threads reach connections: typed letters to the services of a worker.

use std::any::Any;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::connection::completion::Completion;
use crate::connection::id::ConnId;
use crate::connection::topics::Publication;
use crate::handler::Handler;
use crate::handler::conn::Conn;
use crate::protocol::{OwnedOf, Protocol};
use crate::shared::LoopShared;

/// A message to one connection.
pub(crate) struct Letter<P: Protocol> {
    pub(crate) to: ConnId,
    pub(crate) content: Content<P>,
}

pub(crate) enum Content<P: Protocol> {
    Send(OwnedOf<P>, Option<Completion>),
    Close,
    Abort,
    Run(Box<Job<P>>),
}

/// What is run on a connection's worker.
pub(crate) type Job<P> = dyn FnOnce(&mut Conn<'_, P>) + Send;

/// What is done with each connection that a visit reaches.
pub(crate) type Visitor<H> =
    dyn Fn(&mut Conn<'_, <H as Handler>::Protocol>, &mut <H as Handler>::Session) + Send + Sync;

/// What a service finds in its mailbox.
pub(crate) enum Mail<H: Handler> {
    One(Letter<H::Protocol>),
    Each(Arc<Visitor<H>>),
    /// For the subscribers of its topic.
    Topic(Arc<Publication<H::Protocol>>),
}

/// Why a letter was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undeliverable {
    /// The worker has as many letters waiting as its mailbox limit allows.
    Full,
    /// The worker has ended.
    Gone,
}

/// The sending side of a service's mailbox, whatever its handler.
pub(crate) trait Post<P: Protocol>: Send + Sync {
    /// Takes the letter, or gives it back.
    fn post(&self, letter: Letter<P>) -> Result<(), (Undeliverable, Letter<P>)>;
}

/// The sending side of the mailbox of one handler type on one worker.
pub(crate) struct Mailbox<H: Handler> {
    sender: Sender<Mail<H>>,
    pub(crate) shared: Arc<LoopShared>,
}

impl<H: Handler> Mailbox<H> {
    pub(crate) fn new(shared: Arc<LoopShared>) -> (Self, Receiver<Mail<H>>) {
        let (sender, receiver) = unbounded();
        (Mailbox { sender, shared }, receiver)
    }

    pub(crate) fn put(&self, mail: Mail<H>) -> Result<(), (Undeliverable, Mail<H>)> {
        if !self.shared.reserve_place() {
            return Err((Undeliverable::Full, mail));
        }
        match self.sender.send(mail) {
            Ok(()) => {
                self.shared.notify();
                Ok(())
            }
            Err(returned) => {
                self.shared.release_places(1);
                Err((Undeliverable::Gone, returned.0))
            }
        }
    }
}

impl<H: Handler> Post<H::Protocol> for Mailbox<H> {
    fn post(
        &self,
        letter: Letter<H::Protocol>,
    ) -> Result<(), (Undeliverable, Letter<H::Protocol>)> {
        self.put(Mail::One(letter))
            .map_err(|(why, mail)| match mail {
                Mail::One(letter) => (why, letter),
                Mail::Each(_) | Mail::Topic(_) => {
                    unreachable!("the mail that comes back is the one that was put")
                }
            })
    }
}

/// A mailbox of any handler type, to be found again by that type.
pub(crate) type AnyMailbox = Arc<dyn Any + Send + Sync>;
