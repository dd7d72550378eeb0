//! The harness as a command, and the peers as processes.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::time::Duration;

use ringwheel_harness::process::ServerProcess;

const HARNESS: &str = env!("CARGO_BIN_EXE_ringwheel-harness");
const PEERS: [(&str, &str); 3] = [
    ("peer-mio", env!("CARGO_BIN_EXE_peer-mio")),
    ("peer-epoll", env!("CARGO_BIN_EXE_peer-epoll")),
    ("peer-tokio", env!("CARGO_BIN_EXE_peer-tokio")),
];

fn start(binary: &str) -> ServerProcess {
    ServerProcess::start(&format!("'{binary}' --addr {{addr}}"), None).unwrap()
}

fn harness(arguments: &[&str]) -> Output {
    Command::new(HARNESS).args(arguments).output().unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream
}

#[test]
fn every_peer_echoes_verified_bytes_of_all_sizes() {
    for (name, binary) in PEERS {
        let server = start(binary);
        let address = server.address().to_string();
        for size in ["1", "64", "70000"] {
            let target = [
                "load",
                "echo",
                "--addr",
                &address,
                "--json",
                "--seconds",
                "0.2",
            ];
            let traffic = ["--warmup", "0", "-c", "5", "-k", "3", "--size", size];
            let output = harness(&[&target[..], &traffic[..]].concat());
            let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert!(
                json["operations"].as_u64() > Some(0),
                "{name}, {size} B: {json}"
            );
        }
    }
}

#[test]
fn a_peer_answers_all_when_the_end_comes_with_the_data() {
    for (name, binary) in PEERS {
        let server = start(binary);
        let mut stream = connect(server.address());
        stream.write_all(b"last words").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"last words", "{name}");
    }
}

#[test]
fn a_peer_keeps_what_a_slow_reader_has_not_taken() {
    const LENGTH: usize = 8 * 1024 * 1024;
    for (name, binary) in PEERS {
        let server = start(binary);
        let mut stream = connect(server.address());
        let mut writer = stream.try_clone().unwrap();
        let sent: Vec<u8> = (0..LENGTH).map(|index| (index % 251) as u8).collect();
        let expected = sent.clone();
        // More than all socket buffers hold, so that the peer must wait for its reader.
        let writing = std::thread::spawn(move || writer.write_all(&sent));
        let mut answer = vec![0; LENGTH];
        stream.read_exact(&mut answer).unwrap();
        writing.join().unwrap().unwrap();
        assert!(answer == expected, "{name}");
    }
}

#[test]
fn nobody_listening_is_exit_code_1_and_a_clear_line() {
    let address = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.local_addr().unwrap().to_string()
    };
    for mode in ["echo", "open", "churn"] {
        let output = harness(&["load", mode, "--addr", &address]);
        assert_eq!(output.status.code(), Some(1));
        let errors = String::from_utf8(output.stderr).unwrap();
        let expected = format!("error: cannot connect to {address}");
        assert!(errors.starts_with(&expected), "{errors}");
    }
}

#[test]
fn compare_measures_each_server_once_a_round() {
    for mode in ["echo", "open", "churn"] {
        let rounds = [
            "compare",
            "--mode",
            mode,
            "--rounds",
            "2",
            "--retries",
            "0",
            "--patience",
            "0",
        ];
        let load = [
            "-c",
            "5",
            "--rate",
            "2000",
            "--seconds",
            "0.1",
            "--warmup",
            "0.05",
            "--json",
        ];
        let output = harness(&[&rounds[..], &load[..], &["--server", "peer-tokio"]].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let samples = json["samples"].as_array().unwrap();
        let order: Vec<_> = samples
            .iter()
            .map(|sample| sample["server"].as_str().unwrap())
            .collect();
        assert_eq!(order, ["peer-mio", "peer-tokio", "peer-mio", "peer-tokio"]);
        for sample in samples {
            assert!(sample["cpu"].as_f64() > Some(0.0), "{mode}: {sample}");
        }
        assert_eq!(json["summary"][0]["ratio"]["median"].as_f64(), Some(1.0));
    }
}

#[test]
fn a_server_that_does_not_start_is_named() {
    let output = harness(&[
        "compare",
        "--rounds",
        "1",
        "--server",
        "broken=false {addr}",
        "--floor",
        "broken2=false {addr}",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.contains("broken2: the server ended before it accepted"),
        "{errors}"
    );
}

#[test]
fn syscalls_are_counted_or_it_is_said_why_not() {
    let output = harness(&[
        "syscalls",
        "--server",
        "peer-mio",
        "--operations",
        "2000",
        "-c",
        "10",
        "--json",
    ]);
    let errors = String::from_utf8(output.stderr).unwrap();
    if !output.status.success() {
        // strace is missing, or may not attach here.
        assert!(
            errors.contains("strace is not installed") || errors.contains("it may attach"),
            "{errors}"
        );
        return;
    }
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let calls = json[0]["calls"].as_array().unwrap();
    let calls_to = |name: &str| {
        calls
            .iter()
            .find(|call| call[0] == name)
            .and_then(|call| call[1].as_u64())
    };
    // One receive and one send per message, but for those on their way when the window opens and closes.
    for name in ["recvfrom", "sendto"] {
        let count = calls_to(name).unwrap();
        assert!(count.abs_diff(2000) <= 40, "{name}: {count}");
    }
}
