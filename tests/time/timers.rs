//! Timers fire and never early; each deadline of a connection ends it with its own reason.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ringwheel::protocol::{Lines, Raw};
use ringwheel::{Server, TimerId};
use support::{DEADLINE, Event, Random, Recorder, TestServer, listen, raw_echo};

const SHORT: Duration = Duration::from_millis(150);
const FAR: Duration = Duration::from_secs(3600);

#[test]
fn timers_fire_in_the_order_of_their_deadlines_and_never_early() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (fired, is_fired) = channel();
    let recorder = recorder
        .on_message(|conn, _| {
            for millis in [90, 30, 0, 60] {
                conn.set_timer(Duration::from_millis(millis), millis)
                    .unwrap();
            }
        })
        .on_timer(move |_, token| fired.send((token, Instant::now())).unwrap());
    let server = TestServer::start(listen(Raw), recorder);
    let mut client = server.connect();
    events.open();
    let start = Instant::now();
    client.send(b"go");
    for expected in [0, 30, 60, 90] {
        let (token, at) = is_fired.recv_timeout(DEADLINE).unwrap();
        assert_eq!(token, expected);
        assert!(
            at - start >= Duration::from_millis(expected),
            "{expected} ms fired early"
        );
    }
    server.finish(&events);
}

#[test]
fn a_coarse_tick_makes_no_timer_early() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.on_message(|conn, _| {
        conn.set_timer(Duration::from_millis(10), 1).unwrap();
    });
    let builder = Server::builder()
        .workers(1)
        .tick(Duration::from_millis(100));
    let server = TestServer::start_on(builder, listen(Raw), recorder);
    let mut client = server.connect();
    events.open();
    let start = Instant::now();
    client.send(b"go");
    assert_eq!(events.timer(), 1);
    assert!(start.elapsed() >= Duration::from_millis(10));
    server.finish(&events);
}

#[test]
fn a_thousand_timers_of_many_connections_fire_once_each_and_never_early() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (fired, is_fired) = channel();
    let recorder = recorder
        .on_message(move |conn, bytes| {
            let mut random = Random::new(u64::from(bytes[0]));
            for _ in 0..50 {
                let millis = random.below(200) as u64;
                conn.set_timer(Duration::from_millis(millis), millis)
                    .unwrap();
            }
        })
        .on_timer(move |_, token| fired.send((token, Instant::now())).unwrap());
    let server = TestServer::start(listen(Raw), recorder);
    let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    (0..20).for_each(|_| {
        events.open();
    });
    let start = Instant::now();
    for (seed, client) in (0..).zip(&mut clients) {
        client.send(&[seed]);
    }
    for _ in 0..1000 {
        let (millis, at) = is_fired.recv_timeout(DEADLINE).unwrap();
        assert!(
            at - start >= Duration::from_millis(millis),
            "{millis} ms fired early"
        );
    }
    server.finish(&events);
    assert!(is_fired.try_recv().is_err(), "each fires once");
}

#[test]
fn a_cancelled_timer_does_not_fire_and_cannot_be_cancelled_again() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (outcomes, reported) = channel();
    let fired: Arc<Mutex<Option<TimerId>>> = Arc::default();
    let recorder = recorder
        .on_message(move |conn, _| match *fired.lock().unwrap() {
            None => {
                let cancelled = conn.set_timer(Duration::from_millis(5), 1).unwrap();
                outcomes
                    .send([conn.cancel_timer(cancelled), conn.cancel_timer(cancelled)])
                    .unwrap();
            }
            Some(timer) => outcomes.send([conn.cancel_timer(timer); 2]).unwrap(),
        })
        .on_timer(|_, _| {});
    let server = TestServer::start(listen(Raw), recorder);
    let mut client = server.connect();
    client.send(b"go");
    assert_eq!(reported.recv_timeout(DEADLINE).unwrap(), [true, false]);
    wait(&server, Duration::from_millis(20));
    assert_eq!(events.count(|event| matches!(event, Event::Timer(..))), 0);
    server.finish(&events);
}

/// Returns once this much time has passed on the server's worker.
fn wait(server: &TestServer, time: Duration) {
    let (ran, has_run) = channel();
    server
        .handle()
        .run_after(time, move || ran.send(()).unwrap());
    has_run.recv_timeout(DEADLINE).unwrap();
}

#[test]
fn the_key_of_a_fired_timer_cancels_neither_it_nor_its_successor() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (outcomes, reported) = channel();
    let first: Arc<Mutex<Option<TimerId>>> = Arc::default();
    let set_first = first.clone();
    let recorder = recorder
        .on_message(move |conn, _| {
            *set_first.lock().unwrap() = Some(conn.set_timer(Duration::ZERO, 1).unwrap());
        })
        .on_timer(move |conn, token| {
            if token == 1 {
                // This timer takes the slot that the first has left.
                conn.set_timer(Duration::from_millis(1), 2).unwrap();
                outcomes
                    .send(conn.cancel_timer(first.lock().unwrap().unwrap()))
                    .unwrap();
            }
        });
    let server = TestServer::start(listen(Raw), recorder);
    let mut client = server.connect();
    client.send(b"go");
    assert!(!reported.recv_timeout(DEADLINE).unwrap());
    assert_eq!(events.timer(), 1);
    assert_eq!(events.timer(), 2, "the stale key did not cancel it");
    server.finish(&events);
}

