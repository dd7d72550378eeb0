//! The end of a server: in order within a deadline, or at once.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ringwheel::protocol::{Lines, Raw};
use ringwheel::{Server, ServerHandle};
use support::{
    Client, DEADLINE, Event, Events, Hold, Recorder, TestServer, eventually, listen, listen_roomy,
    pattern, text,
};

const SHORT: Duration = Duration::from_millis(150);
/// More bytes than the kernel takes from a connection with a small send buffer.
const FLOOD: usize = 6 << 20;

fn line_echo() -> (Recorder<Lines>, Events) {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder.on_message(|conn, line| {
        conn.send(text(line));
    });
    (recorder, events)
}

/// A handler that answers every message with more bytes than the kernel's buffers hold.
fn flooding() -> (Recorder<Raw>, Events) {
    let (recorder, events) = Recorder::<Raw>::new();
    let payload = pattern(1, FLOOD);
    let recorder = recorder.on_message(move |conn, _| {
        conn.send(&payload);
    });
    (recorder, events)
}

#[track_caller]
fn assert_all_closed_with(events: &Events, count: usize, reason: &str) {
    let reasons = events.so_far().into_iter().filter_map(|event| match event {
        Event::Close(_, ending) => Some(ending.reason),
        _ => None,
    });
    assert_eq!(reasons.collect::<Vec<_>>(), vec![reason; count]);
}

#[test]
fn every_message_that_was_sent_before_a_shutdown_is_answered() {
    let (echo, events) = line_echo();
    let echo = echo.on_shutdown(|conn| {
        conn.send("goodbye");
    });
    let server = TestServer::start_on(Server::builder().workers(2), listen(Lines::new()), echo);
    let mut clients: Vec<Client> = (0..50).map(|_| server.connect()).collect();
    // All connections have reached their workers, or are on their way there.
    eventually("all connections are accepted", || {
        server.handle().stats().accepted == 50
    });
    let questions: String = (0..500)
        .map(|number| format!("question {number}\n"))
        .collect();
    clients
        .iter_mut()
        .for_each(|client| client.send(questions.as_bytes()));
    server.handle().shutdown(DEADLINE);
    for client in &mut clients {
        let answers = String::from_utf8(client.receive_rest()).unwrap();
        assert_eq!(answers, format!("{questions}goodbye\n"));
    }
    drop(clients);
    server.join();
    events.assert_lifecycles();
    assert_eq!(
        events.count(|event| matches!(event, Event::Shutdown(_))),
        50
    );
    assert_all_closed_with(&events, 50, "Shutdown");
}

/// The deadline ends the server before all handlers are told: that would take 2 s.
#[test]
fn a_shutdown_ends_in_time_although_its_callbacks_take_long() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.on_shutdown(|_| thread::sleep(Duration::from_millis(10)));
    let server = TestServer::start_on(Server::builder().workers(1), listen(Raw), recorder);
    let clients: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    eventually("all connections are open", || {
        server.handle().stats().connections == 200
    });
    server.handle().shutdown(SHORT);
    server.join();
    drop(clients);
    events.assert_lifecycles();
    let told = events.count(|event| matches!(event, Event::Shutdown(_)));
    assert!((1..100).contains(&told), "{told} are told");
    assert_all_closed_with(&events, 200, "Shutdown");
}

/// The tasks are due before the deadline, and would take 2 s.
#[test]
fn a_shutdown_ends_in_time_although_many_tasks_are_due() {
    let (recorder, events) = Recorder::<Raw>::new();
    // The connection stays until the deadline.
    let recorder = recorder.on_shutdown(|_| {});
    let server = TestServer::start_on(Server::builder().workers(1), listen(Raw), recorder);
    let client = server.connect();
    eventually("the connection is open", || {
        server.handle().stats().connections == 1
    });
    let runs = Arc::new(AtomicUsize::new(0));
    for _ in 0..200 {
        let runs = runs.clone();
        server.handle().run_after(Duration::ZERO, move || {
            thread::sleep(Duration::from_millis(10));
            runs.fetch_add(1, Ordering::Relaxed);
        });
    }
    server.handle().shutdown(SHORT);
    server.join();
    drop(client);
    events.assert_lifecycles();
    let runs = runs.load(Ordering::Relaxed);
    assert!(runs < 100, "{runs} tasks have run");
}

