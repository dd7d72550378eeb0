//! A sender that waits for room in a full mailbox is called once there is room.

use std::sync::{Arc, Mutex};

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::model;
use crate::shared::places::{Charge, Places};
use crate::shared::room::Room;

/// The single place of a mailbox.
trait Place: Send + Sync + 'static {
    fn new() -> Self;
    fn reserve(&self) -> bool;
    fn release(&self);
    fn is_free(&self) -> bool;
}

/// The places, with the charge of the letter that has the only one.
struct Charged(Places, Mutex<Option<Charge>>);

impl Place for Charged {
    fn new() -> Self {
        Charged(Places::new(1, usize::MAX), Mutex::new(None))
    }

    fn reserve(&self) -> bool {
        let charge = self.0.reserve_beside(1, 1, (0, 0));
        let is_taken = charge.is_some();
        if is_taken {
            *self.1.lock().unwrap() = charge;
        }
        is_taken
    }

    fn release(&self) {
        let charge = self.1.lock().unwrap().take();
        self.0.release(charge.expect("a letter has the place"));
    }

    fn is_free(&self) -> bool {
        self.0.has_room()
    }
}

/// One sender waits for the place, another is refused and goes away, and the worker takes the letter that has it.
fn who_waits_is_called<P: Place>() {
    model(|| {
        let place = P::new();
        assert!(place.reserve());
        let mailbox = Arc::new((place, Room::new()));
        let calls = Arc::new(AtomicUsize::new(0));
        let waiter = {
            let (mailbox, calls) = (mailbox.clone(), calls.clone());
            thread::spawn(move || {
                let (place, room) = &*mailbox;
                let call = move || _ = calls.fetch_add(1, Ordering::Relaxed);
                room.wait(Box::new(call), || place.is_free());
            })
        };
        let other = {
            let mailbox = mailbox.clone();
            thread::spawn(move || {
                if mailbox.0.reserve() {
                    read_mail(&mailbox);
                }
            })
        };
        read_mail(&mailbox);
        waiter.join().unwrap();
        other.join().unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 1, "calls of a sender");
    });
}

/// The worker takes a letter.
fn read_mail<P: Place>((place, room): &(P, Room)) {
    place.release();
    room.tell(|| place.is_free());
}

#[test]
fn who_waits_for_room_is_called_once() {
    who_waits_is_called::<Charged>();
}

/// Counts a place and takes that back if there was none: for a moment a mailbox with room looks full.
struct CountedTwice(AtomicUsize);

impl Place for CountedTwice {
    fn new() -> Self {
        CountedTwice(AtomicUsize::new(0))
    }

    fn reserve(&self) -> bool {
        let is_free = self.0.fetch_add(1, Ordering::Relaxed) == 0;
        if !is_free {
            self.release();
        }
        is_free
    }

    fn release(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn is_free(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

#[test]
#[should_panic(expected = "calls of a sender")]
fn a_refusal_that_hides_the_room_is_found() {
    who_waits_is_called::<CountedTwice>();
}
