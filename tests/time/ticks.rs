//! Repeating timers: ticks of a handler, and intervals of a connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ringwheel::protocol::{Lines, Raw};
use ringwheel::{
    Conn, Handler, Limits, LocalConnections, Server, TimerId, TooManyTimersError, current_worker,
};
use support::{
    DEADLINE, Event, Recorder, TestServer, deliberate_panic, eventually, listen, take, text,
};

const PERIOD: Duration = Duration::from_millis(20);

type Step = Arc<dyn Fn(&mut LocalConnections<'_, Game>, usize) + Send + Sync>;

/// Counts its ticks, and does with each what the test has scripted.
#[derive(Clone)]
struct Game {
    ticks: usize,
    step: Step,
}

impl Game {
    fn new(step: impl Fn(&mut LocalConnections<'_, Game>, usize) + Send + Sync + 'static) -> Self {
        Game {
            ticks: 0,
            step: Arc::new(step),
        }
    }
}

impl Handler for Game {
    type Protocol = Lines;
    type Session = usize;

    fn on_open(&mut self, conn: &mut Conn<'_, Lines>) -> usize {
        conn.send("open");
        0
    }

    fn on_message(&mut self, conn: &mut Conn<'_, Lines>, session: &mut usize, line: &str) {
        *session += 1;
        conn.send(line);
    }

    fn on_tick(&mut self, connections: &mut LocalConnections<'_, Self>) {
        self.ticks += 1;
        let step = self.step.clone();
        step(connections, self.ticks);
    }

    fn on_shutdown(&mut self, conn: &mut Conn<'_, Lines>, _session: &mut usize) {
        conn.send("draining");
    }
}

#[test]
fn each_worker_and_listener_ticks_by_itself_and_none_early() {
    let (told, ticks) = channel();
    let mut builder = Server::builder().workers(2);
    let start = Instant::now();
    for listener in 0..2 {
        let told = told.clone();
        let game = Game::new(move |local, tick| {
            assert_eq!(current_worker(), Some(local.worker()));
            // The test may have seen enough.
            let _ = told.send((listener, local.worker(), tick, Instant::now()));
        });
        builder = builder
            .listen_with(listen(Lines::new()).tick_every(PERIOD), game)
            .unwrap();
    }
    let server = TestServer::spawn(builder);
    let mut next = [[1; 2]; 2];
    while next.iter().flatten().any(|next| *next <= 5) {
        let (listener, worker, tick, at): (usize, usize, usize, Instant) = take(&ticks);
        assert_eq!(
            tick, next[listener][worker],
            "each handler has its own count"
        );
        assert!(at - start >= tick as u32 * PERIOD, "tick {tick} came early");
        next[listener][worker] += 1;
    }
    server.handle().stop();
    server.join();
}

#[test]
fn the_first_tick_comes_one_period_after_the_worker_has_begun() {
    let (told, ticks) = channel();
    let game = Game::new(move |_, _| _ = told.send(Instant::now()));
    let begun = Arc::new(Mutex::new(None));
    let begins = begun.clone();
    let builder = Server::builder()
        .workers(1)
        .on_worker_start(move |_| *begins.lock().unwrap() = Some(Instant::now()));
    let server = builder
        .listen_with(listen(Lines::new()).tick_every(3 * PERIOD), game)
        .and_then(ringwheel::ServerBuilder::build)
        .unwrap();
    // Peers can connect already, but nothing runs yet.
    thread::sleep(5 * PERIOD);
    let server = TestServer::adopt(server.spawn().unwrap());
    let first: Instant = take(&ticks);
    let begun = begun.lock().unwrap().expect("the worker has begun");
    assert!(first - begun >= 3 * PERIOD, "{:?}", first - begun);
    server.handle().stop();
    server.join();
}

#[test]
fn a_tick_reaches_all_connections_of_its_worker() {
    let game = Game::new(|local, tick| {
        local.for_each(|conn, session| {
            *session += 1;
            conn.send(&format!("tick {tick}"));
        });
    });
    let server = TestServer::start_on(
        Server::builder().workers(2),
        listen(Lines::new()).tick_every(PERIOD),
        game,
    );
    let mut clients = [server.connect(), server.connect(), server.connect()];
    for client in &mut clients {
        let received = client.receive(b"open\ntick 1\ntick 2\n".len());
        let lines: Vec<&str> = text(&received).lines().collect();
        assert_eq!(lines[0], "open");
        let number = |line: &str| {
            line.strip_prefix("tick ")
                .unwrap()
                .parse::<usize>()
                .unwrap()
        };
        assert!(lines[1..].len() >= 2);
        // The last may be cut off.
        assert_eq!(number(lines[2]).max(number(lines[1])), number(lines[1]) + 1);
    }
}

#[test]
fn without_an_interval_there_are_no_ticks() {
    let (told, ticks) = channel();
    let game = Game::new(move |_, tick| _ = told.send(tick));
    let server = TestServer::start(listen(Lines::new()), game);
    server.let_pass(5 * PERIOD);
    server.handle().stop();
    server.join();
    assert!(ticks.try_recv().is_err());
}

#[test]
fn a_tick_that_panics_is_not_the_last_and_ends_nobody() {
    let (told, ticks) = channel();
    let game = Game::new(move |_, tick| {
        // The test may have seen enough.
        let _ = told.send(tick);
        deliberate_panic();
    });
    let server = TestServer::start(listen(Lines::new()).tick_every(PERIOD), game);
    let mut client = server.connect();
    for expected in 1..=3 {
        assert_eq!(take(&ticks), expected);
    }
    client.send(b"alive\n");
    assert_eq!(client.receive(11), b"open\nalive\n");
    server.handle().stop();
    server.join();
}

#[test]
fn a_period_of_zero_ticks_often_and_leaves_time_for_connections() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let game = Game::new(move |_, tick| counted.store(tick, Ordering::Relaxed));
    let server = TestServer::start(listen(Lines::new()).tick_every(Duration::ZERO), game);
    let mut client = server.connect();
    client.receive(5);
    (0..100).for_each(|_| client.ping());
    eventually("it ticks often", || count.load(Ordering::Relaxed) > 20);
    client.ping();
    server.handle().stop();
    server.join();
}

#[test]
fn rounds_that_are_missed_are_not_made_up_for() {
    let (told, ticks) = channel();
    let game = Game::new(move |_, tick| {
        // The test may have seen enough.
        let _ = told.send(tick);
        if tick == 2 {
            thread::sleep(20 * PERIOD);
        }
    });
    let start = Instant::now();
    let server = TestServer::start(listen(Lines::new()).tick_every(PERIOD), game);
    while take(&ticks) < 5 {}
    // Of the 20 rounds that were slept through one comes late, and the next two at their own times.
    assert!(start.elapsed() >= 24 * PERIOD);
    server.handle().stop();
    server.join();
}

#[test]
fn ticks_go_on_during_a_drain_and_end_with_the_server() {
    let is_draining = Arc::new(AtomicUsize::new(0));
    let drains = is_draining.clone();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let game = Game::new(move |local, tick| {
        counted.store(tick, Ordering::Relaxed);
        if drains.load(Ordering::Relaxed) == 1 {
            local.for_each(|conn, _| {
                conn.send("the last tick");
                conn.close();
            });
        }
    });
    let server = TestServer::start(listen(Lines::new()).tick_every(PERIOD), game);
    let mut client = server.connect();
    client.receive(5);
    server.handle().shutdown(DEADLINE);
    assert_eq!(client.receive(9), b"draining\n");
    is_draining.store(1, Ordering::Relaxed);
    assert_eq!(client.receive_rest(), b"the last tick\n");
    drop(client);
    server.join();
    let last = count.load(Ordering::Relaxed);
    thread::sleep(3 * PERIOD);
    assert_eq!(count.load(Ordering::Relaxed), last);
}

#[test]
fn a_tick_may_end_every_connection() {
    let game = Game::new(|local, _| {
        for id in local.ids() {
            local.with(id, |conn, lines| {
                if *lines > 0 {
                    conn.abort();
                }
            });
        }
    });
    let server = TestServer::start(listen(Lines::new()).tick_every(PERIOD), game);
    let mut clients = [server.connect(), server.connect()];
    for client in &mut clients {
        // A reset may come before a client knows that it is connected.
        client.receive(5);
        client.send(b"x\n");
        client.expect_reset();
    }
    eventually("all are counted out", || {
        server.handle().stats().connections == 0
    });
    server.handle().stop();
    server.join();
}

/// Fires with the time of each round.
fn beating(period: Duration) -> (Recorder<Raw>, support::Events, Receiver<(u64, Instant)>) {
    let (recorder, events) = Recorder::<Raw>::new();
    let (told, beats): (Sender<(u64, Instant)>, _) = channel();
    let recorder = recorder
        .on_message(move |conn, _| {
            conn.set_interval(period, 7).unwrap();
        })
        .on_timer(move |_, token| {
            // The test may have seen enough.
            let _ = told.send((token, Instant::now()));
        });
    (recorder, events, beats)
}

#[test]
fn an_interval_fires_again_and_again_and_never_early() {
    let (recorder, events, beats) = beating(PERIOD);
    let server = TestServer::start(listen(Raw), recorder);
    let mut client = server.connect();
    events.open();
    let start = Instant::now();
    client.send(b"go");
    for round in 1..=10 {
        let (token, at) = take(&beats);
        assert_eq!(token, 7);
        assert!(at - start >= round * PERIOD, "round {round} came early");
    }
    drop(client);
    events.close();
    server.finish(&events);
    // Timers end with the connection: the recorder would have noticed.
}

#[test]
fn an_interval_is_cancelled_in_its_own_callback() {
    let (recorder, events) = Recorder::<Raw>::new();
    let timer: Arc<Mutex<Option<TimerId>>> = Arc::default();
    let set = timer.clone();
    let (told, cancelled) = channel();
    let recorder = recorder
        .on_message(move |conn, _| {
            *set.lock().unwrap() = Some(conn.set_interval(Duration::from_millis(1), 0).unwrap());
        })
        .on_timer(move |conn, _| {
            let timer = timer.lock().unwrap().expect("it is set");
            told.send([conn.cancel_timer(timer), conn.cancel_timer(timer)])
                .unwrap();
        });
    let server = TestServer::start(listen(Raw), recorder);
    let mut client = server.connect();
    client.send(b"go");
    assert_eq!(take(&cancelled), [true, false]);
    server.let_pass(2 * PERIOD);
    assert_eq!(events.count(|event| matches!(event, Event::Timer(..))), 1);
    server.finish(&events);
}

#[test]
fn an_interval_counts_as_one_timer_for_as_long_as_it_is_set() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (told, outcomes) = channel();
    let in_timer = told.clone();
    let recorder = recorder
        .on_message(move |conn, _| {
            let interval = conn.set_interval(Duration::from_millis(1), 1);
            let timer = conn.set_timer(Duration::ZERO, 2);
            let third = conn.set_interval(Duration::from_millis(1), 3);
            told.send((interval.is_ok(), timer.is_ok(), third.err()))
                .unwrap();
        })
        .on_timer(move |conn, token| {
            // The limit is 2: with the interval and another there is no room, with the interval alone there is.
            let more = [
                conn.set_timer(Duration::from_secs(9), 4),
                conn.set_timer(Duration::from_secs(9), 4),
            ];
            // The test may have seen enough.
            let _ = in_timer.send((token == 2, more[0].is_ok(), more[1].err()));
        });
    let limits = Limits::default().timers(2);
    let server = TestServer::start(listen(Raw).limits(limits), recorder);
    let mut client = server.connect();
    client.send(b"go");
    let too_many = Some(TooManyTimersError);
    assert_eq!(take(&outcomes), (true, true, too_many));
    assert_eq!(
        take(&outcomes),
        (true, true, too_many),
        "the timer has fired"
    );
    assert_eq!(
        take(&outcomes),
        (false, false, too_many),
        "the interval has not gone"
    );
    server.finish(&events);
}

