//! Starts every peer on a free loopback port and checks its contract, with the sockets of the standard library.

mod support;

use std::io::Write;
use std::net::Shutdown;

use support::{Peer, bytes, read_exactly, read_to_end};

/// Every peer.
const BINARIES: &[&str] = &[
    env!("CARGO_BIN_EXE_peer-mio"),
    env!("CARGO_BIN_EXE_peer-epoll"),
    env!("CARGO_BIN_EXE_peer-io-uring"),
    env!("CARGO_BIN_EXE_peer-tokio"),
    env!("CARGO_BIN_EXE_peer-monoio"),
    env!("CARGO_BIN_EXE_peer-ringwheel"),
    env!("CARGO_BIN_EXE_peer-tokio-tungstenite"),
    env!("CARGO_BIN_EXE_peer-fastwebsockets"),
];

/// 1 MiB: more than the sockets' buffers hold.
const LARGE: usize = 1024 * 1024;

/// Messages of critical lengths, each in its wire format.
fn messages(framing: &str) -> Vec<Vec<u8>> {
    [1, 5, 64, 1000, 16 * 1024, 70_000]
        .into_iter()
        .map(|length| message(framing, length))
        .collect()
}

/// One message whose payload contains every byte value that the framing permits.
fn message(framing: &str, length: usize) -> Vec<u8> {
    let mut payload = bytes(length as u64, length);
    match framing {
        "length-prefixed" => {
            let mut message = (length as u32).to_be_bytes().to_vec();
            message.append(&mut payload);
            message
        }
        "lines" => {
            for byte in payload.iter_mut().filter(|byte| **byte == b'\n') {
                *byte = b'\r';
            }
            payload.push(b'\n');
            payload
        }
        _ => payload,
    }
}

/// Writes `stream` in pieces of `piece` bytes, reads the echo at the same time, and compares.
fn exchange(peer: &Peer, stream: &[u8], piece: usize) {
    let mut socket = peer.connect();
    let mut writer = socket.try_clone().expect("another handle");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for part in stream.chunks(piece) {
                writer.write_all(part).expect("the peer reads");
            }
        });
        assert!(
            read_exactly(&mut socket, stream.len()) == stream,
            "{peer}: a stream of {} bytes in pieces of {piece} came back changed",
            stream.len()
        );
    });
}

/// Checks the contract of a TCP peer with one framing.
fn check_tcp(binary: &str, arguments: &[&str], framing: &str) {
    let arguments = [&["--framing", framing][..], arguments].concat();
    let Some(peer) = Peer::start(binary, &arguments) else {
        return;
    };
    let stream = messages(framing).concat();
    // One at a time, cut within lengths and payloads, and all at once.
    for message in messages(framing) {
        exchange(&peer, &message, message.len());
    }
    exchange(&peer, &messages(framing)[..4].concat(), 1);
    exchange(&peer, &stream, 7);
    exchange(&peer, &stream, 4099);
    exchange(&peer, &stream, stream.len());
    exchange(&peer, &message(framing, 64).repeat(5000), 1 << 20);
    exchange(&peer, &message(framing, LARGE), LARGE);
    check_end_with_output_pending(&peer, framing);
    check_two_at_once(&peer, framing);
    check_that_failures_stay_alone(&peer, framing);
}

/// The client ends its stream before it reads anything. All of its messages must come back, and then the peer's end.
fn check_end_with_output_pending(peer: &Peer, framing: &str) {
    let sent = message(framing, LARGE);
    let mut socket = peer.connect();
    let mut writer = socket.try_clone().expect("another handle");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&sent).expect("the peer reads");
            writer.shutdown(Shutdown::Write).expect("an end of stream");
        });
        // The client reads only after the peer has pending output that its socket does not take.
        assert!(
            read_to_end(&mut socket) == sent,
            "{peer}: output was lost at the end"
        );
    });

    // An end of stream that arrives together with the data.
    let sent = messages(framing).concat();
    let mut socket = peer.connect();
    let mut writer = socket.try_clone().expect("another handle");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&sent).expect("the peer reads");
            writer.shutdown(Shutdown::Write).expect("an end of stream");
        });
        assert!(read_to_end(&mut socket) == sent, "{peer}: output was lost");
    });
}

