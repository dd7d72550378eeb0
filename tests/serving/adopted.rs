//! Listeners that are adopted are served like others, and those that are handed on lose no connection.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::mpsc::channel;
use std::time::Duration;

use ringwheel::protocol::Raw;
use ringwheel::{Address, AdoptError, Listen, Server, ServerBuilder};
use support::{
    Client, DEADLINE, Events, Grip, Hold, LOCAL, Recorder, TestServer, eventually, listen,
    raw_echo, take,
};

/// The path of a socket that no other test has. The file is removed at the end.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new(test: &str) -> Self {
        let name = format!("ringwheel-adopted-{}-{test}", process::id());
        SocketPath(std::env::temp_dir().join(name))
    }

    fn address(&self) -> Address {
        Address::Unix(Some(self.0.as_path().into()))
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A server with one listener that is adopted.
fn adopting(workers: usize, descriptor: impl Into<OwnedFd>) -> (ServerBuilder, Events) {
    let (echo, events) = raw_echo();
    let builder = Server::builder().workers(workers);
    let listen = Listen::adopt(descriptor.into());
    (builder.listen_with(listen, echo).unwrap(), events)
}

/// Starts a server, and returns the duplicates of its listeners.
fn start_with_duplicates(builder: ServerBuilder) -> (TestServer, Vec<(Address, OwnedFd)>) {
    let server = builder.build().unwrap();
    let duplicates = server.duplicate_listeners().unwrap();
    let running = server.spawn().unwrap();
    (TestServer::adopt(running), duplicates)
}

fn connect(path: &Path) -> UnixStream {
    let client = UnixStream::connect(path).expect("somebody listens");
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.set_write_timeout(Some(DEADLINE)).unwrap();
    client
}

#[track_caller]
fn ping(mut client: impl Read + Write) {
    client.write_all(b"ping").unwrap();
    let mut answer = [0; 4];
    client.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"ping");
}

/// The error with which a listener is refused.
#[track_caller]
fn refusal(listen: Listen<Raw>) -> io::Error {
    let error = Server::builder().listen_with(listen, raw_echo().0);
    let error = error.expect_err("the descriptor is refused");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    error
}

#[track_caller]
fn reason(descriptor: impl Into<OwnedFd>) -> AdoptError {
    let error = refusal(Listen::adopt(descriptor.into()));
    let reason = error.get_ref().and_then(|error| error.downcast_ref());
    *reason.expect("a typed error")
}

#[test]
fn clients_of_an_adopted_listener_are_served_also_those_who_came_before() {
    for workers in [1, 2] {
        let listener = TcpListener::bind(LOCAL).unwrap();
        let address = listener.local_addr().unwrap();
        let mut early = Client::connect(address);
        early.send(b"early");
        let (builder, events) = adopting(workers, listener);
        assert_eq!(builder.local_addr(), Some(address));
        let server = TestServer::spawn(builder);
        assert_eq!(early.receive(5), b"early");
        server.connect().ping();
        server.finish(&events);
        let refused = Client::try_connect(address).err().map(|error| error.kind());
        assert_eq!(refused, Some(ErrorKind::ConnectionRefused));
    }
}

#[test]
fn an_adopted_unix_socket_is_served_and_its_file_stays() {
    let path = SocketPath::new("path");
    let (builder, events) = adopting(1, UnixListener::bind(&path.0).unwrap());
    assert_eq!(builder.local_addrs(), [path.address()]);
    let server = TestServer::spawn(builder);
    ping(connect(&path.0));
    server.finish(&events);
    assert!(path.0.exists());
    // Nobody listens there now, and so the next server gets the path.
    let (echo, events) = raw_echo();
    let server = TestServer::start(Listen::unix(&path.0), echo);
    ping(connect(&path.0));
    server.finish(&events);
    assert!(!path.0.exists());
}

#[test]
#[cfg(any(target_os = "linux", target_os = "android"))]
fn an_adopted_abstract_socket_is_served() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    let name = format!("ringwheel-adopted-{}", process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let (builder, events) = adopting(2, UnixListener::bind_addr(&address).unwrap());
    let expected = Address::Abstract(name.as_bytes().into());
    assert_eq!(builder.local_addrs(), [expected]);
    let server = TestServer::spawn(builder);
    let client = UnixStream::connect_addr(&address).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    ping(client);
    server.finish(&events);
}

#[test]
fn a_descriptor_that_is_no_listener_is_refused() {
    let file = fs::File::open(std::env::current_exe().unwrap()).unwrap();
    assert!(matches!(reason(file), AdoptError::NoSocket(_)));
    let datagrams = UdpSocket::bind(LOCAL).unwrap();
    assert!(matches!(reason(datagrams), AdoptError::NoStream(_)));
    let (stream, _peer) = UnixStream::pair().unwrap();
    if cfg!(any(target_os = "linux", target_os = "android")) {
        assert!(matches!(reason(stream), AdoptError::NotListening(_)));
    }
}