#[test]
fn an_interval_of_zero_leaves_the_worker_time_for_its_connections() {
    let (recorder, events, beats) = beating(Duration::ZERO);
    let server = TestServer::start(listen(Raw), recorder.without_messages());
    let mut client = server.connect();
    client.send(b"go");
    for _ in 0..50 {
        take(&beats);
    }
    let mut other = server.connect();
    events.wait_for(|event| matches!(event, Event::Open(_)).then_some(()));
    other.finish();
    other.expect_eof();
    server.finish(&events);
}

#[test]
fn an_interval_whose_callback_panics_ends_with_its_connection() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder
        .on_message(|conn, _| {
            conn.set_interval(Duration::from_millis(1), 0).unwrap();
        })
        .on_timer(|_, _| deliberate_panic());
    let server = TestServer::start(listen(Raw), recorder);
    let mut client = server.connect();
    client.send(b"go");
    client.expect_eof();
    server.let_pass(PERIOD);
    drop(client);
    assert_eq!(events.close_reason(), "Panic");
    assert_eq!(events.count(|event| matches!(event, Event::Timer(..))), 1);
    server.finish(&events);
}

#[test]
fn the_time_of_a_worker_never_goes_back_and_passes_with_its_timers() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (told, times) = channel();
    let recorder = recorder
        .on_message(|conn, _| {
            conn.set_interval(PERIOD, 0).unwrap();
        })
        .on_timer(move |conn, _| {
            // The test may have seen enough.
            let _ = told.send(conn.now());
        });
    let server = TestServer::start(listen(Raw), recorder);
    let mut client = server.connect();
    client.send(b"go");
    let mut last = take(&times);
    for _ in 0..5 {
        let now = take(&times);
        assert!(now > last);
        last = now;
    }
    assert!(last >= 6 * PERIOD);
    server.finish(&events);
}
