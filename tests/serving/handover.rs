//! Connections on their way from the acceptor to a worker: those beyond the limit wait in the backlog.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use ringwheel::balance::LeastConnections;
use ringwheel::protocol::Raw;
use ringwheel::{Server, ServerHandle};
use support::{Client, DEADLINE, Events, Hold, Recorder, TestServer, eventually, listen};

/// The most connections that were accepted and had not opened, as their own openings saw it.
type MostWaiting = Arc<AtomicUsize>;

/// An echo whose worker is held up by the message "hold", and which notes how many connections wait.
fn holding_echo(
    hold: Hold,
) -> (
    Recorder<Raw>,
    Events,
    MostWaiting,
    Arc<OnceLock<ServerHandle>>,
) {
    let (recorder, events) = Recorder::<Raw>::new();
    let (most, opened) = (MostWaiting::default(), AtomicUsize::new(0));
    let handle = Arc::new(OnceLock::<ServerHandle>::new());
    let (seen, server) = (most.clone(), handle.clone());
    let recorder = recorder
        .on_open(move |_| {
            let opened = opened.fetch_add(1, Ordering::Relaxed);
            let accepted = server.get().map_or(0, |it| it.stats().accepted);
            seen.fetch_max(
                accepted as usize - opened.min(accepted as usize),
                Ordering::Relaxed,
            );
        })
        .on_message(move |conn, bytes| {
            if bytes == b"hold" {
                hold.enter();
            }
            conn.send(bytes);
        });
    (recorder, events, most, handle)
}

/// An acceptor that was quicker than its workers accepted all who came: each with a descriptor, and none served.
#[test]
fn a_crowd_waits_in_the_backlog_while_no_worker_adopts() {
    const LIMIT: usize = 8;
    const CROWD: usize = 100;
    let (hold, grip) = Hold::new();
    let (echo, events, most, handle) = holding_echo(hold);
    let builder = support::behind_an_acceptor().handover_limit(LIMIT);
    let server = TestServer::start_on(builder, listen(Raw), echo);
    handle.set(server.handle().clone()).unwrap();
    let mut busy = server.connect();
    busy.send(b"hold");
    grip.wait();
    let mut crowd: Vec<Client> = (0..CROWD).map(|_| server.connect()).collect();
    // One beyond the limit, for the balancer insists on the worker that is held up.
    eventually("the worker has no room", || {
        server.handle().connections_per_worker() == [1 + LIMIT + 1, 0]
    });
    grip.release();
    // All are served in the end.
    crowd.iter_mut().for_each(Client::ping);
    assert_eq!(busy.receive(4), b"hold");
    assert!(most.load(Ordering::Relaxed) <= LIMIT + 1, "{most:?}");
    assert_eq!(server.handle().stats().accepted, CROWD as u64 + 1);
    server.finish(&events);
}

/// A worker that is held up does not keep the others from serving.
#[test]
fn a_worker_without_room_is_passed_over() {
    const LIMIT: usize = 4;
    const CROWD: usize = 40;
    for least_connections in [false, true] {
        let (hold, grip) = Hold::new();
        let (echo, events, ..) = holding_echo(hold);
        let builder = Server::builder().workers(2).handover_limit(LIMIT);
        let builder = match least_connections {
            true => builder.balance(LeastConnections),
            false => builder,
        };
        let server = TestServer::start_on(builder, listen(Raw), echo);
        let mut busy = server.connect();
        busy.send(b"hold");
        grip.wait();
        let mut crowd: Vec<Client> = (0..CROWD).map(|_| server.connect()).collect();
        eventually("the other worker serves the others", || {
            server.handle().connections_per_worker() == [1 + LIMIT, CROWD - LIMIT]
        });
        grip.release();
        crowd.iter_mut().for_each(Client::ping);
        assert_eq!(busy.receive(4), b"hold");
        server.finish(&events);
    }
}

/// The connections that wait in the backlog are answered although no worker has room for them.
#[test]
fn a_shutdown_takes_the_crowd_that_waits_in_the_backlog() {
    const CROWD: usize = 50;
    let (hold, grip) = Hold::new();
    let (echo, events, ..) = holding_echo(hold);
    let builder = support::behind_an_acceptor().handover_limit(1);
    let server = TestServer::start_on(builder, listen(Raw), echo);
    let mut busy = server.connect();
    busy.send(b"hold");
    grip.wait();
    let mut crowd: Vec<Client> = (0..CROWD).map(|_| server.connect()).collect();
    crowd.iter_mut().for_each(|client| client.send(b"ping"));
    server.handle().shutdown(DEADLINE);
    server.wait_until_draining();
    grip.release();
    for client in &mut crowd {
        assert_eq!(client.receive_rest(), b"ping");
    }
    drop((crowd, busy));
    server.join();
    events.assert_lifecycles();
}
