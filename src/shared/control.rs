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
    /// Letters and publications of the connection that some worker is not done with, in [`PARTS`]; and the marks [`HELD`] and
    /// [`TO_THE_LAST`].
    mail: AtomicUsize,
    /// Bytes of that mail.
    mail_bytes: AtomicUsize,
    /// Number of its publications in topics in which too much waits for slow subscribers.
    holding: AtomicUsize,
}

/// The parts of a letter in which mail is counted. A publication that waits for nothing but slow subscribers counts one of them.
const PARTS: usize = 8;
/// Beside the number of letters: the connection is held back until few of them are left.
const HELD: usize = 1 << (usize::BITS - 1);
/// Beside [`HELD`]: until none is left.
const TO_THE_LAST: usize = 1 << (usize::BITS - 2);
const MARKS: usize = HELD | TO_THE_LAST;

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
    /// The worker that has refused mail of the connection has read mail since.
    pub(crate) const MAIL_READ: Requests = Requests(8);
    /// Little of the connection's mail is left.
    pub(crate) const POSTED: Requests = Requests(16);
    /// Draw again from a source that waits.
    pub(crate) const DRAW: Requests = Requests(32);
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
            mail: AtomicUsize::new(0),
            mail_bytes: AtomicUsize::new(0),
            holding: AtomicUsize::new(0),
        }
    }

    /// Makes a request. False if the connection has ended.
    pub(crate) fn request(&self, request: Requests) -> bool {
        let lasting = match request {
            Requests::CLOSE => Requests::CLOSING.0,
            _ => 0,
        };
        // A connection that has ended may still send what is pending: a request that comes too late must leave nothing behind.
        let add =
            |bits| (!Requests(bits).has(Requests::ENDED)).then_some(bits | request.0 | lasting);
        let outcome = self
            .bits
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
        let Ok(before) = outcome.map(Requests) else {
            return false;
        };
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

    /// True if mail of the connection is on its way, or the news that it is done is.
    #[cfg(test)]
    pub(crate) fn has_mail_on_its_way(&self) -> bool {
        self.exceeds((0, 0)) || Requests(self.bits.load(Ordering::Relaxed)).has(Requests::POSTED)
    }

    /// Counts in letters, or a publication, that the connection's callbacks have posted.
    pub(crate) fn count_mail(&self, letters: usize, bytes: usize) {
        self.mail_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.mail.fetch_add(PARTS * letters, Ordering::Relaxed);
    }

    /// Counts out mail that all workers are done with, and lets a poster go on of whose mail no more than half of the limits is
    /// left.
    pub(crate) fn uncount_mail(&self, letters: usize, bytes: usize, limits: (usize, usize)) {
        self.uncount_parts(PARTS * letters, bytes, limits);
    }

    /// Counts all of a publication out but its bytes and one part, as all subscribers have it but slow ones.
    pub(crate) fn uncount_most(&self, limits: (usize, usize)) {
        self.uncount_parts(PARTS - 1, 0, limits);
    }

    /// Counts the last part of such a publication out, and its bytes.
    pub(crate) fn uncount_rest(&self, bytes: usize, limits: (usize, usize)) {
        self.uncount_parts(1, bytes, limits);
    }

    fn uncount_parts(&self, parts: usize, bytes: usize, limits: (usize, usize)) {
        self.mail_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let before = self.mail.fetch_sub(parts, Ordering::Relaxed);
        let is_held = before & HELD != 0;
        if is_held && self.has_little(before - parts, limits) && self.let_go() {
            self.request(Requests::POSTED);
        }
    }

    /// Counts in a publication that waits in a topic in which too much waits for slow subscribers.
    pub(crate) fn count_holding(&self) {
        self.holding.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts such a publication out.
    pub(crate) fn uncount_holding(&self) {
        self.holding.fetch_sub(1, Ordering::Relaxed);
    }

    /// True if publications hold the connection that wait in topics in which too much waits for slow subscribers.
    pub(crate) fn is_holding(&self) -> bool {
        self.holding.load(Ordering::Relaxed) > 0
    }

    /// True if a poster must be held back until [`Requests::POSTED`] comes: more of its mail is on its way than these limits
    /// allow, or any at all if it `must_wait_for_all`, because a mailbox is filling up, or if a topic in which it has published is.
    pub(crate) fn holds_poster(&self, limits: (usize, usize), must_wait_for_all: bool) -> bool {
        let must_wait_for_all = must_wait_for_all || self.is_holding();
        let (allowed, marks) = match must_wait_for_all {
            true => ((0, 0), MARKS),
            false => (limits, HELD),
        };
        if !self.exceeds(allowed) {
            return false;
        }
        let before = self.mail.fetch_or(marks, Ordering::Relaxed);
        // The last of it may be done meanwhile, with nobody left to tell. If it is this call that lets the poster go, no
        // request comes.
        !(self.has_little(before | marks, limits) && self.let_go())
    }

    /// True if the connection has more mail on its way, or more bytes of it, than these limits allow.
    pub(crate) fn exceeds(&self, (letters, bytes): (usize, usize)) -> bool {
        self.mail.load(Ordering::Relaxed) & !MARKS > letters.saturating_mul(PARTS)
            || self.mail_bytes.load(Ordering::Relaxed) > bytes
    }

    /// Number of the letters on their way, rounded up, and of their bytes.
    pub(crate) fn mail(&self) -> (usize, usize) {
        let parts = self.mail.load(Ordering::Relaxed) & !MARKS;
        (
            parts.div_ceil(PARTS),
            self.mail_bytes.load(Ordering::Relaxed),
        )
    }

    /// True if no more than half of the limits is on its way, or none of it if the marks say so. The count alone tells of the
    /// last.
    fn has_little(&self, marked: usize, (letters, bytes): (usize, usize)) -> bool {
        let left = marked & !MARKS;
        let bytes_left = self.mail_bytes.load(Ordering::Relaxed);
        let is_half = left <= letters.saturating_mul(PARTS) / 2 && bytes_left <= bytes / 2;
        left == 0 || (is_half && marked & TO_THE_LAST == 0)
    }

    /// Takes the marks of a poster that is held back away. True for the one call that does so.
    fn let_go(&self) -> bool {
        self.mail.fetch_and(!MARKS, Ordering::Relaxed) & HELD != 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_comes_after_the_end_leaves_nothing_behind() {
        let (worker, _commands) = LoopShared::new(0, Box::new(|| Ok(())), (1, 1));
        let control = Control::new(worker.clone(), 3);
        assert!(control.request(Requests::DRAW));
        control.end();
        // What was asked for before is still announced.
        assert!(!control.request(Requests::ABORT));
        assert_eq!(worker.take_request(), Some(3));
        assert_eq!(control.take(), Requests::DRAW);
        assert!(!control.request(Requests::ABORT));
        assert_eq!(worker.take_request(), None);
        assert_eq!(control.take(), Requests::default());
        assert!(control.has_ended());
    }
}
