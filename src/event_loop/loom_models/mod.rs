//! Model checks of the state that threads share with a loop: loom runs every interleaving, and every outcome that the memory
//! model allows, of the types that the product uses.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --lib loom`
//!
//! Beside each check stand planted defects, which it has to find: a check that passes whatever happens proves nothing.

mod acceptor_control;
mod control;
mod handover;
mod loop_shared;
mod places;
mod room;
mod wake_flag;

use std::sync::atomic::AtomicUsize as Tally;
use std::sync::atomic::Ordering::Relaxed as Counted;

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Condvar, Mutex};

/// Checks a model with at most three preemptions at a time, which is where the defects of such protocols are; all of the
/// interleavings of three threads take hours. `LOOM_MAX_PREEMPTIONS` says otherwise.
fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(check);
}

/// The model of a poll. A poll ends for a wake-up, which is kept until a poll has seen it, or for an event of some socket.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
    rings: Tally,
}

impl Bell {
    /// Wakes the poll.
    fn ring(&self) {
        self.rings.fetch_add(1, Counted);
        self.event();
    }

    /// Ends the poll by an event.
    fn event(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }

    /// Waits. As in the product, a poll takes the wake-up with it, so that the next poll needs one of its own.
    fn poll(&self, must_not_sleep: bool) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung && !must_not_sleep {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung = false;
    }

    fn rings(&self) -> usize {
        self.rings.load(Counted)
    }
}

/// The model of a channel. A slot is taken, then filled; a slot that is not filled yet holds up all behind it. The channel
/// orders nothing but the receipt of each item after its sending.
#[derive(Default)]
struct Queue {
    slots: [AtomicBool; 4],
    tail: AtomicUsize,
    head: Tally,
}

impl Queue {
    fn send(&self) {
        let slot = self.tail.fetch_add(1, Ordering::Relaxed);
        self.slots[slot].store(true, Ordering::Release);
    }

    /// Takes an item; only the loop calls it. False if there is none.
    fn try_recv(&self) -> bool {
        let head = self.head.load(Counted);
        let is_filled = self
            .slots
            .get(head)
            .is_some_and(|slot| slot.load(Ordering::Acquire));
        self.head.fetch_add(usize::from(is_filled), Counted);
        is_filled
    }
}
