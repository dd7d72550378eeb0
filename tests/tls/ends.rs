//! Ends of streams: close_notify both ways, cuts, aborts, and records that are refused.

use std::net::Shutdown;

use ringwheel::protocol::{Lines, Raw};
use ringwheel::{Limits, Listen};
use rustls::AlertDescription;
use support::tls::{TlsClient, VERSIONS, Version, client_config, server_tls};
use support::{Recorder, TestServer, listen, pattern, raw_echo};

fn sealed() -> Listen<Raw> {
    listen(Raw).tls(server_tls())
}

fn open(server: &TestServer, version: Version) -> TlsClient {
    TlsClient::open_with(server.addr(), &client_config(&[version]))
}

#[test]
fn a_half_close_of_the_peer_leaves_our_side_open() {
    for version in VERSIONS {
        let (recorder, events) = Recorder::<Raw>::new();
        let recorder = recorder.on_half_close(|conn| {
            conn.send(&pattern(1, 300_000));
            conn.close();
        });
        let server = TestServer::start(sealed(), recorder);
        let mut client = open(&server, version);
        client.send(b"the last");
        client.finish();
        assert_eq!(events.message(), b"the last");
        assert!(client.receive_rest() == pattern(1, 300_000));
        client.expect_eof();
        assert_eq!(events.close_reason(), "Peer");
        server.finish(&events);
    }
}

#[test]
fn our_half_close_leaves_the_side_of_the_peer_open() {
    for version in VERSIONS {
        let (recorder, events) = Recorder::<Raw>::new();
        let recorder = recorder.on_message(|conn, message| {
            if message == b"end" {
                conn.send(b"ended");
                conn.shutdown_write();
            }
        });
        let server = TestServer::start(sealed(), recorder);
        let mut client = open(&server, version);
        client.send(b"end");
        assert_eq!(client.receive_rest(), b"ended");
        client.expect_eof();
        assert_eq!(events.message(), b"end");
        client.send(b"still heard");
        assert_eq!(events.message(), b"still heard");
        client.finish();
        assert_eq!(events.close_reason(), "Peer");
        server.finish(&events);
    }
}

#[test]
fn an_end_without_close_notify_is_a_cut_wherever_it_comes() {
    for version in VERSIONS {
        let (echo, events) = raw_echo();
        let server = TestServer::start(sealed(), echo);
        let mut cut = 0;
        loop {
            let mut client = open(&server, version);
            let first = client.seal(b"whole");
            let second = client.seal(b"cut");
            client.send_raw(&first);
            assert_eq!(client.receive(5), b"whole");
            client.send_raw(&second[..cut]);
            client.stream.shutdown(Shutdown::Write).unwrap();
            let expected: &[u8] = if cut == second.len() { b"cut" } else { b"" };
            assert_eq!(client.receive_rest(), expected);
            assert_eq!(events.close_reason(), "Truncated");
            if cut == second.len() {
                break;
            }
            cut += 1;
        }
        server.finish(&events);
    }
}

#[test]
fn nothing_is_read_behind_close_notify() {
    let (echo, events) = raw_echo();
    let server = TestServer::start(sealed(), echo);
    let mut client = TlsClient::open(&server);
    let mut records = client.seal(b"before");
    client.tls.send_close_notify();
    records.extend(client.records());
    records.extend_from_slice(b"plaintext or whatever");
    client.send_raw(&records);
    assert_eq!(client.receive_rest(), b"before");
    assert_eq!(events.close_reason(), "Peer");
    server.finish(&events);
}

#[test]
fn our_close_loses_nothing_for_a_slow_reader_and_ends_with_close_notify() {
    for version in VERSIONS {
        let body = pattern(2, 1024 * 1024);
        let to_send = body.clone();
        let (recorder, events) = Recorder::<Raw>::new();
        let recorder = recorder.on_message(move |conn, _| {
            conn.send(&to_send);
            conn.close();
        });
        let limits = Limits::default().output(8 << 20);
        let listen = sealed().limits(limits).send_buffer_size(16 * 1024);
        let server = TestServer::start(listen, recorder);
        let stream = support::tls::connect(server.addr(), true);
        let mut client = TlsClient::open_over(stream, &client_config(&[version]));
        client.send(b"go");
        assert_eq!(events.close_reason(), "Local");
        // It goes on talking to a server that does not listen any more.
        client.send(&pattern(3, 50_000));
        assert!(client.receive_rest() == body);
        client.expect_eof();
        server.finish(&events);
    }
}

