//! Connections over Unix sockets are served like those over TCP.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process;
use std::slice::from_ref;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use ringwheel::protocol::{Lines, Raw};
use ringwheel::{Address, Listen, SendStatus, Server};
use socket2::{Domain, SockAddr, Socket, Type};
use support::{
    DEADLINE, Hold, Recorder, TestServer, eventually, listen, pattern, raw_echo, take, text,
};

use super::{Directory, connect, line_echo, ping, receive, receive_rest, with_deadlines};

#[test]
fn bytes_are_echoed_and_addresses_are_those_of_the_listener() {
    let directory = Directory::new();
    let path = directory.socket();
    let (recorder, events) = raw_echo();
    let (addresses, known) = channel();
    let recorder = recorder.on_open(move |conn| {
        let pair = (conn.peer_addr().clone(), conn.local_addr().unwrap());
        addresses.send(pair).unwrap();
    });
    let server = TestServer::start(Listen::unix(&path), recorder);
    let address = Address::Unix(Some(path.as_path().into()));
    assert_eq!(server.handle().local_addrs(), from_ref(&address));
    assert_eq!(server.handle().local_addr(), None);
    let mut client = connect(&path);
    ping(&mut client);
    assert_eq!(take(&known), (Address::Unix(None), address));
    drop(client);
    assert_eq!(events.close_reason(), "Peer");
    server.finish(&events);
    assert!(directory.names().is_empty(), "the file is removed");
}

#[test]
fn a_peer_that_is_bound_to_a_path_is_known_by_it() {
    let directory = Directory::new();
    let (recorder, events) = raw_echo();
    let (addresses, known) = channel();
    let recorder = recorder.on_open(move |conn| addresses.send(conn.peer_addr().clone()).unwrap());
    let server = TestServer::start(Listen::unix(directory.socket()), recorder);
    let own = directory.0.join("client");
    let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    client.bind(&SockAddr::unix(&own).unwrap()).unwrap();
    let address = SockAddr::unix(directory.socket()).unwrap();
    client.connect(&address).unwrap();
    ping(&mut with_deadlines(client.into()));
    assert_eq!(take(&known), Address::Unix(Some(own.as_path().into())));
    server.finish(&events);
}

#[test]
fn large_messages_go_both_ways_past_a_slow_reader() {
    let directory = Directory::new();
    let (recorder, events) = Recorder::<Raw>::new();
    let (blocked, is_blocked) = channel();
    let echo = recorder.without_messages().on_message(move |conn, bytes| {
        if conn.send(bytes) == SendStatus::AboveHighWater {
            let _ = blocked.send(());
        }
    });
    let server = TestServer::start(Listen::unix(directory.socket()), echo);
    let mut client = connect(&directory.socket());
    let mut writer = client.try_clone().unwrap();
    let payload = pattern(2, 20 << 20);
    let to_write = payload.clone();
    let writing = thread::spawn(move || writer.write_all(&to_write).unwrap());
    // The client reads nothing until the server's output is blocked.
    take(&is_blocked);
    assert!(receive(&mut client, payload.len()) == payload);
    writing.join().unwrap();
    server.finish(&events);
}

#[test]
fn buffer_sizes_reach_the_connection() {
    let directory = Directory::new();
    let (recorder, events) = Recorder::<Raw>::new();
    let payload = pattern(3, 1 << 20);
    let to_send = payload.clone();
    let (lengths, waiting) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        conn.send(&to_send);
        lengths.send(conn.write_buffer_len()).unwrap();
    });
    let options = Listen::unix(directory.socket()).send_buffer_size(8 * 1024);
    let server = TestServer::start(options, recorder);
    let mut client = connect(&directory.socket());
    client.write_all(b"go").unwrap();
    assert!(take(&waiting) > payload.len() - 128 * 1024);
    assert!(receive(&mut client, payload.len()) == payload);
    server.finish(&events);
}