#[test]
fn options_that_an_adopted_listener_cannot_have_are_refused() {
    let adopt = || Listen::adopt(TcpListener::bind(LOCAL).unwrap().into());
    let error = refusal(adopt().reuse_port(true));
    assert!(error.to_string().contains("`reuse_port`"), "{error}");
    let error = refusal(adopt().mode(0o600));
    assert!(error.to_string().contains("`mode`"), "{error}");
}

#[test]
fn options_of_accepted_sockets_are_set() {
    let path = SocketPath::new("options");
    let (recorder, events) = Recorder::<Raw>::new();
    let (lengths, waiting) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        conn.send(&[7; 1 << 20]);
        lengths.send(conn.write_buffer_len()).unwrap();
    });
    let descriptors: [OwnedFd; 2] = [
        TcpListener::bind(LOCAL).unwrap().into(),
        UnixListener::bind(&path.0).unwrap().into(),
    ];
    let mut builder = Server::builder().workers(1);
    for descriptor in descriptors {
        let listen = Listen::adopt(descriptor).send_buffer_size(8 * 1024);
        let listen = listen.keepalive(Duration::from_secs(60));
        builder = builder.listen_with(listen, recorder.clone()).unwrap();
    }
    let server = TestServer::spawn(builder);
    let mut narrow = Client::connect_narrow(server.addr());
    narrow.send(b"go");
    assert!(take(&waiting) > 768 * 1024);
    connect(&path.0).write_all(b"go").unwrap();
    assert!(take(&waiting) > 768 * 1024);
    drop(narrow);
    server.finish(&events);
}

