//! Connections that the handler refuses before it meets them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringwheel::protocol::{Lines, Raw};
use ringwheel::{ConnHandle, SendError, SendStatus, Server};
use support::{
    Client, DEADLINE, Event, Events, Recorder, TestServer, deliberate_panic, eventually, listen,
    listen_roomy, pattern, take,
};

const SHORT: Duration = Duration::from_millis(100);
/// More than the kernel takes from a connection with a small send buffer.
const FLOOD: usize = 6 << 20;

/// Waits until the server counts no connection any more.
#[track_caller]
fn wait_until_empty(server: &TestServer) {
    eventually("all are counted out", || {
        server.handle().stats().connections == 0
            && server
                .handle()
                .connections_per_worker()
                .iter()
                .sum::<usize>()
                == 0
    });
}

/// Ends the server. The handler was told of nothing.
#[track_caller]
fn finish_untold(server: TestServer, events: &Events) {
    server.finish(events);
    assert_eq!(events.so_far(), []);
}

/// A recorder that refuses every connection with a line.
fn refusing() -> (Recorder<Lines>, Events) {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder.admit(|conn| {
        assert!(conn.send("you are banned").is_queued());
        false
    });
    (recorder, events)
}

#[test]
fn what_was_sent_is_flushed_and_no_other_callback_comes() {
    let (recorder, events) = refusing();
    let server = TestServer::start_on(Server::builder().workers(2), listen(Lines::new()), recorder);
    for _ in 0..20 {
        let mut client = server.connect();
        // It closes in order, whatever the peer says.
        let _ = client.try_send(b"let me in\nplease\n");
        assert_eq!(client.receive_rest(), b"you are banned\n");
    }
    wait_until_empty(&server);
    assert_eq!(server.handle().stats().accepted, 20);
    finish_untold(server, &events);
}

#[test]
fn a_refusal_without_words_is_an_end_of_stream() {
    let (recorder, events) = Recorder::<Raw>::new();
    let server = TestServer::start(listen(Raw), recorder.admit(|_| false));
    server.connect().expect_eof();
    wait_until_empty(&server);
    finish_untold(server, &events);
}

#[test]
fn who_is_admitted_is_served_beside_those_who_are_not() {
    let (recorder, events) = Recorder::<Raw>::new();
    let count = AtomicUsize::new(0);
    let recorder = recorder
        .admit(move |conn| {
            conn.send(b"before on_open,");
            count.fetch_add(1, Ordering::Relaxed) % 2 == 0
        })
        .on_open(|conn| _ = conn.send(b"in it"));
    let server = TestServer::start(listen(Raw), recorder);
    for _ in 0..5 {
        let mut admitted = server.connect();
        assert_eq!(admitted.receive(20), b"before on_open,in it");
        let id = events.open();
        assert_eq!(server.connect().receive_rest(), b"before on_open,");
        drop(admitted);
        let (closed, ending) = events.wait_for(|event| match event {
            Event::Close(id, ending) => Some((*id, ending.clone())),
            _ => None,
        });
        assert_eq!((closed, ending.reason.as_str()), (id, "Peer"));
    }
    wait_until_empty(&server);
    assert_eq!(events.count(|event| matches!(event, Event::Open(_))), 5);
    server.finish(&events);
}