#[test]
fn all_requests_are_answered_after_the_peers_end() {
    let directory = Directory::new();
    let (echo, events) = line_echo();
    let server = TestServer::start(Listen::unix(directory.socket()), echo);
    let mut client = connect(&directory.socket());
    let questions: String = (0..10_000).map(|n| format!("question {n}\n")).collect();
    client.write_all(questions.as_bytes()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(receive_rest(&mut client) == questions.as_bytes());
    assert_eq!(events.close_reason(), "Peer");
    server.finish(&events);
}

#[test]
fn a_peer_sees_a_clean_end_after_an_abort_unless_its_input_was_left_unread() {
    let directory = Directory::new();
    let (hold, grip) = Hold::new();
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.on_message(move |conn, bytes| {
        if bytes == b"hold" {
            hold.enter();
        }
        conn.send(b"never sent");
        conn.abort();
    });
    let server = TestServer::start(Listen::unix(directory.socket()), recorder);
    let mut client = connect(&directory.socket());
    client.write_all(b"end").unwrap();
    assert_eq!(receive_rest(&mut client), b"");
    let mut client = connect(&directory.socket());
    client.write_all(b"hold").unwrap();
    grip.wait();
    client.write_all(b"unread").unwrap();
    grip.release();
    let end = client.read(&mut [0]);
    if cfg!(any(target_os = "linux", target_os = "android")) {
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    server.finish(&events);
}

/// A read ends behind bytes with which descriptors were passed, so a short read does not prove the socket empty.
#[test]
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn input_behind_a_passed_descriptor_is_read() {
    use std::io::IoSlice;
    use std::os::fd::AsRawFd;

    use socket2::{MsgHdr, SockRef};

    let directory = Directory::new();
    let (echo, events) = line_echo();
    let builder = Server::builder().workers(1);
    let builder = builder.listen_with(Listen::unix(directory.socket()), echo);
    let mut client = connect(&directory.socket());
    // A control message (cmsg(3)): its length, SOL_SOCKET, SCM_RIGHTS, one descriptor.
    let descriptor = client.as_raw_fd();
    let mut control = Vec::from(20_u64.to_ne_bytes());
    for number in [1, 1, descriptor, 0] {
        control.extend(number.to_ne_bytes());
    }
    let bytes = [IoSlice::new(b"one line ")];
    let message = MsgHdr::new().with_buffers(&bytes).with_control(&control);
    let sent = SockRef::from(&client).sendmsg(&message, 0);
    assert_eq!(sent.unwrap(), 9);
    client.write_all(b"in two\n").unwrap();
    // Only now, so that both wait for one event.
    let server = TestServer::spawn(builder.unwrap());
    assert_eq!(receive(&mut client, 16), b"one line in two\n");
    server.finish(&events);
}

#[test]
fn a_drain_answers_those_who_wait_and_the_file_is_gone_before() {
    let directory = Directory::new();
    let (hold, grip) = Hold::new();
    let (opened, file) = channel();
    let path = directory.socket();
    let (recorder, events) = Recorder::<Lines>::new();
    let seen = path.clone();
    let recorder = recorder
        .on_open(move |_| opened.send(seen.exists()).unwrap())
        .on_message(move |conn, line| {
            if line == b"hold" {
                hold.enter();
            }
            conn.send(text(line));
        });
    let server = TestServer::start(Listen::unix(&path), recorder);
    let mut first = connect(&path);
    // Then the worker serves it at once, and looks for commands before it accepts.
    for _ in 0..4 {
        first.write_all(b"x\n").unwrap();
        assert_eq!(receive(&mut first, 2), b"x\n");
    }
    first.write_all(b"hold\n").unwrap();
    grip.wait();
    assert!(take(&file));
    let questions: String = (0..500).map(|n| format!("question {n}\n")).collect();
    first.write_all(questions.as_bytes()).unwrap();
    server.handle().shutdown(DEADLINE);
    let mut second = connect(&path);
    second.write_all(questions.as_bytes()).unwrap();
    grip.release();
    assert_eq!(
        text(&receive_rest(&mut first)),
        format!("hold\n{questions}")
    );
    assert_eq!(text(&receive_rest(&mut second)), questions);
    assert!(
        !take(&file),
        "the file was there when the last was accepted"
    );
    drop((first, second));
    server.join();
    events.assert_lifecycles();
}

#[test]
fn workers_get_the_connections_in_turn() {
    let directory = Directory::new();
    let (echo, events) = raw_echo();
    let builder = Server::builder().workers(2).max_connections_per_ip(1);
    let server = TestServer::start_on(builder, Listen::unix(directory.socket()), echo);
    let mut clients: Vec<_> = (0..100).map(|_| connect(&directory.socket())).collect();
    clients.iter_mut().for_each(ping);
    assert_eq!(server.handle().connections_per_worker(), [50, 50]);
    assert_eq!(server.handle().stats().refused_per_ip, 0);
    drop(clients);
    server.finish(&events);
}

#[test]
fn one_handler_serves_tcp_and_unix_sockets() {
    let directory = Directory::new();
    let (echo, events) = raw_echo();
    let builder = Server::builder()
        .workers(2)
        .listen_with(Listen::unix(directory.socket()), echo.clone())
        .and_then(|builder| builder.listen_with(listen(Raw), echo.clone()))
        .unwrap();
    assert_eq!(builder.local_addr(), builder.local_addrs()[1].socket_addr());
    let server = TestServer::spawn(builder);
    let mut tcp = support::Client::connect(server.addr_of(1));
    tcp.ping();
    let mut unix = connect(&directory.socket());
    ping(&mut unix);
    let everyone = server.handle().connections_of::<Recorder<Raw>>().unwrap();
    everyone.broadcast(&b"all"[..]).unwrap();
    assert_eq!(tcp.receive(3), b"all");
    assert_eq!(receive(&mut unix, 3), b"all");
    server.finish(&events);
}

#[test]
#[cfg(any(target_os = "linux", target_os = "android"))]
fn an_abstract_name_is_served() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    let name = format!("ringwheel-{}", process::id());
    let (recorder, events) = raw_echo();
    let (addresses, known) = channel();
    let recorder = recorder.on_open(move |conn| {
        let pair = (conn.peer_addr().clone(), conn.local_addr().unwrap());
        addresses.send(pair).unwrap();
    });
    let server = TestServer::start(Listen::abstract_name(&name), recorder.clone());
    let address = Address::Abstract(name.as_bytes().into());
    assert_eq!(server.handle().local_addrs(), from_ref(&address));
    assert_eq!(address.to_string(), format!("unix:@{name}"));
    let target = SocketAddr::from_abstract_name(&name).unwrap();
    let connect = || with_deadlines(UnixStream::connect_addr(&target).unwrap());
    ping(&mut connect());
    assert_eq!(take(&known), (Address::Unix(None), address));
    let again = Server::builder().listen_with(Listen::abstract_name(&name), recorder.clone());
    let error = again.expect_err("the name is taken");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&name), "{error}");
    for wrong in ["", &"n".repeat(108)] {
        let listen = Listen::abstract_name(wrong);
        let error = Server::builder().listen_with(listen, recorder.clone());
        assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    server.finish(&events);
    assert!(UnixStream::connect_addr(&target).is_err());
}

/// A client that neither reads nor ends costs a descriptor until the close timeout, and no longer: all that it was sent is in
/// its own queue.
#[test]
fn a_close_does_not_wait_for_the_peer_to_read() {
    let directory = Directory::new();
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.on_message(|conn, _| {
        conn.send(&[7; 100_000]);
        conn.close();
    });
    let listen = Listen::unix(directory.socket()).close_timeout(Duration::from_millis(10));
    let server = TestServer::start(listen, recorder);
    let mut client = connect(&directory.socket());
    client.write_all(b"go").unwrap();
    eventually("the connection is gone", || {
        let stats = server.handle().stats();
        stats.accepted == 1 && stats.connections == 0
    });
    assert_eq!(receive_rest(&mut client), [7; 100_000]);
    server.finish(&events);
}
