//! Unix sockets are served like TCP, and their files come and go as documented.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process;
use std::slice::from_ref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use ringwheel::protocol::{Lines, Raw};
use ringwheel::{Address, Listen, SendStatus, Server, ServerBuilder};
use socket2::{Domain, SockAddr, Socket, Type};
use support::{
    DEADLINE, Events, Hold, Recorder, TestServer, eventually, listen, pattern, raw_echo, take, text,
};

/// A directory of its own for a test. It is removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringwheel-{}-{number}", process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    /// The path at which the test's server listens.
    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }

    /// The names of all files, for tests that nothing is left.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
        entries.map(|entry| name(entry.unwrap())).collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A client with deadlines.
#[track_caller]
fn connect(path: &Path) -> UnixStream {
    with_deadlines(UnixStream::connect(path).expect("the server accepts"))
}

fn with_deadlines(client: UnixStream) -> UnixStream {
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.set_write_timeout(Some(DEADLINE)).unwrap();
    client
}

/// Sends bytes, and receives the same.
#[track_caller]
fn ping(client: &mut UnixStream) {
    client.write_all(b"ping").unwrap();
    assert_eq!(receive(client, 4), b"ping");
}

#[track_caller]
fn receive(client: &mut UnixStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    client.read_exact(&mut bytes).expect("an answer");
    bytes
}

#[track_caller]
fn receive_rest(client: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).expect("an end of stream");
    bytes
}

fn line_echo() -> (Recorder<Lines>, Events) {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder.on_message(|conn, line| {
        conn.send(text(line));
    });
    (recorder, events)
}

/// Binds the path, for tests that do not run the server.
fn bind(path: &Path) -> std::io::Result<ServerBuilder> {
    Server::builder().listen_with(Listen::unix(path), raw_echo().0)
}

/// The kind and the text of the error with which a path cannot be bound.
#[track_caller]
fn refusal(path: &Path) -> (ErrorKind, String) {
    let error = bind(path).expect_err("the path cannot be bound");
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    (error.kind(), text)
}

/// Leaves a socket file on which nobody listens.
fn leave_stale(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
    assert!(path.exists());
}

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
fn a_stale_file_is_replaced() {
    let directory = Directory::new();
    let path = directory.socket();
    leave_stale(&path);
    let (echo, events) = raw_echo();
    let server = TestServer::start(Listen::unix(&path), echo);
    ping(&mut connect(&path));
    assert_eq!(directory.names(), ["socket"], "nothing else is left");
    server.finish(&events);
}

#[test]
fn a_live_server_keeps_its_path() {
    let directory = Directory::new();
    let path = directory.socket();
    let (echo, events) = raw_echo();
    let server = TestServer::start(Listen::unix(&path), echo);
    let (kind, text) = refusal(&path);
    assert_eq!(kind, ErrorKind::AddrInUse, "{text}");
    ping(&mut connect(&path));
    assert_eq!(directory.names(), ["socket"]);
    server.finish(&events);
}

#[test]
fn a_server_with_a_full_backlog_keeps_its_path() {
    let directory = Directory::new();
    let path = directory.socket();
    let listen = Listen::unix(&path).backlog(0);
    let builder = Server::builder().listen_with(listen, raw_echo().0);
    let _waiting = connect(&path);
    if cfg!(any(target_os = "linux", target_os = "android")) {
        assert_eq!(refusal(&path).0, ErrorKind::AddrInUse);
    }
    drop(builder);
}