#[test]
fn the_name_of_a_refused_connection_reaches_nobody() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (told, refused) = channel::<ConnHandle<Raw>>();
    let is_open = Arc::new(AtomicUsize::new(0));
    let opens = is_open.clone();
    let recorder = recorder.admit(move |conn| {
        told.send(conn.handle()).unwrap();
        opens.load(Ordering::Relaxed) == 1
    });
    let server = TestServer::start(listen(Raw), recorder);
    let connections = server.handle().connections_of::<Recorder<Raw>>().unwrap();
    let mut client = server.connect();
    let handle = take(&refused);
    // It may be closing still, or be gone.
    let _ = handle.send("to a refused one");
    let _ = connections.send_to(handle.id(), "to a refused one");
    let _ = connections.run(handle.id(), |_, _, _| unreachable!("it was never open"));
    let _ = connections.broadcast("to all that are open");
    let _ = connections.visit(|_, _| unreachable!("nobody is open"));
    client.expect_eof();
    drop(client);
    eventually("its handle knows", || !handle.is_alive());
    assert_eq!(handle.close(), Err(SendError::Closed(())));
    // A connection that comes before the mail from above is read would hear the broadcast.
    let (told, is_read) = channel();
    connections
        .on_worker(0, move |_, _| told.send(()).unwrap())
        .unwrap();
    take(&is_read);
    is_open.store(1, Ordering::Relaxed);
    let mut heir = server.connect();
    events.open();
    assert_eq!(
        connections.send_to(handle.id(), "to the refused one"),
        Ok(())
    );
    let heirs = take(&refused);
    assert_ne!(heirs.id(), handle.id());
    heirs.send("mine").unwrap();
    assert_eq!(heir.receive(4), b"mine");
    server.finish(&events);
}

#[test]
fn all_that_a_refused_connection_has_set_up_ends_with_it() {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder.admit(|conn| {
        conn.subscribe("news").unwrap();
        conn.set_timer(Duration::ZERO, 1).unwrap();
        conn.set_interval(Duration::from_millis(1), 2).unwrap();
        conn.set_idle_timeout(Some(Duration::from_millis(1)));
        conn.publish("news", "to itself").unwrap();
        conn.update_decoder(|_| {});
        false
    });
    let server = TestServer::start(listen(Lines::new()), recorder);
    let connections = server.handle().connections_of::<Recorder<Lines>>().unwrap();
    let client = server.connect();
    let mut reader = client.second_half();
    // It has subscribed before it has published.
    assert_eq!(reader.receive(10), b"to itself\n");
    reader.expect_eof();
    // It lingers, since the client has not ended its stream, and nothing fires for it.
    server.let_pass(SHORT);
    drop((client, reader));
    wait_until_empty(&server);
    let (told, counts) = channel();
    let count = move |number| told.send(number).unwrap();
    connections.count_subscribers("news", count).unwrap();
    assert_eq!(take(&counts), 0);
    finish_untold(server, &events);
}

#[test]
fn a_handler_that_ends_the_connection_and_refuses_it_has_ended_it_once() {
    for (order, expected) in [
        ("close", "bye\n"),
        ("end of stream", "bye\n"),
        ("abort", ""),
    ] {
        let (recorder, events) = Recorder::<Lines>::new();
        let recorder = recorder.admit(move |conn| {
            conn.send("bye");
            match order {
                "close" => conn.close(),
                "end of stream" => conn.shutdown_write(),
                _ => conn.abort(),
            }
            assert_eq!(
                conn.send("late"),
                SendStatus::Refused(ringwheel::Refusal::Closing)
            );
            false
        });
        // Connected before the server runs, since a reset may come before the client knows that it is connected.
        let (server, mut client) =
            TestServer::start_late(listen(Lines::new()), recorder, b"hello\n");
        match expected {
            "" => client.expect_reset(),
            _ => assert_eq!(client.receive_rest(), expected.as_bytes()),
        }
        drop(client);
        wait_until_empty(&server);
        finish_untold(server, &events);
    }
}

#[test]
fn a_handler_that_closes_and_admits_meets_the_connection_and_its_end() {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder.admit(|conn| {
        conn.close();
        true
    });
    let server = TestServer::start(listen(Lines::new()), recorder);
    server.connect().expect_eof();
    events.open();
    assert_eq!(events.close_reason(), "Local");
    server.finish(&events);
}

#[test]
fn a_panic_in_it_ends_the_connection_and_no_callback_comes() {
    let (recorder, events) = Recorder::<Lines>::new();
    let panics = Arc::new(AtomicUsize::new(1));
    let left = panics.clone();
    let recorder = recorder.admit(move |conn| {
        conn.subscribe("news").unwrap();
        conn.set_timer(Duration::ZERO, 1).unwrap();
        if left.swap(0, Ordering::Relaxed) == 1 {
            deliberate_panic();
        }
        true
    });
    let server = TestServer::start(listen(Lines::new()), recorder);
    server.connect().expect_ended();
    wait_until_empty(&server);
    assert_eq!(events.so_far(), []);
    let connections = server.handle().connections_of::<Recorder<Lines>>().unwrap();
    let mut next = server.connect();
    events.open();
    connections.publish("news", "to the next").unwrap();
    assert_eq!(next.receive(12), b"to the next\n");
    assert_eq!(events.timer(), 1);
    server.finish(&events);
}

