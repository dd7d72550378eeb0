//! The deadline, where the loop is late: what has arrived by then counts, and nothing else.

use super::*;

const DEADLINE: Duration = Duration::from_secs(10);

fn steps(steps: usize) -> OpeningTerms {
    sealed(Script {
        steps,
        ..Script::default()
    })
}

#[test]
fn what_no_event_has_told_counts_at_the_deadline() {
    for (terms, bytes) in [(behind_proxies(), LINE), (steps(1), &b"hey"[..])] {
        let mut worker = Worker::new(terms);
        let made = worker.connect();
        made.peer.send(bytes);
        let opened = worker.iterate_at(DEADLINE * 2);
        assert_eq!(opened.len(), 1);
        assert!(!made.peer.line().is_dropped);
        assert_eq!(worker.stats().openings_late, 0);
        worker.assert_left(1);
    }
}

#[test]
fn what_does_not_suffice_at_the_deadline_is_late() {
    for (terms, bytes) in [(behind_proxies(), &LINE[..20]), (steps(1), &b"he"[..])] {
        let mut worker = Worker::new(terms);
        let made = worker.connect();
        made.peer.send(bytes);
        assert!(worker.iterate_at(DEADLINE).is_empty());
        // The look at two bytes of a handshake is a step, and no second one follows.
        assert!(made.peer.is_reset());
        assert_eq!(worker.stats().openings_late, 1);
        worker.assert_left(0);
    }
}

#[test]
fn handshakes_that_wait_for_the_worker_are_done_behind_the_deadline_in_their_turn() {
    let mut worker = Worker::new(steps(1));
    let made: Vec<Made> = (0..10).map(|_| worker.connect()).collect();
    for (index, made) in made.iter().enumerate() {
        made.peer.send(b"hey");
        if index % 2 == 0 {
            worker.event(made, true);
        }
    }
    for done in [4, 4, 2] {
        worker.now = DEADLINE;
        assert_eq!(worker.iterate_with(4).len(), done);
    }
    assert_eq!(worker.stats().openings_late, 0);
    worker.assert_left(10);
}

#[test]
fn bytes_that_come_behind_the_deadline_give_no_time() {
    let mut worker = Worker::new(steps(1));
    let made: Vec<Made> = (0..5).map(|_| worker.connect()).collect();
    for made in &made {
        worker.send(made, b"he");
    }
    worker.now = DEADLINE;
    worker.iterate_with(4);
    let last = &made[4];
    assert!(!last.peer.line().is_dropped, "it waits for the worker");
    worker.send(last, b"y");
    assert_eq!(last.peer.line().arrived.len(), 1);
    assert!(worker.iterate().is_empty() && last.peer.is_reset());
    assert_eq!(worker.stats().openings_late, 5);
    worker.assert_left(0);
}

#[test]
fn the_end_of_a_drain_allows_no_look() {
    let mut worker = Worker::new(steps(1));
    let made: Vec<Made> = (0..6).map(|_| worker.connect()).collect();
    for made in &made {
        worker.send(made, b"hey");
    }
    worker.now = DEADLINE - Duration::from_secs(1);
    worker
        .openings
        .begin_drain(Duration::from_secs(2), worker.now);
    // At its own deadline one waits on for the worker, and at the end of the drain none does.
    worker.now = DEADLINE;
    assert_eq!(worker.iterate_with(4).len(), 4);
    let end = DEADLINE + Duration::from_secs(1);
    assert!(worker.iterate_at(end).is_empty());
    assert!(made[4].peer.is_reset() && made[5].peer.is_reset());
    worker.assert_left(4);
}

#[test]
fn a_handshake_that_fails_at_the_last_look_has_time_for_its_last_words() {
    let mut worker = Worker::new(steps(1));
    let made = worker.connect();
    made.peer.line().room = 2;
    made.peer.send(b"bad");
    worker.iterate_at(DEADLINE);
    assert!(!made.peer.line().is_dropped);
    made.peer.line().room = 100;
    worker.event(&made, false);
    assert_eq!(made.peer.line().written, b"alert");
    worker.iterate_at(DEADLINE + LINGER);
    assert!(made.peer.is_closed());
    assert_eq!(worker.stats().handshakes_failed, 1);
    worker.assert_left(0);
}
