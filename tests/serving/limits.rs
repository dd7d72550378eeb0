//! Every limit has one defined outcome.

use std::net::IpAddr;
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use ringwheel::protocol::{LengthPrefixed, Lines, Raw};
use ringwheel::{Conn, Limits, Refusal, SendError, SendStatus, Server, TooManyTimersError};
use support::{Client, DEADLINE, Event, Recorder, TestServer, eventually, listen, raw_echo};

#[test]
fn one_connection_more_than_the_maximum_is_closed_at_once() {
    let (echo, events) = raw_echo();
    let builder = Server::builder().workers(2).max_connections(3);
    let server = TestServer::start_on(builder, listen(Raw), echo);
    let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(Client::ping);
    for _ in 0..5 {
        server.connect().expect_ended();
    }
    clients.iter_mut().for_each(Client::ping);
    let stats = server.handle().stats();
    assert_eq!(
        (stats.connections, stats.accepted, stats.refused),
        (3, 3, 5)
    );
    // The room of a closed connection can be used again.
    clients.pop();
    eventually("there is room again", || {
        server.handle().stats().connections == 2
    });
    server.connect().ping();
    server.finish(&events);
    assert_eq!(
        events.count(|event| matches!(event, Event::Open(_))),
        4,
        "refused connections are never opened"
    );
}

#[test]
fn the_maximum_per_address_counts_each_address_separately() {
    let (echo, events) = raw_echo();
    let builder = Server::builder().workers(1).max_connections_per_ip(2);
    let server = TestServer::start_on(builder, listen(Raw), echo);
    let [here, there]: [IpAddr; 2] = ["127.0.0.2".parse().unwrap(), "127.0.0.3".parse().unwrap()];
    let connect_from = |source| Client::connect_from(source, server.addr());
    let mut clients = vec![connect_from(here), connect_from(here)];
    clients.iter_mut().for_each(Client::ping);
    connect_from(here).expect_ended();
    clients.push(connect_from(there));
    clients.iter_mut().for_each(Client::ping);
    assert_eq!(server.handle().stats().refused_per_ip, 1);
    clients.remove(0);
    // The count in all does not tell when the address has its place again.
    eventually("there is room again", || {
        let mut client = connect_from(here);
        client.try_send(b"ping").is_ok() && client.try_receive(4).is_ok()
    });
    server.finish(&events);
}

#[test]
fn the_maximum_holds_if_each_worker_accepts() {
    let (echo, events) = raw_echo();
    let builder = Server::builder().workers(2).max_connections(4);
    let server = TestServer::start_on(builder, listen(Raw).reuse_port(true), echo);
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(Client::ping);
    for _ in 0..8 {
        server.connect().expect_ended();
    }
    assert_eq!(server.handle().stats().refused, 8);
    clients.iter_mut().for_each(Client::ping);
    server.finish(&events);
}

#[test]
fn a_frame_above_its_limit_is_a_protocol_error_before_it_has_arrived() {
    let (recorder, events) = Recorder::<LengthPrefixed>::new();
    let protocol = LengthPrefixed::u32_be().max_length(1000);
    let server = TestServer::start(listen(protocol), recorder);
    let mut client = server.connect();
    client.send(&1000u32.to_be_bytes());
    client.send(&[0; 1000]);
    assert_eq!(events.message().len(), 1000);
    client.send(&1001u32.to_be_bytes());
    client.expect_eof();
    drop(client);
    assert!(events.close_reason().starts_with("Protocol("));
    server.finish(&events);
}

#[test]
fn a_message_that_needs_more_input_than_may_be_kept_ends_the_connection() {
    let (recorder, events) = Recorder::<Lines>::new();
    let limited = listen(Lines::new().max_length(1 << 20)).limits(Limits::default().input(100_000));
    let server = TestServer::start(limited, recorder);
    let mut client = server.connect();
    client.send(format!("{}\n", "fits".repeat(20_000)).as_bytes());
    assert_eq!(events.message().len(), 80_000);
    // The server stops reading at its limit, so the rest may not get through.
    let _ = client.try_send(&vec![b'x'; 1 << 20]);
    client.expect_ended();
    drop(client);
    assert_eq!(events.close_reason(), "InputLimit");
    server.finish(&events);
}

#[test]
fn a_claimed_length_alone_reserves_nothing() {
    let (recorder, events) = Recorder::<LengthPrefixed>::new();
    let limited = listen(LengthPrefixed::u32_be().max_length(1 << 30))
        .limits(Limits::default().input(1 << 30));
    let server = TestServer::start(limited, recorder);
    let mut clients: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(&(1u32 << 29).to_be_bytes());
        client.send(b"and no more");
    }
    drop(clients);
    for _ in 0..200 {
        assert_eq!(events.close_reason(), "Truncated");
    }
    server.finish(&events);
}

