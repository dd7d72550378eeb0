//! The file of a listening socket: what may be replaced, and what is left.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};
use std::thread;

use ringwheel::protocol::Raw;
use ringwheel::{Listen, Server, ServerBuilder};
use support::{DEADLINE, TestServer, eventually, listen, raw_echo};

use super::{Directory, connect, ping};

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
