//! Tests of the load generator with servers that behave, and servers that do not.

mod servers;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use ringwheel_harness::load::{
    AnswerError, BroadcastLoad, ChurnLoad, EchoLoad, Framing, HandshakeError, IdleLoad, LoadError,
    Observer, OpenLoad, Traffic, Until, broadcast, churn, echo, idle, open,
};
use servers::{Answer, Behaviour, Greeting, serve, serve_websocket};

fn traffic(address: SocketAddr) -> Traffic {
    Traffic {
        address,
        connections: 3,
        size: 100,
        framing: Framing::Raw,
        verify: true,
        tls: None,
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
        handshakes: None,
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
fn echoed_lines_are_verified() {
    let mut load = echo_load(serve(Behaviour::Echo));
    load.traffic.framing = Framing::Lines;
    let report = echo(&load, &mut ()).unwrap();
    assert!(report.operations >= 500);
    assert_eq!(report.bytes, report.operations * 100);
    // The line feed of the message after a hundred others.
    let position = 101 * 101 - 1;
    load.traffic.address = serve(Behaviour::Corrupt { position });
    load.traffic.connections = 1;
    let error = echo(&load, &mut ()).unwrap_err();
    assert!(
        matches!(error, LoadError::WrongByte { position: at, expected: b'\n', .. } if at == position),
        "{error}"
    );
}

fn websocket_load(greeting: Greeting, answer: Answer) -> EchoLoad {
    let mut load = echo_load(serve_websocket(greeting, answer));
    load.traffic.framing = Framing::WebSocket;
    load
}

#[test]
fn websocket_echo_is_unmasked_and_counted() {
    // One size for each form of the length, and one larger than the socket buffers.
    for (size, operations) in [(100, 500), (126, 500), (65_536, 50), (3 * 1024 * 1024, 4)] {
        let mut load = websocket_load(Greeting::Right, Answer::Echo);
        load.traffic.size = size;
        load.until = Until::Operations(operations);
        let report = echo(&load, &mut ()).unwrap();
        assert!(report.operations >= operations);
        assert_eq!(report.bytes, report.operations * size as u64);
    }
}

#[test]
fn websocket_messages_go_in_an_open_loop_too() {
    let load = OpenLoad {
        traffic: websocket_load(Greeting::Right, Answer::Echo).traffic,
        rate: 20_000,
        warm_up: Duration::ZERO,
        until: Until::Operations(500),
    };
    assert!(open(&load, &mut ()).unwrap().operations >= 500);
}

#[test]
fn a_handshake_and_frames_that_come_byte_by_byte_are_understood() {
    let load = websocket_load(Greeting::Trickle, Answer::Echo);
    assert!(echo(&load, &mut ()).unwrap().operations >= 500);
}

/// The error of the handshake on the first connection.
fn handshake_error(greeting: Greeting) -> HandshakeError {
    match echo(&websocket_load(greeting, Answer::Echo), &mut ()).unwrap_err() {
        LoadError::Handshake {
            connection: 0,
            cause,
        } => cause,
        error => panic!("{error}"),
    }
}

#[test]
fn a_wrong_accept_is_refused() {
    let error = handshake_error(Greeting::WrongAccept);
    let HandshakeError::WrongAccept { expected, found } = error else {
        panic!("{error}");
    };
    // The server's value is that of RFC 6455, 1.3.
    assert_eq!(found, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_ne!(expected, found);
}

#[test]
fn a_status_other_than_101_is_named() {
    let error = handshake_error(Greeting::BadRequest);
    assert_eq!(error.to_string(), "it answered 400 Bad Request");
}

#[test]
fn a_head_that_does_not_end_is_given_up() {
    let error = handshake_error(Greeting::Endless);
    assert!(matches!(error, HandshakeError::HeadTooLong), "{error}");
    let error = handshake_error(Greeting::Silence);
    assert!(matches!(error, HandshakeError::TimedOut), "{error}");
}

#[test]
fn a_server_that_does_not_shake_hands_is_named() {
    let error = handshake_error(Greeting::Closes);
    assert!(matches!(error, HandshakeError::Closed), "{error}");
    // The server echoes the request.
    let mut load = echo_load(serve(Behaviour::Echo));
    load.traffic.framing = Framing::WebSocket;
    let error = echo(&load, &mut ()).unwrap_err();
    assert!(
        matches!(
            error,
            LoadError::Handshake {
                cause: HandshakeError::Malformed(_),
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_wrong_byte_in_a_websocket_payload_is_located() {
    let (message, byte) = (70, 99);
    let load = websocket_load(Greeting::Right, Answer::Corrupt { message, byte });
    let error = echo(&load, &mut ()).unwrap_err();
    let LoadError::WrongByte {
        position,
        expected,
        found,
        ..
    } = error
    else {
        panic!("{error}");
    };
    // Each message has a header of two bytes.
    assert_eq!((position, found), (70 * 102 + 2 + 99, !expected));
}

#[test]
fn a_masked_answer_is_wrong() {
    let load = websocket_load(Greeting::Right, Answer::Masked);
    let error = echo(&load, &mut ()).unwrap_err();
    assert!(
        matches!(
            error,
            LoadError::WrongByte {
                position: 1,
                expected: 100,
                found: 0xe4,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_close_frame_is_reported_with_its_code_and_reason() {
    let answer = Answer::Close {
        message: 5,
        code: 1009,
        reason: "too big",
    };
    let error = echo(&websocket_load(Greeting::Right, answer), &mut ()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.ends_with("the server closed it with code 1009 and reason \"too big\""),
        "{text}"
    );
}

#[test]
fn churn_with_websocket_is_refused() {
    let mut load = churn_load(serve_websocket(Greeting::Right, Answer::Echo));
    load.framing = Framing::WebSocket;
    let error = churn(&load, &mut ()).unwrap_err();
    assert!(matches!(error, LoadError::Options(_)), "{error}");
}

fn deflate_load(greeting: Greeting, answer: Answer) -> EchoLoad {
    let mut load = echo_load(serve_websocket(greeting, answer));
    (load.traffic.framing, load.traffic.size) = (Framing::WebSocketDeflate, 1024);
    load
}

#[test]
fn deflated_documents_are_echoed_and_counted_in_the_size_that_they_inflate_to() {
    for in_flight in [1, 7] {
        let mut load = deflate_load(Greeting::Deflate, Answer::Echo);
        load.in_flight = in_flight;
        let report = echo(&load, &mut ()).unwrap();
        assert_eq!(report.bytes, report.operations * 1024);
    }
}

#[test]
fn deflated_documents_go_in_an_open_loop_too() {
    let load = OpenLoad {
        traffic: deflate_load(Greeting::Deflate, Answer::Echo).traffic,
        rate: 2_000,
        warm_up: Duration::ZERO,
        until: Until::Operations(200),
    };
    assert!(open(&load, &mut ()).unwrap().operations >= 200);
}

#[test]
fn a_document_that_comes_back_as_another_is_found() {
    for (message, byte) in [(0, 0), (30, 1023)] {
        let mut load = deflate_load(Greeting::Deflate, Answer::Corrupt { message, byte });
        load.traffic.connections = 1;
        let error = echo(&load, &mut ()).unwrap_err();
        assert!(
            matches!(
                error,
                LoadError::WrongAnswer {
                    connection: 0,
                    message: found,
                    cause: AnswerError::OtherText { offset },
                } if found == message as u64 && offset == byte
            ),
            "{error}"
        );
    }
}

#[test]
fn a_server_that_stops_deflating_is_found() {
    let error = echo(&deflate_load(Greeting::Deflate, Answer::Inflated), &mut ()).unwrap_err();
    assert!(
        matches!(
            error,
            LoadError::WrongAnswer {
                message: 1,
                cause: AnswerError::FirstByte(0x81),
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_server_that_closes_a_deflated_connection_is_quoted() {
    let (message, code, reason) = (3, 1007, "not text");
    let answer = Answer::Close {
        message,
        code,
        reason,
    };
    let error = echo(&deflate_load(Greeting::Deflate, answer), &mut ()).unwrap_err();
    assert!(
        matches!(&error, LoadError::CloseFrame { code: Some(1007), reason, .. } if reason == "not text"),
        "{error}"
    );
}

#[test]
fn a_server_that_does_not_agree_to_deflate_is_refused() {
    for greeting in [Greeting::Right, Greeting::Takeover] {
        let error = echo(&deflate_load(greeting, Answer::Echo), &mut ()).unwrap_err();
        let LoadError::Handshake { cause, .. } = error else {
            panic!("{error}");
        };
        assert!(matches!(cause, HandshakeError::NoDeflate { .. }), "{cause}");
    }
}

#[test]
fn a_broadcast_goes_on_beside_subscribers_that_do_not_read() {
    let mut load = broadcast_load(Answer::Broadcast);
    // So few messages that even this server, which waits for each to be taken, can hand them to the kernel.
    (load.stalled, load.until) = (2, Until::Operations(60));
    let report = broadcast(&load, &mut ()).unwrap();
    assert!(report.operations >= 60);
    load.stalled = load.subscribers;
    let error = broadcast(&load, &mut ()).unwrap_err();
    assert!(matches!(error, LoadError::Options(_)), "{error}");
}

fn broadcast_load(answer: Answer) -> BroadcastLoad {
    BroadcastLoad {
        address: serve_websocket(Greeting::Right, answer),
        subscribers: 5,
        stalled: 0,
        size: 100,
        rate: 5_000,
        verify: true,
        tls: None,
        warm_up: Duration::ZERO,
        until: Until::Operations(1_000),
    }
}

#[test]
fn every_delivery_of_a_broadcast_is_counted_and_its_latency() {
    let report = broadcast(&broadcast_load(Answer::Broadcast), &mut ()).unwrap();
    assert!(report.operations >= 1_000);
    assert_eq!(report.latency.len(), report.operations);
    assert_eq!(report.bytes, report.operations * 100);
}

#[test]
fn deliveries_to_the_publisher_are_not_counted() {
    let mut load = broadcast_load(Answer::Forget { connection: 0 });
    (load.subscribers, load.until) = (1, Until::Elapsed(Duration::from_millis(50)));
    let error = broadcast(&load, &mut ()).unwrap_err();
    assert!(matches!(error, LoadError::NothingDone { .. }), "{error}");
}

#[test]
fn large_messages_are_broadcast_whole() {
    let mut load = broadcast_load(Answer::Broadcast);
    (load.size, load.rate, load.until) = (1024 * 1024, 20, Until::Operations(10));
    assert!(broadcast(&load, &mut ()).unwrap().operations >= 10);
}

#[test]
fn a_dropped_delivery_is_found_out() {
    let answer = Answer::Drop {
        message: 20,
        connection: 3,
    };
    let error = broadcast(&broadcast_load(answer), &mut ()).unwrap_err();
    let LoadError::WrongByte {
        connection,
        position,
        ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!(connection, 3);
    // The position lies in the payload of the message after the twentieth.
    assert!((20 * 102 + 2..21 * 102).contains(&position), "{position}");
}

#[test]
fn a_forgotten_subscriber_is_found_out_even_without_verification() {
    let answer = Answer::Forget { connection: 3 };
    let mut load = broadcast_load(answer);
    (load.verify, load.until) = (false, Until::Operations(u64::MAX));
    let error = broadcast(&load, &mut ()).unwrap_err();
    assert!(
        matches!(
            error,
            LoadError::Undelivered {
                message: 0,
                lacking: 1,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_subscriber_that_is_cut_off_is_named() {
    let answer = Answer::HangUp {
        message: 20,
        connection: 2,
    };
    let error = broadcast(&broadcast_load(answer), &mut ()).unwrap_err();
    assert!(
        matches!(error, LoadError::Closed { connection: 2, .. }),
        "{error}"
    );
}

#[test]
fn a_rate_that_is_not_taken_is_given_up() {
    let mut load = broadcast_load(Answer::Silence);
    load.rate = 1_000_000;
    let error = broadcast(&load, &mut ()).unwrap_err();
    assert!(
        matches!(error, LoadError::Overrun { outstanding, .. } if outstanding > 1_000_000),
        "{error}"
    );
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
fn the_observer_is_called_while_a_window_goes_on() {
    #[derive(Default)]
    struct Log(Vec<&'static str>);
    impl Observer for Log {
        fn window_opens(&mut self) -> std::io::Result<()> {
            self.0.push("opens");
            Ok(())
        }
        fn window_goes_on(&mut self) -> std::io::Result<()> {
            self.0.push("goes on");
            Ok(())
        }
        fn window_closes(&mut self) -> std::io::Result<()> {
            self.0.push("closes");
            Ok(())
        }
    }
    let mut log = Log::default();
    let mut load = echo_load(serve(Behaviour::Echo));
    load.until = Until::Elapsed(Duration::from_millis(200));
    echo(&load, &mut log).unwrap();
    let (&last, looks) = log.0[1..].split_last().unwrap();
    assert_eq!((log.0[0], last), ("opens", "closes"));
    // On a busy machine there are fewer.
    assert!((1..=10).contains(&looks.len()), "{looks:?}");
    assert!(looks.iter().all(|&look| look == "goes on"));
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
    // The repeated bytes are either more than were sent, or differ from the next message.
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
fn open_loop_receives_the_answers_to_its_messages() {
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
        tls: None,
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
        tls: None,
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
    for (subscribers, rate, size) in [(0, 1, 1), (1, 0, 1), (1, 1, 0)] {
        let load = BroadcastLoad {
            address,
            subscribers,
            stalled: 0,
            size,
            rate,
            verify: true,
            tls: None,
            warm_up: Duration::ZERO,
            until: Until::Operations(1),
        };
        let error = broadcast(&load, &mut ()).unwrap_err();
        assert!(matches!(error, LoadError::Options(_)), "{error}");
    }
}
