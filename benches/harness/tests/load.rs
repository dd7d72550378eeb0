//! The load generator against servers that behave, and servers that do not.

mod servers;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use ringwheel_harness::load::{
    ChurnLoad, EchoLoad, Framing, IdleLoad, LoadError, Observer, OpenLoad, Traffic, Until, churn,
    echo, idle, open,
};
use servers::{Behaviour, serve};

fn traffic(address: SocketAddr) -> Traffic {
    Traffic {
        address,
        connections: 3,
        size: 100,
        framing: Framing::Raw,
        verify: true,
    }
}

fn echo_load(address: SocketAddr) -> EchoLoad {
    EchoLoad {
        traffic: traffic(address),
        in_flight: 4,
        warm_up: Duration::ZERO,
        until: Until::Operations(500),
    }
}

fn churn_load(address: SocketAddr) -> ChurnLoad {
    ChurnLoad {
        address,
        concurrency: 4,
        framing: Framing::Raw,
        warm_up: Duration::ZERO,
        until: Until::Operations(50),
    }
}

#[test]
fn echo_counts_every_message_and_its_latency() {
    let report = echo(&echo_load(serve(Behaviour::Echo)), &mut ()).unwrap();
    assert!(report.operations >= 500);
    assert_eq!(report.bytes, report.operations * 100);
    assert_eq!(report.latency.len(), report.operations);
    assert!(report.rate() > 0.0);
}

#[test]
fn framed_echo_verifies_headers_and_payloads() {
    let mut load = echo_load(serve(Behaviour::Echo));
    load.traffic.framing = Framing::LengthPrefixed;
    let report = echo(&load, &mut ()).unwrap();
    assert!(report.operations >= 500);
}

#[test]
fn messages_larger_than_the_socket_buffers_come_back_whole() {
    let mut load = echo_load(serve(Behaviour::Echo));
    load.traffic.size = 3 * 1024 * 1024;
    load.in_flight = 2;
    load.until = Until::Operations(6);
    let report = echo(&load, &mut ()).unwrap();
    assert!(report.operations >= 6);
}

