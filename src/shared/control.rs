//! The requests to one connection that no flood can hold up.

use std::sync::Arc;

use super::LoopShared;
use crate::shared::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// The part of a connection that other threads reach without its worker's mailbox.
///
/// A close, an abort and their like have a bit each: they take no place in a queue, coalesce, overtake letters, and can be
/// refused only because the connection has ended.
pub(crate) struct Control {
    worker: Arc<LoopShared>,
    /// The connection's place in the worker's table.
    slot: u32,
    bits: AtomicU32,
    /// Letters that were posted through handles and are not carried out.
    letters: AtomicUsize,
    /// Publications of the connection that some worker is not done with; and [`HELD`].
    publications: AtomicUsize,
    /// Bytes of those publications.
    publication_bytes: AtomicUsize,
}

/// Beside the number of publications: the connection is held back until few of them are left.
const HELD: usize = 1 << (usize::BITS - 1);

/// Requests to a connection, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requests(u32);

impl Requests {
    /// Close in order, after the letters that were posted before.
    pub(crate) const CLOSE: Requests = Requests(1);
    /// End with a reset.
    pub(crate) const ABORT: Requests = Requests(2);
    /// Resume reading after a pause.
    pub(crate) const RESUME: Requests = Requests(4);
    /// The mailbox to which the connection has posted has room.
    pub(crate) const MAIL_ROOM: Requests = Requests(8);
    /// Few of the connection's publications are left.
    pub(crate) const PUBLISHED: Requests = Requests(16);
    /// Not a request: the connection has ended.
    const ENDED: Requests = Requests(1 << 31);
    /// Not a request: a handle has asked for a close, so that handles put in no more letters.
    const CLOSING: Requests = Requests(1 << 30);
    /// The bits that stay when requests are taken.
    const LASTING: u32 = Self::ENDED.0 | Self::CLOSING.0;

    pub(crate) fn has(self, request: Requests) -> bool {
        self.0 & request.0 != 0
    }
}

impl Control {
    pub(crate) fn new(worker: Arc<LoopShared>, slot: u32) -> Self {
        Control {
            worker,
            slot,
            bits: AtomicU32::new(0),
            letters: AtomicUsize::new(0),
            publications: AtomicUsize::new(0),
            publication_bytes: AtomicUsize::new(0),
        }
    }

    /// Makes a request. False if the connection has ended.
    pub(crate) fn request(&self, request: Requests) -> bool {
        let lasting = match request {
            Requests::CLOSE => Requests::CLOSING.0,
            _ => 0,
        };
        let before = self.bits.fetch_or(request.0 | lasting, Ordering::AcqRel);
        let before = Requests(before);
        if before.has(Requests::ENDED) {
            return false;
        }
        // The first of the requests that wait announces them all.
        if before.0 & !Requests::LASTING == 0 {
            self.worker.announce_request(self.slot);
        }
        true
    }

    /// Takes the requests that wait.
    pub(crate) fn take(&self) -> Requests {
        let waiting = self.bits.fetch_and(Requests::LASTING, Ordering::AcqRel);
        Requests(waiting & !Requests::LASTING)
    }

    /// Notes that the connection has ended.
    pub(crate) fn end(&self) {
        self.bits.fetch_or(Requests::ENDED.0, Ordering::AcqRel);
    }

    pub(crate) fn has_ended(&self) -> bool {
        Requests(self.bits.load(Ordering::Acquire)).has(Requests::ENDED)
    }

    /// True once a handle has asked for a close, or the connection has ended: letters come too late.
    pub(crate) fn takes_no_letters(&self) -> bool {
        self.bits.load(Ordering::Acquire) & Requests::LASTING != 0
    }

    /// Counts a letter in, before it is posted.
    pub(crate) fn count_letter(&self) {
        self.letters.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts out a letter that was carried out, or not taken. A close that waits for the last letter is asked for again.
    pub(crate) fn uncount_letter(&self) {
        let is_last = self.letters.fetch_sub(1, Ordering::AcqRel) == 1;
        // A read-modify-write sees the request of a close that has seen this letter.
        if is_last && Requests(self.bits.fetch_or(0, Ordering::AcqRel)).has(Requests::CLOSING) {
            self.request(Requests::CLOSE);
        }
    }

    pub(crate) fn has_letters(&self) -> bool {
        self.letters.load(Ordering::Acquire) > 0
    }

    /// True if publications of the connection are on their way, or the news that they are done is.
    #[cfg(test)]
    pub(crate) fn has_publications(&self) -> bool {
        self.exceeds((0, 0)) || Requests(self.bits.load(Ordering::Relaxed)).has(Requests::PUBLISHED)
    }

    /// Counts a publication of the connection in.
    pub(crate) fn count_publication(&self, bytes: usize) {
        self.publication_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.publications.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts out a publication that all workers are done with, and lets a publisher go on of whose publications no more than
    /// half of the limits are left.
    pub(crate) fn uncount_publication(&self, bytes: usize, limits: (usize, usize)) {
        self.publication_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let before = self.publications.fetch_sub(1, Ordering::Relaxed);
        let is_held = before & HELD != 0;
        if is_held && self.has_few(before - 1, limits) && self.let_go() {
            self.request(Requests::PUBLISHED);
        }
    }

    /// True if a publisher must be held back until [`Requests::PUBLISHED`] comes: it has more publications on their way, or
    /// more bytes of them, than these limits allow.
    pub(crate) fn holds_publisher(&self, limits: (usize, usize)) -> bool {
        if !self.exceeds(limits) {
            return false;
        }
        let count = self.publications.fetch_or(HELD, Ordering::Relaxed);
        // The last of them may be done meanwhile, with nobody left to tell. If it is this call that lets the publisher go, no
        // request comes.
        !(self.has_few(count, limits) && self.let_go())
    }

    /// True if the connection has more publications on their way, or more bytes of them, than these limits allow.
    pub(crate) fn exceeds(&self, (count, bytes): (usize, usize)) -> bool {
        self.publications.load(Ordering::Relaxed) & !HELD > count
            || self.publication_bytes.load(Ordering::Relaxed) > bytes
    }

    /// True if no more than half of the limits is on its way. The count alone tells of the last.
    fn has_few(&self, publications: usize, (count, bytes): (usize, usize)) -> bool {
        let left = publications & !HELD;
        let bytes_left = self.publication_bytes.load(Ordering::Relaxed);
        left == 0 || (left <= count / 2 && bytes_left <= bytes / 2)
    }

    /// Takes the mark of a publisher that is held back away. True for the one call that does so.
    fn let_go(&self) -> bool {
        self.publications.fetch_and(!HELD, Ordering::Relaxed) & HELD != 0
    }
}