#[test]
fn a_shutdown_flushes_pending_output() {
    let (recorder, events) = flooding();
    let server = TestServer::start(listen_roomy(Raw).send_buffer_size(128 * 1024), recorder);
    let mut client = server.connect();
    client.send(b"go");
    events.message();
    server.handle().shutdown(DEADLINE);
    assert!(client.receive_rest() == pattern(1, FLOOD));
    drop(client);
    server.join();
    events.assert_lifecycles();
    assert_all_closed_with(&events, 1, "Shutdown");
}

#[test]
fn sends_from_other_threads_before_a_shutdown_are_sent() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (handles, lent) = channel();
    let recorder = recorder.on_open(move |conn| handles.send(conn.handle()).unwrap());
    let server = TestServer::start(listen(Raw), recorder);
    let mut client = server.connect();
    let handle = lent.recv_timeout(DEADLINE).unwrap();
    (0..100).for_each(|_| handle.send(Bytes::from_static(b"1234")).unwrap());
    server.handle().shutdown(DEADLINE);
    assert_eq!(client.receive_rest().len(), 400);
    drop(client);
    server.join();
    events.assert_lifecycles();
}

#[test]
fn a_peer_that_never_reads_is_dropped_at_the_deadline() {
    let (recorder, events) = flooding();
    let server = TestServer::start(listen_roomy(Raw).send_buffer_size(128 * 1024), recorder);
    let mut client = server.connect();
    client.send(b"go");
    events.message();
    let start = Instant::now();
    server.handle().shutdown(SHORT);
    server.join();
    assert!(start.elapsed() >= SHORT);
    client.expect_reset();
    events.assert_lifecycles();
    assert_all_closed_with(&events, 1, "Shutdown");
}

#[test]
fn a_peer_that_never_ends_its_stream_is_left_at_the_deadline() {
    let (echo, events) = line_echo();
    let server = TestServer::start(listen(Lines::new()), echo);
    let mut client = server.connect();
    client.ping();
    let start = Instant::now();
    server.handle().shutdown(SHORT);
    client.expect_eof();
    server.join();
    assert!(start.elapsed() >= SHORT);
    events.assert_lifecycles();
    assert_all_closed_with(&events, 1, "Shutdown");
}

#[test]
fn a_peer_that_never_stops_talking_ends_too() {
    let (echo, events) = line_echo();
    let server = TestServer::start(listen(Lines::new()), echo.without_messages());
    let client = server.connect();
    let mut writer = client.second_half();
    let mut reader = client.second_half();
    let writing = thread::spawn(move || while writer.try_send(&b"talk\n".repeat(1000)).is_ok() {});
    let reading = thread::spawn(move || reader.drain().is_ok());
    eventually("the client is accepted and sends", || {
        server.handle().stats().accepted == 1
    });
    server.handle().shutdown(4 * SHORT);
    server.join();
    writing.join().unwrap();
    reading.join().unwrap();
    events.assert_lifecycles();
    assert_all_closed_with(&events, 1, "Shutdown");
}

