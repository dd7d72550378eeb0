//! The examples of the framing protocols.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Instant;

use support::Example;

/// Examples that can be pasted into a fresh project.
const PASTABLE: [&str; 5] = ["chat", "framed_echo", "custom_protocol", "state", "timers"];
/// Echo servers, which have options of their own.
const ECHOES: [&str; 2] = ["echo", "websocket_echo"];

#[test]
fn first_examples_need_nothing_but_the_crate() {
    for name in PASTABLE {
        let path = examples().join(format!("{name}.rs"));
        let source = fs::read_to_string(path).expect("the example is there");
        assert!(source.contains("fn main()"), "{name}");
        for line in source.lines() {
            let needs_more = ["mod ", "#[path", "#[cfg"]
                .iter()
                .any(|start| line.starts_with(start));
            assert!(!needs_more, "{name}: {line}");
            if let Some(path) = line.strip_prefix("use ") {
                let is_there = ["std::", "ringwheel::"]
                    .iter()
                    .any(|krate| path.starts_with(krate));
                assert!(is_there, "{name}: {line}");
            }
        }
    }
}

#[test]
fn every_other_example_explains_its_options() {
    let names = example_names();
    assert!(names.len() >= 14, "{names:?}");
    // The examples of a feature are not built without it.
    let is_built = |name: &String| cfg!(feature = "deflate") || !name.starts_with("websocket_");
    let has_options = |name: &String| ![&PASTABLE[..], &ECHOES].concat().contains(&name.as_str());
    for name in names.into_iter().filter(is_built).filter(has_options) {
        let Output { status, stdout, .. } = Example::run_to_end(&name, &["--help"]);
        assert!(status.success(), "{name}: {status}");
        let help = String::from_utf8(stdout).expect("help is text");
        assert!(help.contains("--addr"), "{name}: {help}");
        assert!(help.contains("--workers"), "{name}: {help}");
    }
}

#[test]
fn a_bad_option_is_an_error_and_no_panic() {
    for arguments in [
        ["--idle", "inf"],
        ["--idle", "-1"],
        ["--addr", "nowhere"],
        ["--workers", "x"],
        ["--balance", "round-robin"],
    ] {
        let argument = format!("{}={}", arguments[0], arguments[1]);
        let Output { status, stderr, .. } = Example::run_to_end("idle_eviction", &[&argument]);
        assert_eq!(status.code(), Some(2), "{arguments:?}");
        let message = String::from_utf8_lossy(&stderr).into_owned();
        assert!(message.contains(arguments[0]), "{message}");
    }
    let unknown = Example::run_to_end("balance", &["--balance=none", "--addr=127.0.0.1:0"]);
    assert!(!unknown.status.success());
}

#[test]
fn echo_sends_back_what_arrives() {
    let (_server, addr) = Example::serve_simply("echo");
    let mut client = Client::connect(addr);
    client.send("hello");
    client.expect("hello");
}

#[test]
#[cfg(unix)]
fn echo_listens_on_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("ringwheel-echo-{}", std::process::id()));
    let path = path.to_str().expect("the path is text");
    let server = Example::start("echo", &["--unix", path]);
    assert_eq!(server.next_line(), format!("listening on unix:{path}"));
    let mut client = std::os::unix::net::UnixStream::connect(path).expect("the example listens");
    client.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
    // The example is killed, which leaves its file.
    fs::remove_file(path).unwrap();
}

#[test]
fn echo_explains_its_arguments() {
    let Output { status, stdout, .. } = Example::run_to_end("echo", &["--help"]);
    assert!(status.success(), "{status}");
    let help = String::from_utf8_lossy(&stdout);
    for option in [
        "ADDRESS ",
        "--unix PATH",
        "--proxy-protocol",
        "--tls-cert FILE",
        "--self-signed",
    ] {
        assert!(help.contains(option), "{help}");
    }
    for arguments in [
        &["--nothing"][..],
        &["--unix"],
        &["--unix=/nowhere", "127.0.0.1:0"],
        &["--proxy-protocol=yes"],
    ] {
        let wrong = Example::run_to_end("echo", arguments);
        assert_eq!(wrong.status.code(), Some(2), "{arguments:?}");
        let message = String::from_utf8_lossy(&wrong.stderr).into_owned();
        let option = arguments[0]
            .split('=')
            .next()
            .expect("split gives something");
        assert!(message.starts_with(option), "{arguments:?}: {message}");
    }
}

