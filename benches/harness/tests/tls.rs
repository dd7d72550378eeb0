//! Tests of the load generator's TLS, with servers of this process behind a front that speaks TLS.

// These tests use a part of the servers.
#[allow(dead_code)]
#[path = "servers/mod.rs"]
mod servers;
#[path = "servers/tls.rs"]
mod tls;

use std::net::SocketAddr;
use std::time::Duration;

use rcgen::generate_simple_self_signed;
use ringwheel_harness::certificates::Key;
use ringwheel_harness::load::{
    BroadcastLoad, ChurnLoad, EchoLoad, Framing, Handshakes, IdleLoad, LoadError, Traffic, Trust,
    Until, broadcast, churn, echo, idle,
};
use servers::{Answer, Behaviour, Greeting, serve, serve_websocket};
use tls::{Tickets, with_tls};

fn own() -> Trust {
    Trust::Own(Key::Ecdsa)
}

fn echo_load(server: SocketAddr, framing: Framing) -> EchoLoad {
    EchoLoad {
        traffic: Traffic {
            address: with_tls(server, Tickets::Two),
            connections: 3,
            size: 100,
            framing,
            verify: true,
            tls: Some(own()),
        },
        in_flight: 4,
        warm_up: Duration::ZERO,
        until: Until::Operations(200),
    }
}

fn churn_load(tickets: Tickets, resumed: bool) -> ChurnLoad {
    ChurnLoad {
        address: with_tls(serve(Behaviour::Echo), tickets),
        concurrency: 4,
        framing: Framing::Raw,
        handshakes: Some(Handshakes {
            trust: own(),
            resumed,
        }),
        warm_up: Duration::ZERO,
        until: Until::Operations(30),
    }
}

#[test]
fn bytes_come_back_through_tls_in_every_framing() {
    let plain = serve(Behaviour::Echo);
    let socket = serve_websocket(Greeting::Right, Answer::Echo);
    for (server, framing) in [
        (plain, Framing::Raw),
        (plain, Framing::LengthPrefixed),
        (socket, Framing::WebSocket),
    ] {
        let report = echo(&echo_load(server, framing), &mut ()).unwrap();
        assert_eq!(report.bytes, report.operations * 100, "{framing}");
        assert!(report.operations >= 200, "{framing}");
    }
}

#[test]
fn messages_of_several_records_come_back_whole() {
    for size in [16 * 1024, 100_000] {
        let mut load = echo_load(serve(Behaviour::Echo), Framing::Raw);
        (load.traffic.size, load.in_flight) = (size, 1);
        load.until = Until::Operations(20);
        assert!(echo(&load, &mut ()).unwrap().operations >= 20);
    }
}

#[test]
fn a_wrong_byte_is_found_behind_tls_too() {
    let position = 1234;
    let mut load = echo_load(serve(Behaviour::Corrupt { position }), Framing::Raw);
    load.traffic.connections = 1;
    let error = echo(&load, &mut ()).unwrap_err();
    assert!(
        matches!(error, LoadError::WrongByte { position: at, .. } if at == position),
        "{error}"
    );
}

#[test]
fn another_certificate_than_the_trusted_one_is_refused() {
    let other = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), other.cert.pem()).unwrap();
    let mut load = echo_load(serve(Behaviour::Echo), Framing::Raw);
    load.traffic.tls = Some(Trust::File(file.path().to_owned()));
    let error = echo(&load, &mut ()).unwrap_err();
    assert!(
        matches!(error, LoadError::Tls { connection: 0, .. }),
        "{error}"
    );
}

#[test]
fn a_file_without_a_certificate_is_named() {
    let mut load = echo_load(serve(Behaviour::Echo), Framing::Raw);
    load.traffic.tls = Some(Trust::File("Cargo.toml".into()));
    let problem = echo(&load, &mut ()).unwrap_err().to_string();
    assert!(
        problem.starts_with("Cargo.toml holds no certificate"),
        "{problem}"
    );
}

#[test]
fn a_server_without_tls_is_named() {
    let mut load = echo_load(serve(Behaviour::Echo), Framing::Raw);
    load.traffic.address = serve(Behaviour::Echo);
    let error = echo(&load, &mut ()).unwrap_err();
    assert!(matches!(error, LoadError::Tls { .. }), "{error}");
}

#[test]
fn full_and_resumed_handshakes_are_counted() {
    for resumed in [false, true] {
        let report = churn(&churn_load(Tickets::Two, resumed), &mut ()).unwrap();
        assert!(report.operations >= 30);
        assert_eq!(report.bytes, report.operations * 64);
    }
}

#[test]
fn a_server_that_does_not_resume_is_found_out() {
    assert!(churn(&churn_load(Tickets::None, false), &mut ()).is_ok());
    let error = churn(&churn_load(Tickets::None, true), &mut ()).unwrap_err();
    assert!(
        matches!(error, LoadError::NotResumed { connection: 4.. }),
        "{error}"
    );
}

#[test]
fn a_broadcast_goes_through_tls() {
    let load = BroadcastLoad {
        address: with_tls(
            serve_websocket(Greeting::Right, Answer::Broadcast),
            Tickets::Two,
        ),
        subscribers: 3,
        stalled: 0,
        size: 100,
        rate: 200,
        verify: true,
        tls: Some(own()),
        warm_up: Duration::ZERO,
        until: Until::Operations(60),
    };
    assert!(broadcast(&load, &mut ()).unwrap().operations >= 60);
}

#[test]
fn tls_connections_are_held_and_used() {
    let load = IdleLoad {
        address: with_tls(serve(Behaviour::Echo), Tickets::Two),
        connections: 10,
        exchange: true,
        framing: Framing::Raw,
        tls: Some(own()),
        pid: std::process::id(),
        settle: Duration::ZERO,
    };
    let report = idle(&load).unwrap();
    assert_eq!(report.connections, 10);
    assert!(report.exchanged.is_some());
}