fn check_two_at_once(peer: &Peer, framing: &str) {
    let mut first = peer.connect();
    let mut second = peer.connect();
    let (one, other) = (message(framing, 100), message(framing, 200));
    first.write_all(&one[..50]).expect("the peer reads");
    second.write_all(&other).expect("the peer reads");
    assert_eq!(read_exactly(&mut second, other.len()), other, "{peer}");
    first.write_all(&one[50..]).expect("the peer reads");
    assert_eq!(read_exactly(&mut first, one.len()), one, "{peer}");
}

/// One client does not read, and one closes within a message; a third is still served.
fn check_that_failures_stay_alone(peer: &Peer, framing: &str) {
    let mut deaf = peer.connect();
    deaf.set_nonblocking(true).expect("a socket option");
    let flood = message(framing, LARGE).repeat(32);
    let mut sent = 0;
    while let Ok(length @ 1..) = deaf.write(&flood[sent..]) {
        sent += length;
    }
    let mut gone = peer.connect();
    gone.write_all(&message(framing, 100)[..50])
        .expect("the peer reads");
    drop(gone);
    exchange(peer, &messages(framing).concat(), 1000);
    drop(deaf);
    exchange(peer, &messages(framing).concat(), 1000);
}

macro_rules! tcp_peers {
    ($($name:ident: $binary:literal $(, $argument:literal)*;)*) => {
        $(mod $name {
            #[test]
            fn echoes_bytes() {
                super::check_tcp(env!(concat!("CARGO_BIN_EXE_", $binary)), &[$($argument),*], "raw");
            }

            #[test]
            fn echoes_length_prefixed_messages() {
                super::check_tcp(env!(concat!("CARGO_BIN_EXE_", $binary)), &[$($argument),*], "length-prefixed");
            }

            #[test]
            fn echoes_lines() {
                super::check_tcp(env!(concat!("CARGO_BIN_EXE_", $binary)), &[$($argument),*], "lines");
            }
        })*
    };
}

tcp_peers! {
    mio: "peer-mio";
    epoll: "peer-epoll";
    io_uring: "peer-io-uring";
    tokio: "peer-tokio";
    tokio_with_timers: "peer-tokio", "--timers", "1000";
    tokio_multi_thread: "peer-tokio", "--multi-thread", "--workers", "2";
    monoio: "peer-monoio";
    ringwheel: "peer-ringwheel";
    ringwheel_with_timers: "peer-ringwheel", "--workers", "2", "--timers", "1000";
}

/// A framed peer accepts a message of 16 MiB.
#[test]
fn the_largest_message_passes() {
    for (binary, framing) in [
        (env!("CARGO_BIN_EXE_peer-tokio"), "length-prefixed"),
        (env!("CARGO_BIN_EXE_peer-tokio"), "lines"),
        (env!("CARGO_BIN_EXE_peer-monoio"), "length-prefixed"),
        (env!("CARGO_BIN_EXE_peer-monoio"), "lines"),
        (env!("CARGO_BIN_EXE_peer-ringwheel"), "length-prefixed"),
        (env!("CARGO_BIN_EXE_peer-ringwheel"), "lines"),
    ] {
        if let Some(peer) = Peer::start(binary, &["--framing", framing]) {
            let largest = message(framing, 16 * 1024 * 1024);
            exchange(&peer, &largest, largest.len());
        }
    }
}

#[test]
fn an_address_in_use_is_one_line_and_exit_code_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("its address").to_string();
    for binary in BINARIES {
        let output = std::process::Command::new(binary)
            .args(["--addr", &address])
            .output()
            .expect("the peer starts");
        let problem = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{binary}: {problem}");
        assert_eq!(problem.lines().count(), 1, "{binary}: {problem}");
    }
}
