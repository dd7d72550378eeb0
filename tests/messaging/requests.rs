//! Requests that need no room in a mailbox and overtake what waits there; and the bytes and shares of a mailbox.

use std::sync::mpsc::{Receiver, channel};
use std::thread;

use bytes::Bytes;
use ringwheel::protocol::Raw;
use ringwheel::{ConnHandle, SendError, SendOutcome, Server, ServerBuilder};
use support::{Client, Events, Grip, Hold, Recorder, TestServer, lending, listen, take};

/// A worker that is held up in a job of a third connection.
struct Held {
    server: TestServer,
    clients: [Client; 2],
    handles: [ConnHandle<Raw>; 2],
    events: Events,
    grip: Grip,
    _guard: Client,
}

fn held(builder: ServerBuilder) -> Held {
    let (recorder, events) = Recorder::<Raw>::new();
    let (recorder, lent) = lending(recorder);
    let recorder = recorder.on_message(|conn, message| {
        conn.send(message);
        if message == b"pause" {
            conn.pause_reading();
        }
    });
    let server = TestServer::start_on(builder, listen(Raw), recorder);
    let clients = [server.connect(), server.connect()];
    let handles = [take(&lent), take(&lent)];
    let guard = server.connect();
    let (hold, grip) = Hold::new();
    take(&lent).run(move |_| hold.enter()).unwrap();
    grip.wait();
    Held {
        server,
        clients,
        handles,
        events,
        grip,
        _guard: guard,
    }
}

/// Sends until the mailbox takes no more. Returns the number of letters.
fn fill(handle: &ConnHandle<Raw>, item: &Bytes) -> usize {
    let mut count = 0;
    while handle.send(item.clone()).is_ok() {
        count += 1;
    }
    count
}

#[test]
fn a_full_mailbox_refuses_no_request() {
    let mut held = held(Server::builder().workers(1).mailbox_limit(100));
    let [first, second] = &held.handles;
    let count = fill(first, &Bytes::from_static(b"x"));
    assert_eq!(second.send("x"), Err(SendError::Full("x".into())));
    assert_eq!(second.close(), Ok(()));
    assert_eq!(second.resume_reading(), Ok(()));
    assert_eq!(first.close(), Ok(()));
    held.grip.release();
    // The first is closed behind its letters.
    assert_eq!(held.clients[0].receive(count), b"x".repeat(count));
    held.clients.iter_mut().for_each(Client::expect_eof);
    held.server.finish(&held.events);
}

#[test]
fn a_close_comes_although_others_go_on_sending() {
    let mut held = held(Server::builder().workers(1).mailbox_limit(100));
    let [first, second] = &held.handles;
    fill(second, &Bytes::from_static(b"y"));
    let sender = first.clone();
    let sends = thread::spawn(
        move || {
            while !matches!(sender.send("x"), Err(SendError::Closed(_))) {}
        },
    );
    first.close().unwrap();
    held.grip.release();
    assert!(
        held.clients[0]
            .receive_rest()
            .iter()
            .all(|byte| *byte == b'x')
    );
    sends.join().unwrap();
    held.server.finish(&held.events);
}

#[test]
fn an_abort_overtakes_the_letters() {
    let held = held(Server::builder().workers(1));
    let [first, _] = &held.handles;
    let (told, outcomes) = channel();
    for _ in 0..10 {
        let told = told.clone();
        let done = move |outcome| told.send(outcome).unwrap();
        first.send_then("late", done).unwrap();
    }
    first.abort().unwrap();
    held.grip.release();
    for _ in 0..10 {
        assert_eq!(take(&outcomes), SendOutcome::Lost);
    }
    held.server.finish(&held.events);
}

#[test]
fn a_paused_connection_can_always_be_resumed() {
    let mut held = held(Server::builder().workers(1).mailbox_limit(10));
    held.grip.release();
    held.clients[1].send(b"pause");
    assert_eq!(held.clients[1].receive(5), b"pause");
    held.clients[1].send(b"heard");
    let (hold, grip) = Hold::new();
    held.handles[0].run(move |_| hold.enter()).unwrap();
    grip.wait();
    fill(&held.handles[0], &Bytes::from_static(b"x"));
    held.handles[1].resume_reading().unwrap();
    grip.release();
    assert_eq!(held.clients[1].receive(5), b"heard");
    held.server.finish(&held.events);
}

