//! No wake-up is lost, and none is made twice.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use loom::thread;

use super::{Bell, Queue, model};
use crate::shared::wake_flag::WakeFlag;

/// A wake-up flag, right or wrong.
trait Flag: Default + Send + Sync + 'static {
    fn notify(&self, wake: impl FnOnce());
    fn prepare_to_sleep(&self, something_waits: impl FnOnce() -> bool) -> bool;
    fn woke_up(&self);
}

impl Default for WakeFlag {
    fn default() -> Self {
        WakeFlag::new()
    }
}

impl Flag for WakeFlag {
    fn notify(&self, wake: impl FnOnce()) {
        self.notify(wake);
    }

    fn prepare_to_sleep(&self, something_waits: impl FnOnce() -> bool) -> bool {
        self.prepare_to_sleep(something_waits)
    }

    fn woke_up(&self) {
        self.woke_up();
    }
}

/// The defects that are planted in a wake-up flag.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Planted {
    NoFenceInNotify,
    NoFenceBeforeSleep,
    LooksBeforeLowering,
    NotCoalesced,
}

const NO_FENCE_IN_NOTIFY: u8 = Planted::NoFenceInNotify as u8;
const NO_FENCE_BEFORE_SLEEP: u8 = Planted::NoFenceBeforeSleep as u8;
const LOOKS_BEFORE_LOWERING: u8 = Planted::LooksBeforeLowering as u8;
const NOT_COALESCED: u8 = Planted::NotCoalesced as u8;

/// The wake-up flag with one thing changed.
#[derive(Default)]
struct Wrong<const PLANTED: u8> {
    awake: AtomicBool,
}

impl<const PLANTED: u8> Flag for Wrong<PLANTED> {
    fn notify(&self, wake: impl FnOnce()) {
        if PLANTED != NO_FENCE_IN_NOTIFY {
            fence(Ordering::SeqCst);
        }
        if self.awake.load(Ordering::Relaxed) {
            return;
        }
        let raised = self
            .awake
            .compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed);
        if raised.is_ok() || PLANTED == NOT_COALESCED {
            wake();
        }
    }

    fn prepare_to_sleep(&self, something_waits: impl FnOnce() -> bool) -> bool {
        if PLANTED == LOOKS_BEFORE_LOWERING {
            let something_waits = something_waits();
            self.awake.store(false, Ordering::SeqCst);
            return something_waits;
        }
        self.awake.store(false, Ordering::Relaxed);
        if PLANTED != NO_FENCE_BEFORE_SLEEP {
            fence(Ordering::SeqCst);
        }
        something_waits()
    }

    fn woke_up(&self) {
        self.awake.store(true, Ordering::Relaxed);
    }
}

/// A loop and the state that it shares, put together as [`LoopShared`](crate::shared::LoopShared) and the mailbox do.
struct SmallLoop<F> {
    flag: F,
    places: AtomicUsize,
    queue: Queue,
    bell: Bell,
}

impl<F: Flag> SmallLoop<F> {
    fn new() -> Arc<Self> {
        Arc::new(SmallLoop {
            flag: F::default(),
            places: AtomicUsize::new(0),
            queue: Queue::default(),
            bell: Bell::default(),
        })
    }

    fn put(&self) {
        self.places.fetch_add(1, Ordering::Relaxed);
        self.queue.send();
        self.flag.notify(|| self.bell.ring());
    }

    /// Runs until it has taken the given number of items. Returns the number of times that it prepared to sleep.
    fn run(&self, items: usize) -> usize {
        let (mut taken, mut sleeps) = (0, 0);
        while taken < items {
            sleeps += 1;
            let something_waits = self
                .flag
                .prepare_to_sleep(|| self.places.load(Ordering::Relaxed) > 0);
            self.bell.poll(something_waits);
            self.flag.woke_up();
            let before = taken;
            while self.places.load(Ordering::Relaxed) > 0 && self.queue.try_recv() {
                self.places.fetch_sub(1, Ordering::Relaxed);
                taken += 1;
            }
            if something_waits && taken == before {
                // An item was counted and is not in the queue yet.
                thread::yield_now();
            }
        }
        sleeps
    }
}

/// Threads put one item each while the loop runs; `events` end its polls meanwhile.
fn everything_put_is_taken<F: Flag>(senders: usize, events: usize) {
    model(move || {
        let small = SmallLoop::<F>::new();
        // The loop runs already; otherwise it could be woken once before it first goes to sleep.
        small.flag.woke_up();
        let mut threads: Vec<_> = (0..senders)
            .map(|_| {
                let small = small.clone();
                thread::spawn(move || small.put())
            })
            .collect();
        if events > 0 {
            let small = small.clone();
            threads.push(thread::spawn(move || {
                (0..events).for_each(|_| small.bell.event());
            }));
        }
        // A lost wake-up is a deadlock, which loom reports.
        let sleeps = small.run(senders);
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(small.bell.rings() <= sleeps, "woken more often than asleep");
        assert_eq!(small.places.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn no_wake_up_is_lost_and_none_is_made_twice() {
    everything_put_is_taken::<WakeFlag>(2, 0);
}

#[test]
fn no_wake_up_is_lost_among_other_events() {
    everything_put_is_taken::<WakeFlag>(1, 1);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_missing_fence_in_notify_is_found() {
    everything_put_is_taken::<Wrong<NO_FENCE_IN_NOTIFY>>(1, 1);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_missing_fence_before_the_sleep_is_found() {
    everything_put_is_taken::<Wrong<NO_FENCE_BEFORE_SLEEP>>(1, 1);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_flag_lowered_after_the_look_is_found() {
    everything_put_is_taken::<Wrong<LOOKS_BEFORE_LOWERING>>(1, 1);
}

#[test]
#[should_panic(expected = "woken more often than asleep")]
fn two_wake_ups_of_one_sleep_are_found() {
    everything_put_is_taken::<Wrong<NOT_COALESCED>>(2, 0);
}
