//! Listeners are added and closed while the server serves.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use ringwheel::protocol::{Lines, Raw};
use ringwheel::{Address, Listen, Server, ServerBuilder};
use support::{Client, DEADLINE, Grip, Hold, Recorder, TestServer, eventually, listen, raw_echo};

/// Servers in which different loops accept: the only worker, the acceptor, each worker.
fn servers() -> [(ServerBuilder, bool); 3] {
    let server = |workers, reuse_port| {
        let listen = listen(Raw).reuse_port(reuse_port);
        let builder = Server::builder().workers(workers);
        (
            builder.listen_with(listen, raw_echo().0).unwrap(),
            reuse_port,
        )
    };
    let shares_a_port = cfg!(target_os = "linux");
    [server(1, false), server(2, false), server(2, shares_a_port)]
}

fn ip(address: &Address) -> SocketAddr {
    address.socket_addr().expect("an IP address")
}

fn is_refused(address: SocketAddr) -> bool {
    let outcome = TcpStream::connect(address);
    outcome.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[test]
fn a_listener_that_is_added_serves_with_its_own_protocol_and_handler() {
    for (builder, reuse_port) in servers() {
        let server = TestServer::spawn(builder);
        let (greeter, _events) = Recorder::new();
        let greeter = greeter.on_open(|conn| _ = conn.send("welcome"));
        let added = listen(Lines::new()).reuse_port(reuse_port);
        let added = server.handle().listen(added, greeter).unwrap();
        assert_eq!(server.handle().local_addrs()[1..], added);
        for _ in 0..8 {
            let mut client = Client::connect(ip(&added[0]));
            assert_eq!(client.receive(8), b"welcome\n");
            server.connect().ping();
        }
    }
}

#[test]
fn a_listener_that_is_closed_accepts_those_who_wait_and_nobody_else() {
    for (builder, reuse_port) in servers() {
        let server = TestServer::spawn(builder);
        let listen = listen(Raw).reuse_port(reuse_port);
        let added = server.handle().listen(listen, raw_echo().0).unwrap();
        let address = ip(&added[0]);
        let mut clients: Vec<_> = (0..8).map(|_| Client::connect(address)).collect();
        assert!(server.handle().close_listener(&added[0]));
        assert!(!server.handle().close_listener(&added[0]), "it is closed");
        clients.iter_mut().for_each(Client::ping);
        eventually("nobody listens", || is_refused(address));
        clients.iter_mut().for_each(Client::ping);
        server.connect().ping();
        TcpListener::bind(address).expect("the port is free");
    }
}

#[test]
fn the_first_listener_may_be_closed_and_another_may_take_its_address() {
    let server = TestServer::start(listen(Raw), raw_echo().0);
    let address = server.addr();
    server.connect().ping();
    assert!(server.handle().close_listener(&address.into()));
    assert!(server.handle().local_addrs().is_empty());
    eventually("nobody listens", || is_refused(address));
    let again = Listen::with(Raw, address).close_timeout(Duration::from_secs(1));
    server.handle().listen(again, raw_echo().0).unwrap();
    Client::connect(address).ping();
}

#[test]
fn connections_of_a_handler_include_those_of_a_listener_that_was_added() {
    let (recorder, _events) = Recorder::<Lines>::new();
    let server = TestServer::start_on(
        Server::builder().workers(2),
        listen(Lines::new()),
        recorder.clone(),
    );
    let before = server.handle().connections_of::<Recorder<Lines>>().unwrap();
    let added = server.handle().listen(listen(Lines::new()), recorder);
    let after = server.handle().connections_of::<Recorder<Lines>>().unwrap();
    let mut clients = [server.connect(), Client::connect(ip(&added.unwrap()[0]))];
    for client in &mut clients {
        client.send(b"here\n");
    }
    eventually("both are open", || server.handle().stats().accepted == 2);
    let count = || {
        server
            .handle()
            .connections_per_worker()
            .iter()
            .sum::<usize>()
    };
    eventually("both are adopted", || count() == 2);
    before.broadcast("first").unwrap();
    after.broadcast("both").unwrap();
    assert_eq!(clients[0].receive(11), b"first\nboth\n");
    assert_eq!(clients[1].receive(5), b"both\n");
}

#[test]
fn a_callback_may_listen_and_close() {
    let (asker, events) = Recorder::<Lines>::new();
    let builder = Server::builder().workers(1);
    let builder = builder
        .listen_with(listen(Lines::new()), asker.clone())
        .unwrap();
    let server = TestServer::spawn(builder);
    let handle = server.handle().clone();
    let (echo, _echoed) = raw_echo();
    let asking = asker.on_message(move |conn, _| {
        let added = handle.listen(listen(Raw), echo.clone()).unwrap();
        conn.send(&added[0].to_string());
        handle.close_listener(&conn.local_addr().unwrap());
    });
    let control = server
        .handle()
        .listen(listen(Lines::new()), asking)
        .unwrap();
    let mut client = Client::connect(ip(&control[0]));
    client.send(b"please\n");
    events.message();
    let mut address = Vec::new();
    while address.last() != Some(&b'\n') {
        address.extend(client.receive(1));
    }
    let address = support::text(&address).trim().parse().unwrap();
    Client::connect(address).ping();
    eventually("nobody listens", || is_refused(ip(&control[0])));
}

#[test]
fn a_listener_may_be_added_before_the_server_runs() {
    let builder = Server::builder().workers(2);
    let server = builder.listen_with(listen(Raw), raw_echo().0).unwrap();
    let server = server.build().unwrap();
    let added = server.handle().listen(listen(Raw), raw_echo().0).unwrap();
    let mut client = Client::connect(ip(&added[0]));
    let _running = TestServer::adopt(server.spawn().unwrap());
    client.ping();
}

#[test]
fn without_an_acceptor_a_listener_must_share_its_port() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let builder = Server::builder().workers(2);
    let shared = listen(Raw).reuse_port(true);
    let server = TestServer::start_on(builder, shared, raw_echo().0);
    let error = server.handle().listen(listen(Raw), raw_echo().0);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(server.handle().local_addrs().len(), 1);
}

