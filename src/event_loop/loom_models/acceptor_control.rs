//! The acceptor hears of a shutdown and of a stop.

use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use super::{Bell, model};
use crate::accept::control::{AcceptorControl, Course};
use crate::accept::handover::Handover;

/// A shutdown and a stop race against an acceptor that is about to poll.
fn the_acceptor_ends(steer: fn(&AcceptorControl, &Bell, Course)) {
    model(move || {
        let bell = Arc::new(Bell::default());
        let wake = bell.clone();
        let shared = Arc::new(AcceptorControl::new(
            Box::new(move || {
                wake.ring();
                Ok(())
            }),
            Handover::new(1, 1),
        ));
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
