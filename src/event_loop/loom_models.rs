//! Model checks of what threads share with a loop: loom runs every interleaving, and every outcome that the memory model
//! allows, of the types that the product uses.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --lib loom`
//!
//! Beside each check stand planted defects, which it has to find: a check that passes whatever is done proves nothing.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize as Tally;
use std::sync::atomic::Ordering::Relaxed as Counted;
use std::time::Duration;

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;

use crate::accept::control::{AcceptorControl, Course};
use crate::connection::send_error::SendError;
use crate::handler::Handler;
use crate::handler::conn::Conn;
use crate::handler::letter::Mail;
use crate::handler::mailbox::Mailbox;
use crate::protocol::Raw;
use crate::shared::LoopShared;
use crate::shared::command::Command;
use crate::shared::places::Places;
use crate::shared::sweep_flag::SweepFlag;
use crate::shared::wake_flag::WakeFlag;

/// Checks a model with at most three preemptions at a time, which is where the defects of such protocols are; all of the
/// interleavings of three threads take hours. `LOOM_MAX_PREEMPTIONS` says otherwise.
fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(check);
}

/// What a poll waits for: it ends for a wake-up, kept until a poll has seen it, or for an event of some socket.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
    rings: Tally,
}

impl Bell {
    /// A wake-up.
    fn ring(&self) {
        self.rings.fetch_add(1, Counted);
        self.event();
    }

    /// Something else that ends a poll.
    fn event(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }

    /// A poll. Like that of the product it takes the wake-up with it, so that a later one has to come by itself.
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

/// As the product's channels: a place is taken, then filled; one that is taken and not filled holds up those behind it.
/// It orders nothing but each item after its sending.
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

    /// For the loop alone. True if there was an item.
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

/// What can be wrong with a wake-up flag.
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
            loom::sync::atomic::fence(Ordering::SeqCst);
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
            loom::sync::atomic::fence(Ordering::SeqCst);
        }
        something_waits()
    }

    fn woke_up(&self) {
        self.awake.store(true, Ordering::Relaxed);
    }
}

/// A loop and what others see of it, put together as [`LoopShared`] and the mailbox do.
struct SmallLoop<F> {
    flag: F,
    places: Places,
    queue: Queue,
    bell: Bell,
}

impl<F: Flag> SmallLoop<F> {
    fn new() -> Arc<Self> {
        Arc::new(SmallLoop {
            flag: F::default(),
            places: Places::new(usize::MAX),
            queue: Queue::default(),
            bell: Bell::default(),
        })
    }

    fn put(&self) {
        assert!(self.places.reserve());
        self.queue.send();
        self.flag.notify(|| self.bell.ring());
    }