#[test]
fn echo_prints_the_clients_of_a_proxy() {
    let server = Example::start("echo", &["127.0.0.1:0", "--proxy-protocol"]);
    let mut client = Client::connect(server.next_address());
    client.send("PROXY TCP4 192.0.2.1 192.0.2.2 1234 1833\r\nhello");
    client.expect("hello");
    assert_eq!(server.next_line(), "client 192.0.2.1:1234");
}

#[test]
#[cfg(not(feature = "tls"))]
fn echo_without_tls_says_how_to_build_it_with_tls() {
    for arguments in [
        &["--self-signed"][..],
        &["--tls-cert=chain.pem", "--tls-key=key.pem"],
    ] {
        let Output { status, stderr, .. } = Example::run_to_end("echo", arguments);
        assert_eq!(status.code(), Some(2), "{arguments:?}");
        let message = String::from_utf8_lossy(&stderr).into_owned();
        assert!(message.contains("`--features tls`"), "{message}");
    }
}

#[test]
fn balance_serves_whatever_the_balancer() {
    for options in [
        "--balance=round-robin",
        "--balance=least-connections",
        "--balance=source-hash",
        #[cfg(target_os = "linux")]
        "--balance=kernel",
    ] {
        let (_server, addr) = Example::serve("balance", &["--workers=2", options]);
        let mut clients = [(); 4].map(|()| Client::connect(addr));
        let workers = clients.each_mut().map(Client::line);
        let is_worker = |line: &String| line == "worker 0" || line == "worker 1";
        assert!(workers.iter().all(is_worker), "{workers:?}");
        if options == "--balance=round-robin" {
            assert_eq!(workers.iter().filter(|line| *line == "worker 0").count(), 2);
        }
        for client in &mut clients {
            client.send("hello\n");
            client.expect("hello\n");
        }
    }
}

#[test]
fn framed_echo_sends_frames_back_and_refuses_long_ones() {
    let (server, addr) = Example::serve_simply("framed_echo");
    let mut client = Client::connect(addr);
    let frames = "\0\0\0\x05hello\0\0\0\x00\0\0\0\x02by";
    let (front, back) = frames.split_at(6);
    client.send(front);
    client.send(back);
    client.expect(frames);
    client.send("\0\x01\0\x01");
    assert_eq!(client.rest(), "");
    let line = server.next_line();
    assert!(line.contains("protocol error"), "{line}");
}

#[test]
fn state_counts_for_connections_and_workers() {
    let (_server, addr) = Example::serve_simply("state");
    let mut clients = [(); 3].map(|()| Client::connect(addr));
    for client in &mut clients {
        client.send("one\ntwo\n");
        client.expect("line 1\nline 2\n");
    }
    let [asker, ..] = &mut clients;
    asker.send("workers\n");
    let mut lines = 0;
    // Each worker answers once, in any order; the question is the seventh line.
    while lines < 7 {
        let answer = asker.line();
        let count = answer
            .strip_suffix(" lines")
            .and_then(|rest| rest.rsplit(' ').next());
        let count = count.and_then(|count| count.parse::<u64>().ok());
        lines += count.unwrap_or_else(|| panic!("no count: {answer}"));
    }
    assert_eq!(lines, 7);
}

#[test]
fn timers_fire_once_repeatedly_or_not() {
    let (_server, addr) = Example::serve_simply("timers");
    let mut client = Client::connect(addr);
    client.send("in 3\nin x tea\n");
    client.expect(&"in SECONDS TEXT, every SECONDS TEXT, or stop\n".repeat(2));
    client.send("in 0.02 tea\n");
    client.expect("tea\n");
    client.send("in 600 never\nevery 0.01 tick\n");
    client.expect("tick\ntick\ntick\n");
    client.send("stop\n");
    // Ticks may be on their way before the answer; none come after it.
    while client.line() != "stopped" {}
    client.send("in 0.05 end\n");
    client.expect("end\n");
}

#[test]
fn idle_eviction_evicts_silent_connections() {
    let options = ["--workers=1", "--idle=1", "--first-message=600"];
    let (server, addr) = Example::serve("idle_eviction", &options);
    let mut client = Client::connect(addr);
    client.send("hello\n");
    let client_addr = client.local_addr();
    assert_eq!(client.rest(), "hello\n");
    let eviction = server.next_line();
    assert!(
        eviction.starts_with(&format!("evicted {client_addr}:")),
        "{eviction}"
    );
    assert!(eviction.contains("idle"), "{eviction}");
}

