//! The system refuses memory, descriptors or addresses: the server returns a clear error or goes on serving.

use std::env;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use ringwheel::protocol::Raw;
use ringwheel::{Conn, Handler, Limits, Server};
use support::scale::{FIGURE, report, sized};
use support::{Client, LOCAL, TestServer, listen};

use crate::measure::in_child;

#[derive(Clone)]
struct Echo;

impl Handler for Echo {
    type Protocol = Raw;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, Raw>) {}

    fn on_message(&mut self, conn: &mut Conn<'_, Raw>, _session: &mut (), bytes: &[u8]) {
        conn.send(bytes);
    }
}

/// Environment variable that is set in a process with little memory.
const MARK: &str = "RINGWHEEL_TEST_LITTLE_MEMORY";
/// Address space of such a process, in KiB.
const LITTLE: u32 = 256 * 1024;

/// Stack size of each thread, in KiB. The stacks are what does not fit; everything else has enough memory, because an
/// allocation that fails ends the process.
const STACK: u32 = 64 * 1024;

/// Runs the test of this name in a process with a limited address space (`RLIMIT_AS`).
#[track_caller]
fn with_little_memory(test: &str, body: impl FnOnce()) {
    if env::var_os(MARK).is_some() {
        return body();
    }
    let script =
        format!("ulimit -v {LITTLE} && exec \"$0\" --exact {test} --nocapture --test-threads=1");
    let output = Command::new("sh")
        .args(["-c", &script])
        .arg(env::current_exe().expect("the test binary"))
        .env(MARK, "1")
        .env("RUST_MIN_STACK", (STACK * 1024).to_string())
        // Otherwise each thread would reserve address space for its own heap.
        .env("MALLOC_ARENA_MAX", "1")
        .stderr(Stdio::inherit())
        .output()
        .expect("a child process");
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{}: {said}",
        output.status
    );
    let figure = said.lines().find(|line| line.starts_with(FIGURE));
    println!("\n{}", figure.expect("a report"));
}

#[test]
fn stalled_readers_take_no_more_memory_than_the_limits_allow() {
    let test = "limits::stalled_readers_take_no_more_memory_than_the_limits_allow";
    with_little_memory(test, || {
        // Without limits these readers would take gigabytes.
        let stalled = sized(100, 400);
        let limits = Limits::default()
            .output(256 * 1024)
            .low_water(64 * 1024)
            .high_water(128 * 1024);
        let server =
            TestServer::start(listen(Raw).limits(limits).send_buffer_size(16 * 1024), Echo);
        let flood = vec![7; 16 << 20];
        let mut clients: Vec<Client> = (0..stalled)
            .map(|_| Client::connect_narrow(server.addr()))
            .collect();
        let mut sent = 0;
        for _ in 0..3 {
            for client in &mut clients {
                sent += client.fill(&flood);
            }
            server.connect().ping();
        }
        drop(clients);
        server.connect().ping();
        server.handle().stop();
        server.join();
        report(
            "little memory, stalled readers",
            format_args!(
                "{stalled} stalled readers that sent {} MB, in {} MB of address space: others are served",
                sent / 1_000_000,
                LITTLE / 1024
            ),
        );
    });
}

#[test]
fn threads_that_cannot_be_started_are_an_error() {
    let test = "limits::threads_that_cannot_be_started_are_an_error";
    with_little_memory(test, || {
        // Their stacks would take twice the memory that there is.
        let workers = 8;
        let outcome = Server::builder()
            .workers(workers)
            .listen(LOCAL, Echo)
            .and_then(|builder| builder.run());
        let error = outcome.expect_err("the threads do not fit into memory");
        // The threads that had started have ended, so there is room again.
        let server = TestServer::start(listen(Raw), Echo);
        server.connect().ping();
        server.handle().stop();
        server.join();
        report(
            "little memory, too many threads",
            format_args!("{workers} workers: \"{error}\", and then a smaller server runs"),
        );
    });
}

#[test]
fn too_few_descriptors_at_the_start_are_an_error() {
    let test = "limits::too_few_descriptors_at_the_start_are_an_error";
    in_child(test, 64, || {
        let files: io::Result<Vec<File>> =
            std::iter::repeat_with(|| File::open("/dev/null")).collect();
        assert!(files.is_err(), "no descriptor is left, for a moment");
        let mut files = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            files.push(file);
        }
        let mut errors = Vec::new();
        // Each attempt has one more descriptor, until one succeeds.
        let server = loop {
            let attempt = Server::builder()
                .workers(2)
                .listen(LOCAL, Echo)
                .and_then(|builder| builder.spawn());
            match attempt {
                Ok(running) => break TestServer::adopt(running),
                Err(error) => errors.push(error),
            }
            files.pop().expect("a server needs fewer descriptors");
        };
        // The client needs two descriptors: its own, and the server's end.
        files.truncate(files.len() - 2);
        server.connect().ping();
        drop(files);
        server.handle().stop();
        server.join();
        let out_of_descriptors = |error: &io::Error| error.to_string().contains("os error 24");
        assert!(errors.iter().all(out_of_descriptors), "{errors:?}");
        report(
            "no descriptors at the start",
            format_args!(
                "an error with 0 to {} descriptors: \"{}\"; with one more the server runs",
                errors.len() - 1,
                errors[0]
            ),
        );
    });
}

#[test]
fn errors_name_addresses_that_cannot_be_bound() {
    let taken = TcpListener::bind(LOCAL).expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let refused = |address: &str| {
        let error = Server::builder().listen(address, Echo);
        error.expect_err("the address cannot be bound")
    };
    let error = refused(&address);
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address), "{error}");
    // An address that belongs to no machine (RFC 5737, section 3).
    let error = refused("192.0.2.1:1833");
    assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
    assert!(error.to_string().contains("192.0.2.1:1833"), "{error}");
    for nonsense in ["nowhere", "127.0.0.1", "127.0.0.1:99999"] {
        assert_eq!(refused(nonsense).kind(), ErrorKind::InvalidInput);
    }
    report("addresses that cannot be bound", "an error that names each");
}
