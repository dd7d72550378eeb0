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
fn each_iteration_does_the_steps_that_begin_in_its_time() {
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
    for steps in [4, 8, 12] {
        assert_eq!(
            worker.openings.timeout(|| Duration::ZERO),
            Some(Duration::ZERO)
        );
        opened.extend(worker.iterate_with(4));
        assert_eq!(done.load(Ordering::Relaxed), steps);
    }
    let order: Vec<IpAddr> = opened.iter().filter_map(|it| it.peer.ip()).collect();
    assert_eq!(order, ips);
    assert_eq!(worker.openings.timeout(|| Duration::ZERO), None);
    worker.assert_left(6);
}

#[test]
fn a_slow_step_is_the_last_of_its_iteration() {
    let mut worker = Worker::new(sealed(Script::default()));
    let made: Vec<Made> = (0..3).map(|_| worker.connect()).collect();
    for made in &made {
        worker.send(made, b"hey");
    }
    for _ in 0..3 {
        assert_eq!(worker.iterate_with(1).len(), 1);
    }
}

/// Some thousand records of one byte each, which cost nothing, took some hundred iterations, and other peers waited for them.
#[test]
fn steps_that_take_no_time_are_all_done_in_one_iteration() {
    let script = Script {
        steps: 500,
        ..Script::default()
    };
    let done = script.done.clone();
    let mut worker = Worker::new(sealed(script));
    let made: Vec<Made> = (0..10).map(|_| worker.connect()).collect();
    for made in &made {
        worker.send(made, b"hey");
    }
    assert_eq!(worker.iterate().len(), 10);
    assert_eq!(done.load(Ordering::Relaxed), 5_000);
}

/// The peers that are open, one after the other, where each iteration has the time for one step.
fn one_by_one(worker: &mut Worker) -> Vec<IpAddr> {
    let mut order = Vec::new();
    while worker.openings.timeout(|| Duration::ZERO) == Some(Duration::ZERO) {
        let opened = worker.iterate_with(1);
        order.extend(opened.iter().filter_map(|opened| opened.peer.ip()));
    }
    order
}

#[test]
fn origins_take_turns() {
    let mut worker = Worker::new(sealed(Script::default()));
    // With IPv6 a network is one origin, and an address of IPv4 may be written as one of IPv6.
    let ips = [
        "10.0.0.1",
        "10.0.0.1",
        "::ffff:10.0.0.1",
        "2001:db8::1",
        "2001:db8::2",
        "10.0.0.2",
    ]
    .map(|ip| ip.parse::<IpAddr>().unwrap());
    let made = ips.map(|ip| worker.connect_from(ip));
    for made in &made {
        worker.send(made, b"hey");
    }
    let [first, second, third, here, there, other] = ips;
    let order = [first, here, other, second, there, third];
    assert_eq!(one_by_one(&mut worker), order);
}

#[test]
fn a_client_takes_its_turn_by_its_own_address_and_not_by_that_of_its_proxy() {
    let terms = OpeningTerms {
        proxies: behind_proxies().proxies,
        ..sealed(Script::default())
    };
    let mut worker = Worker::new(terms);
    let made: Vec<Made> = (0..4).map(|_| worker.connect()).collect();
    let client = |last| format!("PROXY TCP4 192.0.2.{last} 198.51.100.1 56324 443\r\nhey");
    for (made, last) in made.iter().zip([7, 7, 7, 8]) {
        worker.send(made, client(last).as_bytes());
    }
    let order = [7, 8, 7, 7].map(|last| IpAddr::from([192, 0, 2, last]));
    assert_eq!(one_by_one(&mut worker), order);
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
