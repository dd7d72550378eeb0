//! A published message on its way to the workers.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::connection::id::ConnId;
use crate::protocol::{Encode, OwnedOf, Protocol};
use crate::shared::batch::Batch;
use crate::shared::callback::{News, call_back};
use crate::shared::control::Control;
use crate::shared::current;

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
    /// Workers that were not reached: their mailbox was full, or they ended before all their subscribers had the message. If several
    /// listeners have this handler type, a worker counts once for each of them.
    pub unreached_workers: u64,
}

/// A published message on its way to all workers. When the last of them is done with it, its completion is called.
pub(crate) struct Publication<P: Protocol> {
    pub(crate) topic: Box<str>,
    pub(crate) item: OwnedOf<P>,
    /// A subscriber that does not get it: the publisher, if it wants only the others to.
    pub(crate) except: Option<ConnId>,
    /// Bytes that it occupies while it waits.
    pub(crate) size: usize,
    /// The connection that published it, which is held back while too many of its publications are on their way.
    publisher: Option<Publisher>,
    /// Counts it where the publisher is not known yet.
    batch: Option<Arc<Batch>>,
    held: (usize, usize),
    delivered: AtomicU64,
    dropped: AtomicU64,
    unreached_workers: AtomicU64,
    /// Number of workers on which some subscribers that do not lag have not got it.
    undelivered: AtomicUsize,
    /// True once it [holds its publisher](Self::hold_publisher).
    holds_publisher: AtomicBool,
    calls_back: bool,
    done: Mutex<Option<Box<PublishedCallback>>>,
}

/// The part of the bytes that a connection may have on their way, as a divisor, up to which it is not to blame that much waits in a
/// topic.
const MODEST: usize = 16;

/// The connection that has published a message.
struct Publisher {
    control: Arc<Control>,
    /// Limits of the number and the bytes of its publications on their way.
    limits: (usize, usize),
}

pub(crate) type PublishedCallback = dyn FnOnce(Published) + Send;

impl<P: Protocol> Publication<P> {
    pub(crate) fn new(topic: &str, item: OwnedOf<P>, done: Option<Box<PublishedCallback>>) -> Self {
        let size = topic.len() + <P::Encoder as Encode>::owned_size(&item);
        Publication {
            topic: topic.into(),
            item,
            except: None,
            size,
            publisher: None,
            batch: None,
            held: (0, 0),
            delivered: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            unreached_workers: AtomicU64::new(0),
            undelivered: AtomicUsize::new(0),
            holds_publisher: AtomicBool::new(false),
            calls_back: done.is_some(),
            done: Mutex::new(done),
        }
    }

    /// The same publication to all subscribers but one.
    pub(crate) fn except(mut self, id: ConnId) -> Self {
        self.except = Some(id);
        self
    }

    /// The same publication, counted among those of a connection, with the limits of their number and bytes.
    pub(crate) fn from(mut self, control: Arc<Control>, limits: (usize, usize)) -> Self {
        control.count_mail(1, self.size);
        self.publisher = Some(Publisher { control, limits });
        self
    }

    /// The same publication, counted among the mail of the callback that runs, if one does.
    pub(crate) fn by_callback(mut self) -> Self {
        self.batch = current::account(1, self.size);
        self
    }

    /// The same publication with the mail of its publisher that is on its way, of which it is the last, if that is more than these
    /// limits allow: so it is the first to be refused where mailboxes fill up.
    pub(crate) fn beyond(mut self, limits: (usize, usize)) -> Self {
        let mail = match (&self.publisher, &self.batch) {
            (Some(publisher), _) => publisher.control.mail(),
            (None, Some(batch)) => batch.mail(),
            (None, None) => (0, 0),
        };
        if mail.0 > limits.0 || mail.1 > limits.1 {
            self.held = mail;
        }
        self
    }

    /// Number and bytes of the publisher's mail, if that was [beyond](Self::beyond) its limits.
    pub(crate) fn held(&self) -> Option<(usize, usize)> {
        (self.held != (0, 0)).then_some(self.held)
    }

    /// True if a connection has published it that is held back while too many of its publications are on their way.
    pub(crate) fn has_publisher(&self) -> bool {
        let batch = self.batch.as_ref();
        self.publisher.is_some() || batch.is_some_and(|batch| batch.has_poster())
    }

    /// The same publication, which goes to so many workers.
    pub(crate) fn with_workers(mut self, count: usize) -> Self {
        self.undelivered = AtomicUsize::new(count);
        self
    }

    /// True if its end calls code of the program, which may take any time.
    pub(crate) fn calls_back(&self) -> bool {
        self.calls_back
    }

    /// Notes that a worker has delivered it to all of its subscribers but those that lag. Once all workers have, it counts little
    /// among the publisher's mail.
    pub(crate) fn note_delivered(&self) {
        let is_last = self.undelivered.fetch_sub(1, Ordering::AcqRel) == 1;
        if let Some(Publisher { control, limits }) = self.publisher.as_ref().filter(|_| is_last) {
            control.uncount_most(*limits);
        }
    }

    /// Has its publisher wait for all of its mail, as long as this publication lives, if the publisher has [much](MODEST) on its way:
    /// too much waits in the topic for slow subscribers.
    pub(crate) fn hold_publisher(&self) {
        let Some((control, limits)) = self.poster() else {
            return;
        };
        let has_much = control.exceeds((usize::MAX, limits.1 / MODEST));
        if has_much && !self.holds_publisher.swap(true, Ordering::AcqRel) {
            control.count_holding();
        }
    }

    /// The connection that has published it, if that is known, and the limits of its mail.
    fn poster(&self) -> Option<(&Control, (usize, usize))> {
        match (&self.publisher, &self.batch) {
            (Some(publisher), _) => Some((&publisher.control, publisher.limits)),
            (None, batch) => batch.as_ref()?.poster(),
        }
    }

    /// Counts a worker that was not reached.
    pub(crate) fn miss(&self) {
        self.unreached_workers.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts subscribers of one worker, if the counts are wanted: each costs an access to memory that the workers share.
    pub(crate) fn count(&self, delivered: u64, dropped: u64) {
        if self.calls_back {
            self.delivered.fetch_add(delivered, Ordering::Relaxed);
            self.dropped.fetch_add(dropped, Ordering::Relaxed);
        }
    }
}

impl<P: Protocol> Drop for Publication<P> {
    fn drop(&mut self) {
        if *self.holds_publisher.get_mut() {
            if let Some((control, _)) = self.poster() {
                control.uncount_holding();
            }
        }
        if let Some(Publisher { control, limits }) = self.publisher.take() {
            match *self.undelivered.get_mut() {
                0 => control.uncount_rest(self.size, limits),
                _ => control.uncount_mail(1, self.size, limits),
            }
        }
        drop(self.batch.take());
        let done = self.done.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(done) = done.take() {
            let published = Published {
                delivered: *self.delivered.get_mut(),
                dropped: *self.dropped.get_mut(),
                unreached_workers: *self.unreached_workers.get_mut(),
            };
            // It may be dropped because something else panics; a second panic would end the process.
            call_back(News::Refusal, move || done(published));
        }
    }
}
