//! Completions: callbacks that tell the outcome of sending one message, and the queue of those that wait.

use std::collections::VecDeque;
use std::fmt;

use crate::connection::send_status::Refusal;
use crate::shared::callback::{News, call_back};

/// Bytes that an allocation takes beside its contents, at most, as allocators round sizes up and keep a header.
const ALLOCATION_BYTES: usize = 32;
/// The number of places that an empty queue keeps, the least that it allocates: so a connection which has few completions does
/// not allocate for each.
const KEPT: usize = 4;

/// The outcome of sending one message, as its completion is told.
///
/// ```
/// use ringwheel::{Conn, SendOutcome, protocol::Lines};
///
/// fn send_receipt(conn: &mut Conn<'_, Lines>, number: u64) {
///     conn.send_then(&format!("order {number} is placed"), move |outcome| match outcome {
///         SendOutcome::Written => println!("the kernel has the receipt of order {number}"),
///         other => println!("the receipt of order {number} was not sent: {other:?}"),
///     });
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SendOutcome {
    /// All of it was handed to the kernel, which sends it as long as the peer reads.
    Written,
    /// Nothing of it was sent.
    Refused(Refusal),
    /// The connection ended before all of it was sent. Over TLS the peer may have got it all the same: a record that contains it can
    /// have left ahead of others that it was sealed with.
    Lost,
}

/// The callback of one message. It is called exactly once: dropping it uncalled tells [`SendOutcome::Lost`].
pub(crate) struct Completion(Option<Box<dyn FnOnce(SendOutcome) + Send>>);

impl Completion {
    pub(crate) fn new(callback: impl FnOnce(SendOutcome) + Send + 'static) -> Self {
        Completion(Some(Box::new(callback)))
    }

    /// Bytes of the allocation that holds the callback, none if it has captured nothing.
    fn allocated(&self) -> usize {
        match self.0.as_deref().map_or(0, size_of_val) {
            0 => 0,
            bytes => bytes + ALLOCATION_BYTES,
        }
    }

    pub(crate) fn complete(mut self, outcome: SendOutcome) {
        if let Some(callback) = self.0.take() {
            callback(outcome);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(callback) = self.0.take() {
            // It may be dropped because something else panics; a second panic would end the process.
            call_back(News::Refusal, move || callback(SendOutcome::Lost));
        }
    }
}

/// The completions of one connection that wait until their messages are with the kernel, in the order of the messages.
///
/// A peer that sends many small requests and does not read makes them many, so their memory is counted, and freed once none
/// waits.
#[derive(Debug, Default)]
pub(crate) struct Completions {
    /// Each with the end of its message, in bytes of output since the connection opened.
    waiting: VecDeque<(u64, Completion)>,
    /// Bytes of the allocations of all callbacks.
    allocated: usize,
}

impl Completions {
    /// Adds the completion of a message that ends at this position of the output.
    pub(crate) fn push(&mut self, position: u64, completion: Completion) {
        self.allocated += completion.allocated();
        self.waiting.push_back((position, completion));
    }

    /// Takes the first completion out, if its message ends within the first `written` bytes of the output.
    pub(crate) fn pop_written(&mut self, written: u64) -> Option<Completion> {
        if !self.is_due(written) {
            return None;
        }
        self.pop()
    }

    /// Takes the first completion out.
    pub(crate) fn pop(&mut self) -> Option<Completion> {
        let (_, completion) = self.waiting.pop_front()?;
        self.allocated -= completion.allocated();
        if self.waiting.is_empty() && self.waiting.capacity() > KEPT {
            self.waiting = VecDeque::new();
        }
        Some(completion)
    }

    /// True if the message of the first completion ends within the first `written` bytes of the output.
    pub(crate) fn is_due(&self, written: u64) -> bool {
        let first = self.waiting.front();
        first.is_some_and(|(position, _)| *position <= written)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes of memory that the waiting completions take: the queue as it is allocated, and the callbacks.
    pub(crate) fn bytes(&self) -> usize {
        self.queue_bytes() + self.allocated
    }

    /// Bytes of the queue. The few places that an empty one keeps do not count.
    fn queue_bytes(&self) -> usize {
        match self.waiting.len() {
            0 => 0,
            _ => self.waiting.capacity() * size_of::<(u64, Completion)>(),
        }
    }

    /// As [`bytes`](Self::bytes), but added up from all completions, for the simulation.
    #[cfg(test)]
    pub(crate) fn added_up(&self) -> usize {
        let allocated = self.waiting.iter().map(|(_, it)| it.allocated());
        self.queue_bytes() + allocated.sum::<usize>()
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Completion")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A completion that holds 16 bytes, and counts its call.
    fn counting(calls: &Arc<AtomicUsize>) -> Completion {
        let (calls, most) = (calls.clone(), usize::MAX);
        Completion::new(move |_| {
            calls.fetch_add(1.min(most), Ordering::Relaxed);
        })
    }

    #[test]
    fn what_waits_is_counted_and_what_was_called_is_not() {
        let calls = Arc::default();
        let mut completions = Completions::default();
        assert_eq!(completions.bytes(), 0);
        for position in 1..=1_000 {
            completions.push(position, counting(&calls));
            assert_eq!(completions.bytes(), completions.added_up());
        }
        // A place in the queue of 24 bytes, and an allocation for 16.
        let least = 1_000 * (24 + 16 + 32);
        assert!((least..2 * least).contains(&completions.bytes()));
        assert!(completions.pop_written(0).is_none());
        for position in 1..=1_000 {
            let completion = completions.pop_written(position).expect("it is written");
            assert!(completions.pop_written(position).is_none());
            completion.complete(SendOutcome::Written);
            assert_eq!(completions.bytes(), completions.added_up());
        }
        assert_eq!((completions.bytes(), completions.is_empty()), (0, true));
        assert_eq!(completions.waiting.capacity(), 0, "the queue is freed");
        assert_eq!(calls.load(Ordering::Relaxed), 1_000);
    }

    #[test]
    fn a_callback_without_captures_takes_a_place_only() {
        let mut completions = Completions::default();
        completions.push(1, Completion::new(|_| {}));
        assert_eq!(completions.bytes(), 24 * completions.waiting.capacity());
        assert!(completions.pop_written(1).is_some());
        assert_eq!(completions.waiting.capacity(), KEPT, "a short one is kept");
        assert_eq!(completions.bytes(), 0);
    }

    #[test]
    fn what_was_dropped_is_not_counted() {
        let calls = Arc::default();
        let mut completions = Completions::default();
        (0..10).for_each(|position| completions.push(position, counting(&calls)));
        while let Some(completion) = completions.pop() {
            drop(completion);
        }
        assert_eq!(completions.bytes(), 0);
        assert_eq!(calls.load(Ordering::Relaxed), 10);
    }
}
