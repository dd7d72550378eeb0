//! A published message on its way to the workers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::connection::id::ConnId;
use crate::panics::contain_call;
use crate::protocol::{OwnedOf, Protocol};

/// The outcome of a publication, on all workers together.
///
/// ```
/// use ringwheel::{Connections, Handler, SendError, protocol::Lines};
///
/// fn push_price<H: Handler<Protocol = Lines>>(clients: &Connections<H>) -> Result<(), SendError<()>> {
///     clients.publish_then("ACME", "100.25", |published| {
///         println!("{} got it, {} missed it", published.delivered, published.dropped);
///     })
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// Subscribers whose connection has taken the message.
    pub delivered: u64,
    /// Subscribers that did not get the message, because their output was full (whatever
    /// [`Limits::overflow`](crate::Limits::overflow) then does) or the protocol could not express it.
    pub dropped: u64,
    /// Workers that were not reached, because their mailbox was full or they have ended.
    pub unreached_workers: u64,
}

/// A published message on its way to all workers. When the last of them is done with it, its completion is called.
pub(crate) struct Publication<P: Protocol> {
    pub(crate) topic: Box<str>,
    pub(crate) item: OwnedOf<P>,
    /// A subscriber that does not get it: the publisher, if it wants only the others to.
    pub(crate) except: Option<ConnId>,
    delivered: AtomicU64,
    dropped: AtomicU64,
    unreached_workers: AtomicU64,
    done: Mutex<Option<Box<PublishedCallback>>>,
}

pub(crate) type PublishedCallback = dyn FnOnce(Published) + Send;

impl<P: Protocol> Publication<P> {
    pub(crate) fn new(topic: &str, item: OwnedOf<P>, done: Option<Box<PublishedCallback>>) -> Self {
        Publication {
            topic: topic.into(),
            item,
            except: None,
            delivered: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            unreached_workers: AtomicU64::new(0),
            done: Mutex::new(done),
        }
    }

    /// The same publication to all subscribers but one.
    pub(crate) fn except(mut self, id: ConnId) -> Self {
        self.except = Some(id);
        self
    }

    /// True if both go to the same subscribers, so that they can be delivered together.
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        self.topic == other.topic && self.except == other.except
    }

    /// Counts a worker that was not reached.
    pub(crate) fn miss(&self) {
        self.unreached_workers.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts subscribers of one worker.
    pub(crate) fn count(&self, delivered: u64, dropped: u64) {
        self.delivered.fetch_add(delivered, Ordering::Relaxed);
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
    }
}

impl<P: Protocol> Drop for Publication<P> {
    fn drop(&mut self) {
        let done = self.done.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(done) = done.take() {
            let published = Published {
                delivered: *self.delivered.get_mut(),
                dropped: *self.dropped.get_mut(),
                unreached_workers: *self.unreached_workers.get_mut(),
            };
            // It may be dropped because something else panics; a second panic would end the process.
            contain_call(move || done(published));
        }
    }
}
