//! The worker that runs on the current thread, and the letters that its callbacks post.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::LoopShared;
use super::batch::Batch;

thread_local! {
    static CURRENT: Cell<Option<usize>> = const { Cell::new(None) };
    static LOOP: Cell<*const LoopShared> = const { Cell::new(std::ptr::null()) };
    static SOURCE: Cell<usize> = const { Cell::new(usize::MAX) };
    static STAMP: Cell<u64> = const { Cell::new(0) };
    static POSTED: Cell<u32> = const { Cell::new(0) };
    static UNSEEN: Cell<bool> = const { Cell::new(false) };
    static LETTER: Cell<bool> = const { Cell::new(false) };
    static CAUSE: Cell<Option<Arc<Batch>>> = const { Cell::new(None) };
    static BATCH: Cell<Option<Arc<Batch>>> = const { Cell::new(None) };
    static CROWDED: Cell<Option<Arc<LoopShared>>> = const { Cell::new(None) };
    static REFUSED_BY: Cell<Option<Arc<LoopShared>>> = const { Cell::new(None) };
}

/// The mail that callbacks have posted since it was [taken](take_mail), besides the worker's mail to itself.
pub(crate) struct PostedMail {
    /// The letters that were taken, if there are any.
    pub(crate) batch: Option<Arc<Batch>>,
    /// A worker whose mailboxes [are crowded](LoopShared::is_crowded), or have refused a letter.
    pub(crate) crowded: Option<Arc<LoopShared>>,
    /// The worker whose mailbox has refused a letter for want of room.
    pub(crate) refused_by: Option<Arc<LoopShared>>,
}

/// The index of the worker that runs on the current thread; `None` on a thread that runs no worker.
///
/// Code that a handler calls can learn its worker from this, such as a logger or a metric.
///
/// ```
/// assert_eq!(ringwheel::current_worker(), None);
/// ```
pub fn current_worker() -> Option<usize> {
    CURRENT.get()
}

/// Notes the worker of the current thread for as long as it runs.
pub(crate) struct CurrentWorker;

impl CurrentWorker {
    /// `shared` is the worker's part that other threads see, by which mail to the worker itself is recognised.
    pub(crate) fn enter(shared: &Arc<LoopShared>) -> Self {
        CURRENT.set(Some(shared.worker));
        LOOP.set(Arc::as_ptr(shared));
        CurrentWorker
    }
}

impl Drop for CurrentWorker {
    fn drop(&mut self) {
        CURRENT.set(None);
        LOOP.set(std::ptr::null());
        take_posts();
        take_mail();
    }
}

/// True if the current thread runs this worker.
pub(crate) fn is_current(shared: &LoopShared) -> bool {
    std::ptr::eq(LOOP.get(), shared)
}

/// True if the current thread runs a worker, so that a callback posts.
pub(crate) fn is_worker() -> bool {
    !LOOP.get().is_null()
}

/// The number of the current thread among all threads that have sent letters.
pub(crate) fn source() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let known = SOURCE.get();
    if known != usize::MAX {
        return known;
    }
    let source = NEXT.fetch_add(1, Ordering::Relaxed);
    SOURCE.set(source);
    source
}

/// A stamp by which this thread's publications and letters are ordered; each is greater than those before it.
pub(crate) fn next_stamp() -> u64 {
    let stamp = STAMP.get() + 1;
    STAMP.set(stamp);
    stamp
}

/// The last stamp that this thread has given.
pub(crate) fn last_stamp() -> u64 {
    STAMP.get()
}

/// Bytes of letters that count as one connection which they reach.
const BYTES_OF_POST: usize = 256;

/// Notes a letter to so many connections, with so many bytes, that the worker of the current thread has posted on behalf of the
/// connection whose callback runs.
pub(crate) fn note_post(to: &Arc<LoopShared>, reach: usize, bytes: usize) {
    if !is_worker() {
        return;
    }
    let posts = reach.max(1).saturating_add(bytes / BYTES_OF_POST);
    let posts = u32::try_from(posts).unwrap_or(u32::MAX);
    POSTED.set(POSTED.get().saturating_add(posts));
    UNSEEN.set(true);
    if to.is_crowded() {
        end_turn();
        CROWDED.set(Some(to.clone()));
    }
}

/// Notes that a mailbox had no room for a letter of the connection whose callback runs. The connection is slowed down, too: to be
/// refused must not be the faster way.
pub(crate) fn note_refusal(by: &Arc<LoopShared>) {
    if !is_worker() {
        return;
    }
    end_turn();
    CROWDED.set(Some(by.clone()));
    REFUSED_BY.set(Some(by.clone()));
}

/// The time in which code runs that a callback has posted in a letter. What the code posts counts as mail of the connection whose callback
/// has posted the letter. The connection that the code is given may be another one, which has caused nothing.
pub(crate) struct PostedCode;

impl PostedCode {
    /// `batch` counts the letter; `None` if the worker has posted it to itself, for the connection whose mail is being carried out.
    pub(crate) fn begin(batch: Option<Arc<Batch>>) -> Self {
        LETTER.set(true);
        CAUSE.set(batch);
        PostedCode
    }
}

impl Drop for PostedCode {
    fn drop(&mut self) {
        LETTER.set(false);
        CAUSE.set(None);
    }
}

/// True while [code of a letter](PostedCode) runs that a callback has posted.
pub(crate) fn runs_posted_code() -> bool {
    LETTER.get()
}

/// Counts a letter among those of the callback that runs; the letter keeps what it gets until it is carried out. `None` on a
/// thread that runs no worker.
///
/// The letters that [posted code](PostedCode) posts get the batch of the code's own letter, which so counts until all of them are carried
/// out.
pub(crate) fn account(letters: usize, bytes: usize) -> Option<Arc<Batch>> {
    if !is_worker() {
        return None;
    }
    if let Some(cause) = CAUSE.take() {
        CAUSE.set(Some(cause.clone()));
        return Some(cause);
    }
    let batch = BATCH.take().unwrap_or_default();
    batch.add(letters, bytes);
    BATCH.set(Some(batch.clone()));
    Some(batch)
}

/// Ends the turn of the connection whose callback runs after this callback, as if it had posted many letters.
pub(crate) fn end_turn() {
    POSTED.set(u32::MAX);
}

/// Number of connections that the letters reach which this worker's callbacks have posted since they were [taken](take_posts), and
/// 1 for each 256 bytes of them; `u32::MAX` if the turn is to end.
#[inline]
pub(crate) fn posted() -> u32 {
    POSTED.get()
}

/// True if a callback has posted a letter that may be to its own connection, and [`note_seen`] was not called since.
#[inline]
pub(crate) fn has_unseen() -> bool {
    UNSEEN.get()
}

/// Notes that something waits for the connection whose callback is about to run, and comes before what that sends.
pub(crate) fn note_unseen() {
    UNSEEN.set(true);
}

/// Notes that all letters of the callback to its own connection have been looked at.
pub(crate) fn note_seen() {
    UNSEEN.set(false);
}

/// Begins to count anew.
pub(crate) fn take_posts() {
    POSTED.set(0);
    UNSEEN.set(false);
}

/// Takes the mail that callbacks have posted, on behalf of the connection whose they were.
pub(crate) fn take_mail() -> PostedMail {
    PostedMail {
        batch: BATCH.take(),
        crowded: CROWDED.take(),
        refused_by: REFUSED_BY.take(),
    }
}