#[test]
fn the_observer_sees_the_window_open_and_then_close() {
    #[derive(Default)]
    struct Log(Vec<&'static str>);
    impl Observer for Log {
        fn window_opens(&mut self) -> std::io::Result<()> {
            self.0.push("opens");
            Ok(())
        }
        fn window_closes(&mut self) -> std::io::Result<()> {
            self.0.push("closes");
            Ok(())
        }
    }
    let mut log = Log::default();
    echo(&echo_load(serve(Behaviour::Echo)), &mut log).unwrap();
    assert_eq!(log.0, ["opens", "closes"]);
}

#[test]
fn an_error_of_the_observer_ends_the_run() {
    struct Fails;
    impl Observer for Fails {
        fn window_opens(&mut self) -> std::io::Result<()> {
            Err(std::io::Error::other("no counters"))
        }
        fn window_closes(&mut self) -> std::io::Result<()> {
            unreachable!("the window never opened")
        }
    }
    let error = echo(&echo_load(serve(Behaviour::Echo)), &mut Fails).unwrap_err();
    assert!(error.to_string().contains("no counters"), "{error}");
}

#[test]
fn one_wrong_byte_is_found_and_located() {
    let position = 12_345;
    let error = echo(&echo_load(serve(Behaviour::Corrupt { position })), &mut ()).unwrap_err();
    let LoadError::WrongByte {
        position: found_at,
        expected,
        found,
        ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!((found_at, found), (position, !expected));
}

#[test]
fn without_verification_a_wrong_byte_passes() {
    let mut load = echo_load(serve(Behaviour::Corrupt { position: 12_345 }));
    load.traffic.verify = false;
    assert!(echo(&load, &mut ()).is_ok());
}

#[test]
fn a_server_that_answers_too_much_is_found_out() {
    let error = echo(&echo_load(serve(Behaviour::Twice)), &mut ()).unwrap_err();
    // The repeated bytes are either beyond what was sent, or differ from the next message.
    let found = matches!(
        error,
        LoadError::Surplus { .. } | LoadError::WrongByte { .. }
    );
    assert!(found, "{error}");
}

#[test]
fn a_server_that_hangs_up_is_named() {
    let error = echo(
        &echo_load(serve(Behaviour::HangUp { after: 1000 })),
        &mut (),
    )
    .unwrap_err();
    assert!(matches!(error, LoadError::Closed { .. }), "{error}");
}

#[test]
fn a_closed_port_is_a_connect_error() {
    let address = closed_port();
    for error in [
        echo(&echo_load(address), &mut ()).unwrap_err(),
        churn(&churn_load(address), &mut ()).unwrap_err(),
    ] {
        assert!(matches!(error, LoadError::Connect { .. }), "{error}");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}

fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

#[test]
fn open_loop_answers_what_it_sent() {
    let load = OpenLoad {
        traffic: traffic(serve(Behaviour::Echo)),
        rate: 20_000,
        warm_up: Duration::ZERO,
        until: Until::Operations(500),
    };
    let report = open(&load, &mut ()).unwrap();
    assert!(report.operations >= 500);
    assert_eq!(report.latency.len(), report.operations);
    // Message 499 is not due before 499 / 20,000 s, however fast the server is.
    assert!(
        report.elapsed >= Duration::from_micros(24_900),
        "{:?}",
        report.elapsed
    );
}

#[test]
fn churn_opens_uses_and_closes() {
    let report = churn(&churn_load(serve(Behaviour::Echo)), &mut ()).unwrap();
    assert!(report.operations >= 50);
    assert_eq!(report.bytes, report.operations * 64);
}

#[test]
fn churn_finds_a_wrong_byte() {
    let error = churn(
        &churn_load(serve(Behaviour::Corrupt { position: 63 })),
        &mut (),
    )
    .unwrap_err();
    assert!(
        matches!(error, LoadError::WrongByte { position: 63, .. }),
        "{error}"
    );
}

#[test]
fn churn_finds_a_server_that_hangs_up_early() {
    let error = churn(&churn_load(serve(Behaviour::HangUp { after: 10 })), &mut ()).unwrap_err();
    assert!(matches!(error, LoadError::Closed { .. }), "{error}");
}

#[test]
fn a_window_in_which_nothing_is_done_is_an_error() {
    let mut load = echo_load(serve(Behaviour::Silent));
    load.until = Until::Elapsed(Duration::from_millis(1));
    let error = echo(&load, &mut ()).unwrap_err();
    assert!(matches!(error, LoadError::NothingDone { .. }), "{error}");
}

#[test]
fn a_silent_server_is_given_up() {
    let error = echo(&echo_load(serve(Behaviour::Silent)), &mut ()).unwrap_err();
    assert!(
        matches!(
            error,
            LoadError::Stalled {
                outstanding: 12,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn idle_connections_are_held_and_used() {
    let load = IdleLoad {
        address: serve(Behaviour::Echo),
        connections: 20,
        exchange: true,
        framing: Framing::Raw,
        pid: std::process::id(),
        settle: Duration::from_millis(1),
    };
    let report = idle(&load).unwrap();
    assert_eq!(report.connections, 20);
    assert!(report.before.resident > 0);
    assert!(report.exchanged.is_some());
}

#[test]
fn more_connections_than_descriptors_are_refused_before_any_is_opened() {
    let load = IdleLoad {
        address: closed_port(),
        connections: usize::MAX / 2,
        exchange: false,
        framing: Framing::Raw,
        pid: std::process::id(),
        settle: Duration::from_millis(1),
    };
    let error = idle(&load).unwrap_err();
    assert!(error.to_string().contains("ulimit"), "{error}");
}

#[test]
fn loads_of_nothing_are_refused() {
    let address = closed_port();
    let mut load = echo_load(address);
    load.in_flight = 0;
    assert!(matches!(echo(&load, &mut ()), Err(LoadError::Options(_))));
    load.in_flight = 1;
    load.traffic.size = 0;
    assert!(matches!(echo(&load, &mut ()), Err(LoadError::Options(_))));
}
