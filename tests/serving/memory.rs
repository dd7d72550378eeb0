//! The memory that the connections of a worker hold together: what is counted, and what happens at its limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use bytes::Bytes;
use ringwheel::protocol::{LengthPrefixed, Raw};
use ringwheel::{Limits, SendStatus, Server};
use support::{Client, DEADLINE, Event, Hold, Recorder, TestServer, eventually, listen};

const KIB: usize = 1024;
/// The lowest limit that there is.
const LEAST: usize = 1024 * KIB;

fn held(server: &TestServer) -> usize {
    server.handle().memory_per_worker()[0]
}

#[test]
fn kept_input_and_pending_output_count_until_they_are_gone() {
    let (recorder, events) = Recorder::<LengthPrefixed>::new();
    let recorder = recorder.on_message(
        |conn, _| {
            while conn.send(&[0; 8000]) == SendStatus::Queued {}
        },
    );
    let listen = listen(LengthPrefixed::u32_be()).send_buffer_size(16 * KIB);
    let server = TestServer::start(listen, recorder);
    assert_eq!(held(&server), 0);
    let mut client = server.connect();
    let mut begun = (100_000u32).to_be_bytes().to_vec();
    begun.resize(50_000, 0);
    client.send(&begun);
    eventually("the beginning counts", || held(&server) >= 50_000);
    let mut other = Client::connect_narrow(server.addr());
    other.send(b"\0\0\0\x02go");
    let high_water = Limits::default().high_water;
    eventually("output counts", || held(&server) >= 50_000 + high_water);
    drop(client);
    other.finish();
    assert!(other.receive_rest().len() > high_water);
    eventually("nothing is left", || held(&server) == 0);
    server.finish(&events);
}

/// Letters to many peers in one iteration leave output pending, before the kernel was asked to take it.
#[test]
fn letters_to_peers_that_read_end_nobody() {
    const PEERS: usize = 300;
    const LETTER: usize = 6 * KIB;
    let (recorder, events) = Recorder::<Raw>::new();
    let (hold, grip) = Hold::new();
    let (handles, opened) = channel();
    let recorder = recorder
        .on_open(move |conn| handles.send(conn.handle()).unwrap())
        .on_message(move |_, _| hold.enter());
    let builder = Server::builder().workers(1).worker_memory(LEAST);
    let server = TestServer::start_on(builder, listen(Raw), recorder);
    let mut clients: Vec<Client> = (0..PEERS).map(|_| server.connect()).collect();
    let handles: Vec<_> = (0..PEERS)
        .map(|_| opened.recv_timeout(DEADLINE).unwrap())
        .collect();
    clients[0].send(b"wait");
    grip.wait();
    let letter = Bytes::from(vec![7; LETTER]);
    for handle in &handles {
        handle.send(letter.clone()).unwrap();
    }
    grip.release();
    for client in &mut clients {
        assert!(client.receive(LETTER) == letter);
    }
    assert_eq!(events.count(|event| matches!(event, Event::Close(..))), 0);
    server.finish(&events);
}

/// A visit to all connections stays within the limit while it is under way.
#[test]
fn a_visit_to_peers_that_do_not_read_stays_within_the_limit() {
    const PEERS: usize = 200;
    const MESSAGE: usize = 128 * KIB;
    let (recorder, events) = Recorder::<Raw>::new();
    let builder = Server::builder().workers(1).worker_memory(LEAST);
    let listen = listen(Raw).send_buffer_size(16 * KIB);
    let server = TestServer::start_on(builder, listen, recorder.clone());
    let clients: Vec<Client> = (0..PEERS)
        .map(|_| Client::connect_narrow(server.addr()))
        .collect();
    eventually("all are open", || {
        events.count(|event| matches!(event, Event::Open(_))) == PEERS
    });
    let most = Arc::new(AtomicUsize::new(0));
    let (seen, handle) = (most.clone(), server.handle().clone());
    let message = vec![7; MESSAGE];
    let all = server.handle().connections_of::<Recorder<Raw>>();
    all.visit(move |conn, _| {
        conn.send(&message);
        seen.fetch_max(handle.memory_per_worker()[0], Ordering::Relaxed);
    })
    .unwrap();
    eventually("the visit is over", || {
        let ended = events.count(|event| matches!(event, Event::Close(..)));
        held(&server) > 0 && (PEERS - ended) * MESSAGE / 2 <= LEAST
    });
    let most = most.load(Ordering::Relaxed);
    assert!((LEAST / 2..=LEAST + 2 * MESSAGE).contains(&most), "{most}");
    let is_other =
        |event: &Event| matches!(event, Event::Close(_, ending) if ending.reason != "WorkerMemory");
    assert_eq!(events.count(is_other), 0);
    drop(clients);
    server.finish(&events);
}