    /// Runs until it has taken so many items. Returns how often it prepared to sleep.
    fn run(&self, items: usize) -> usize {
        let (mut taken, mut sleeps) = (0, 0);
        while taken < items {
            sleeps += 1;
            let something_waits = self.flag.prepare_to_sleep(|| self.places.taken() > 0);
            self.bell.poll(something_waits);
            self.flag.woke_up();
            let before = taken;
            while self.places.taken() > 0 && self.queue.try_recv() {
                self.places.release(1);
                taken += 1;
            }
            if something_waits && taken == before {
                // It was counted and is not in the queue yet.
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
        // It runs already; otherwise it could be woken once before it first goes to sleep.
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
        assert_eq!(small.places.taken(), 0);
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

/// Threads take a place each, and give it back, if they get one: no more than the limit may have one at a time.
fn no_more_than_the_limit<P: Send + Sync + 'static>(
    threads: usize,
    limit: usize,
    new: fn(usize) -> P,
    reserve: fn(&P) -> bool,
    release: fn(&P),
) {
    model(move || {
        let places = Arc::new((new(limit), AtomicUsize::new(0)));
        let take_one = move |(places, occupied): &(P, AtomicUsize)| {
            let admitted = reserve(places);
            if admitted {
                assert!(
                    occupied.fetch_add(1, Ordering::Relaxed) < limit,
                    "past the limit"
                );
                occupied.fetch_sub(1, Ordering::Relaxed);
                release(places);
            }
            admitted
        };
        let takers: Vec<_> = (0..threads)
            .map(|_| {
                let places = places.clone();
                thread::spawn(move || take_one(&places))
            })
            .collect();
        let mut admitted = 0;
        for taker in takers {
            admitted += usize::from(taker.join().unwrap());
        }
        assert!(admitted >= limit.min(threads), "refused in spite of room");
        let is_free = (0..limit).all(|_| reserve(&places.0));
        assert!(is_free, "a place was lost");
        assert!(!reserve(&places.0), "a place too many");
    });
}

#[test]
fn the_mailbox_limit_holds_and_no_place_is_lost() {
    for (threads, limit) in [(3, 1), (3, 2)] {
        no_more_than_the_limit(threads, limit, Places::new, Places::reserve, |places| {
            places.release(1);
        });
    }
}

#[test]
#[should_panic(expected = "past the limit")]
fn a_limit_that_is_looked_at_and_then_counted_is_found() {
    let new = |limit| (AtomicUsize::new(0), limit);
    let reserve = |(taken, limit): &(AtomicUsize, usize)| {
        let has_room = taken.load(Ordering::Relaxed) < *limit;
        if has_room {
            taken.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    };
    no_more_than_the_limit(2, 1, new, reserve, |(taken, _)| {
        taken.fetch_sub(1, Ordering::Relaxed);
    });
}

/// Two tasks are cancelled by two threads while the loop sweeps when it is told to. In the end both are forgotten.
fn what_is_cancelled_is_forgotten<S: Send + Sync + 'static>(
    new: fn() -> S,
    ask: fn(&S) -> bool,
    sweep: fn(&S, &mut dyn FnMut()),
) {
    struct Tasks<S> {
        cancelled: [AtomicBool; 2],
        sweeps: Queue,
        flag: S,
    }
    model(move || {
        let tasks = Arc::new(Tasks {
            cancelled: Default::default(),
            sweeps: Queue::default(),
            flag: new(),
        });
        let cancel = move |tasks: &Tasks<S>, index: usize| {
            // As `TaskHandle::cancel`.
            assert!(!tasks.cancelled[index].swap(true, Ordering::AcqRel));
            if ask(&tasks.flag) {
                tasks.sweeps.send();
            }
        };
        let threads = [0, 1].map(|index| {
            let tasks = tasks.clone();
            thread::spawn(move || cancel(&tasks, index))
        });
        let mut forgotten = [false; 2];
        let mut obey = || {
            while tasks.sweeps.try_recv() {
                sweep(&tasks.flag, &mut || {
                    for (index, cancelled) in tasks.cancelled.iter().enumerate() {
                        forgotten[index] |= cancelled.load(Ordering::Acquire);
                    }
                });
            }
        };
        obey();
        for thread in threads {
            thread.join().unwrap();
        }
        // Nothing but what was asked for: a task that no sweep covers is kept until it is due.
        obey();
        assert_eq!(forgotten, [true; 2], "a cancelled task was kept");
    });
}

#[test]
fn every_cancelled_task_is_swept() {
    what_is_cancelled_is_forgotten(SweepFlag::new, SweepFlag::ask, |flag, forget| {
        flag.begin();
        forget();
    });
}

/// The request is taken back by a store, which does not see what those wrote who found it under way.
#[test]
#[should_panic(expected = "a cancelled task was kept")]
fn a_sweep_that_begins_with_a_store_is_found() {
    what_is_cancelled_is_forgotten(
        AtomicBool::default,
        |asked| !asked.swap(true, Ordering::AcqRel),
        |asked, forget| {
            asked.store(false, Ordering::Release);
            forget();
        },
    );
}

#[test]
#[should_panic(expected = "a cancelled task was kept")]
fn a_request_that_is_taken_back_after_the_sweep_is_found() {
    what_is_cancelled_is_forgotten(
        AtomicBool::default,
        |asked| !asked.swap(true, Ordering::AcqRel),
        |asked, forget| {
            forget();
            asked.swap(false, Ordering::AcqRel);
        },
    );
}

/// A shutdown and a stop race against an acceptor that is about to poll.
fn the_acceptor_ends(steer: fn(&AcceptorControl, &Bell, Course)) {
    model(move || {
        let bell = Arc::new(Bell::default());
        let wake = bell.clone();
        let shared = Arc::new(AcceptorControl::new(Box::new(move || {
            wake.ring();
            Ok(())
        })));
        let draining = Course::Drain(Duration::from_secs(1));
        let threads = [draining, Course::Stop].map(|course| {
            let (shared, bell) = (shared.clone(), bell.clone());
            thread::spawn(move || steer(&shared, &bell, course))
        });
        // As `Acceptor::run`: the course, then the poll.
        let seen = loop {
            match shared.course() {
                Course::Accept => bell.poll(false),
                later => break later,
            }
        };
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(shared.course() >= seen, "a course was taken back");
        assert_eq!(shared.course(), Course::Stop);
    });
}

#[test]
fn the_acceptor_hears_of_a_shutdown_and_of_a_stop() {
    the_acceptor_ends(|shared, _, course| shared.steer(course));
}

#[test]
#[should_panic(expected = "deadlock")]
fn an_acceptor_woken_before_its_course_is_set_is_found() {
    the_acceptor_ends(|shared, bell, course| {
        bell.ring();
        shared.set_course(course);
    });
}

/// What others see of a loop, with a bell for its poll.
fn shared_loop(
    mailbox_limit: usize,
) -> (
    Arc<LoopShared>,
    crossbeam_channel::Receiver<Command>,
    Arc<Bell>,
) {
    let bell = Arc::new(Bell::default());
    let wake = bell.clone();
    let wake = Box::new(move || {
        wake.ring();
        Ok(())
    });
    let (shared, commands) = LoopShared::new(0, wake, mailbox_limit);
    (shared, commands, bell)
}

/// The whole, as the product has it: commands of two threads, and the loop that obeys them. The channel's own steps are
/// not interleaved; the checks above do that.
#[test]
fn every_command_reaches_the_loop() {
    model(|| {
        let (shared, commands, bell) = shared_loop(1);
        let threads = [Command::Sweep, Command::Stop].map(|command| {
            let shared = shared.clone();
            thread::spawn(move || assert!(shared.command(command).is_ok()))
        });
        let mut obeyed = 0;
        while obeyed < threads.len() {
            bell.poll(shared.prepare_to_sleep());
            shared.woke_up();
            while shared.has_commands() && commands.try_recv().is_ok() {
                shared.command_taken();
                obeyed += 1;
            }
        }
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(!shared.has_commands());
    });
}

struct Nobody;

impl Handler for Nobody {
    type Protocol = Raw;
    type Session = ();
    fn on_open(&mut self, _: &mut Conn<'_, Raw>) {}
    fn on_message(&mut self, _: &mut Conn<'_, Raw>, _: &mut (), _: &[u8]) {}
}

/// Two threads put a letter into a mailbox that holds one. What is taken is read, what is refused comes back, and the
/// mailbox is empty in the end.
#[test]
fn every_letter_is_read_or_comes_back() {
    model(|| {
        let (shared, _commands, bell) = shared_loop(1);
        let (mailbox, letters) = Mailbox::<Nobody>::new(shared.clone());
        let mailbox = Arc::new(mailbox);
        let threads = [(), ()].map(|()| {
            let mailbox = mailbox.clone();
            thread::spawn(move || match mailbox.put(Mail::Each(Arc::new(|_, _| {}))) {
                Ok(()) => 1,
                Err(error) => {
                    assert!(matches!(error, SendError::Full(_)));
                    0
                }
            })
        });
        // One of them finds room, and without its wake-up this does not end.
        let mut read = 0;
        while read == 0 {
            bell.poll(shared.prepare_to_sleep());
            shared.woke_up();
            while letters.try_recv().is_ok() {
                shared.release_places(1);
                read += 1;
            }
        }
        let put: usize = threads.map(|thread| thread.join().unwrap()).iter().sum();
        while letters.try_recv().is_ok() {
            shared.release_places(1);
            read += 1;
        }
        assert_eq!(read, put);
        assert_eq!(shared.letters(), 0);
    });
}
