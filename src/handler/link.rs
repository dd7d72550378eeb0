//! The parts of a service that its connections reach.

use std::cell::RefCell;
use std::sync::Arc;

use super::outbox::Outbox;
use super::source::Sources;
use crate::connection::Connection;
use crate::connection::limits::Limits;
use crate::connection::topics::Topics;
use crate::protocol::Protocol;

/// The parts that all connections of one service on one worker share.
pub(crate) struct Link<P: Protocol> {
    pub(crate) limits: Limits,
    /// Bytes of pending output from which on the socket is tried before more is packed, so that a peer which reads does not
    /// reach a limit only because the turn is long.
    pub(crate) flush_at: usize,
    pub(crate) outbox: Arc<dyn Outbox<P>>,
    /// The topics of this service on this worker.
    pub(crate) topics: RefCell<Topics>,
    pub(crate) sources: RefCell<Sources<P>>,
    /// Changes to the decoder of the connection whose callback runs; empty in between.
    pub(crate) decoder_changes: RefCell<Vec<Box<DecoderChange<P>>>>,
}

/// A change to a decoder.
pub(crate) type DecoderChange<P> = dyn FnOnce(&mut <P as Protocol>::Decoder);

impl<P: Protocol> Link<P> {
    /// About the size of a socket's send buffer: one write mostly takes this much.
    const FLUSH_AT: usize = 64 * 1024;

    pub(crate) fn new(limits: Limits, outbox: Arc<dyn Outbox<P>>) -> Self {
        let flush_at = Self::FLUSH_AT.min(limits.high_water).max(1);
        Link {
            limits,
            flush_at,
            outbox,
            topics: RefCell::default(),
            sources: RefCell::default(),
            decoder_changes: RefCell::default(),
        }
    }

    /// Ends the subscriptions of a connection.
    pub(crate) fn leave_topics(&self, connection: &mut Connection) {
        if let Some(extra) = &mut connection.extra {
            let mut topics = self.topics.borrow_mut();
            for subscription in extra.subscriptions.drain(..) {
                topics.leave(subscription);
            }
        }
    }
}
