//! Callbacks for senders that were refused because a mailbox was full.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use ringwheel::protocol::Raw;
use ringwheel::{ConnHandle, SendError, Server, ServerBuilder, current_worker};
use support::{
    Client, DEADLINE, Events, Grip, Hold, Recorder, TestServer, deliberate_panic, lending, listen,
    take,
};

/// A server of one worker that stands still until the test lets it go, a client of it, and the client's handle.
struct Stuck {
    server: TestServer,
    client: Client,
    handle: ConnHandle<Raw>,
    events: Events,
    grip: Grip,
}

/// Holds the worker up with this many letters in its mailbox, which is the share of one thread.
fn stuck(limit: usize) -> Stuck {
    let (recorder, events) = Recorder::<Raw>::new();
    let (recorder, lent) = lending(recorder);
    let (hold, grip) = Hold::new();
    let recorder = recorder.on_message(move |_, _| hold.enter());
    let builder = Server::builder().workers(1).mailbox_limit(2 * limit);
    let server = TestServer::start_on(builder, listen(Raw), recorder);
    let mut client = server.connect();
    let handle = take(&lent);
    client.send(b"x");
    grip.wait();
    for _ in 0..limit {
        assert_eq!(handle.send("a"), Ok(()));
    }
    assert_eq!(handle.send("a"), Err(SendError::Full("a".into())));
    Stuck {
        server,
        client,
        handle,
        events,
        grip,
    }
}

#[test]
fn a_refused_sender_is_called_once_on_the_workers_thread_when_there_is_room() {
    let mut stuck = stuck(2);
    let (told, room) = channel();
    for number in 0..3 {
        let told = told.clone();
        stuck
            .handle
            .when_room(move || told.send((number, current_worker())).unwrap());
    }
    drop(told);
    assert!(room.try_recv().is_err(), "there is none yet");
    stuck.grip.release();
    for number in 0..3 {
        assert_eq!(take(&room), (number, Some(0)), "in order");
    }
    assert!(room.recv_timeout(DEADLINE).is_err(), "each once");
    assert_eq!(stuck.client.receive(2), b"aa");
    assert_eq!(stuck.handle.send("b"), Ok(()));
    assert_eq!(stuck.client.receive(1), b"b");
    stuck.server.finish(&stuck.events);
}

#[test]
fn where_there_is_room_the_callback_is_called_at_once_on_the_thread_that_asks() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (recorder, lent) = lending(recorder);
    let builder = Server::builder().workers(2).mailbox_limit(2);
    let server = TestServer::start_on(builder, listen(Raw), recorder);
    let _client = server.connect();
    let handle = take(&lent);
    let (told, room) = channel();
    let from_all = told.clone();
    handle.when_room(move || told.send(current_worker()).unwrap());
    assert_eq!(room.try_recv(), Ok(None));
    let all = server.handle().connections_of::<Recorder<Raw>>().unwrap();
    all.when_room(move || from_all.send(current_worker()).unwrap());
    assert_eq!(room.try_recv(), Ok(None));
    server.finish(&events);
}

#[test]
fn a_callback_may_send_and_be_refused_and_wait_again() {
    const LETTERS: usize = 1000;
    let mut stuck = stuck(2);
    let (done, is_done) = channel();
    let left = Arc::new(AtomicUsize::new(LETTERS));
    send_all(stuck.handle.clone(), left, done);
    stuck.grip.release();
    take(&is_done);
    assert_eq!(
        stuck.client.receive(2 + LETTERS),
        [&b"aa"[..], &[b'b'; LETTERS]].concat()
    );
    stuck.server.finish(&stuck.events);
}

/// Sends the letters that are left, as far as the mailbox takes them, and the rest when it has room again.
fn send_all(handle: ConnHandle<Raw>, left: Arc<AtomicUsize>, done: Sender<()>) {
    while left.load(Ordering::Relaxed) > 0 {
        if handle.send("b").is_err() {
            let next = handle.clone();
            return handle.when_room(move || send_all(next, left, done));
        }
        left.fetch_sub(1, Ordering::Relaxed);
    }
    done.send(()).unwrap();
}

#[test]
fn blocking_senders_get_all_of_their_letters_through() {
    const THREADS: usize = 4;
    const EACH: usize = 2000;
    let (recorder, events) = Recorder::<Raw>::new();
    let (recorder, lent) = lending(recorder);
    let builder = Server::builder().workers(1).mailbox_limit(2);
    let server = TestServer::start_on(builder, listen(Raw), recorder);
    let mut client = server.connect();
    let handle = take(&lent);
    let senders: Vec<_> = (0..THREADS)
        .map(|_| {
            let handle = handle.clone();
            thread::spawn(move || (0..EACH).for_each(|_| send_patiently(&handle)))
        })
        .collect();
    client.receive(THREADS * EACH);
    senders
        .into_iter()
        .for_each(|sender| sender.join().unwrap());
    server.finish(&events);
}

