//! Deadlines of open connections: silence, and messages and records that are not whole.

use std::time::Duration;

use ringwheel::protocol::{Lines, Raw};
use ringwheel::{Timeout, TimeoutDecision};
use support::tls::{TlsClient, VERSIONS, client_config, server_tls};
use support::{Recorder, TestServer, listen, raw_echo};

const SHORT: Duration = Duration::from_millis(100);

#[test]
fn a_silent_connection_is_evicted_with_last_words() {
    for version in VERSIONS {
        let (recorder, events) = Recorder::<Lines>::new();
        let recorder = recorder.on_timeout(|conn, _| {
            conn.send("too late");
            TimeoutDecision::Close
        });
        let listen = listen(Lines::new()).tls(server_tls()).idle_timeout(SHORT);
        let server = TestServer::start(listen, recorder);
        let mut client = TlsClient::open_with(server.addr(), &client_config(&[version]));
        assert_eq!(events.timeout(), Timeout::Idle);
        assert_eq!(client.receive_rest(), b"too late\n");
        client.expect_eof();
        assert_eq!(events.close_reason(), "Timeout(Idle)");
        server.finish(&events);
    }
}

#[test]
fn a_record_that_never_ends_is_no_activity() {
    let (echo, events) = raw_echo();
    let listen = listen(Raw).tls(server_tls()).idle_timeout(SHORT);
    let server = TestServer::start(listen, echo);
    let mut client = TlsClient::open(&server);
    let record = client.seal(&[7; 16 * 1024]);
    let mut rest = record.iter();
    // Drips for as long as the connection is open.
    while events.count(|event| matches!(event, support::Event::Close(..))) == 0 {
        let byte = rest.next().expect("the connection ends in time");
        if std::io::Write::write_all(&mut client.stream, &[*byte]).is_err() {
            break;
        }
        server.let_pass(Duration::from_millis(2));
    }
    let closes = |event: &support::Event| match event {
        support::Event::Close(_, ending) => Some(ending.reason.clone()),
        _ => None,
    };
    let reasons: Vec<String> = events.so_far().iter().filter_map(closes).collect();
    assert_eq!(reasons, ["Timeout(Idle)"]);
    server.finish(&events);
}

#[test]
fn a_message_is_due_also_if_half_of_its_next_record_has_come() {
    for version in VERSIONS {
        let (recorder, events) = Recorder::<Lines>::new();
        let listen = listen(Lines::new()).tls(server_tls());
        let server = TestServer::start(listen.message_timeout(SHORT), recorder);
        let mut client = TlsClient::open_with(server.addr(), &client_config(&[version]));
        client.send(b"whole\npar");
        let rest = client.seal(b"t\n");
        client.send_raw(&rest[..rest.len() - 1]);
        assert_eq!(events.timeout(), Timeout::Message);
        assert_eq!(events.close_reason(), "Timeout(Message)");
        server.finish(&events);
    }
}

#[test]
fn the_first_message_is_due_from_the_end_of_the_handshake() {
    let (recorder, events) = Recorder::<Lines>::new();
    let listen = listen(Lines::new()).tls(server_tls());
    let server = TestServer::start(listen.first_message_timeout(SHORT), recorder);
    let stream = support::tls::connect(server.addr(), false);
    let mut client = TlsClient::around(stream, support::tls::any_client());
    // The handshake may take longer.
    server.let_pass(2 * SHORT);
    client.shake().unwrap();
    assert_eq!(events.timeout(), Timeout::FirstMessage);
    assert_eq!(events.close_reason(), "Timeout(FirstMessage)");
    server.finish(&events);
}