#[test]
fn requests_to_a_connection_that_has_ended_are_closed() {
    let held = held(Server::builder().workers(1));
    held.handles[0].abort().unwrap();
    held.grip.release();
    let handle = held.handles[0].clone();
    held.server.finish(&held.events);
    assert_eq!(handle.close(), Err(SendError::Closed(())));
    assert_eq!(handle.abort(), Err(SendError::Closed(())));
    assert_eq!(handle.resume_reading(), Err(SendError::Closed(())));
}

#[test]
fn large_letters_are_bounded_by_their_bytes() {
    const LIMIT: usize = 4 << 20;
    let held = held(Server::builder().workers(1).mailbox_bytes(LIMIT));
    let large = Bytes::from(vec![7; 64 << 10]);
    // One thread has half of the bytes at most.
    let count = fill(&held.handles[0], &large);
    let share = LIMIT / 2 / (large.len() + 64);
    assert!((share..=share + 1).contains(&count), "{count} of {share}");
    let all = held
        .server
        .handle()
        .connections_of::<Recorder<Raw>>()
        .unwrap();
    let full = Err(SendError::Full(()));
    assert_eq!(all.publish("t", large.clone()), full);
    assert_eq!(all.broadcast(large.clone()), full);
    assert_eq!(
        all.send_to_all_of(&[held.handles[0].id()], large.clone()),
        full
    );
    let id = held.handles[1].id();
    assert_eq!(all.send_to(id, large.clone()), Err(SendError::Full(large)));
    held.grip.release();
    held.server.handle().stop();
}

#[test]
fn no_thread_shuts_out_another() {
    let held = held(Server::builder().workers(1).mailbox_limit(1_000));
    let counts: Vec<usize> = (0..8)
        .map(|_| {
            let handle = held.handles[0].clone();
            let flood = move || fill(&handle, &Bytes::from_static(b"x"));
            thread::spawn(flood).join().unwrap()
        })
        .collect();
    // Each flood takes half of what the ones before have left.
    assert!(
        counts[0] >= 490 && counts.iter().all(|count| *count > 0),
        "{counts:?}"
    );
    held.grip.release();
    held.server.handle().stop();
}

/// Sends again whenever the message before was lost, for ever.
fn send_again(handle: ConnHandle<Raw>, told: std::sync::mpsc::Sender<()>) {
    let again = handle.clone();
    let _ = handle.send_then("x", move |_| {
        let _ = told.send(());
        send_again(again, told);
    });
}

fn count_all(calls: Receiver<()>) -> usize {
    calls.iter().count()
}

#[test]
fn callbacks_that_try_again_for_ever_end() {
    let held = held(Server::builder().workers(1));
    held.handles[0].abort().unwrap();
    held.grip.release();
    let handle = held.handles[0].clone();
    let all = held
        .server
        .handle()
        .connections_of::<Recorder<Raw>>()
        .unwrap();
    held.server.finish(&held.events);

    let (told, calls) = channel();
    send_again(handle.clone(), told);
    assert!((1..10_000).contains(&count_all(calls)));

    fn wait_again(handle: ConnHandle<Raw>, told: std::sync::mpsc::Sender<()>) {
        let again = handle.clone();
        handle.when_room(move || {
            let _ = told.send(());
            wait_again(again, told);
        });
    }
    let (told, calls) = channel();
    wait_again(handle, told);
    assert!((1..10_000).contains(&count_all(calls)));

    type All = ringwheel::Connections<Recorder<Raw>>;
    fn publish_again(all: All, told: std::sync::mpsc::Sender<()>) {
        let again = all.clone();
        let _ = all.publish_then("t", "x", move |_| {
            let _ = told.send(());
            publish_again(again, told);
        });
    }
    let (told, calls) = channel();
    publish_again(all.clone(), told);
    assert!((1..10_000).contains(&count_all(calls)));

    fn count_again(all: All, told: std::sync::mpsc::Sender<()>) {
        let again = all.clone();
        let _ = all.count_subscribers("t", move |_| {
            let _ = told.send(());
            count_again(again, told);
        });
    }
    let (told, calls) = channel();
    count_again(all, told);
    assert!((1..10_000).contains(&count_all(calls)));
}

#[test]
fn a_full_mailbox_is_closed_once_its_worker_has_ended() {
    let held = held(Server::builder().workers(1).mailbox_limit(10));
    fill(&held.handles[0], &Bytes::from_static(b"x"));
    let (handle, all) = (
        held.handles[0].clone(),
        held.server
            .handle()
            .connections_of::<Recorder<Raw>>()
            .unwrap(),
    );
    held.server.handle().stop();
    held.grip.release();
    held.server.join();
    assert_eq!(handle.send("x"), Err(SendError::Closed("x".into())));
    assert_eq!(all.broadcast("x"), Err(SendError::Closed(())));
}
