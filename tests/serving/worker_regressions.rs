//! Regressions of workers and the acceptor: faults that must not end them.

use ringwheel::{Address, Server};
use std::sync::OnceLock;

use ringwheel::balance::Workers;
use ringwheel::protocol::Raw;
use support::{TestServer, deliberate_panic, listen, raw_echo};

/// A worker that panicked before it ran left a server that never ended and kept sending it connections.
#[test]
fn a_worker_that_cannot_start_ends_the_server_with_an_error() {
    let (echo, _events) = raw_echo();
    let builder = Server::builder().workers(2).on_worker_start(|index| {
        if index == 1 {
            deliberate_panic();
        }
    });
    let server = TestServer::start_on(builder, listen(Raw), echo);
    assert!(server.outcome().is_err());
}

/// The same if the handler cannot be made.
#[test]
fn a_handler_that_cannot_be_made_ends_the_server_with_an_error() {
    let (echo, _events) = raw_echo();
    let make = move |start: ringwheel::WorkerStart<'_>| {
        let worker = start.index();
        if worker == 1 {
            deliberate_panic();
        }
        echo.clone()
    };
    let builder = Server::builder()
        .workers(2)
        .listen_with_factory(listen(Raw), make)
        .unwrap();
    assert!(TestServer::spawn(builder).outcome().is_err());
}

/// A balancer that panicked ended the acceptor; the server then accepted no connection and could not be shut down.
#[test]
fn a_panic_in_the_balancer_costs_one_connection_at_most() {
    let (echo, events) = raw_echo();
    let panicked = OnceLock::new();
    let balance = move |_: &Address, _: Workers<'_>| {
        if panicked.set(()).is_ok() {
            deliberate_panic();
        }
        0
    };
    let server = TestServer::start_on(
        Server::builder().workers(2).balance(balance),
        listen(Raw),
        echo,
    );
    let _first = server.connect();
    server.connect().ping();
    server.finish(&events);
}
