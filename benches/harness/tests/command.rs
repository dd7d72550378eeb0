//! Tests of the harness as a command.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Output};

use ringwheel_harness::process::ServerProcess;

const HARNESS: &str = env!("CARGO_BIN_EXE_ringwheel-harness");

/// The echo server among the examples, which cargo builds for the tests.
fn plain_echo() -> String {
    let tests = std::env::current_exe().unwrap();
    let examples = tests.parent().unwrap().with_file_name("examples");
    format!("'{}' {{addr}}", examples.join("plain_echo").display())
}

/// The `name=command` of that server.
fn named(name: &str) -> String {
    format!("{name}={}", plain_echo())
}

fn harness(arguments: &[&str]) -> Output {
    Command::new(HARNESS).args(arguments).output().unwrap()
}

#[test]
fn a_load_prints_its_results_as_json() {
    let server = ServerProcess::start(&plain_echo(), None).unwrap();
    let address = server.address().to_string();
    for (mode, framing) in [
        ("echo", "raw"),
        ("echo", "lines"),
        ("open", "length-prefixed"),
    ] {
        let target = ["load", mode, "--addr", &address, "--json"];
        // On a busy machine no message may be exchanged in a shorter time.
        let length = ["--seconds", "1", "--warmup", "0"];
        let traffic = ["-c", "5", "--framing", framing, "--size", "700"];
        let output = harness(&[&target[..], &length, &traffic].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{mode}: {errors}");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(json["operations"].as_u64() > Some(0), "{mode}: {json}");
    }
}

#[test]
fn without_a_listener_the_command_prints_a_clear_line_and_exits_with_1() {
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
        let (one, other) = (named("one"), named("other"));
        let servers = ["--floor", &one, "--server", &other];
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
        let output = harness(&[&rounds[..], &load[..], &servers].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let records = json["records"].as_array().unwrap();
        let order: Vec<_> = records
            .iter()
            .map(|record| record["server"].as_str().unwrap())
            .collect();
        assert_eq!(order, ["one", "other", "one", "other"]);
        for record in records {
            let cpu = record["found"]["Load"]["cpu"].as_f64();
            assert!(cpu > Some(0.0), "{mode}: {record}");
        }
        let floor = &json["summaries"][0]["servers"][0];
        assert_eq!(floor["ratio_to_floor"]["median"].as_f64(), Some(1.0));
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
        errors.contains("broken: the server ended before it accepted")
            && errors.contains("broken2: the server ended before it accepted"),
        "{errors}"
    );
}

#[test]
fn a_short_soak_is_clean() {
    let output = harness(&["soak", "--minutes", "0.03", "--json"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["complaints"].as_array().unwrap().len(), 0, "{json}");
    for figure in ["operations", "faults"] {
        assert!(json[figure].as_u64() > Some(0), "{json}");
    }
    let counts = &json["end"]["counts"];
    assert!(counts["opened"].as_u64() > Some(100), "{json}");
    assert_eq!(counts["opened"], counts["closed"]);
}
