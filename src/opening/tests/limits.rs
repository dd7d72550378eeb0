//! Limits, the drain, and the end.

use super::*;

fn steps(steps: usize) -> OpeningTerms {
    sealed(Script {
        steps,
        ..Script::default()
    })
}

#[test]
fn a_handshake_has_a_limit_of_bytes() {
    let mut worker = Worker::new(sealed(Script {
        greedy: true,
        ..Script::default()
    }));
    let made = worker.connect();
    let most = stages::RECEIVED_MAX;
    worker.send(&made, &vec![7; most - 1]);
    worker.iterate();
    assert!(!made.peer.line().is_dropped);
    worker.send(&made, &[7; 100]);
    worker.iterate();
    assert!(made.peer.is_reset());
    assert_eq!(
        made.peer.line().arrived.len(),
        99,
        "bytes are not read beyond it"
    );
    assert_eq!(worker.stats().handshakes_failed, 1);
    worker.assert_left(0);
}

#[test]
fn bytes_behind_a_handshake_do_not_count_against_it() {
    let mut worker = Worker::new(sealed(Script::default()));
    let made = worker.connect();
    let all = [b"hey", &vec![7; 100_000][..]].concat();
    worker.send(&made, &all);
    let mut opened = worker.opened();
    assert_eq!(read_all(&mut opened).len(), 100_000);
}

#[test]
fn the_one_without_progress_for_longest_gives_way() {
    let terms = OpeningTerms {
        proxies: behind_proxies().proxies,
        ..sealed(Script::default())
    };
    let mut worker = Worker::with_limits(terms, 2, None);
    let (first, second) = (worker.connect(), worker.connect());
    // A whole header is progress, and a byte is none.
    worker.send(&first, LINE);
    worker.send(&second, &LINE[..5]);
    let third = worker.connect();
    assert!(second.peer.is_reset() && !first.peer.line().is_dropped);
    let _fourth = worker.connect();
    assert!(first.peer.is_reset() && !third.peer.line().is_dropped);
    assert_eq!(worker.stats().openings_displaced, 2);
    assert_eq!(worker.stats().connections, 2);
}

/// Openings whose steps were due kept their places, and a flood of them left none to the others.
#[test]
fn a_flood_of_due_steps_keeps_no_place_before_others() {
    let mut worker = Worker::with_limits(steps(9), 3, None);
    let flooder = IpAddr::from([10, 9, 9, 9]);
    let due = |worker: &mut Worker| {
        let made = worker.connect_from(flooder);
        worker.send(&made, b"hey");
        made
    };
    let (first, second, _third) = (due(&mut worker), due(&mut worker), due(&mut worker));
    // A peer that has sent nothing yet, and comes from elsewhere.
    let honest = worker.connect();
    assert!(first.peer.is_reset());
    let flood: Vec<Made> = (0..100).map(|_| due(&mut worker)).collect();
    assert!(second.peer.is_reset());
    assert!(!honest.peer.line().is_dropped);
    let left = flood.iter().filter(|made| !made.peer.line().is_dropped);
    assert_eq!(left.count(), 2);
    assert_eq!(worker.stats().openings_displaced, 101);
    worker.send(&honest, b"hey");
    let opened = worker.iterate();
    assert!(opened.iter().any(|opened| opened.peer.ip() == Some(PROXY)));
    worker.openings.stop();
    worker.assert_left(opened.len());
}

#[test]
fn of_origins_with_equally_many_the_one_without_a_change_for_longest_gives_way() {
    let mut worker = Worker::with_limits(steps(2), 3, None);
    let from = |worker: &mut Worker, last| worker.connect_from([10, 0, 0, last].into());
    let [first, second] = [1, 2].map(|last| from(&mut worker, last));
    let left = from(&mut worker, 1);
    left.peer.line().has_ended = true;
    worker.event(&left, true);
    let third = from(&mut worker, 3);
    // The first origin has had a change since: its other opening has gone.
    let fourth = from(&mut worker, 4);
    assert!(second.peer.is_reset());
    // Now the fourth has two, and its first one gives way.
    let _fifth = from(&mut worker, 4);
    assert!(fourth.peer.is_reset());
    assert!(!first.peer.line().is_dropped && !third.peer.line().is_dropped);
    assert_eq!(worker.stats().openings_displaced, 2);
    worker.openings.stop();
    assert!(worker.openings.origins.is_empty());
}