#[test]
fn a_server_that_drains_takes_no_new_connections() {
    let (recorder, events) = flooding();
    let server = TestServer::start(listen_roomy(Raw).send_buffer_size(128 * 1024), recorder);
    let mut client = server.connect();
    client.send(b"go");
    events.message();
    server.handle().shutdown(DEADLINE);
    let refused = || {
        Client::try_connect(server.addr())
            .err()
            .map(|error| error.kind())
    };
    eventually("connections are refused", || {
        refused() == Some(ErrorKind::ConnectionRefused)
    });
    // The connection that is being drained has not ended meanwhile.
    assert_eq!(
        events.count(
            |event| matches!(event, Event::Close(_, ending) if ending.stats.messages_in > 0)
        ),
        0
    );
    assert_eq!(client.receive_rest().len(), FLOOD);
    drop(client);
    server.join();
    events.assert_lifecycles();
}

#[test]
fn stop_ends_every_connection_at_once() {
    let (recorder, events) = flooding();
    let builder = Server::builder().workers(2);
    let server = TestServer::start_on(
        builder,
        listen_roomy(Raw).send_buffer_size(128 * 1024),
        recorder,
    );
    let mut clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.send(b"go"));
    (0..20).for_each(|_| drop(events.message()));
    server.handle().stop();
    server.join();
    clients.iter_mut().for_each(Client::expect_reset);
    events.assert_lifecycles();
    assert_all_closed_with(&events, 20, "Shutdown");
    assert_eq!(
        events.count(|event| matches!(event, Event::Shutdown(_))),
        0,
        "stop sends no farewell"
    );
}

#[test]
fn stop_cuts_a_shutdown_short() {
    let (recorder, events) = flooding();
    let server = TestServer::start(listen(Raw).send_buffer_size(128 * 1024), recorder);
    let mut client = server.connect();
    client.send(b"go");
    events.message();
    server.handle().shutdown(Duration::from_secs(3600));
    eventually("the server drains", || {
        Client::try_connect(server.addr()).is_err()
    });
    server.handle().stop();
    server.join();
    client.expect_reset();
    events.assert_lifecycles();
}

#[test]
fn a_second_shutdown_changes_nothing() {
    let (recorder, events) = flooding();
    let server = TestServer::start(listen_roomy(Raw).send_buffer_size(128 * 1024), recorder);
    let mut client = server.connect();
    client.send(b"go");
    events.message();
    let start = Instant::now();
    server.handle().shutdown(SHORT);
    server.handle().shutdown(Duration::ZERO);
    server.join();
    assert!(start.elapsed() >= SHORT);
    drop(client);
    events.assert_lifecycles();
}

#[test]
fn a_server_may_be_ended_before_it_runs() {
    let end: [fn(&ServerHandle); 2] = [|handle| handle.shutdown(DEADLINE), |handle| handle.stop()];
    for end in end {
        let (echo, events) = line_echo();
        let server = Server::builder()
            .workers(2)
            .listen_with(listen(Lines::new()), echo)
            .unwrap()
            .build()
            .unwrap();
        end(&server.handle());
        TestServer::adopt(server.spawn().unwrap()).join();
        assert!(events.so_far().is_empty());
    }
}

#[test]
fn connections_made_before_a_shutdown_are_served_although_the_server_runs_only_afterwards() {
    let (echo, events) = line_echo();
    let builder = Server::builder()
        .workers(2)
        .listen_with(listen(Lines::new()), echo)
        .unwrap();
    let address = builder.local_addr().unwrap();
    let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(address)).collect();
    clients
        .iter_mut()
        .for_each(|client| client.send(b"early\n"));
    let server = builder.build().unwrap();
    server.handle().shutdown(DEADLINE);
    let server = TestServer::adopt(server.spawn().unwrap());
    for client in &mut clients {
        assert_eq!(client.receive_rest(), b"early\n");
    }
    drop(clients);
    server.join();
    events.assert_lifecycles();
}

#[test]
fn a_server_without_connections_ends_at_once() {
    let (echo, events) = line_echo();
    let server = TestServer::start_on(Server::builder().workers(3), listen(Lines::new()), echo);
    server.handle().shutdown(Duration::from_secs(3600));
    server.join();
    assert!(events.so_far().is_empty());
}