#[test]
fn duplicates_are_in_the_order_of_the_listeners() {
    let path = SocketPath::new("order");
    let (echo, _events) = raw_echo();
    for workers in [1, 2] {
        let server = Server::builder()
            .workers(workers)
            .listen_with(listen(Raw), echo.clone())
            .and_then(|builder| builder.listen_with(Listen::unix(&path.0), echo.clone()))
            .and_then(|builder| builder.listen_with(listen(Raw), echo.clone()))
            .and_then(ServerBuilder::build)
            .unwrap();
        let duplicates = server.duplicate_listeners().unwrap();
        let addresses: Vec<_> = duplicates.into_iter().map(|(address, _)| address).collect();
        assert_eq!(addresses, server.local_addrs());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn sockets_that_share_a_port_are_handed_on_one_by_one() {
    let (echo, events) = raw_echo();
    let builder = Server::builder().workers(3);
    let builder = builder.listen_with(listen(Raw).reuse_port(true), echo.clone());
    let (old, duplicates) = start_with_duplicates(builder.unwrap());
    let address = old.addr();
    assert_eq!(duplicates.len(), 3);
    let mut builder = Server::builder().workers(2);
    for (of_worker, descriptor) in duplicates {
        assert_eq!(of_worker, address);
        let listen = Listen::adopt(descriptor);
        builder = builder.listen_with(listen, echo.clone()).unwrap();
    }
    old.handle().retire(DEADLINE);
    old.join();
    // The kernel spreads them over all three sockets, and nobody accepts yet.
    let clients: Vec<_> = (0..50).map(|_| Client::connect(address)).collect();
    let new = TestServer::spawn(builder);
    for mut client in clients {
        client.ping();
    }
    new.finish(&events);
}

#[test]
fn a_successor_reaches_clients_at_the_path_of_its_predecessor() {
    for workers in [1, 2] {
        let path = SocketPath::new("successor");
        let (echo, old_events) = raw_echo();
        let builder = Server::builder().workers(workers);
        let builder = builder.listen_with(Listen::unix(&path.0), echo);
        let (old, mut duplicates) = start_with_duplicates(builder.unwrap());
        let (address, descriptor) = duplicates.remove(0);
        let (builder, events) = adopting(workers, descriptor);
        // The kernel knows another name, that to which the socket was bound.
        assert_eq!(
            (builder.local_addrs(), address),
            (vec![path.address()], path.address())
        );
        old.handle().retire(DEADLINE);
        // An end at once leaves the file, too.
        old.handle().stop();
        old.join();
        old_events.assert_lifecycles();
        let waiting = connect(&path.0);
        let new = TestServer::spawn(builder);
        ping(waiting);
        ping(connect(&path.0));
        new.finish(&events);
        assert!(path.0.exists());
    }
}

/// The listeners left to nobody what a shutdown has to answer and to remove.
#[test]
fn a_server_that_shuts_down_does_not_retire_any_more() {
    for workers in [1, 2] {
        for ends_at_once in [false, true] {
            let path = SocketPath::new("ends");
            let (echo, events) = raw_echo();
            let builder = Server::builder().workers(workers);
            let builder = builder.listen_with(Listen::unix(&path.0), echo);
            let server = TestServer::spawn(builder.unwrap());
            ping(connect(&path.0));
            match ends_at_once {
                true => server.handle().stop(),
                false => server.handle().shutdown(DEADLINE),
            }
            server.handle().retire(DEADLINE);
            server.join();
            events.assert_lifecycles();
            assert!(!path.0.exists(), "{workers} workers");
        }
    }
}

/// A server that echoes and is held up in the callback of its first client, and the duplicate of its listener.
fn held_up() -> (TestServer, OwnedFd, Events, Client, Grip) {
    let (hold, grip) = Hold::new();
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.on_message(move |conn, bytes| {
        if bytes == b"hold" {
            hold.enter();
        }
        conn.send(bytes);
    });
    let builder = Server::builder().workers(1);
    let builder = builder.listen_with(listen(Raw), recorder).unwrap();
    let (server, mut duplicates) = start_with_duplicates(builder);
    let mut client = server.connect();
    client.send(b"hold");
    grip.wait();
    (server, duplicates.remove(0).1, events, client, grip)
}

#[test]
fn connections_that_wait_are_left_to_the_successor_by_a_server_that_retires() {
    let (old, descriptor, old_events, mut first, grip) = held_up();
    let address = old.addr();
    let mut waiting: Vec<_> = (0..200).map(|_| Client::connect(address)).collect();
    for client in &mut waiting[..100] {
        client.send(b"early");
    }
    old.handle().retire(DEADLINE);
    grip.release();
    assert_eq!(first.receive_rest(), b"hold");
    drop(first);
    let stats = old.handle().clone();
    old.join();
    old_events.assert_lifecycles();
    assert_eq!(stats.stats().accepted, 1);
    // Only now does anybody accept.
    let (builder, events) = adopting(2, descriptor);
    let new = TestServer::spawn(builder);
    for client in &mut waiting[..100] {
        assert_eq!(client.receive(5), b"early");
    }
    waiting.iter_mut().for_each(Client::ping);
    assert_eq!(new.handle().stats().accepted, 200);
    drop(waiting);
    new.finish(&events);
}

#[test]
fn connections_that_wait_are_answered_by_a_server_that_shuts_down() {
    let (old, descriptor, old_events, mut first, grip) = held_up();
    let mut waiting: Vec<_> = (0..200).map(|_| old.connect()).collect();
    for client in &mut waiting {
        client.send(b"early");
    }
    old.handle().shutdown(DEADLINE);
    // It ends already.
    old.handle().retire(DEADLINE);
    grip.release();
    for client in &mut waiting {
        assert_eq!(client.receive_rest(), b"early");
    }
    assert_eq!(first.receive_rest(), b"hold");
    let address = old.addr();
    drop((first, waiting));
    old.join();
    old_events.assert_lifecycles();
    // Who comes later is served by the other server.
    let mut late = Client::connect(address);
    let (builder, events) = adopting(1, descriptor);
    let new = TestServer::spawn(builder);
    late.ping();
    new.finish(&events);
}

/// Two servers accept from one socket, and one of them retires under a stream of clients.
#[test]
fn no_client_is_lost_while_one_of_two_servers_retires() {
    for workers in [1, 2] {
        let listener = TcpListener::bind(LOCAL).unwrap();
        let address = listener.local_addr().unwrap();
        let (old, old_events) = adopting(workers, listener.try_clone().unwrap());
        let (new, events) = adopting(workers, listener);
        let (old, new) = (TestServer::spawn(old), TestServer::spawn(new));
        let mut clients = Vec::new();
        eventually("both servers have clients", || {
            Client::connect(address).ping();
            let has_clients = |server: &TestServer| server.handle().stats().accepted > 0;
            has_clients(&old) && has_clients(&new)
        });
        for _ in 0..100 {
            clients.push(Client::connect(address));
        }
        clients.iter_mut().for_each(Client::ping);
        old.handle().retire(DEADLINE);
        // Those whom the old server had accepted are told of the end, and not cut off.
        let told = clients.iter_mut().filter_map(|client| {
            client.finish();
            client.receive_rest().is_empty().then_some(())
        });
        assert_eq!(told.count(), 100);
        old.join();
        old_events.assert_lifecycles();
        for _ in 0..100 {
            Client::connect(address).ping();
        }
        new.finish(&events);
    }
}
