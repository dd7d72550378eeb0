//! Requests to a connection are announced and never lost, and a publisher that is held back is told to go on.

use std::sync::Arc;

use loom::thread;

use super::{Bell, model};
use crate::shared::LoopShared;
use crate::shared::control::{Control, Requests};

/// The control of a connection on a loop that nobody runs.
fn control() -> (Arc<LoopShared>, Arc<Control>) {
    let bell = Arc::new(Bell::default());
    let wake = Box::new(move || {
        bell.ring();
        Ok(())
    });
    let (shared, _commands) = LoopShared::new(0, wake, (1, 1));
    let control = Arc::new(Control::new(shared.clone(), 7));
    (shared, control)
}

/// Takes the requests that were announced.
fn obey(shared: &LoopShared, control: &Control) -> Vec<Requests> {
    std::iter::from_fn(|| shared.take_request())
        .map(|_| control.take())
        .collect()
}

#[test]
fn every_request_is_announced() {
    model(|| {
        let (shared, control) = control();
        let threads = [Requests::CLOSE, Requests::RESUME].map(|request| {
            let control = control.clone();
            thread::spawn(move || assert!(control.request(request)))
        });
        let mut obeyed = obey(&shared, &control);
        for thread in threads {
            thread.join().unwrap();
        }
        obeyed.extend(obey(&shared, &control));
        for request in [Requests::CLOSE, Requests::RESUME] {
            let count = obeyed.iter().filter(|it| it.has(request)).count();
            assert_eq!(count, 1, "{request:?} in {obeyed:?}");
        }
    });
}

#[test]
fn a_connection_that_ends_takes_each_request_or_refuses_it() {
    model(|| {
        let (shared, control) = control();
        let asks = control.clone();
        let asks = thread::spawn(move || asks.request(Requests::ABORT));
        control.end();
        let is_taken = asks.join().unwrap();
        let obeyed = obey(&shared, &control);
        assert_eq!(obeyed.iter().any(|it| it.has(Requests::ABORT)), is_taken);
    });
}

#[test]
fn a_poster_that_is_held_back_is_told_to_go_on() {
    for (limit, must_wait_for_all) in [(1, false), (64, true)] {
        a_poster_is_told((limit, usize::MAX), must_wait_for_all);
    }
}

fn a_poster_is_told(limits: (usize, usize), must_wait_for_all: bool) {
    model(move || {
        let (shared, control) = control();
        control.count_mail(1, 1);
        control.count_mail(1, 1);
        let worker = control.clone();
        let worker = thread::spawn(move || {
            worker.uncount_mail(1, 1, limits);
            worker.uncount_mail(1, 1, limits);
        });
        let is_held = control.holds_poster(limits, must_wait_for_all);
        worker.join().unwrap();
        let obeyed = obey(&shared, &control);
        let is_told = obeyed.iter().any(|it| it.has(Requests::POSTED));
        assert!(is_told || !is_held, "held back for ever");
    });
}