#[test]
fn a_full_mailbox_gives_the_letter_back() {
    const LIMIT: usize = 10;
    let (echo, events) = raw_echo();
    let (handles, lent) = channel();
    let echo = echo.on_open(move |conn| handles.send(conn.handle()).unwrap());
    // A thread alone may have half of the places.
    let builder = Server::builder().workers(1).mailbox_limit(2 * LIMIT);
    let server = TestServer::start_on(builder, listen(Raw), echo);
    let mut client = server.connect();
    let handle = lent.recv_timeout(DEADLINE).unwrap();

    // This letter keeps the worker busy; it is no longer in the mailbox.
    let (entered, is_entered) = channel();
    let (release, released) = channel::<()>();
    let block = move |_: &mut Conn<'_, Raw>| {
        entered.send(()).unwrap();
        released.recv_timeout(DEADLINE).unwrap();
    };
    handle.run(block).unwrap();
    is_entered.recv_timeout(DEADLINE).unwrap();
    for number in 0..LIMIT {
        handle.send(vec![number as u8]).unwrap();
    }
    let (completed, completions) = channel();
    let refused = handle.send_then(Bytes::from_static(b"one too many"), move |delivery| {
        completed.send(delivery).unwrap();
    });
    assert_eq!(
        refused,
        Err(SendError::Full(Bytes::from_static(b"one too many")))
    );
    assert_eq!(
        completions.recv_timeout(DEADLINE),
        Ok(ringwheel::SendOutcome::Lost)
    );
    assert_eq!(handle.resume_reading(), Ok(()), "a request needs no room");
    let everyone = server.handle().connections_of::<Recorder<Raw>>().unwrap();
    assert_eq!(
        everyone.broadcast(Bytes::from_static(b"all")),
        Err(SendError::Full(()))
    );

    release.send(()).unwrap();
    assert_eq!(client.receive(LIMIT), (0..LIMIT as u8).collect::<Vec<_>>());
    handle.send(Bytes::from_static(b"room again")).unwrap();
    assert_eq!(client.receive(10), b"room again");
    server.finish(&events);
}

#[test]
fn one_timer_more_than_the_limit_is_refused() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (outcomes, reported) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        let far = Duration::from_secs(3600);
        let set: Vec<_> = (0..3).map(|token| conn.set_timer(far, token)).collect();
        outcomes.send(conn.set_timer(far, 3).err()).unwrap();
        assert!(conn.cancel_timer(set[1].unwrap()));
        outcomes
            .send(conn.set_timer(Duration::ZERO, 4).err())
            .unwrap();
    });
    let server = TestServer::start(listen(Raw).limits(Limits::default().timers(3)), recorder);
    let mut client = server.connect();
    client.send(b"go");
    assert_eq!(
        reported.recv_timeout(DEADLINE).unwrap(),
        Some(TooManyTimersError)
    );
    assert_eq!(reported.recv_timeout(DEADLINE).unwrap(), None);
    assert_eq!(events.timer(), 4, "the refused timer never fires");
    server.finish(&events);
}

#[test]
fn an_accept_burst_of_one_accepts_every_waiting_connection() {
    for reuse_port in [false, true] {
        let (echo, events) = raw_echo();
        let builder = Server::builder().workers(2).accept_burst(1);
        let builder = builder
            .listen_with(listen(Raw).reuse_port(reuse_port), echo)
            .unwrap();
        let address = builder.local_addr().unwrap();
        let server = builder.build().unwrap();
        // All connections wait in the backlog before the server accepts the first.
        let mut clients: Vec<Client> = (0..100).map(|_| Client::connect(address)).collect();
        let server = TestServer::adopt(server.spawn().unwrap());
        clients.iter_mut().for_each(Client::ping);
        assert_eq!(server.handle().stats().accepted, 100);
        server.finish(&events);
    }
}

/// The defaults agree with one another: a peer that reads slowly still gets the longest message that a protocol accepts by
/// default, and not many of them.
#[test]
fn by_default_the_longest_message_fits_above_the_high_water_mark_and_no_second_one() {
    let (recorder, events) = Recorder::<LengthPrefixed>::new();
    let (statuses, reported) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        while conn.send(&[0; 4096]) == SendStatus::Queued {}
        let longest = vec![0; LengthPrefixed::DEFAULT_MAX_LENGTH];
        let outcome = (conn.send(&longest), conn.send(&longest));
        statuses.send(outcome).unwrap();
    });
    let listen = listen(LengthPrefixed::u32_be()).send_buffer_size(16 * 1024);
    let server = TestServer::start(listen, recorder);
    let mut client = Client::connect_narrow(server.addr());
    client.send(b"\0\0\0\x02go");
    let too_much = SendStatus::Refused(Refusal::OutputLimit);
    let expected = (SendStatus::AboveHighWater, too_much);
    assert_eq!(reported.recv_timeout(DEADLINE).unwrap(), expected);
    assert_eq!(events.close_reason(), "OutputLimit");
    server.finish(&events);
}