/// A proxy begins connections faster than a busy worker reads their headers.
#[test]
fn clients_that_a_proxy_has_not_named_do_not_give_way_to_each_other() {
    let mut worker = Worker::with_limits(behind_proxies(), 4, None);
    let slow: Vec<Made> = (1..=4)
        .map(|last| worker.connect_from([10, 0, 1, last].into()))
        .collect();
    let made: Vec<Made> = (0..4).map(|_| worker.connect()).collect();
    assert!(slow.iter().all(|slow| slow.peer.is_reset()));
    for made in &made {
        worker.send(made, LINE);
    }
    assert_eq!(worker.iterate().len(), 4);
}

#[test]
fn an_address_is_an_origin_at_each_listener() {
    let mut worker = Worker::with_limits(steps(1), 3, None);
    worker.openings.add_service(Some(Arc::new(steps(1))));
    let (first, _second) = (worker.connect(), worker.connect());
    let other = worker.connect_to(1, PROXY);
    let _third = worker.connect();
    assert!(first.peer.is_reset() && !other.peer.line().is_dropped);
}

#[test]
fn a_flood_of_slow_headers_takes_no_more_than_the_limit() {
    let mut worker = Worker::with_limits(behind_proxies(), 8, None);
    let mut made = Vec::new();
    for _ in 0..1000 {
        let slow = worker.connect();
        worker.send(&slow, b"PROXY");
        made.push(slow);
        assert!(worker.openings.entries.len() <= 8);
    }
    assert_eq!(worker.stats().openings_displaced, 992);
    let honest = worker.connect();
    worker.send(&honest, LINE);
    worker.opened();
    worker.openings.stop();
    worker.assert_left(1);
}

#[test]
fn an_event_that_comes_late_is_ignored() {
    let mut worker = Worker::with_limits(behind_proxies(), 1, None);
    let first = worker.connect();
    let second = worker.connect();
    assert_eq!(first.name.unwrap().slot, second.name.unwrap().slot);
    second.peer.send(LINE);
    worker.event(&first, true);
    assert!(worker.iterate().is_empty());
    worker.event(&second, true);
    worker.opened();
}

#[test]
fn a_drain_drops_the_silent_and_lets_the_others_go_on_until_its_deadline() {
    let mut worker = Worker::new(behind_proxies());
    let made: Vec<Made> = (0..4).map(|_| worker.connect()).collect();
    worker.send(&made[1], &LINE[..9]);
    // Bytes that no event has reported yet.
    made[2].peer.send(LINE);
    worker.send(&made[3], &LINE[..9]);
    worker
        .openings
        .begin_drain(Duration::from_secs(3), worker.now);
    assert!(made[0].peer.is_closed());
    worker.send(&made[1], &LINE[9..]);
    worker.event(&made[2], true);
    assert_eq!(worker.iterate_at(Duration::from_millis(2_999)).len(), 2);
    assert!(!made[3].peer.line().is_dropped);
    worker.iterate_at(Duration::from_secs(3));
    assert!(made[3].peer.is_reset());
    worker.assert_left(2);
}

#[test]
fn a_drain_makes_no_deadline_later() {
    let mut worker = Worker::new(behind_proxies());
    let made = worker.connect();
    worker.send(&made, &LINE[..9]);
    worker
        .openings
        .begin_drain(Duration::from_secs(60), worker.now);
    worker.iterate_at(Duration::from_secs(10));
    assert!(made.peer.is_reset());
}

#[test]
fn all_counts_come_back_at_the_end() {
    let mut worker = Worker::with_limits(behind_proxies(), 9, Some(1));
    let (open, half, silent) = (worker.connect(), worker.connect(), worker.connect());
    worker.send(&open, LINE);
    worker.send(&half, &LINE[..9]);
    worker.openings.stop();
    assert!(open.peer.is_closed() && half.peer.is_closed() && silent.peer.is_closed());
    assert_eq!(worker.stats().connections, 0);
    assert_eq!(worker.openings.shared.connections(), 0);
    assert!(
        worker
            .openings
            .admission
            .count_address(CLIENT.parse::<SocketAddr>().ok().map(|it| it.ip()))
    );
}

#[test]
fn a_connection_that_cannot_be_registered_is_counted_out() {
    let mut worker = Worker::new(sealed(Script::default()));
    assert!(worker.openings.admission.admit(Some(PROXY)));
    worker.openings.shared.count_connection();
    let (peer, stream) = Peer::new();
    let newcomer = Newcomer {
        stream,
        peer: SocketAddr::new(PROXY, 1).into(),
        counted: Some(PROXY),
        service: 0,
    };
    let fails = |_: &mut Stream, _| Err(io::ErrorKind::OutOfMemory.into());
    worker.openings.begin_with(newcomer, Duration::ZERO, fails);
    assert!(peer.line().is_dropped);
    worker.assert_left(0);
}