/// Sends a byte, and blocks while the worker has too much mail.
fn send_patiently(handle: &ConnHandle<Raw>) {
    while handle.send("x") == Err(SendError::Full("x".into())) {
        let (has_room, waits) = channel();
        handle.when_room(move || has_room.send(()).unwrap());
        take(&waits);
    }
}

#[test]
fn the_callback_for_all_workers_waits_for_the_last_of_them() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (recorder, lent) = lending(recorder);
    let (hold, grip) = Hold::new();
    let recorder = recorder.on_message(move |_, _| hold.enter());
    let builder = Server::builder().workers(2).mailbox_limit(4);
    let server = TestServer::start_on(builder, listen(Raw), recorder);
    // The handle of each client, in the same order.
    let (mut clients, handles): (Vec<_>, Vec<_>) = [(); 2]
        .map(|()| (server.connect(), take(&lent)))
        .into_iter()
        .unzip();
    for client in &mut clients {
        client.send(b"x");
        grip.wait();
    }
    let all = server.handle().connections_of::<Recorder<Raw>>().unwrap();
    assert_eq!(all.broadcast("a"), Ok(()));
    assert_eq!(all.broadcast("a"), Ok(()));
    assert_eq!(all.broadcast("a"), Err(SendError::Full(())));
    let (told, room) = channel();
    all.when_room(move || told.send(current_worker()).unwrap());
    grip.release();
    // One of the two has read its mail, and the other has not.
    let first = support::eventually_some("one goes on", || {
        handles.iter().position(|handle| handle.send("b").is_ok())
    });
    // Another event shows that its worker has ended the iteration in which it has read its mail, and told of it.
    clients[first].send(b"x");
    grip.wait();
    assert!(room.try_recv().is_err(), "one is still full");
    // Both go on.
    grip.release();
    grip.release();
    assert_eq!(take(&room), Some(handles[1 - first].id().worker()));
    server.finish(&events);
}

#[test]
fn a_worker_that_ends_calls_all_that_wait_and_its_senders_find_it_closed() {
    let stuck = stuck(2);
    let (told, room) = channel();
    let handle = stuck.handle.clone();
    let again = told.clone();
    stuck
        .handle
        .when_room(move || told.send(handle.send("c")).unwrap());
    stuck.server.handle().stop();
    stuck.grip.release();
    // It has room before it ends, or has ended.
    let _ = take(&room);
    stuck.server.join();
    let closed = Err(SendError::Closed("c".into()));
    assert_eq!(stuck.handle.send("c"), closed);
    let handle = stuck.handle.clone();
    stuck
        .handle
        .when_room(move || again.send(handle.send("c")).unwrap());
    assert_eq!(room.try_recv(), Ok(closed), "at once");
    stuck.events.assert_lifecycles();
}

#[test]
fn a_server_that_never_runs_calls_those_who_wait_when_it_is_dropped() {
    for limit in [0, 2] {
        let (recorder, _events) = Recorder::<Raw>::new();
        let server = Server::builder()
            .workers(2)
            .mailbox_limit(2 * limit)
            .listen_with(listen(Raw), recorder)
            .and_then(ServerBuilder::build)
            .unwrap();
        let all = server.handle().connections_of::<Recorder<Raw>>().unwrap();
        for _ in 0..limit {
            assert_eq!(all.broadcast("a"), Ok(()));
        }
        assert_eq!(all.broadcast("a"), Err(SendError::Full(())));
        let (told, room) = channel();
        all.when_room(move || told.send(()).unwrap());
        assert!(room.try_recv().is_err(), "the mailboxes are full");
        drop(server);
        take(&room);
        assert_eq!(all.broadcast("a"), Err(SendError::Closed(())));
    }
}

#[test]
fn a_worker_that_fails_to_start_calls_those_who_wait() {
    let fails = |_: ringwheel::WorkerStart<'_>| -> Recorder<Raw> { deliberate_panic() };
    let server = Server::builder()
        .workers(1)
        .mailbox_limit(2)
        .listen_with_factory(listen(Raw), fails)
        .and_then(ServerBuilder::build)
        .unwrap();
    let all = server.handle().connections_of::<Recorder<Raw>>().unwrap();
    while all.broadcast("a").is_ok() {}
    let (told, room) = channel();
    let again = all.clone();
    all.when_room(move || told.send(again.broadcast("b")).unwrap());
    assert!(room.try_recv().is_err(), "the mailbox is full");
    assert!(server.run().is_err());
    assert_eq!(take(&room), Err(SendError::Closed(())));
}

#[test]
fn a_callback_that_panics_keeps_no_other_from_being_called() {
    let mut stuck = stuck(2);
    let (told, room) = channel();
    stuck.handle.when_room(|| deliberate_panic());
    stuck.handle.when_room(move || told.send(()).unwrap());
    stuck.grip.release();
    take(&room);
    stuck.handle.when_room(|| deliberate_panic());
    assert_eq!(stuck.client.receive(2), b"aa");
    stuck.server.finish(&stuck.events);
}
