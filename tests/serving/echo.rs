//! Bytes are echoed with every protocol, size and number of listeners.

use std::collections::HashSet;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use ringwheel::protocol::{LengthPrefixed, Lines, Raw};
use ringwheel::{Conn, Server};
use support::{
    Client, DEADLINE, Events, LOCAL, Recorder, TestServer, eventually, listen, pattern, text,
};

fn raw_echo() -> (Recorder<Raw>, Events) {
    let (recorder, events) = Recorder::<Raw>::new();
    let echo = |conn: &mut Conn<'_, Raw>, bytes: &[u8]| {
        conn.send(bytes);
    };
    (recorder.without_messages().on_message(echo), events)
}

fn line_echo() -> (Recorder<Lines>, Events) {
    let (recorder, events) = Recorder::<Lines>::new();
    let echo = |conn: &mut Conn<'_, Lines>, line: &[u8]| {
        conn.send(text(line));
    };
    (recorder.on_message(echo), events)
}

fn frame_echo() -> (Recorder<LengthPrefixed>, Events) {
    let (recorder, events) = Recorder::<LengthPrefixed>::new();
    let echo = |conn: &mut Conn<'_, LengthPrefixed>, body: &[u8]| {
        conn.send(body);
    };
    (recorder.on_message(echo), events)
}

fn frame(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    [&length.to_be_bytes()[..], body].concat()
}

/// Writes all of `bytes` on another thread while reading as many back, and compares them.
#[track_caller]
fn stream_through(client: &mut Client, bytes: Vec<u8>, piece: usize) {
    let mut writer = client.second_half();
    let to_write = bytes.clone();
    let writing =
        thread::spawn(move || to_write.chunks(piece).for_each(|chunk| writer.send(chunk)));
    let mut received = Vec::with_capacity(bytes.len());
    while received.len() < bytes.len() {
        let some = client.receive_some(4096);
        assert!(
            !some.is_empty(),
            "the server ended the stream after {} bytes",
            received.len()
        );
        received.extend_from_slice(&some);
    }
    writing.join().unwrap();
    assert!(received == bytes, "the echo differs from the bytes sent");
}

#[test]
fn bytes_are_echoed_unchanged() {
    let (echo, events) = raw_echo();
    let server = TestServer::start(listen(Raw), echo);
    stream_through(&mut server.connect(), pattern(1, 1 << 20), 1009);
    server.finish(&events);
}

#[test]
fn many_connections_each_get_their_own_bytes_back() {
    let (echo, events) = raw_echo();
    let server = TestServer::start_on(Server::builder().workers(2), listen(Raw), echo);
    let mut clients: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    for round in 0..5 {
        for (seed, client) in (0..).zip(&mut clients) {
            client.send(&pattern(seed + 1000 * round, 700));
        }
        for (seed, client) in (0..).zip(&mut clients) {
            assert_eq!(client.receive(700), pattern(seed + 1000 * round, 700));
        }
    }
    drop(clients);
    server.finish(&events);
}

#[test]
fn twenty_mebibytes_go_both_ways_past_a_slow_reader() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (blocked, is_blocked) = channel();
    let echo = recorder.without_messages().on_message(move |conn, bytes| {
        if conn.send(bytes) == ringwheel::SendStatus::AboveHighWater {
            let _ = blocked.send(());
        }
    });
    let server = TestServer::start(listen(Raw), echo);
    let mut client = server.connect();
    let mut writer = client.second_half();
    let payload = pattern(2, 20 << 20);
    let to_write = payload.clone();
    let writing = thread::spawn(move || writer.send(&to_write));
    // The client reads nothing until the server's output is blocked.
    is_blocked
        .recv_timeout(DEADLINE)
        .expect("the server's output is blocked");
    assert!(client.receive(payload.len()) == payload);
    writing.join().unwrap();
    server.finish(&events);
    assert!(events.count(|event| matches!(event, support::Event::Drained(_))) > 0);
}

#[test]
fn frames_larger_than_the_receive_buffer_come_back_whole() {
    let (echo, events) = frame_echo();
    let builder = Server::builder().workers(1).receive_buffer(4096);
    let listen = listen(LengthPrefixed::u32_be());
    let server = TestServer::start_on(builder, listen, echo);
    let mut client = server.connect();
    for length in [0, 1, 4091, 4092, 4093, 8192, 65_536, 300_000] {
        let sent = frame(&pattern(length as u64, length));
        assert!(client.ask(&sent) == sent, "a frame of {length}");
    }
    server.finish(&events);
}

