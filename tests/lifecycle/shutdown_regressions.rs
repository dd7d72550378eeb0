//! Regressions at the end of the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use bytes::Bytes;
use std::time::Duration;

use ringwheel::protocol::{Lines, Raw};
use ringwheel::{Conn, Connections, Published, SendOutcome, SendStatus, Server, ServerHandle};
use support::{
    Client, DEADLINE, Hold, Recorder, TestServer, behind_an_acceptor, eventually, lending, listen,
    listen_roomy, raw_echo, take, text,
};

const SHORT: Duration = Duration::from_millis(150);

/// At a shutdown only one burst of the connections in the backlog was accepted.
#[test]
fn a_shutdown_serves_all_connections_in_the_backlog() {
    for reuse_port in [false, true] {
        let (echo, events) = raw_echo();
        let builder = Server::builder().workers(1).accept_burst(1);
        let builder = builder
            .listen_with(listen(Raw).reuse_port(reuse_port), echo)
            .unwrap();
        let address = builder.local_addr().unwrap();
        let server = builder.build().unwrap();
        let mut clients: Vec<Client> = (0..200).map(|_| Client::connect(address)).collect();
        clients.iter_mut().for_each(|client| client.send(b"hello"));
        server.handle().shutdown(DEADLINE);
        let server = TestServer::adopt(server.spawn().unwrap());
        for client in &mut clients {
            assert_eq!(client.receive_rest(), b"hello", "reuse_port: {reuse_port}");
        }
        drop(clients);
        server.join();
        events.assert_lifecycles();
    }
}

/// A message that was unread because the output was above its high-water mark was not answered at a shutdown.
#[test]
fn a_shutdown_answers_messages_held_back_by_pressure() {
    const ANSWER: usize = 6 << 20;
    let (recorder, events) = Recorder::<Raw>::new();
    let (statuses, reported) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        statuses.send(conn.send(&vec![0; ANSWER])).unwrap();
    });
    let server = TestServer::start(listen_roomy(Raw).send_buffer_size(128 * 1024), recorder);
    let mut client = server.connect();
    client.send(b"first");
    assert_eq!(take(&reported), SendStatus::AboveHighWater);
    client.send(b"second");
    server.handle().shutdown(DEADLINE);
    server.wait_until_draining();
    assert_eq!(client.receive_rest().len(), 2 * ANSWER);
    drop(client);
    server.join();
    events.assert_lifecycles();
}

/// Input that had arrived was answered at a shutdown only as far as the read budget of a few turns went.
#[test]
fn a_shutdown_answers_all_arrived_input_with_any_budget() {
    let (recorder, events) = Recorder::<Lines>::new();
    let (hold, grip) = Hold::new();
    let recorder = recorder.on_message(move |conn, line| {
        if line == b"hold" {
            hold.enter();
        }
        conn.send(text(line));
    });
    let builder = behind_an_acceptor().receive_buffer(4096).read_budget(4096);
    let server = TestServer::start_on(builder, listen(Lines::new()), recorder);
    let mut client = server.connect();
    client.send(b"hold\n");
    grip.wait();
    let sent = b"question\n".repeat(12_000);
    client.send(&sent);
    server.handle().shutdown(DEADLINE);
    server.wait_until_draining();
    grip.release();
    assert_eq!(client.receive(5), b"hold\n");
    assert_eq!(client.receive_rest().len(), sent.len());
    drop(client);
    server.join();
    events.assert_lifecycles();
}

/// Letters that other threads had sent before a shutdown were handled only as far as the mail budget went.
#[test]
fn a_shutdown_sends_all_earlier_letters() {
    let (recorder, events) = raw_echo();
    let (recorder, handles) = lending(recorder);
    let server = TestServer::start_on(behind_an_acceptor(), listen(Raw), recorder);
    let mut client = server.connect();
    let handle = take(&handles);
    let (hold, grip) = Hold::new();
    handle.run(move |_| hold.enter()).unwrap();
    grip.wait();
    (0..10_000).for_each(|_| handle.send(Bytes::from_static(b"1234")).unwrap());
    server.handle().shutdown(DEADLINE);
    server.wait_until_draining();
    grip.release();
    assert_eq!(client.receive_rest().len(), 40_000);
    drop(client);
    server.join();
    events.assert_lifecycles();
}

/// Output that the kernel had taken, and that a slow peer was still reading, was discarded at the drain's deadline.
#[test]
fn a_drain_deadline_keeps_output_that_the_kernel_has_taken() {
    const ANSWER: usize = 100_000;
    let (recorder, events) = Recorder::<Raw>::new();
    let (completed, completions) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        let completed = completed.clone();
        conn.send_then(&vec![7; ANSWER], move |delivery| {
            completed.send(delivery).unwrap()
        });
    });
    let server = TestServer::start(listen(Raw).send_buffer_size(1 << 20), recorder);
    let mut client = server.connect();
    client.send(b"go");
    assert_eq!(take(&completions), SendOutcome::Written);
    server.handle().shutdown(SHORT);
    assert_eq!(events.close_reason(), "Shutdown");
    assert_eq!(client.receive_rest().len(), ANSWER);
    server.join();
    events.assert_lifecycles();
}

/// A handler that had paused reading to compute an answer on another thread was closed before it could send the answer.
#[test]
fn a_drain_waits_for_a_handler_that_has_paused() {
    let (recorder, events) = Recorder::<Lines>::new();
    let (asked, questions) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        conn.pause_reading();
        asked.send(conn.handle()).unwrap();
    });
    let server = TestServer::start(listen(Lines::new()), recorder);
    let mut client = server.connect();
    client.send(b"one\n");
    let answer = |conn: &mut Conn<'_, Lines>| {
        conn.send("answer");
        conn.resume_reading();
    };
    let first = take(&questions);
    client.send(b"two\n");
    server.handle().shutdown(DEADLINE);
    server.wait_until_draining();
    first.run(answer).unwrap();
    take(&questions).run(answer).unwrap();
    assert_eq!(client.receive_rest(), b"answer\nanswer\n");
    drop(client);
    server.join();
    events.assert_lifecycles();
}

/// Publishes again whenever all workers have finished the last publication, until one worker is gone.
fn publish_on_and_on(connections: Connections<Recorder<Raw>>, rounds: Arc<AtomicUsize>) {
    let again = connections.clone();
    let done = move |published: Published| {
        rounds.fetch_add(1, Ordering::Relaxed);
        if published.unreached_workers == 0 {
            publish_on_and_on(again, rounds);
        }
    };
    // A server that has ended refuses it.
    let _ = connections.publish_then("topic", Bytes::from_static(b"x"), done);
}

/// A worker that ended kept handling letters until its mailbox was empty, which a busy publisher prevented for ever.
#[track_caller]
fn assert_ends_under_a_publisher(end: impl FnOnce(&ServerHandle)) {
    let (echo, events) = raw_echo();
    let server = TestServer::start(listen(Raw), echo);
    let rounds = Arc::new(AtomicUsize::new(0));
    publish_on_and_on(server.handle().connections_of().unwrap(), rounds.clone());
    eventually("the publisher has published again", || {
        rounds.load(Ordering::Relaxed) > 1
    });
    end(server.handle());
    server.join();
    events.assert_lifecycles();
}

#[test]
fn a_shutdown_ends_under_a_publisher_that_goes_on() {
    assert_ends_under_a_publisher(|handle| handle.shutdown(DEADLINE));
}

#[test]
fn a_stop_ends_under_a_publisher_that_goes_on() {
    assert_ends_under_a_publisher(ServerHandle::stop);
}
