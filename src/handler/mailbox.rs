//! The sending side of a service's mailbox, for any thread.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::Handler;
use super::letter::{Letter, Mail, Posted};
use super::link::Published;
use crate::connection::id::ConnId;
use crate::connection::send_error::SendError;
use crate::protocol::{OwnedOf, Protocol};
use crate::shared::lane::Lane;
use crate::shared::places::Charge;
use crate::shared::{LoopShared, current};

/// The mailbox of one handler type on one worker. All mailboxes of a worker share its limits of letters and bytes.
pub(crate) struct Mailbox<H: Handler> {
    /// The sending ends of the [lanes](Lane), for mail of other threads.
    lanes: [Sender<Posted<H>>; 2],
    /// Mail that the worker's own callbacks have posted. It is carried out after the turn in which it was posted, so that what
    /// a callback causes comes before what later callbacks cause. No other thread takes the lock.
    local: Mutex<Local<H>>,
    pub(crate) shared: Arc<LoopShared>,
    /// Index of the service on its worker, which is that of the listener.
    pub(crate) service: u16,
}

/// Mail of a worker to itself.
struct Local<H: Handler> {
    queue: VecDeque<Posted<H>>,
    /// The service is gone, and nobody would carry out what is put in.
    is_closed: bool,
}

/// Mail that a callback has posted and that its own connection gets, or may get, before what the callback sends next.
pub(crate) enum OwnMail<P: Protocol> {
    Send(Letter<P>, Charge),
    /// A message to several connections, of which the others still get theirs.
    Named(Arc<OwnedOf<P>>),
    /// A publication with its stamp. `is_early` if mail that was posted before it waits on: that may subscribe somebody to the topic.
    Topic {
        published: Published<P>,
        stamp: u64,
        is_early: bool,
    },
}

/// The receiving ends of the [lanes](Lane) of a mailbox.
pub(crate) type Lanes<H> = [Receiver<Posted<H>>; 2];

/// A mailbox of any handler type, to be found again by that type.
pub(crate) type AnyMailbox = Arc<dyn Any + Send + Sync>;

impl<H: Handler> Mailbox<H> {
    pub(crate) fn new(shared: Arc<LoopShared>, service: u16) -> (Self, Lanes<H>) {
        let lanes = Lane::ALL.map(|_| unbounded());
        let receivers = lanes.each_ref().map(|(_, receiver)| receiver.clone());
        let mailbox = Mailbox {
            lanes: lanes.map(|(sender, _)| sender),
            local: Mutex::new(Local {
                queue: VecDeque::new(),
                is_closed: false,
            }),
            shared,
            service,
        };
        (mailbox, receivers)
    }

    /// Puts mail in and wakes the worker; mail that is not taken comes back.
    pub(crate) fn put(&self, mail: Mail<H>) -> Result<(), SendError<Mail<H>>> {
        let reach = mail.reach(&self.shared);
        match self.shared.reserve_places(reach, mail.size()) {
            Some(charge) => self.put_charged(mail, charge, reach),
            None => Err(self.refuse(mail)),
        }
    }

    /// Puts in the publication of a connection, which is held back while many are on their way. Only what a single callback publishes
    /// beyond that has a share to keep to, so that it is refused, and not the publications of others.
    pub(crate) fn put_for_publisher(&self, mail: Mail<H>) -> Result<(), SendError<Mail<H>>> {
        let held = match &mail {
            Mail::Topic(publication) => publication.held(),
            _ => None,
        };
        let held = held.unwrap_or_default();
        match self.shared.reserve_for_publisher(mail.size(), held) {
            Some(charge) => self.put_charged(mail, charge, 1),
            None => Err(self.refuse(mail)),
        }
    }

    /// The error for mail that finds no place. The places of letters that a worker has left behind are never released.
    fn refuse<T>(&self, value: T) -> SendError<T> {
        if self.shared.has_mail_ended() {
            return SendError::Closed(value);
        }
        current::note_refusal(&self.shared);
        SendError::Full(value)
    }

    fn put_charged(
        &self,
        mail: Mail<H>,
        charge: Charge,
        reach: usize,
    ) -> Result<(), SendError<Mail<H>>> {
        current::note_post(&self.shared, reach, charge.bytes());
        // A visit takes long, and so it waits its turn among the mail of other threads.
        let is_local = !matches!(mail, Mail::Each(_)) && current::is_current(&self.shared);
        let stamp = if is_local { current::next_stamp() } else { 0 };
        // Mail of the worker to itself is carried out at once, and a publication is accounted for on all workers together.
        let is_accounted = !is_local && !matches!(mail, Mail::Topic(_));
        let batch = match is_accounted {
            true => current::account(charge.letters(), charge.bytes()),
            false => None,
        };
        let posted = Posted {
            mail,
            charge,
            stamp,
            batch,
        };
        if is_local {
            return self.put_local(posted);
        }
        match self.lanes[Lane::of_current_thread() as usize].send(posted) {
            Ok(()) => {
                self.shared.notify();
                Ok(())
            }
            Err(returned) => {
                let Posted { mail, charge, .. } = returned.0;
                self.shared.release_places(charge);
                Err(SendError::Closed(mail))
            }
        }
    }

    fn put_local(&self, posted: Posted<H>) -> Result<(), SendError<Mail<H>>> {
        let mut local = self.local();
        if local.is_closed {
            drop(local);
            self.shared.release_places(posted.charge);
            return Err(SendError::Closed(posted.mail));
        }
        local.queue.push_back(posted);
        Ok(())
    }

    /// Takes the mail that the worker's own callbacks have posted.
    pub(crate) fn take_local(&self) -> VecDeque<Posted<H>> {
        std::mem::take(&mut self.local().queue)
    }

    /// Takes the first of the letters to a connection, or of the publications, that the worker's own callbacks have posted. Of a
    /// message to several connections it takes the part of this one.
    pub(crate) fn take_own(&self, id: ConnId) -> Option<OwnMail<H::Protocol>> {
        let queue = &mut self.local().queue;
        for index in 0..queue.len() {
            match &mut queue[index].mail {
                Mail::One(letter) if letter.is_message_to(id) => {}
                Mail::Topic(_) => {}
                Mail::Several(named) => match named.take(id) {
                    Some(item) => return Some(OwnMail::Named(item)),
                    None => continue,
                },
                _ => continue,
            }
            let Posted {
                mail,
                charge,
                stamp,
                ..
            } = queue.remove(index)?;
            return match mail {
                Mail::One(letter) => Some(OwnMail::Send(letter, charge)),
                Mail::Topic(publication) => Some(OwnMail::Topic {
                    published: Published::new(publication, charge),
                    stamp,
                    is_early: index > 0,
                }),
                _ => None,
            };
        }
        None
    }

    /// Lets callbacks of the worker post no more: the service is going.
    pub(crate) fn close_local(&self) -> VecDeque<Posted<H>> {
        let mut local = self.local();
        local.is_closed = true;
        std::mem::take(&mut local.queue)
    }

    fn local(&self) -> MutexGuard<'_, Local<H>> {
        // The queue is whole after every statement, so a panic elsewhere does not spoil it.
        self.local.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