#[test]
fn a_frame_may_arrive_byte_by_byte() {
    let (echo, events) = frame_echo();
    let server = TestServer::start(listen(LengthPrefixed::u32_be()), echo);
    let mut client = server.connect();
    let sent = frame(b"in pieces");
    for byte in &sent {
        client.send(&[*byte]);
    }
    assert_eq!(client.receive(sent.len()), sent);
    assert_eq!(events.message(), b"in pieces");
    server.finish(&events);
}

#[test]
fn a_burst_of_messages_is_answered_in_order() {
    let (echo, events) = line_echo();
    let server = TestServer::start(listen(Lines::new()), echo);
    let mut client = server.connect();
    let burst: String = (0..5000).map(|number| format!("line {number}\n")).collect();
    assert!(client.ask(burst.as_bytes()) == burst.as_bytes());
    assert_eq!(events.messages().len(), 5000);
    server.finish(&events);
}

#[test]
fn listeners_with_different_protocols_share_a_loop() {
    let (raw, raw_events) = raw_echo();
    let (lines, line_events) = line_echo();
    let (frames, frame_events) = frame_echo();
    let (threads, on_threads) = channel();
    let note = move || threads.send(thread::current().id()).unwrap();
    let (note_raw, note_line, note_frame) = (note.clone(), note.clone(), note);
    let builder = Server::builder()
        .workers(1)
        .listen_with(listen(Raw), raw.on_open(move |_| note_raw()))
        .and_then(|builder| {
            builder.listen_with(listen(Lines::new()), lines.on_open(move |_| note_line()))
        })
        .and_then(|builder| {
            builder.listen_with(
                listen(LengthPrefixed::u32_be()),
                frames.on_open(move |_| note_frame()),
            )
        })
        .unwrap();
    let addresses = builder.local_addrs();
    assert_eq!(addresses.iter().collect::<HashSet<_>>().len(), 3);
    let server = TestServer::spawn(builder);
    let [mut raw, mut lines, mut frames] =
        [0, 1, 2].map(|index| Client::connect(server.addr_of(index)));
    assert_eq!(raw.ask(b"no framing"), b"no framing");
    lines.send(b"one\r\ntwo\n");
    assert_eq!(
        lines.receive(8),
        b"one\ntwo\n",
        "the lines are parsed and packed again"
    );
    assert_eq!(frames.ask(&frame(b"body")), frame(b"body"));
    let opened: HashSet<_> = (0..3)
        .map(|_| on_threads.recv_timeout(DEADLINE).unwrap())
        .collect();
    assert_eq!(
        opened.len(),
        1,
        "all connections are on the single worker's thread"
    );
    drop((raw, lines, frames));
    server.finish(&raw_events);
    line_events.assert_lifecycles();
    frame_events.assert_lifecycles();
}

#[test]
fn port_zero_is_resolved_and_bound_before_the_server_runs() {
    let (echo, events) = raw_echo();
    let builder = Server::builder().workers(1).listen(LOCAL, echo).unwrap();
    let address = builder.local_addr().unwrap();
    assert_ne!(address.port(), 0);
    // The kernel accepts the connection before the server runs.
    let mut early = Client::connect(address);
    early.send(b"early");
    let server = builder.build().unwrap();
    assert_eq!(server.handle().local_addrs(), [address]);
    let server = TestServer::adopt(server.spawn().unwrap());
    assert_eq!(early.receive(5), b"early");
    drop(early);
    server.finish(&events);
}

#[test]
fn with_reuse_port_every_worker_accepts() {
    let (echo, events) = raw_echo();
    let listen = listen(Raw).reuse_port(true);
    let server = TestServer::start_on(Server::builder().workers(2), listen, echo);
    let mut clients: Vec<Client> = (0..128).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(Client::ping);
    // The kernel spreads connections by a hash of the ports; it is practically impossible that one of two workers gets
    // none of 128.
    let connections = server.handle().connections_per_worker();
    assert_eq!(connections.iter().sum::<usize>(), 128);
    assert!(
        connections.iter().all(|count| *count > 0),
        "{connections:?}"
    );
    drop(clients);
    eventually("no connection is counted any more", || {
        server.handle().connections_per_worker() == [0, 0]
    });
    server.finish(&events);
}

#[test]
fn workers_are_named_and_announced_on_their_threads() {
    let (echo, events) = raw_echo();
    let (names, named) = channel();
    let builder = Server::builder().workers(3).on_worker_start(move |index| {
        names
            .send((index, thread::current().name().unwrap().to_owned()))
            .unwrap();
    });
    let server = TestServer::start_on(builder, listen(Raw), echo);
    let started: HashSet<_> = (0..3)
        .map(|_| named.recv_timeout(DEADLINE).unwrap())
        .collect();
    assert_eq!(
        started,
        (0..3)
            .map(|index| (index, format!("ringwheel-{index}")))
            .collect()
    );
    server.finish(&events);
}