#[test]
fn a_callback_may_shut_its_own_server_down() {
    let (recorder, events) = Recorder::<Lines>::new();
    let handle: Arc<OnceLock<ServerHandle>> = Arc::default();
    let known = handle.clone();
    let recorder = recorder.on_message(move |conn, _| {
        conn.send("ending");
        known.get().unwrap().shutdown(DEADLINE);
    });
    let server = TestServer::start(listen(Lines::new()), recorder);
    assert!(handle.set(server.handle().clone()).is_ok());
    let mut client = server.connect();
    client.send(b"end\n");
    assert_eq!(client.receive_rest(), b"ending\n");
    drop(client);
    server.join();
    events.assert_lifecycles();
}

#[test]
fn on_shutdown_may_end_its_connection_itself() {
    let (echo, events) = line_echo();
    let server = TestServer::start(listen(Lines::new()), echo.on_shutdown(|conn| conn.abort()));
    let mut client = server.connect();
    client.ping();
    server.handle().shutdown(DEADLINE);
    client.expect_reset();
    server.join();
    events.assert_lifecycles();
    assert_all_closed_with(&events, 1, "Aborted");
}

#[test]
fn with_reuse_port_a_shutdown_also_answers_and_refuses() {
    let (echo, events) = line_echo();
    let listen = listen(Lines::new()).reuse_port(true);
    let server = TestServer::start_on(Server::builder().workers(2), listen, echo);
    let mut clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    clients
        .iter_mut()
        .for_each(|client| client.send(b"hello\n"));
    eventually("all connections are accepted", || {
        server.handle().stats().accepted == 20
    });
    server.handle().shutdown(DEADLINE);
    for client in &mut clients {
        assert_eq!(client.receive_rest(), b"hello\n");
    }
    eventually("connections are refused", || {
        Client::try_connect(server.addr()).is_err()
    });
    drop(clients);
    server.join();
    events.assert_lifecycles();
}

#[test]
fn the_port_is_free_once_the_server_has_ended() {
    let (echo, events) = line_echo();
    let server = TestServer::start(listen(Lines::new()), echo);
    let address = server.addr();
    let mut client = server.connect();
    client.ping();
    server.finish(&events);
    let (echo, events) = line_echo();
    let again = Server::builder().workers(1).listen(address, echo).unwrap();
    let server = TestServer::spawn(again);
    server.connect().ping();
    server.finish(&events);
}

/// A deadline cuts off what was accepted: whoever did not get all of it sees a reset, and the server counts it.
#[test]
fn publications_that_a_shutdown_cuts_off_end_in_a_reset() {
    const MEMBERS: usize = 20;
    const LINES: usize = 20_000;
    let (hold, grip) = Hold::new();
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder
        .on_open(|conn| {
            conn.subscribe("room").unwrap();
            conn.send("welcome");
        })
        .on_message(move |_, _| hold.enter());
    let builder = Server::builder().workers(1);
    let server = TestServer::start_on(builder, listen(Lines::new()), recorder);
    let handle = server.handle().clone();
    let mut members: Vec<Client> = (0..MEMBERS).map(|_| server.connect()).collect();
    for member in &mut members {
        assert_eq!(member.receive(8), b"welcome\n");
    }
    members[0].send(b"hold\n");
    grip.wait();
    let all = handle.connections_of::<Recorder<Lines>>().unwrap();
    for number in 0..LINES {
        all.publish("room", format!("{number:07}")).unwrap();
    }
    handle.shutdown(Duration::ZERO);
    grip.release();
    let mut resets = 0;
    for member in &mut members {
        match member.drain() {
            Ok(bytes) => assert_eq!(bytes, LINES * 8, "the stream ends as if it were whole"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                resets += 1;
            }
        }
    }
    server.join();
    assert_all_closed_with(&events, MEMBERS, "Shutdown");
    assert!(resets > 0, "the deadline has cut off nothing");
    assert_eq!(handle.stats().output_lost, resets);
}
