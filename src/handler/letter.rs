//! The mail of a service: what other threads, and other connections' callbacks, ask of its connections.

use std::sync::Arc;

use super::Handler;
use super::conn::Conn;
use super::local::LocalConnections;
use super::publication::Publication;
use crate::connection::completion::Completion;
use crate::connection::id::ConnId;
use crate::protocol::{Encode, OwnedOf, Protocol};
use crate::shared::LoopShared;
use crate::shared::batch::Batch;
use crate::shared::control::Control;
use crate::shared::places::Charge;

/// Bytes that a letter occupies besides its item.
const ENVELOPE: usize = 64;

/// The most connections that a job with all connections counts for.
const JOB_REACH: usize = 64;

/// A piece of mail in a mailbox.
pub(crate) struct Posted<H: Handler> {
    pub(crate) mail: Mail<H>,
    /// Its places, to be released when the worker is done with it.
    pub(crate) charge: Charge,
    /// Orders it among the publications of a worker that posts to itself.
    pub(crate) stamp: u64,
    /// Counts it among the mail of the connection whose callback has posted it, until it is carried out.
    pub(crate) batch: Option<Arc<Batch>>,
}

/// One piece of mail for a service.
pub(crate) enum Mail<H: Handler> {
    /// A letter to one connection.
    One(Letter<H::Protocol>),
    /// A message to some connections.
    Several(Named<H::Protocol>),
    /// A visit to all open connections.
    Each(Visit<H>),
    /// A publication to the subscribers of a topic.
    Topic(Arc<Publication<H::Protocol>>),
    /// A job for the handler itself, with its connections on the worker.
    Handler {
        job: Box<HandlerJob<H>>,
        /// Bytes that the job refers to.
        size: usize,
        /// Number of connections that it can reach; `None` for all.
        reach: Option<usize>,
    },
}

impl<H: Handler> Mail<H> {
    /// True if carrying it out calls code of the program at once, which may take any time.
    pub(crate) fn runs_code(&self) -> bool {
        match self {
            Mail::One(letter) => matches!(letter.request, Request::Run(_)),
            Mail::Handler { .. } => true,
            Mail::Several(_) | Mail::Each(_) | Mail::Topic(_) => false,
        }
    }

    /// Bytes that it occupies while it waits.
    pub(crate) fn size(&self) -> usize {
        ENVELOPE
            + match self {
                Mail::One(letter) => letter.request.size(),
                Mail::Several(named) => named.size(),
                Mail::Each(visit) => visit.size,
                Mail::Topic(publication) => publication.size,
                Mail::Handler { size, .. } => *size,
            }
    }

    /// Number of connections of this worker that it may reach. A publication is delivered later, and is 1.
    pub(crate) fn reach(&self, worker: &LoopShared) -> usize {
        match self {
            Mail::One(_) | Mail::Topic(_) => 1,
            Mail::Several(named) => named.to.len(),
            Mail::Handler {
                reach: Some(reach), ..
            } => *reach,
            Mail::Each(_) => worker.connections(),
            // Most jobs do not walk through all.
            Mail::Handler { reach: None, .. } => worker.connections().min(JOB_REACH),
        }
    }
}

/// A message to some connections of a service.
pub(crate) struct Named<P: Protocol> {
    pub(crate) to: Vec<ConnId>,
    pub(crate) item: Arc<OwnedOf<P>>,
}

impl<P: Protocol> Named<P> {
    /// Takes the message to one of the connections out, if it is among them.
    pub(crate) fn take(&mut self, id: ConnId) -> Option<Arc<OwnedOf<P>>> {
        let place = self.to.iter().position(|to| *to == id)?;
        self.to.remove(place);
        Some(self.item.clone())
    }

    fn size(&self) -> usize {
        size_of_val(&*self.to) + P::Encoder::owned_size(&self.item)
    }
}

/// A visit to all open connections of a service.
pub(crate) struct Visit<H: Handler> {
    pub(crate) visitor: Arc<Visitor<H>>,
    /// Bytes that the visitor refers to.
    pub(crate) size: usize,
}

/// A request to one connection.
pub(crate) struct Letter<P: Protocol> {
    pub(crate) to: ConnId,
    pub(crate) request: Request<P>,
    /// Counts the letters that were sent through handles.
    pub(crate) control: Option<Arc<Control>>,
}

impl<P: Protocol> Letter<P> {
    /// True if it is a message to this connection.
    pub(crate) fn is_message_to(&self, id: ConnId) -> bool {
        self.to == id && matches!(self.request, Request::Send(..))
    }
}

/// The content of a [`Letter`].
pub(crate) enum Request<P: Protocol> {
    Send(OwnedOf<P>, Option<Completion>),
    Run(Box<Job<P>>),
}

impl<P: Protocol> Request<P> {
    fn size(&self) -> usize {
        match self {
            Request::Send(item, _) => P::Encoder::owned_size(item),
            Request::Run(job) => size_of_val(&**job),
        }
    }
}

/// A closure that runs on a connection's worker.
pub(crate) type Job<P> = dyn FnOnce(&mut Conn<'_, P>) + Send;

/// A closure that runs with a handler and its connections on one worker.
pub(crate) type HandlerJob<H> = dyn FnOnce(&mut H, &mut LocalConnections<'_, H>) + Send;

/// A closure that runs once for each open connection of a service.
pub(crate) type Visitor<H> =
    dyn Fn(&mut Conn<'_, <H as Handler>::Protocol>, &mut <H as Handler>::Session) + Send + Sync;
