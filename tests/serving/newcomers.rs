//! Connections that wait for a busy worker: the networks take turns, and each connection is adopted, gives way, or was abandoned.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use ringwheel::protocol::Raw;
use ringwheel::{Server, ServerBuilder, ServerStats, TrustedNetworks};
use support::{
    Client, DEADLINE, Event, Events, Hold, Recorder, TestServer, behind_an_acceptor, eventually,
    listen,
};

/// The time of `on_open`, which is longer than all of them may take in an iteration: so each iteration adopts one.
const OPENING: Duration = Duration::from_millis(4);

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

/// An echo whose openings take long, and that a message `hold` holds up.
fn slow_echo(hold: Hold) -> (Recorder<Raw>, Events) {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.on_open(|_| {
        let begin = Instant::now();
        while begin.elapsed() < OPENING {}
    });
    let recorder = recorder.on_message(move |conn, bytes| match bytes {
        b"hold" => hold.enter(),
        _ => _ = conn.send(bytes),
    });
    (recorder, events)
}

/// A way to a worker, which accepts itself or has an acceptor.
struct Way {
    builder: ServerBuilder,
    has_acceptor: bool,
}

fn ways() -> [Way; 2] {
    [false, true].map(|has_acceptor| Way {
        builder: match has_acceptor {
            false => Server::builder().workers(1),
            true => behind_an_acceptor(),
        },
        has_acceptor,
    })
}

/// Starts a server whose worker is held up while `make` makes so many connections. They wait for the worker when it goes on.
fn start<T>(
    way: Way,
    limit: usize,
    count: usize,
    make: impl FnOnce(&TestServer) -> T,
) -> (TestServer, Events, T) {
    let (hold, grip) = Hold::new();
    let (echo, events) = slow_echo(hold);
    let server = TestServer::start_on(way.builder.opening_limit(limit), listen(Raw), echo);
    let mut busy = Client::connect_from(address(9), server.addr());
    busy.send(b"hold");
    grip.wait();
    let made = make(&server);
    if way.has_acceptor {
        assert_stats(&server, "all are handed over", |stats| {
            stats.accepted == count as u64 + 1
        });
    }
    grip.release();
    (server, events, made)
}

fn opened(events: &Events) -> usize {
    events.count(|event| matches!(event, Event::Open(_)))
}

#[track_caller]
fn assert_stats(server: &TestServer, what: &str, are: impl Fn(&ServerStats) -> bool) {
    eventually(what, || are(&server.handle().stats()));
}

#[test]
fn in_a_full_room_the_address_with_most_gives_way_with_its_longest_waiting() {
    const LIMIT: usize = 8;
    const CROWD: usize = 40;
    for way in ways() {
        let (server, events, (mut crowd, mut other)) = start(way, LIMIT, CROWD + 1, |server| {
            let connect = |last| Client::connect_from(address(last), server.addr());
            let mut crowd = vec![connect(1)];
            let other = connect(2);
            crowd.extend((1..CROWD).map(|_| connect(1)));
            (crowd, other)
        });
        // The first is adopted at once. The other one and the last of the crowd are in the room.
        other.ping();
        let displaced = CROWD - LIMIT;
        crowd[1..=displaced]
            .iter_mut()
            .for_each(Client::expect_reset);
        crowd[displaced + 1..].iter_mut().for_each(Client::ping);
        crowd[0].ping();
        assert_stats(&server, "the counts", |stats| {
            stats.openings_displaced == displaced as u64
                && stats.accepted == CROWD as u64 + 2
                && stats.connections <= LIMIT + 2
        });
        server.finish(&events);
        assert_eq!(opened(&events), LIMIT + 2, "the others had no callback");
    }
}

/// Nobody is better off if one of them gives way: the rest of the crowd waits in the backlog.
#[test]
fn a_crowd_of_one_address_waits_and_loses_nobody() {
    const CROWD: usize = 40;
    for way in ways() {
        let (server, events, mut crowd) = start(way, 8, CROWD, |server| {
            let crowd: Vec<Client> = (0..CROWD).map(|_| server.connect()).collect();
            crowd
        });
        crowd.iter_mut().for_each(Client::ping);
        assert_eq!(server.handle().stats().openings_displaced, 0);
        server.finish(&events);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn connections_that_were_reset_while_they_waited_are_dropped_without_callbacks() {
    const GONE: usize = 20;
    for way in ways() {
        let (server, events, (mut first, mut last)) = start(way, 1024, GONE + 2, |server| {
            // The room is used behind this one.
            let first = server.connect();
            for _ in 0..GONE {
                let mut client = server.connect();
                client.send(b"x");
                client.reset_and_arrive();
            }
            (first, Client::connect_from(address(2), server.addr()))
        });
        last.ping();
        first.ping();
        assert_stats(&server, "the counts", |stats| {
            stats.openings_abandoned == GONE as u64 && stats.openings_displaced == 0
        });
        server.finish(&events);
        assert_eq!(opened(&events), 3);
    }
}

#[test]
fn a_drain_adopts_and_answers_the_connections_that_wait() {
    const CROWD: usize = 30;
    for way in ways() {
        let (server, events, mut crowd) = start(way, 8, CROWD, |server| {
            let mut crowd: Vec<Client> = (0..CROWD).map(|_| server.connect()).collect();
            crowd.iter_mut().for_each(|client| client.send(b"ping"));
            server.handle().shutdown(DEADLINE);
            crowd
        });
        for client in &mut crowd {
            assert_eq!(client.receive_rest(), b"ping");
        }
        drop(crowd);
        let handle = server.handle().clone();
        server.join();
        assert_eq!(handle.stats().connections, 0);
        events.assert_lifecycles();
    }
}

#[test]
fn a_stop_counts_out_the_connections_that_wait() {
    const CROWD: usize = 100;
    for way in ways() {
        // An acceptor that is stopped accepts nobody.
        let of_acceptor = way.has_acceptor;
        let (server, events, _crowd) = start(way, 1024, CROWD, |server| {
            let crowd: Vec<Client> = (0..CROWD).map(|_| server.connect()).collect();
            if !of_acceptor {
                server.handle().stop();
            }
            crowd
        });
        let handle = server.handle().clone();
        server.finish(&events);
        assert_eq!(handle.stats().connections, 0);
    }
}

/// A connection whose stages are done takes turns with the others, as the client that its proxy has named.
#[test]
fn clients_of_a_proxy_take_turns() {
    let (hold, grip) = Hold::new();
    let (echo, events) = slow_echo(hold);
    let terms = listen(Raw).proxy_protocol(TrustedNetworks::of(["127.0.0.1"]).unwrap());
    let server = TestServer::start(terms, echo);
    let connect = |client: u8| {
        let mut made = server.connect();
        let header = format!("PROXY TCP4 192.0.2.{client} 198.51.100.1 1 2\r\n");
        made.send(header.as_bytes());
        made
    };
    let mut busy = connect(9);
    busy.send(b"hold");
    grip.wait();
    let mut crowd: Vec<Client> = (0..40).map(|_| connect(1)).collect();
    let mut other = connect(2);
    grip.release();
    other.ping();
    let before = opened(&events);
    assert!(before < 20, "{before} were opened before the other");
    crowd.iter_mut().for_each(Client::ping);
    server.finish(&events);
}