#[test]
fn a_file_that_is_no_socket_is_never_touched() {
    let directory = Directory::new();
    let path = directory.socket();
    fs::write(&path, "precious").unwrap();
    assert_eq!(refusal(&path).0, ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();
    // A link to a stale socket is no socket either.
    let target = directory.0.join("target");
    leave_stale(&target);
    symlink(&target, &path).unwrap();
    assert_eq!(refusal(&path).0, ErrorKind::AlreadyExists);
    assert_eq!(fs::read_link(&path).unwrap(), target);
    assert_eq!(directory.names().len(), 2);
    assert_eq!(refusal(&directory.0).0, ErrorKind::AlreadyExists);
}

#[test]
fn the_file_of_another_server_is_kept() {
    let directory = Directory::new();
    let path = directory.socket();
    let (echo, events) = raw_echo();
    let first = TestServer::start(Listen::unix(&path), echo);
    fs::remove_file(&path).unwrap();
    let (echo, other_events) = raw_echo();
    let second = TestServer::start(Listen::unix(&path), echo);
    first.finish(&events);
    ping(&mut connect(&path));
    second.finish(&other_events);
    assert!(directory.names().is_empty());
}

#[test]
fn the_next_server_can_start_while_one_drains() {
    let directory = Directory::new();
    let path = directory.socket();
    let (echo, events) = raw_echo();
    let first = TestServer::start(Listen::unix(&path), echo.staying());
    let mut old = connect(&path);
    ping(&mut old);
    first.handle().shutdown(DEADLINE);
    eventually("the path is free", || !path.exists());
    let (echo, other_events) = raw_echo();
    let second = TestServer::start(Listen::unix(&path), echo);
    ping(&mut connect(&path));
    drop(old);
    first.join();
    events.assert_lifecycles();
    ping(&mut connect(&path));
    second.finish(&other_events);
}

/// The file was looked at when nobody listened any more, and removed although the next server had taken it.
#[test]
fn a_server_that_is_dropped_leaves_the_file_of_the_next() {
    let directory = Directory::new();
    let path = directory.socket();
    for round in 0..300 {
        let old = bind(&path).unwrap().workers(1).build().unwrap();
        let end = thread::spawn(move || drop(old));
        let new = std::iter::repeat_with(|| bind(&path))
            .find_map(Result::ok)
            .unwrap();
        end.join().unwrap();
        assert!(path.exists(), "round {round}");
        connect(&path);
        drop(new);
        assert!(directory.names().is_empty(), "{:?}", directory.names());
    }
}

#[test]
fn of_servers_that_start_at_one_time_one_gets_the_path() {
    const SERVERS: usize = 4;
    let directory = Directory::new();
    for round in 0..60 {
        let path = directory.0.join(format!("socket{round}"));
        if round % 2 == 0 {
            leave_stale(&path);
        }
        let barrier = Arc::new(Barrier::new(SERVERS));
        let start = |_| {
            let (path, barrier) = (path.clone(), barrier.clone());
            thread::spawn(move || {
                barrier.wait();
                bind(&path)?.workers(1).build()
            })
        };
        let threads: Vec<_> = (0..SERVERS).map(start).collect();
        let outcomes: Vec<_> = threads.into_iter().map(|it| it.join().unwrap()).collect();
        let winners = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(winners, 1, "{outcomes:?}");
        for outcome in &outcomes {
            if let Err(error) = outcome {
                assert_eq!(error.kind(), ErrorKind::AddrInUse, "{error}");
            }
        }
        connect(&path);
        drop(outcomes);
        assert!(directory.names().is_empty(), "{:?}", directory.names());
    }
}

#[test]
fn the_names_of_a_server_that_was_killed_while_it_started_do_not_disturb() {
    let directory = Directory::new();
    let path = directory.socket();
    leave_stale(&directory.0.join("socket~lock"));
    leave_stale(&path);
    let builder = bind(&path).unwrap();
    connect(&path);
    assert_eq!(directory.names(), ["socket"]);
    drop(builder);
}

#[test]
fn the_file_has_the_mode_that_was_set() {
    let directory = Directory::new();
    let path = directory.socket();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for exact in [0o600, 0o666, 0o777] {
        let listen = Listen::unix(&path).mode(exact);
        let builder = Server::builder().listen_with(listen, raw_echo().0);
        assert_eq!(mode(&path), exact);
        drop(builder);
    }
    let builder = bind(&path).unwrap();
    let usual = directory.0.join("usual");
    leave_stale(&usual);
    assert_eq!(mode(&path), mode(&usual), "as the umask gives");
    drop(builder);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let directory = Directory::new();
    let path = directory.socket();
    let error_of = |listen: Listen<Raw>| {
        let outcome = Server::builder().listen_with(listen, raw_echo().0);
        let error = outcome.expect_err("it makes no sense");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        error.to_string()
    };
    let shared = error_of(Listen::unix(&path).reuse_port(true));
    assert!(shared.contains("reuse_port") && shared.contains(path.to_str().unwrap()));
    let wrong = error_of(Listen::unix(&path).mode(0o1777));
    assert!(wrong.contains("0o1777") && wrong.contains(path.to_str().unwrap()));
    assert!(error_of(listen(Raw).mode(0o600)).contains("mode"));
    assert!(directory.names().is_empty());
}

#[test]
fn a_path_that_is_too_long_or_has_no_directory_is_refused() {
    let directory = Directory::new();
    let stem = directory
        .0
        .join("s")
        .into_os_string()
        .into_string()
        .unwrap();
    let limit = if cfg!(any(target_os = "linux", target_os = "android")) {
        102
    } else {
        98
    };
    let longest = PathBuf::from(stem.clone() + &"s".repeat(limit - stem.len()));
    let builder = bind(&longest).unwrap();
    connect(&longest);
    drop(builder);
    let (kind, text) = refusal(Path::new(
        &(stem.clone() + &"s".repeat(limit + 1 - stem.len())),
    ));
    assert_eq!(kind, ErrorKind::InvalidInput);
    assert!(text.contains(&format!("at most {limit}")), "{text}");
    let nowhere = directory.0.join("nowhere").join("socket");
    assert_eq!(refusal(&nowhere).0, ErrorKind::NotFound);
    for wrong in ["", "..", "\0abstract"] {
        assert_eq!(refusal(Path::new(wrong)).0, ErrorKind::InvalidInput);
    }
    assert!(directory.names().is_empty());
}

#[test]
fn a_server_that_never_ran_removes_its_file() {
    let directory = Directory::new();
    let path = directory.socket();
    for workers in [1, 2] {
        drop(bind(&path).unwrap());
        assert!(directory.names().is_empty(), "the builder");
        let server = bind(&path).unwrap().workers(workers).build().unwrap();
        assert!(path.exists());
        drop(server);
        assert!(directory.names().is_empty(), "the server");
    }
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

#[cfg(target_os = "linux")]
mod descriptors {
    use super::*;
    use support::Child;

    const DESCRIPTORS: u32 = 40;

    fn is_served(client: &mut UnixStream) -> bool {
        client.write_all(b"ping").is_ok() && client.read_exact(&mut [0; 4]).is_ok()
    }

    fn shed_and_recover(test: &str, workers: usize) {
        if Child::is_here() {
            let directory = Directory::new();
            let (echo, events) = raw_echo();
            let builder = Server::builder().workers(workers);
            let listen = Listen::unix(directory.socket());
            let server = TestServer::start_on(builder, listen, echo.without_messages());
            println!("\nserves on {}", directory.socket().display());
            std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
            println!("\nhas shed {}", server.handle().stats().shed);
            return server.finish(&events);
        }
        let mut child = Child::start(test, DESCRIPTORS);
        let path = PathBuf::from(child.line("serves on "));
        let mut clients = Vec::new();
        let mut turned_away = 0;
        while turned_away < 5 {
            assert!(clients.len() < DESCRIPTORS as usize);
            let mut client = connect(&path);
            // A shed connection is closed, and does not hang.
            match is_served(&mut client) {
                true => clients.push(client),
                false => turned_away += 1,
            }
        }
        clients.iter_mut().for_each(ping);
        clients.truncate(clients.len() / 2);
        eventually("new clients are served again", || {
            is_served(&mut connect(&path))
        });
        clients.iter_mut().for_each(ping);
        drop(clients);
        child.close_input();
        assert!(child.line("has shed ").parse::<u64>().unwrap() >= 5);
        child.end();
    }

    #[test]
    fn an_acceptor_without_descriptors_sheds_and_recovers() {
        let test = "unix::descriptors::an_acceptor_without_descriptors_sheds_and_recovers";
        shed_and_recover(test, 2);
    }

    #[test]
    fn a_worker_without_descriptors_sheds_and_recovers() {
        let test = "unix::descriptors::a_worker_without_descriptors_sheds_and_recovers";
        shed_and_recover(test, 1);
    }
}