#[test]
fn idle_eviction_evicts_connections_whose_first_line_is_late() {
    let options = ["--workers=1", "--idle=600", "--first-message=0.2"];
    let (server, addr) = Example::serve("idle_eviction", &options);
    let mut client = Client::connect(addr);
    let client_addr = client.local_addr();
    // Half a line does not count as a line.
    client.send("hel");
    assert_eq!(client.rest(), "");
    let eviction = server.next_line();
    assert!(
        eviction.starts_with(&format!("evicted {client_addr}:")),
        "{eviction}"
    );
    assert!(eviction.contains("first message"), "{eviction}");
}

#[test]
fn download_sends_all_of_a_large_body() {
    let (server, addr) = Example::serve("download", &["--workers=1", "--mebibytes=32"]);
    let client = Client::connect(addr);
    let client_addr = client.local_addr();
    assert_eq!(client.rest().len(), 32 << 20);
    assert_eq!(server.next_line(), format!("{client_addr} has all of it"));
}

#[test]
fn max_connections_refuses_and_counts_connections_beyond_its_limits() {
    for (limits, report) in [
        (
            ["--max=2", "--max-per-ip=9"],
            "refused: 1 beyond the maximum, 0 beyond",
        ),
        (
            ["--max=9", "--max-per-ip=2"],
            "refused: 0 beyond the maximum, 1 beyond",
        ),
    ] {
        let options = ["--workers=2", "--report=0.05", limits[0], limits[1]];
        let (server, addr) = Example::serve("max_connections", &options);
        let mut inside = [(); 2].map(|()| Client::connect(addr));
        for client in &mut inside {
            client.send("in");
            client.expect("in");
        }
        assert_eq!(Client::connect(addr).rest(), "");
        let line = server.next_line();
        assert!(line.contains(report), "{line}");

        // A connection that ends makes room for another one.
        let [mut stays, leaves] = inside;
        drop(leaves);
        let started = Instant::now();
        while !Client::connect(addr).is_echoed() {
            assert!(
                started.elapsed() < Example::DEADLINE,
                "no place became free"
            );
        }
        stays.send("still here");
        stays.expect("still here");
    }
}

#[test]
fn timing_push_reaches_every_client() {
    let (_server, addr) = Example::serve("timing_push", &["--workers=2", "--every=20"]);
    let mut clients = [(); 3].map(|()| Client::connect(addr));
    for client in &mut clients {
        let mut last = 0.0;
        for _ in 0..5 {
            let time: f64 = client.line().parse().expect("a time is a number");
            assert!(time > last, "{time} after {last}");
            last = time;
        }
    }
}

#[test]
fn remote_send_answers_from_another_thread() {
    let (_server, addr) = Example::serve("remote_send", &["--workers=2"]);
    let mut client = Client::connect(addr);
    client.expect("primes below which number?\n");
    client.send("100\nmany\n11000000\n");
    // The refusals do not wait for the calculator.
    let mut answers = [(); 3].map(|()| client.line());
    answers.sort();
    assert_eq!(
        answers,
        [
            "not a number up to ten million",
            "not a number up to ten million",
            "primes below 100: 25"
        ]
    );
    // A client that has ended its stream is still answered.
    client.send("10\n1000\n");
    client.shutdown_write();
    assert_eq!(
        client.rest(),
        "primes below 10: 4\nprimes below 1000: 168\n"
    );
}

#[test]
fn remote_send_notices_that_the_client_has_gone() {
    let (server, addr) = Example::serve("remote_send", &["--workers=1"]);
    let mut client = Client::connect(addr);
    client.send(&"300000\n".repeat(8));
    client.expect("primes below which number?\n");
    drop(client);
    assert_eq!(
        server.next_error_line(),
        "nobody waits for the primes below 300000 any more"
    );
    let mut another = Client::connect(addr);
    another.send("3\n");
    another.expect("primes below which number?\nprimes below 3: 1\n");
}

#[test]
fn custom_protocol_answers_and_refuses() {
    let (_server, addr) = Example::serve_simply("custom_protocol");
    let mut client = Client::connect(addr);
    client.send_bytes(&7_u32.to_be_bytes());
    client.expect_bytes(&49_u64.to_be_bytes());
    for part in 65_536_u32.to_be_bytes().chunks(1) {
        client.send_bytes(part);
    }
    client.expect_bytes(&(1_u64 << 32).to_be_bytes());
    client.send_bytes(&u32::MAX.to_be_bytes());
    assert_eq!(client.rest(), "");
}

