//! The parts of a service that its connections reach.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

use super::outbox::Outbox;
use super::publication::Publication;
use super::source::Sources;
use super::unsent::Unsent;
use crate::connection::Connection;
use crate::connection::id::ConnId;
use crate::connection::limits::Limits;
use crate::connection::loop_state::LoopState;
use crate::connection::topics::Topics;
use crate::io::address::Address;
use crate::protocol::Protocol;
use crate::shared::backlog::Backlog;
use crate::shared::places::Charge;

/// The parts that all connections of one service on one worker share.
pub(crate) struct Link<P: Protocol> {
    pub(crate) limits: Limits,
    /// Bytes of pending output from which on the socket is tried before more is packed, so that a peer which reads does not
    /// reach a limit only because the turn is long.
    pub(crate) flush_at: usize,
    pub(crate) outbox: Arc<dyn Outbox<P>>,
    /// The address of the listener if it is a Unix socket. Its accepted sockets know only the name to which it was bound first.
    pub(crate) unix_address: Option<Address>,
    /// The topics of this service on this worker.
    pub(crate) topics: RefCell<Topics<Published<P>>>,
    /// True while the log of a topic has entries, so that a connection may have to read before it is called.
    pub(crate) has_news: Cell<bool>,
    /// The last stamp before the letter that is carried out now.
    pub(crate) begun: Cell<u64>,
    /// Connections for which publications have begun to wait. They need not wait any more.
    pub(crate) laggards: RefCell<Vec<ConnId>>,
    /// Publications that are done with, and are dropped when no callback runs.
    pub(crate) done: RefCell<Vec<Published<P>>>,
    /// Those of them that call back, for which an iteration had no time left.
    pub(crate) calling: RefCell<VecDeque<Published<P>>>,
    pub(crate) sources: RefCell<Sources<P>>,
    pub(crate) unsent: Unsent,
    /// Changes to the decoder of the connection whose callback runs; empty in between.
    pub(crate) decoder_changes: RefCell<Vec<Box<DecoderChange<P>>>>,
}

/// A publication in the log of its topic, with the places that it has in the worker's mailboxes.
pub(crate) struct Published<P: Protocol> {
    pub(crate) publication: Arc<Publication<P>>,
    pub(crate) charge: Charge,
    /// True once the publication knows that this worker has delivered it.
    is_noted: Cell<bool>,
}

impl<P: Protocol> Published<P> {
    pub(crate) fn new(publication: Arc<Publication<P>>, charge: Charge) -> Self {
        Published {
            publication,
            charge,
            is_noted: Cell::new(false),
        }
    }

    /// Notes, at most once, that this worker has delivered it to all of its subscribers but those that lag.
    pub(crate) fn note_delivered(&self) {
        if !self.is_noted.replace(true) {
            self.publication.note_delivered();
        }
    }
}

/// A change to a decoder.
pub(crate) type DecoderChange<P> = dyn FnOnce(&mut <P as Protocol>::Decoder);

impl<P: Protocol> Link<P> {
    /// About the size of a socket's send buffer: one write mostly takes this much.
    const FLUSH_AT: usize = 64 * 1024;

    /// `backlog` is that of the worker.
    pub(crate) fn new(limits: Limits, outbox: Arc<dyn Outbox<P>>, backlog: Arc<Backlog>) -> Self {
        let flush_at = Self::FLUSH_AT.min(limits.high_water).max(1);
        Link {
            limits,
            flush_at,
            outbox,
            unix_address: None,
            topics: RefCell::new(Topics::new(backlog)),
            has_news: Cell::new(false),
            begun: Cell::new(u64::MAX),
            laggards: RefCell::default(),
            done: RefCell::default(),
            calling: RefCell::default(),
            sources: RefCell::default(),
            unsent: Unsent::default(),
            decoder_changes: RefCell::default(),
        }
    }

    /// Appends a publication to the log of its topic. Returns the stamp of its entry, which may be later than `stamp`.
    pub(crate) fn append(&self, stamp: u64, published: Published<P>) -> u64 {
        let publication = published.publication.clone();
        let mut topics = self.topics.borrow_mut();
        match topics.append(&publication.topic, stamp, published) {
            Ok(stamp) => {
                self.has_news.set(true);
                if topics.has_waiting(&publication.topic, self.limits.crowd()) {
                    publication.hold_publisher();
                }
                stamp
            }
            Err(published) => {
                // Nobody subscribes.
                self.put_done([published]);
                stamp
            }
        }
    }

    /// As [`append`](Self::append), before earlier mail is carried out, which may subscribe somebody to the topic.
    pub(crate) fn append_early(&self, stamp: u64, published: Published<P>) -> u64 {
        let publication = published.publication.clone();
        let mut topics = self.topics.borrow_mut();
        self.has_news.set(true);
        topics.append_early(&publication.topic, stamp, published)
    }

    /// Keeps publications that this worker is done with until they are dropped, which may call back.
    pub(crate) fn put_done(&self, done: impl IntoIterator<Item = Published<P>>) {
        let done = done.into_iter().inspect(|published| {
            // Another worker is not done with it, or a subscriber without room holds its publisher.
            if Arc::strong_count(&published.publication) > 1 {
                published.note_delivered();
            }
        });
        self.done.borrow_mut().extend(done);
    }

    /// True if publications wait for a connection.
    pub(crate) fn is_lagging(&self, connection: &Connection) -> bool {
        let topics = self.topics.borrow();
        let extra = connection.extra.as_ref();
        extra.is_some_and(|extra| topics.is_lagging(&extra.subscriptions))
    }

    /// The stamp of the oldest publication that a connection has not got.
    pub(crate) fn oldest_news(&self, connection: &Connection) -> Option<u64> {
        let topics = self.topics.borrow();
        let extra = connection.extra.as_ref()?;
        topics.peek(&extra.subscriptions).map(|(stamp, _)| stamp)
    }

    /// Ends the subscriptions of a connection.
    pub(crate) fn leave_topics(&self, connection: &mut Connection, state: &mut LoopState) {
        connection.uncharge_all_subscriptions(state);
        if let Some(extra) = &mut connection.extra {
            let mut topics = self.topics.borrow_mut();
            for subscription in std::mem::take(&mut extra.subscriptions) {
                topics.leave(subscription);
            }
        }
        connection.release_senders(state);
    }
}
