//! The handshake, and the words to a peer with which it fails.

use super::*;
use std::sync::atomic::Ordering;

#[test]
fn bytes_behind_the_handshake_belong_to_the_seal() {
    let all = b"heyhello";
    for cut in 0..=all.len() {
        let mut worker = Worker::new(sealed(Script::default()));
        let made = worker.connect();
        let mut opened = Vec::new();
        for piece in [&all[..cut], &all[cut..]] {
            worker.send(&made, piece);
            opened.extend(worker.iterate());
        }
        assert_eq!(opened.len(), 1, "cut at {cut}");
        assert!(opened[0].wire.has_received());
        assert_eq!(read_all(&mut opened[0]), b"hello");
        assert_eq!(made.peer.line().written, b"ok");
        worker.assert_left(1);
    }
}

#[test]
fn answers_that_the_socket_does_not_take_leave_with_the_connection() {
    let answer: Vec<u8> = (0..100).collect();
    let script = Script {
        answer: answer.clone(),
        ..Script::default()
    };
    let mut worker = Worker::new(sealed(script));
    let made = worker.connect();
    made.peer.line().room = 30;
    worker.send(&made, b"hey");
    let mut opened = worker.opened();
    assert!(opened.wire.has_unsent());
    assert_eq!(made.peer.line().written, answer[..30]);
    made.peer.line().room = 1000;
    opened.wire.push_unsent().unwrap();
    assert_eq!(made.peer.line().written, answer);
}

#[test]
fn each_iteration_does_some_steps_and_the_first_come_first() {
    let script = Script {
        steps: 2,
        ..Script::default()
    };
    let done = script.done.clone();
    let mut worker = Worker::new(sealed(script));
    let ips: Vec<IpAddr> = (1..=6).map(|last| [10, 0, 0, last].into()).collect();
    let made: Vec<Made> = ips.iter().map(|ip| worker.connect_from(*ip)).collect();
    for made in &made {
        worker.send(made, b"hey");
    }
    assert_eq!(done.load(Ordering::Relaxed), 0, "events do no step");
    let mut opened = Vec::new();
    for iteration in 1..=3 {
        assert_eq!(
            worker.openings.timeout(|| Duration::ZERO),
            Some(Duration::ZERO)
        );
        opened.extend(worker.iterate());
        assert_eq!(
            done.load(Ordering::Relaxed),
            iteration * HANDSHAKES_PER_ITERATION
        );
    }
    let order: Vec<IpAddr> = opened.iter().filter_map(|it| it.peer.ip()).collect();
    assert_eq!(order, ips);
    assert_eq!(worker.openings.timeout(|| Duration::ZERO), None);
    worker.assert_left(6);
}

#[test]
fn a_slow_step_is_the_last_of_its_iteration() {
    let script = Script::default();
    let done = script.done.clone();
    let mut worker = Worker::new(sealed(script));
    let made: Vec<Made> = (0..3).map(|_| worker.connect()).collect();
    for made in &made {
        worker.send(made, b"hey");
    }
    for steps in 1..=3 {
        let now = worker.now;
        worker.openings.serve(now, || now + HANDSHAKE_TIME);
        assert_eq!(done.load(Ordering::Relaxed), steps);
    }
}

#[test]
fn a_peer_whose_handshake_fails_hears_why_before_the_close() {
    let mut worker = Worker::new(sealed(Script::default()));
    let made = worker.connect();
    made.peer.line().room = 2;
    worker.send(&made, b"bad");
    worker.iterate();
    assert_eq!(worker.stats().handshakes_failed, 1);
    made.peer.send(b"more");
    worker.event(&made, true);
    assert!(!made.peer.line().is_shut, "the words have not left");
    made.peer.line().room = 100;
    worker.event(&made, false);
    assert_eq!(made.peer.line().written, b"alert");
    assert!(made.peer.line().is_shut && made.peer.line().arrived.is_empty());
    made.peer.line().has_ended = true;
    worker.event(&made, true);
    assert!(made.peer.is_closed());
    assert_eq!(worker.stats().handshakes_failed, 1);
    worker.assert_left(0);
}

#[test]
fn the_wait_for_such_a_peer_is_short() {
    let mut worker = Worker::new(sealed(Script::default()));
    let made = worker.connect();
    worker.send(&made, b"bad");
    worker.iterate();
    for millisecond in [500, 999] {
        worker.now = Duration::from_millis(millisecond);
        worker.send(&made, b"more");
        worker.iterate();
        assert!(!made.peer.line().is_dropped);
    }
    worker.iterate_at(LINGER);
    assert!(made.peer.is_closed());
    assert_eq!(worker.stats().openings_late, 0);
    worker.assert_left(0);
}

#[test]
fn words_that_the_socket_does_not_take_wait_until_the_deadline() {
    let mut worker = Worker::new(sealed(Script::default()));
    let made = worker.connect();
    made.peer.line().room = 0;
    worker.send(&made, b"bad");
    worker.iterate();
    worker.iterate_at(Duration::from_secs(9));
    assert!(!made.peer.line().is_dropped);
    worker.iterate_at(Duration::from_secs(10));
    assert!(made.peer.line().is_dropped);
    worker.assert_left(0);
}

#[test]
fn a_flood_behind_a_failed_handshake_is_not_read_for_ever() {
    let mut worker = Worker::new(sealed(Script::default()));
    let made = worker.connect();
    worker.send(&made, b"bad");
    made.peer.send(&vec![0; 1 << 20]);
    worker.iterate();
    assert!(made.peer.line().is_dropped);
    assert!(made.peer.line().arrived.len() > 900_000);
    worker.assert_left(0);
}

#[test]
fn a_panic_ends_one_opening() {
    let mut worker = Worker::new(sealed(Script::default()));
    let (broken, other) = (worker.connect(), worker.connect());
    worker.send(&broken, b"bug");
    worker.send(&other, b"hey");
    worker.opened();
    assert!(broken.peer.is_reset());
    assert_eq!(worker.stats().handshakes_failed, 1);
    worker.assert_left(1);
}

#[test]
fn a_handshake_that_cannot_begin_has_failed() {
    let script = Script {
        does_not_begin: true,
        ..Script::default()
    };
    let mut worker = Worker::new(sealed(script));
    let made = worker.connect();
    made.peer.line().has_ended = true;
    worker.send(&made, b"hey");
    worker.iterate();
    assert!(made.peer.is_closed());
    assert_eq!(worker.stats().handshakes_failed, 1);
    worker.assert_left(0);
}

#[test]
fn a_peer_that_leaves_within_the_handshake_is_counted_apart() {
    for sent in [&b""[..], b"he"] {
        let mut worker = Worker::new(sealed(Script::default()));
        let made = worker.connect();
        made.peer.line().has_ended = true;
        worker.send(&made, sent);
        worker.iterate();
        assert!(made.peer.line().is_dropped);
        assert_eq!(worker.stats().openings_abandoned, 1);
        worker.assert_left(0);
    }
}

#[test]
fn a_handshake_that_ends_with_the_stream_is_done() {
    let mut worker = Worker::new(sealed(Script::default()));
    let made = worker.connect();
    made.peer.line().has_ended = true;
    worker.send(&made, b"heyhello");
    let mut opened = worker.opened();
    assert_eq!(read_all(&mut opened), b"hello");
    assert!(opened.wire.was_cut_off());
}