#[test]
fn an_address_that_is_taken_is_an_error_and_changes_nothing() {
    let server = TestServer::start(listen(Raw), raw_echo().0);
    let taken = Listen::with(Raw, server.addr());
    let error = server.handle().listen(taken, raw_echo().0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert_eq!(server.handle().local_addrs().len(), 1);
    server.connect().ping();
}

#[test]
fn a_server_that_drains_accepts_at_no_new_address() {
    for (builder, reuse_port) in servers() {
        let (holding, _events) = Recorder::<Raw>::new();
        let (hold, grip): (Hold, Grip) = Hold::new();
        let holding = holding.on_message(move |_, _| hold.enter());
        let builder = builder.listen_with(listen(Raw), holding).unwrap();
        let server = TestServer::spawn(builder);
        let mut busy = Client::connect(server.addr_of(1));
        busy.send(b"stay");
        grip.wait();
        server.handle().shutdown(DEADLINE);
        let late = listen(Raw).reuse_port(reuse_port);
        let added = server.handle().listen(late, raw_echo().0);
        grip.release();
        busy.finish();
        if let Ok(added) = added {
            eventually("nobody listens", || is_refused(ip(&added[0])));
        }
    }
}

#[test]
fn many_listeners_come_and_go() {
    let server = TestServer::start_on(Server::builder().workers(2), listen(Raw), raw_echo().0);
    for _ in 0..1_200 {
        let added = server.handle().listen(listen(Raw), raw_echo().0).unwrap();
        assert!(server.handle().close_listener(&added[0]));
    }
    server.connect().ping();
    assert_eq!(server.handle().local_addrs().len(), 1);
}

#[cfg(unix)]
#[test]
fn the_file_of_a_unix_socket_goes_with_its_listener() {
    use std::os::unix::net::UnixStream;

    let name = format!("ringwheel-listening-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let server = TestServer::start(listen(Raw), raw_echo().0);
    let added = server.handle().listen(Listen::unix(&path), raw_echo().0);
    let added = added.unwrap();
    drop(UnixStream::connect(&path).expect("it listens"));
    assert!(server.handle().close_listener(&added[0]));
    eventually("the file is gone", || !path.exists());
}
