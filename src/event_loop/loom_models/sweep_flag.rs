//! Every cancelled task is forgotten by a sweep.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use super::{Queue, model};
use crate::shared::sweep_flag::SweepFlag;

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

/// A store takes the request back without reading it, so it does not synchronise with an `ask` that found it set.
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
