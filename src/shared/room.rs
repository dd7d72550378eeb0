//! Senders that wait until a full mailbox has room again.

use std::sync::PoisonError;

use crate::shared::callback::{News, call_back};
use crate::shared::sync::atomic::{AtomicBool, Ordering, fence};
use crate::shared::sync::{Mutex, MutexGuard};

/// Called once when there is room.
pub(crate) type RoomCallback = Box<dyn FnOnce() + Send>;

/// The callbacks of the senders that wait for room in a worker's mailboxes.
pub(crate) struct Room {
    /// True while a callback waits, so that a worker whose senders do not wait takes no lock.
    is_awaited: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    callbacks: Vec<RoomCallback>,
    /// The worker has ended: nobody waits for it any more.
    has_ended: bool,
}

impl Room {
    pub(crate) fn new() -> Self {
        Room {
            is_awaited: AtomicBool::new(false),
            waiting: Mutex::new(Waiting::default()),
        }
    }

    /// Keeps a callback until there is room. If there is room already, or the worker has ended, it is called at once.
    pub(crate) fn wait(&self, callback: RoomCallback, has_room: impl Fn() -> bool) {
        {
            let mut waiting = self.lock();
            if !waiting.has_ended {
                waiting.callbacks.push(callback);
                self.is_awaited.store(true, Ordering::Relaxed);
            } else {
                drop(waiting);
                return call_back(News::Refusal, callback);
            }
        }
        // Pairs with the fence in `tell`: either this sees the places that the worker has just released, or the worker sees
        // that somebody waits.
        fence(Ordering::SeqCst);
        if has_room() {
            self.call_all(News::Progress);
        }
    }

    /// Calls the callbacks if there is room. The worker does so after it has released places.
    pub(crate) fn tell(&self, has_room: impl Fn() -> bool) {
        fence(Ordering::SeqCst);
        if self.is_awaited.load(Ordering::Relaxed) && has_room() {
            self.call_all(News::Progress);
        }
    }

    /// The worker ends: calls the callbacks, whose senders then find it closed.
    pub(crate) fn end(&self) {
        self.lock().has_ended = true;
        self.call_all(News::Refusal);
    }

    /// True once the worker has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.lock().has_ended
    }

    fn call_all(&self, news: News) {
        let callbacks = {
            let mut waiting = self.lock();
            self.is_awaited.store(false, Ordering::Relaxed);
            std::mem::take(&mut waiting.callbacks)
        };
        // Without the lock, since a callback may send, be refused, and wait again.
        callbacks
            .into_iter()
            .for_each(|callback| call_back(news, callback));
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Both fields are whole after every statement, so a panic elsewhere does not spoil them.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    fn counter() -> (Arc<AtomicUsize>, impl Fn() -> RoomCallback) {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let make = move || {
            let calls = counted.clone();
            let callback: RoomCallback = Box::new(move || {
                calls.fetch_add(1, Ordering::Relaxed);
            });
            callback
        };
        (calls, make)
    }

    #[test]
    fn a_callback_is_called_once_when_there_is_room() {
        let (calls, callback) = counter();
        let (room, has_room) = (Room::new(), Cell::new(false));
        room.wait(callback(), || has_room.get());
        room.tell(|| has_room.get());
        assert_eq!(calls.load(Ordering::Relaxed), 0);
        has_room.set(true);
        room.tell(|| has_room.get());
        room.tell(|| has_room.get());
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn nobody_waits_where_there_is_room_or_no_worker() {
        let (calls, callback) = counter();
        let room = Room::new();
        room.wait(callback(), || true);
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        room.wait(callback(), || false);
        room.end();
        assert_eq!(calls.load(Ordering::Relaxed), 2);
        room.wait(callback(), || false);
        assert_eq!(calls.load(Ordering::Relaxed), 3);
    }
}
