//! The mail of a service: what other threads, and other connections' callbacks, ask of its connections.

use std::sync::Arc;

use super::Handler;
use super::conn::Conn;
use super::local::LocalConnections;
use super::publication::Publication;
use crate::connection::completion::Completion;
use crate::connection::id::ConnId;
use crate::protocol::{OwnedOf, Protocol};

/// One piece of mail for a service.
pub(crate) enum Mail<H: Handler> {
    /// A letter to one connection.
    One(Letter<H::Protocol>),
    /// A visit to all open connections.
    Each(Arc<Visitor<H>>),
    /// A publication to the subscribers of a topic.
    Topic(Arc<Publication<H::Protocol>>),
    /// A job for the handler itself, with its connections on the worker.
    Handler(Box<HandlerJob<H>>),
}

/// A request to one connection.
pub(crate) struct Letter<P: Protocol> {
    pub(crate) to: ConnId,
    pub(crate) request: Request<P>,
}

/// The content of a [`Letter`].
pub(crate) enum Request<P: Protocol> {
    Send(OwnedOf<P>, Option<Completion>),
    Close,
    Abort,
    Run(Box<Job<P>>),
}

/// A closure that runs on a connection's worker.
pub(crate) type Job<P> = dyn FnOnce(&mut Conn<'_, P>) + Send;

/// A closure that runs with a handler and its connections on one worker.
pub(crate) type HandlerJob<H> = dyn FnOnce(&mut H, &mut LocalConnections<'_, H>) + Send;

/// A closure that runs once for each open connection of a service.
pub(crate) type Visitor<H> =
    dyn Fn(&mut Conn<'_, <H as Handler>::Protocol>, &mut <H as Handler>::Session) + Send + Sync;
