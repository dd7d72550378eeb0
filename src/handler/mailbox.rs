//! The sending side of a service's mailbox, for any thread.

use std::any::Any;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::Handler;
use super::letter::Mail;
use crate::connection::send_error::SendError;
use crate::shared::LoopShared;

/// The mailbox of one handler type on one worker. All mailboxes of a worker share its limit of letters.
pub(crate) struct Mailbox<H: Handler> {
    sender: Sender<Mail<H>>,
    pub(crate) shared: Arc<LoopShared>,
    /// Index of the service on its worker, which is that of the listener.
    pub(crate) service: u16,
}

/// A mailbox of any handler type, to be found again by that type.
pub(crate) type AnyMailbox = Arc<dyn Any + Send + Sync>;

impl<H: Handler> Mailbox<H> {
    pub(crate) fn new(shared: Arc<LoopShared>, service: u16) -> (Self, Receiver<Mail<H>>) {
        let (sender, receiver) = unbounded();
        let mailbox = Mailbox {
            sender,
            shared,
            service,
        };
        (mailbox, receiver)
    }

    /// Puts mail in and wakes the worker; mail that is not taken comes back.
    pub(crate) fn put(&self, mail: Mail<H>) -> Result<(), SendError<Mail<H>>> {
        if !self.shared.reserve_place() {
            // The places of letters that a worker has left behind are never released.
            return Err(match self.shared.has_mail_ended() {
                true => SendError::Closed(mail),
                false => SendError::Full(mail),
            });
        }
        match self.sender.send(mail) {
            Ok(()) => {
                self.shared.notify();
                Ok(())
            }
            Err(returned) => {
                self.shared.release_places(1);
                Err(SendError::Closed(returned.0))
            }
        }
    }
}