#[test]
fn custom_protocol_is_short() {
    let lines = include_str!("../../examples/custom_protocol.rs")
        .lines()
        .count();
    assert!(lines < 65, "{lines} lines");
}

#[test]
fn chat_relays_between_clients() {
    let (_server, addr) = Example::serve_simply("chat");
    let mut ada = Client::join_chat(addr, "ada");
    let mut bob = Client::join_chat(addr, "bob");
    ada.expect("* bob has joined\n");
    let mut eve = Client::connect(addr);
    eve.send("bob\nwith space\n\n");
    eve.expect("* what is your name?\n* that name is taken\n");
    eve.expect(&"* letters and digits please, at most 16\n".repeat(2));

    ada.send("hi bob\n");
    bob.expect("ada: hi bob\n");
    bob.send("hi ada\n/who\n");
    ada.expect("bob: hi ada\n");
    bob.expect("ada\nbob\n");
    ada.send("\x1b[2J\n/quit\n");
    ada.expect("* plain text please, at most 1024 bytes\n");
    assert_eq!(ada.rest(), "* bye\n");
    bob.expect("* ada has left\n");
    // The name ada is free again. A client that has not given a name has heard none of this.
    eve.send("ada\n");
    eve.expect("* welcome; /who lists the names, /quit leaves\n");
    bob.expect("* ada has joined\n");
    drop(eve);
    bob.expect("* ada has left\n");
}

#[test]
fn chat_drops_a_slow_reader() {
    let (_server, addr) = Example::serve_simply("chat");
    let mut ada = Client::join_chat(addr, "ada");
    let mut bob = Client::join_chat(addr, "bob");
    ada.expect("* bob has joined\n");
    let _slow = Client::join_chat(addr, "slow");
    for client in [&mut ada, &mut bob] {
        client.expect("* slow has joined\n");
    }

    const BURST: usize = 100;
    let line = "x".repeat(1000);
    let burst = format!("{line}\n").repeat(BURST);
    let (heard, notice) = (
        format!("ada: {line}"),
        "* slow was too slow and was dropped",
    );
    let mut dropped = false;
    // The kernel's buffers take megabytes before the server's own buffer fills up. Bob reads and misses nothing.
    for _ in 0..1000 {
        ada.send(&burst);
        for _ in 0..BURST {
            let mut line = bob.line();
            if line == notice {
                dropped = true;
                line = bob.line();
            }
            assert!(line == heard, "{line}");
        }
        if dropped {
            break;
        }
    }
    if !dropped {
        assert_eq!(bob.line(), notice);
    }
    assert_eq!(ada.line(), notice);
}

#[test]
#[cfg(unix)]
fn graceful_shutdown_answers_input_that_has_arrived() {
    let (server, addr) = Example::serve("graceful_shutdown", &["--workers=2", "--deadline=600"]);
    let mut known = Client::connect(addr);
    known.send("hello\n");
    known.expect("hello\n");
    // While the server is stopped, lines pile up on a connection that it knows and on one in its backlog.
    server.signal("STOP");
    let mut fresh = Client::connect(addr);
    let lines: String = (0..4000).map(|number| format!("{number}\n")).collect();
    known.send(&lines);
    fresh.send(&lines);
    server.signal("TERM");
    server.signal("CONT");
    let answers = lines + "the server shuts down\n";
    assert!(known.rest() == answers, "answers are missing");
    assert!(fresh.rest() == answers, "answers are missing");
    server.ends_after(&["draining", "all connections are closed"]);
}

#[test]
#[cfg(unix)]
fn graceful_shutdown_has_a_deadline() {
    let (server, addr) = Example::serve("graceful_shutdown", &["--workers=1", "--deadline=0.2"]);
    let mut client = Client::connect(addr);
    client.send("hello\n");
    client.expect("hello\n");
    server.signal("INT");
    client.expect("the server shuts down\n");
    // The client keeps its side open; the server waits for it only until the deadline.
    server.ends_after(&["draining", "all connections are closed"]);
}

#[test]
#[cfg(unix)]
fn graceful_shutdown_is_cut_short_by_a_second_signal() {
    let (server, addr) = Example::serve("graceful_shutdown", &["--workers=1", "--deadline=600"]);
    let mut client = Client::connect(addr);
    client.send("hello\n");
    client.expect("hello\n");
    server.signal("TERM");
    client.expect("the server shuts down\n");
    assert_eq!(server.next_line(), "draining");
    server.signal("TERM");
    server.ends_after(&["stopping at once", "all connections are closed"]);
}