#[test]
fn timers_end_with_their_connection() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.on_message(|conn, _| {
        conn.set_timer(Duration::from_millis(30), 1).unwrap();
        conn.set_timer(FAR, 2).unwrap();
        conn.set_timer(Duration::MAX, 3).unwrap();
        conn.abort();
    });
    let server = TestServer::start(listen(Raw), recorder);
    let mut client = server.connect();
    client.send(b"end");
    events.close();
    // Another connection has its slot now.
    let _successor = server.connect();
    events.open();
    wait(&server, Duration::from_millis(60));
    assert_eq!(events.count(|event| matches!(event, Event::Timer(..))), 0);
    server.finish(&events);
}

#[test]
fn a_silent_connection_is_evicted_after_the_idle_timeout_and_not_before() {
    let (echo, events) = raw_echo();
    let start = Instant::now();
    let listen = listen(Raw).idle_timeout(SHORT);
    let (server, mut client) = TestServer::start_late(listen, echo, b"ping");
    assert_eq!(client.receive_rest(), b"ping");
    assert!(start.elapsed() >= SHORT);
    assert_eq!(events.close_reason(), "Timeout(Idle)");
    server.finish(&events);
}

#[test]
fn traffic_keeps_a_connection_from_being_idle() {
    support::unless_held_up(|| {
        let idle = Duration::from_millis(500);
        let (echo, events) = raw_echo();
        let listen = listen(Raw).idle_timeout(idle);
        let (server, mut client) = TestServer::start_late(listen, echo, b"ping\n");
        let (start, mut last) = (Instant::now(), Instant::now());
        while start.elapsed() < 5 * idle / 2 {
            let sent = Instant::now();
            if client.try_send(b"ping\n").is_err() || client.try_receive(5).is_err() {
                // Only silence ends the connection, and so the test was silent.
                assert!(last.elapsed() >= idle, "evicted while it talked");
                return false;
            }
            last = sent;
            thread::sleep(idle / 20);
        }
        client.drain().unwrap();
        assert!(last.elapsed() >= idle);
        assert_eq!(events.close_reason(), "Timeout(Idle)");
        server.finish(&events);
        true
    });
}

#[test]
fn output_is_no_sign_of_life() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder
        .on_open(|conn| {
            conn.set_timer(Duration::from_millis(10), 0).unwrap();
        })
        .on_timer(|conn, count| {
            conn.send(b"are you there?");
            conn.set_timer(Duration::from_millis(10), count + 1)
                .unwrap();
        });
    let server = TestServer::start(listen(Raw).idle_timeout(SHORT), recorder);
    let mut client = server.connect();
    client.drain().unwrap();
    assert_eq!(events.close_reason(), "Timeout(Idle)");
    server.finish(&events);
}

#[test]
fn touch_is_a_sign_of_life() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder
        .on_open(|conn| {
            conn.set_timer(Duration::from_millis(10), 0).unwrap();
        })
        .on_timer(|conn, count| {
            if count < 60 {
                conn.touch();
                assert_eq!(conn.idle_for(), Duration::ZERO);
                conn.set_timer(Duration::from_millis(10), count + 1)
                    .unwrap();
            }
        });
    let server = TestServer::start(listen(Raw).idle_timeout(SHORT), recorder);
    let start = Instant::now();
    server.connect().expect_eof();
    assert_eq!(events.close_reason(), "Timeout(Idle)");
    // Each touch came at least 10 ms after the one before. If the worker is held up for longer than the idle timeout,
    // it may rightly evict the connection before the last touch.
    let touches = events.count(|event| matches!(event, Event::Timer(..))) as u32;
    assert!(start.elapsed() >= touches * Duration::from_millis(10) && touches > 0);
    server.finish(&events);
}

#[test]
fn a_first_message_that_arrives_too_slowly_is_not_in_time() {
    let (recorder, events) = Recorder::<Lines>::new();
    let server = TestServer::start(listen(Lines::new()).first_message_timeout(SHORT), recorder);
    let mut client = server.connect();
    let start = Instant::now();
    // Every byte is a sign of life, but no message.
    while client.try_send(b"x").is_ok() && start.elapsed() < DEADLINE {
        thread::sleep(Duration::from_millis(5));
    }
    assert!(start.elapsed() >= SHORT);
    assert_eq!(events.close_reason(), "Timeout(FirstMessage)");
    assert_eq!(events.messages().len(), 0);
    server.finish(&events);
}