#[test]
fn each_worker_makes_its_handler_on_its_own_thread() {
    let (made, is_made) = channel();
    let (echo, events) = raw_echo();
    let make = move |start: ringwheel::WorkerStart<'_>| {
        let worker = start.index();
        made.send((worker, thread::current().name().unwrap().to_owned()))
            .unwrap();
        echo.clone()
    };
    let builder = Server::builder()
        .workers(2)
        .listen_with_factory(listen(Raw), make)
        .unwrap();
    let server = TestServer::spawn(builder);
    let made: HashSet<_> = (0..2)
        .map(|_| is_made.recv_timeout(DEADLINE).unwrap())
        .collect();
    assert_eq!(
        made,
        HashSet::from([(0, "ringwheel-0".into()), (1, "ringwheel-1".into())])
    );
    let mut clients = [server.connect(), server.connect()];
    clients.iter_mut().for_each(Client::ping);
    server.finish(&events);
}

#[test]
fn smallest_buffer_and_budget_lose_nothing() {
    let (echo, events) = raw_echo();
    let builder = Server::builder()
        .workers(1)
        .receive_buffer(0)
        .read_budget(0);
    let server = TestServer::start_on(builder, listen(Raw), echo);
    stream_through(&mut server.connect(), pattern(3, 1 << 20), 65_536);
    server.finish(&events);
}

#[test]
fn a_busy_poll_serves_and_ends_like_any_other() {
    let (echo, events) = raw_echo();
    let builder = Server::builder()
        .workers(1)
        .busy_poll(Duration::from_millis(5));
    let server = TestServer::start_on(builder, listen(Raw), echo);
    let mut client = server.connect();
    (0..100).for_each(|_| client.ping());
    let again = server.handle().clone();
    let (ran, has_run) = channel();
    again.run_after(Duration::from_millis(20), move || ran.send(()).unwrap());
    has_run.recv_timeout(DEADLINE).expect("timers fire");
    client.ping();
    server.finish(&events);
}

#[test]
fn a_message_in_parts_is_one_message() {
    let (recorder, events) = Recorder::<LengthPrefixed>::new();
    let recorder = recorder.on_message(|conn, body| {
        conn.send_vectored(&[b"<", body, b"", b">"]);
    });
    let server = TestServer::start(listen(LengthPrefixed::u32_be()), recorder);
    let mut client = server.connect();
    client.send(&frame(b"body"));
    assert_eq!(client.receive(10), frame(b"<body>"));
    let large = pattern(4, 200_000);
    client.send(&frame(&large));
    assert!(client.receive(200_006) == frame(&[b"<", &large[..], b">"].concat()));
    server.finish(&events);
}

#[test]
fn addresses_and_counters_are_those_of_the_connection() {
    let (recorder, events) = Recorder::<Lines>::new();
    let (addresses, known) = channel();
    let recorder = recorder
        .on_open(move |conn| {
            addresses
                .send((conn.peer_addr().clone(), conn.local_addr().unwrap()))
                .unwrap()
        })
        .on_message(|conn, _| {
            conn.send("answer");
        });
    let server = TestServer::start(listen(Lines::new()), recorder);
    let mut client = server.connect();
    assert_eq!(
        known.recv_timeout(DEADLINE).unwrap(),
        (client.addr().into(), server.addr().into())
    );
    client.send(b"one\ntwo\nthree\n");
    client.receive(21);
    drop(client);
    let stats = events.close().stats;
    assert_eq!((stats.bytes_in, stats.messages_in), (14, 3));
    assert_eq!(
        (stats.bytes_out, stats.messages_out, stats.dropped),
        (21, 3, 0)
    );
    server.finish(&events);
}

#[test]
fn unread_and_unsent_bytes_can_be_queried() {
    let (recorder, events) = Recorder::<Lines>::new();
    let (lengths, known) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        let before = conn.write_buffer_len();
        conn.send("x");
        lengths
            .send((conn.read_buffer_len(), conn.write_buffer_len() - before))
            .unwrap();
    });
    let server = TestServer::start(listen(Lines::new()), recorder);
    let mut client = server.connect();
    client.send(b"ab\ncd\nef");
    assert_eq!(known.recv_timeout(DEADLINE).unwrap(), (5, 2));
    assert_eq!(known.recv_timeout(DEADLINE).unwrap(), (2, 2));
    client.receive(4);
    drop(client);
    assert_eq!(events.close_reason(), "Truncated");
    server.finish(&events);
}
