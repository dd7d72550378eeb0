//! An acceptor that waits until a worker has room is woken.

use std::sync::Arc;

use loom::thread;

use super::{Bell, model};
use crate::accept::handover::Handover;

/// The only worker is full, and adopts a connection while the acceptor goes to sleep.
fn the_acceptor_goes_on(count_out: fn(&Handover) -> bool) {
    model(move || {
        let bell = Arc::new(Bell::default());
        let handover = Arc::new(Handover::new(1, 1));
        assert!(handover.count_in(0));
        let worker = {
            let (bell, handover) = (bell.clone(), handover.clone());
            thread::spawn(move || {
                if count_out(&handover) {
                    bell.ring();
                }
            })
        };
        while handover.must_wait() {
            bell.poll(false);
        }
        worker.join().unwrap();
    });
}

#[test]
fn an_acceptor_that_waits_for_room_is_woken() {
    the_acceptor_goes_on(|handover| handover.count_out(0));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_worker_that_looks_for_the_acceptor_too_early_is_found() {
    the_acceptor_goes_on(|handover| {
        let must_wake = handover.ends_wait(0);
        handover.take_out(0);
        must_wake
    });
}