#[test]
fn several_listeners_serve_side_by_side() {
    let options = [
        "--workers=2",
        "--lines-addr=127.0.0.1:0",
        "--admin-addr=127.0.0.1:0",
    ];
    let (server, echo) = Example::serve("several_listeners", &options);
    let (lines, admin) = (server.next_address(), server.next_address());
    let mut echo = Client::connect(echo);
    echo.send("hello");
    echo.expect("hello");
    let mut lines = Client::connect(lines);
    lines.send("h\u{e9}llo\r\n");
    lines.expect("5 characters\n");

    let mut admin = Client::connect(admin);
    admin.expect("commands: connections, stats, shutdown\n");
    admin.send("connections\n");
    let counts = [(); 2].map(|()| admin.line());
    let count_of = |worker: usize| -> usize {
        let count = counts[worker].strip_prefix(&format!("worker {worker}: "));
        count.and_then(|count| count.parse().ok()).expect("a count")
    };
    assert_eq!(count_of(0) + count_of(1), 3, "{counts:?}");
    admin.send("stats\n");
    let stats = admin.line();
    assert!(stats.contains("accepted: 3"), "{stats}");
    admin.send("dance\nshutdown\n");
    assert_eq!(admin.rest(), "unknown command\nshutting down\n");
    assert_eq!(echo.rest(), "");
    assert_eq!(lines.rest(), "");
    server.ends_after(&[]);
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// The names of all examples: the files in their directory.
fn example_names() -> Vec<String> {
    let entries = fs::read_dir(examples()).expect("the examples are there");
    let paths = entries.map(|entry| entry.expect("an entry can be read").path());
    let sources = paths.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let name = |path: PathBuf| {
        path.file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
    };
    sources.filter_map(name).collect()
}

/// A client whose calls have a deadline.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(addr: SocketAddr) -> Client {
        let stream =
            TcpStream::connect_timeout(&addr, Example::DEADLINE).expect("the example listens");
        stream
            .set_read_timeout(Some(Example::DEADLINE))
            .expect("a timeout can be set");
        stream
            .set_write_timeout(Some(Example::DEADLINE))
            .expect("a timeout can be set");
        stream.set_nodelay(true).expect("an option can be set");
        Client {
            stream: BufReader::new(stream),
        }
    }

    /// Connects to the chat and sends a name.
    fn join_chat(addr: SocketAddr, name: &str) -> Client {
        let mut client = Client::connect(addr);
        client.expect("* what is your name?\n");
        client.send(&format!("{name}\n"));
        client.expect("* welcome; /who lists the names, /quit leaves\n");
        client
    }

    fn local_addr(&self) -> SocketAddr {
        self.stream
            .get_ref()
            .local_addr()
            .expect("a socket has an address")
    }

    fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes());
    }

    fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream
            .get_mut()
            .write_all(bytes)
            .expect("the server reads");
    }

    fn shutdown_write(&mut self) {
        self.stream
            .get_ref()
            .shutdown(Shutdown::Write)
            .expect("the socket is open");
    }

    #[track_caller]
    fn expect(&mut self, text: &str) {
        self.expect_bytes(text.as_bytes());
    }

    #[track_caller]
    fn expect_bytes(&mut self, expected: &[u8]) {
        let bytes = self.vec(expected.len());
        assert!(
            bytes == expected,
            "{:?} instead of {:?}",
            String::from_utf8_lossy(&bytes),
            String::from_utf8_lossy(expected)
        );
    }

    #[track_caller]
    fn vec(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.stream
            .read_exact(&mut bytes)
            .expect("the server answers");
        bytes
    }

    /// The next line, without its ending.
    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream
            .read_line(&mut line)
            .expect("the server answers");
        assert_eq!(line.pop(), Some('\n'), "the server has ended the stream");
        line
    }

    /// True if the server echoes a byte, false if it closes.
    fn is_echoed(&mut self) -> bool {
        let mut byte = [0];
        let stream = self.stream.get_mut();
        stream
            .write_all(b"?")
            .and_then(|()| stream.read_exact(&mut byte))
            .is_ok()
    }

    /// Reads until the server closes, in order or with a reset.
    #[track_caller]
    fn rest(mut self) -> String {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => panic!("{error}"),
            _ => String::from_utf8(rest).expect("it is text"),
        }
    }
}