#[test]
fn the_first_message_ends_its_timeout() {
    let (echo, events) = raw_echo();
    let listen = listen(Raw).first_message_timeout(SHORT);
    let (server, mut client) = TestServer::start_late(listen, echo, b"ping");
    assert_eq!(client.receive(4), b"ping");
    wait(&server, 2 * SHORT);
    client.ping();
    assert_eq!(events.count(|event| matches!(event, Event::Close(..))), 0);
    server.finish(&events);
}

#[test]
fn a_later_message_that_arrives_too_slowly_is_not_in_time() {
    let (recorder, events) = Recorder::<Lines>::new();
    let server = TestServer::start(listen(Lines::new()).message_timeout(SHORT), recorder);
    let mut client = server.connect();
    client.send(b"one\ntwo\nth");
    let start = Instant::now();
    while client.try_send(b"x").is_ok() && start.elapsed() < DEADLINE {
        thread::sleep(Duration::from_millis(5));
    }
    assert!(start.elapsed() >= SHORT);
    assert_eq!(events.close_reason(), "Timeout(Message)");
    assert_eq!(events.messages(), [&b"one"[..], b"two"]);
    server.finish(&events);
}

#[test]
fn run_after_runs_once_on_worker_zero_and_never_early() {
    let (echo, events) = raw_echo();
    let server = TestServer::start_on(Server::builder().workers(2), listen(Raw), echo);
    let (ran, has_run) = channel();
    let start = Instant::now();
    for millis in [80, 20, 40, 0] {
        let ran = ran.clone();
        server
            .handle()
            .run_after(Duration::from_millis(millis), move || {
                ran.send((
                    millis,
                    Instant::now(),
                    thread::current().name().map(str::to_owned),
                ))
                .unwrap();
            });
    }
    for expected in [0, 20, 40, 80] {
        let (millis, at, thread) = has_run.recv_timeout(DEADLINE).unwrap();
        assert_eq!((millis, thread.as_deref()), (expected, Some("ringwheel-0")));
        assert!(
            at - start >= Duration::from_millis(millis),
            "{millis} ms ran early"
        );
    }
    server.finish(&events);
    assert!(has_run.try_recv().is_err());
}

#[test]
fn run_every_runs_until_it_is_cancelled() {
    let (echo, events) = raw_echo();
    let server = TestServer::start(listen(Raw), echo);
    let period = Duration::from_millis(10);
    let (ran, has_run) = channel();
    let start = Instant::now();
    let task = server.handle().run_every(period, move || {
        let _ = ran.send(Instant::now());
    });
    for round in 1..=10 {
        let at = has_run.recv_timeout(DEADLINE).unwrap();
        assert!(at - start >= round * period, "round {round} ran early");
    }
    assert!(task.cancel());
    assert!(!task.cancel(), "once");
    // The closure, and its end of the channel, is dropped at once and not only when it would be due.
    while has_run.recv_timeout(DEADLINE).is_ok() {}
    assert_eq!(
        has_run.try_recv(),
        Err(std::sync::mpsc::TryRecvError::Disconnected)
    );
    server.finish(&events);
}

#[test]
fn a_task_that_is_cancelled_before_it_is_due_never_runs_and_is_forgotten_at_once() {
    let (echo, events) = raw_echo();
    let server = TestServer::start(listen(Raw), echo);
    let (ran, has_run) = channel::<()>();
    let task = server
        .handle()
        .run_after(FAR, move || ran.send(()).unwrap());
    assert!(task.cancel());
    assert_eq!(
        has_run.recv_timeout(DEADLINE),
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected)
    );
    server.finish(&events);
}

#[test]
fn a_period_of_zero_leaves_the_worker_time_for_its_connections() {
    let (echo, events) = raw_echo();
    let server = TestServer::start(listen(Raw), echo);
    let rounds = Arc::new(AtomicUsize::new(0));
    let counted = rounds.clone();
    let task = server.handle().run_every(Duration::ZERO, move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let mut client = server.connect();
    (0..100).for_each(|_| client.ping());
    support::eventually("the task has run often", || {
        rounds.load(Ordering::Relaxed) > 20
    });
    task.cancel();
    client.ping();
    server.finish(&events);
}

#[test]
fn a_server_that_ends_drops_its_tasks() {
    let (echo, events) = raw_echo();
    let server = TestServer::start(listen(Raw), echo);
    let handle = server.handle().clone();
    let (kept, is_kept) = channel::<()>();
    let after = kept.clone();
    handle.run_every(FAR, move || kept.send(()).unwrap());
    server.finish(&events);
    handle.run_after(Duration::ZERO, move || after.send(()).unwrap());
    assert_eq!(
        is_kept.recv_timeout(DEADLINE),
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected)
    );
}