#[test]
fn much_that_was_sent_is_flushed_to_a_peer_that_reads_late() {
    let (recorder, events) = Recorder::<Raw>::new();
    let payload = pattern(1, FLOOD);
    let to_send = payload.clone();
    let recorder = recorder.admit(move |conn| {
        assert_eq!(conn.send(&to_send), SendStatus::AboveHighWater);
        false
    });
    let server = TestServer::start(listen_roomy(Raw).send_buffer_size(128 * 1024), recorder);
    let mut client = server.connect();
    server.let_pass(SHORT);
    assert!(client.receive_rest() == payload);
    drop(client);
    wait_until_empty(&server);
    finish_untold(server, &events);
}

#[test]
fn a_refused_peer_that_neither_reads_nor_leaves_has_the_time_of_a_close() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.admit(move |conn| {
        conn.send(&pattern(1, FLOOD));
        false
    });
    let listen = listen(Raw)
        .send_buffer_size(128 * 1024)
        .close_timeout(SHORT);
    let server = TestServer::start(listen, recorder);
    let mut client = server.connect();
    eventually("it is accepted", || server.handle().stats().accepted == 1);
    wait_until_empty(&server);
    client.expect_reset();
    finish_untold(server, &events);
}

#[test]
fn a_peer_that_has_ended_its_stream_already_is_told() {
    let (recorder, events) = refusing();
    let builder = Server::builder().workers(1);
    let builder = builder.listen_with(listen(Lines::new()), recorder).unwrap();
    let mut client = Client::connect(builder.local_addr().unwrap());
    client.send(b"hello\n");
    client.finish();
    let server = TestServer::spawn(builder);
    assert_eq!(client.receive_rest(), b"you are banned\n");
    wait_until_empty(&server);
    finish_untold(server, &events);
}

#[test]
fn refusals_do_not_use_up_the_limits_on_connections() {
    let (recorder, events) = refusing();
    let builder = Server::builder()
        .workers(1)
        .max_connections(2)
        .max_connections_per_ip(1);
    let server = TestServer::start_on(builder, listen(Lines::new()), recorder);
    for _ in 0..10 {
        let mut client = server.connect();
        assert_eq!(client.receive_rest(), b"you are banned\n");
        drop(client);
        wait_until_empty(&server);
    }
    let stats = server.handle().stats();
    assert_eq!(
        (stats.accepted, stats.refused, stats.refused_per_ip),
        (10, 0, 0)
    );
    finish_untold(server, &events);
}

#[test]
fn a_connection_that_comes_with_the_drain_may_be_refused() {
    let (recorder, events) = refusing();
    let (hold, grip) = support::Hold::new();
    let first = Mutex::new(Some(hold));
    let (holding, holding_events) = Recorder::<Lines>::new();
    let holding = holding.admit(move |_| {
        if let Some(hold) = first.lock().unwrap().take() {
            hold.enter();
        }
        true
    });
    let builder = support::behind_an_acceptor()
        .listen_with(listen(Lines::new()), holding)
        .and_then(|builder| builder.listen_with(listen(Lines::new()), recorder))
        .unwrap();
    let server = TestServer::spawn(builder);
    let mut held = server.connect();
    grip.wait();
    let mut late = Client::connect(server.addr_of(1));
    server.handle().shutdown(DEADLINE);
    server.wait_until_draining();
    grip.release();
    assert_eq!(late.receive_rest(), b"you are banned\n");
    held.expect_eof();
    drop((late, held));
    server.join();
    assert_eq!(events.so_far(), []);
    // Beside the one that was held, connections were made to see if the server drains.
    while holding_events.close_reason() != "Shutdown" {}
    holding_events.assert_lifecycles();
}