#[test]
fn a_close_without_output_says_close_notify() {
    for version in VERSIONS {
        let (recorder, events) = Recorder::<Raw>::new();
        let recorder = recorder.on_message(|conn, _| conn.close());
        let server = TestServer::start(sealed(), recorder);
        let mut client = open(&server, version);
        client.send(b"go");
        client.expect_end();
        assert_eq!(events.close_reason(), "Local");
        server.finish(&events);
    }
}

#[test]
fn a_close_at_the_open_comes_behind_the_handshake() {
    for version in VERSIONS {
        let (recorder, events) = Recorder::<Lines>::new();
        let recorder = recorder.on_open(|conn| {
            conn.send("full");
            conn.close();
        });
        let server = TestServer::start(listen(Lines::new()).tls(server_tls()), recorder);
        let mut client = open(&server, version);
        assert_eq!(client.receive_rest(), b"full\n");
        client.expect_eof();
        server.finish(&events);
    }
}

#[test]
fn an_abort_resets_without_close_notify() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.on_message(|conn, _| conn.abort());
    let server = TestServer::start(sealed(), recorder);
    let mut client = TlsClient::open(&server);
    client.send(b"go");
    client.expect_reset();
    assert_eq!(events.close_reason(), "Aborted");
    server.finish(&events);
}

#[test]
fn a_changed_record_is_refused_with_an_alert() {
    for version in VERSIONS {
        let (echo, events) = raw_echo();
        let server = TestServer::start(sealed(), echo);
        let mut client = open(&server, version);
        let mut records = client.seal(b"good");
        let second = records.len();
        records.extend(client.seal(b"changed on its way"));
        records[second + 12] ^= 1;
        client.send_raw(&records);
        client.expect_alert(AlertDescription::BadRecordMac);
        assert_eq!(events.message(), b"good", "what came before is delivered");
        let reason = events.close_reason();
        assert!(reason.contains("InvalidData"), "{reason}");
        server.finish(&events);
    }
}

#[test]
fn plaintext_in_the_middle_is_refused_with_an_alert() {
    for version in VERSIONS {
        for plain in [
            &b"GET / HTTP/1.1\r\nHost: ringwheel.test\r\n\r\n"[..],
            &[23, 3, 3, 0, 4, b'o', b'o', b'p', b's'],
            &[22, 3, 3, 0, 4, 1, 0, 0, 0],
            &[21, 3, 3, 0, 2, 2, 40],
        ] {
            let (echo, events) = raw_echo();
            let server = TestServer::start(sealed(), echo);
            let mut client = open(&server, version);
            client.ping();
            client.send_raw(plain);
            let error = client.try_receive_rest().unwrap_err();
            assert!(error.to_string().contains("alert"), "{plain:?}: {error}");
            let reason = events.close_reason();
            assert!(reason.contains("InvalidData"), "{reason}");
            server.finish(&events);
        }
    }
}

#[test]
fn key_updates_of_the_client_are_followed() {
    let (echo, events) = raw_echo();
    let server = TestServer::start(sealed(), echo);
    let mut client = open(&server, VERSIONS[1]);
    for round in 0..40 {
        client.tls.refresh_traffic_keys().unwrap();
        let bytes = pattern(round, 500);
        assert!(client.ask(&bytes) == bytes);
    }
    server.finish(&events);
}

#[test]
fn a_panic_of_the_handler_ends_its_connection_with_close_notify_and_no_other() {
    let (echo, events) = raw_echo();
    let echo = echo.on_message(|conn, message| match message {
        b"panic" => support::deliberate_panic(),
        message => _ = conn.send(message),
    });
    let server = TestServer::start(sealed(), echo);
    let (mut one, mut other) = (TlsClient::open(&server), TlsClient::open(&server));
    other.ping();
    one.send(b"panic");
    assert_eq!(events.close_reason(), "Panic");
    one.expect_end();
    other.ping();
    server.finish(&events);
}
