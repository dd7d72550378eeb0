//! Every limit has one defined outcome.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use ringwheel::balance::LeastConnections;
use ringwheel::protocol::{LengthPrefixed, Lines, Raw};
use ringwheel::ringbuffer::PoolConfig;
use ringwheel::{
    Conn, Limits, Listen, Refusal, SendError, SendStatus, Server, ServerHandle, SettingError,
    TooManyTimersError,
};
use support::{
    Client, DEADLINE, Event, Events, Hold, LOCAL, Recorder, TestServer, eventually, listen,
    raw_echo,
};

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

#[test]
fn limits_that_contradict_one_another_are_refused() {
    let contradictions = [
        (
            Limits::default().low_water(2).high_water(1),
            "`Limits::low_water` is 2, and must not exceed `Limits::high_water`, which is 1",
        ),
        (
            Limits::default().low_water(1).high_water(10).output(9),
            "`Limits::high_water` is 10, and must not exceed `Limits::output`, which is 9",
        ),
        (
            Limits::default().input(0),
            "`Limits::input` is 0, and must be from 1 to 4294966271",
        ),
        (
            Limits::default().low_water(0).high_water(0).output(0),
            "`Limits::output` is 0, and must be from 1 to 4294966271",
        ),
        (
            Limits::default().input(1 << 32),
            "`Limits::input` is 4294967296, and must be from 1 to 4294966271",
        ),
    ];
    for (limits, text) in contradictions {
        let (echo, _events) = raw_echo();
        let refused = Server::builder().listen_with(listen(Raw).limits(limits), echo);
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        assert_eq!(refused.to_string(), text);
    }
}

#[test]
fn a_server_without_a_listener_is_refused() {
    let refused = Server::builder().workers(1).build().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert_eq!(refused.to_string(), "a server needs a listener");
}

#[test]
fn a_builder_can_move_to_another_thread() {
    let (echo, events) = raw_echo();
    let builder = Server::builder().listen_with(listen(Raw), echo).unwrap();
    let server = std::thread::spawn(|| TestServer::spawn(builder))
        .join()
        .unwrap();
    server.connect().ping();
    server.finish(&events);
}

#[test]
fn the_error_for_an_address_in_use_names_it() {
    let (echo, events) = raw_echo();
    let server = TestServer::start(listen(Raw), echo.clone());
    let address = server.addr();
    let refused = Server::builder().listen(address, echo.clone()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AddrInUse);
    assert!(
        refused.to_string().contains(&address.to_string()),
        "{refused}"
    );
    let refused = Server::builder()
        .listen_with(Listen::<Raw>::on("no address"), echo)
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    server.finish(&events);
}

/// A setting that no machine can grant made a worker panic.
#[test]
fn a_setting_out_of_its_range_is_refused_by_name() {
    let pool = |initial_capacity| PoolConfig {
        initial_capacity,
        ..PoolConfig::default()
    };
    let builders = [
        ("workers", Server::builder().workers(usize::MAX)),
        ("workers", Server::builder().workers(65_537)),
        (
            "receive_buffer",
            Server::builder().receive_buffer(usize::MAX),
        ),
        ("receive_buffer", Server::builder().receive_buffer(1 << 30)),
        (
            "ring_pool.initial_capacity",
            Server::builder().ring_pool(pool(usize::MAX)),
        ),
        ("mailbox_limit", Server::builder().mailbox_limit(1 << 24)),
        ("mailbox_bytes", Server::builder().mailbox_bytes(1 << 40)),
        ("tick", Server::builder().tick(Duration::ZERO)),
        ("tick", Server::builder().tick(Duration::MAX)),
        ("worker_memory", Server::builder().worker_memory(0)),
        (
            "worker_memory",
            Server::builder().worker_memory((1 << 20) - 1),
        ),
        ("ipv6_prefix", Server::builder().ipv6_prefix(0)),
        ("ipv6_prefix", Server::builder().ipv6_prefix(129)),
    ];
    for (setting, builder) in builders {
        let (echo, _events) = raw_echo();
        let refused = builder.listen(LOCAL, echo).unwrap().build().unwrap_err();
        assert_names(&refused, setting);
    }
    let terms = [
        ("keepalive", listen(Raw).keepalive(Duration::ZERO)),
        ("keepalive", listen(Raw).keepalive(Duration::MAX)),
        (
            "receive_buffer_size",
            listen(Raw).receive_buffer_size(usize::MAX),
        ),
        ("send_buffer_size", listen(Raw).send_buffer_size(1 << 31)),
    ];
    for (setting, terms) in terms {
        let (echo, _events) = raw_echo();
        let refused = Server::builder().listen_with(terms, echo).unwrap_err();
        assert_names(&refused, setting);
    }
}

#[track_caller]
fn assert_names(error: &io::Error, setting: &str) {
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let inner = error.get_ref().expect("a typed error");
    let inner = inner
        .downcast_ref::<SettingError>()
        .expect("a setting's error");
    assert_eq!(inner.setting(), setting, "{error}");
    assert!(error.to_string().contains(setting), "{error}");
}

/// No sum or product of the largest values wraps, on the way to a worker or on it.
#[test]
fn the_largest_settings_serve() {
    let (echo, events) = raw_echo();
    let builder = Server::builder()
        .workers(2)
        .max_connections(usize::MAX)
        .max_connections_per_ip(usize::MAX)
        .ipv6_prefix(128)
        .accept_burst(usize::MAX)
        .handover_limit(usize::MAX)
        .mailbox_limit((1 << 24) - 1)
        .mailbox_bytes((1 << 40) - 1)
        .read_budget(usize::MAX)
        .busy_poll(Duration::MAX)
        .ring_pool(PoolConfig {
            initial_capacity: 0,
            keep_capacity: usize::MAX,
            max_idle: usize::MAX,
            max_large: usize::MAX,
            large_bytes: usize::MAX,
        });
    let most = u32::MAX as usize - 1024;
    let limits = Limits::default()
        .input(most)
        .output(most)
        .high_water(most)
        .low_water(most)
        .timers(usize::MAX)
        .subscriptions(usize::MAX)
        .topic_name(usize::MAX);
    let terms = listen(Raw)
        .limits(limits)
        .backlog(u32::MAX)
        .idle_timeout(Duration::MAX)
        .first_message_timeout(Duration::MAX)
        .message_timeout(Duration::MAX)
        .write_stall_timeout(Some(Duration::MAX))
        .close_timeout(Duration::MAX)
        .tick_every(Duration::MAX)
        .keepalive(Duration::from_secs(32_767));
    let server = TestServer::start_on(builder, terms, echo);
    server.handle().run_every(Duration::MAX, || {});
    let mut client = server.connect();
    client.ping();
    client.ask(&vec![7; 100_000]);
    client.finish();
    client.expect_eof();
    server.finish(&events);
}

#[test]
fn every_address_of_a_name_is_bound_to_one_port() {
    // As a name with several addresses; one comes twice, as from a resolver that knows several protocols.
    let hosts = ["127.0.0.1:0", "127.0.0.2:0", "127.0.0.1:0"];
    let addresses = hosts.map(|host| host.parse::<SocketAddr>().unwrap());
    for reuse_port in [false, true] {
        let (echo, events) = raw_echo();
        let builder = Server::builder().workers(2);
        let terms = Listen::<Raw>::on(&addresses[..]).reuse_port(reuse_port);
        let server = TestServer::start_on(builder, terms, echo);
        let bound = server.handle().local_addrs();
        let ips = [bound[0].ip(), bound[1].ip()];
        assert_eq!(ips, [Some(addresses[0].ip()), Some(addresses[1].ip())]);
        assert_eq!(bound.len(), 2);
        assert_eq!(bound[0].port(), bound[1].port());
        let mut clients = [0, 1].map(|listener| Client::connect(server.addr_of(listener)));
        clients.iter_mut().for_each(Client::ping);
        // The handler is one.
        let everyone = server.handle().connections_of::<Recorder<Raw>>().unwrap();
        everyone.broadcast("all").unwrap();
        for client in &mut clients {
            assert_eq!(client.receive(3), b"all");
        }
        server.finish(&events);
    }
}

#[test]
fn an_address_that_the_machine_does_not_have_is_left_out() {
    let (echo, events) = raw_echo();
    // Addresses that belong to no machine (RFC 5737, section 3).
    let [strange, other, own] =
        ["198.51.100.1:0", "203.0.113.1:0", LOCAL].map(|address| address.parse().unwrap());
    let on = |addresses: &[SocketAddr]| Listen::<Raw>::on(addresses);
    let server = TestServer::start(on(&[strange, own]), echo.clone());
    assert_eq!(server.handle().local_addrs().len(), 1);
    server.connect().ping();
    let taken = server.addr();
    // Any other failure counts, and so does a name without any address of this machine.
    for (addresses, kind, named) in [
        ([own, taken], ErrorKind::AddrInUse, taken),
        ([strange, other], ErrorKind::AddrNotAvailable, strange),
    ] {
        let refused = Server::builder().listen_with(on(&addresses), echo.clone());
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), kind);
        assert!(
            refused.to_string().contains(&named.to_string()),
            "{refused}"
        );
    }
    server.finish(&events);
}

#[test]
fn the_error_for_a_host_that_cannot_be_resolved_names_it() {
    let (echo, _events) = raw_echo();
    // Longer than any name may be, so that no server is asked for it.
    let host = "x".repeat(300);
    let refused = Server::builder().listen((&*host, 80), echo).unwrap_err();
    assert!(refused.to_string().contains(&host), "{refused}");
}

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
