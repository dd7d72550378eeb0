//! Much at a time: large messages, slow readers, many small messages, completions, and sources.

use std::io::Read;
use std::sync::mpsc::channel;

use ringwheel::protocol::{LengthPrefixed, Lines, Raw};
use ringwheel::{Conn, Limits, Listen, SendOutcome, SendStatus, SourceStep};
use support::tls::{TlsClient, VERSIONS, client_config, server_tls};
use support::{Recorder, TestServer, listen, pattern, raw_echo, take, text};

const MEBIBYTE: usize = 1024 * 1024;

/// A listener whose connections soon have pending output, and have room for much of it.
fn narrow() -> Listen<Raw> {
    let limits = Limits::default().output(8 * MEBIBYTE);
    let listen = listen(Raw).tls(server_tls()).limits(limits);
    listen.send_buffer_size(16 * 1024)
}

#[test]
fn a_mebibyte_comes_back_in_every_version() {
    let (echo, events) = raw_echo();
    let server = TestServer::start(listen(Raw).tls(server_tls()), echo.without_messages());
    for version in VERSIONS {
        let mut client = TlsClient::open_with(server.addr(), &client_config(&[version]));
        let bytes = pattern(7, MEBIBYTE);
        assert!(client.exchange(&bytes, bytes.len()) == bytes);
        client.ping();
    }
    server.finish(&events);
}

#[test]
fn a_message_of_a_mebibyte_comes_back_whole() {
    let (recorder, events) = Recorder::<LengthPrefixed>::new();
    let echo = recorder.on_message(|conn, bytes| _ = conn.send(bytes));
    let listen = listen(LengthPrefixed::u32_be()).tls(server_tls());
    let server = TestServer::start(listen, echo);
    let mut client = TlsClient::open(&server);
    let message = pattern(8, MEBIBYTE);
    let frame = [&(MEBIBYTE as u32).to_be_bytes()[..], &message].concat();
    assert!(client.exchange(&frame, frame.len()) == frame);
    assert!(events.message() == message);
    server.finish(&events);
}

#[test]
fn a_slow_reader_takes_the_output_above_high_water_and_back() {
    for version in VERSIONS {
        let body = pattern(9, 2 * MEBIBYTE);
        let to_send = body.clone();
        let (recorder, events) = Recorder::<Raw>::new();
        let recorder = recorder.on_message(move |conn, message| match message {
            b"ping\n" => _ = conn.send(message),
            _ => assert_eq!(conn.send(&to_send), SendStatus::AboveHighWater),
        });
        let server = TestServer::start(narrow(), recorder);
        let stream = support::tls::connect(server.addr(), true);
        let mut client = TlsClient::open_over(stream, &client_config(&[version]));
        client.send(b"go");
        assert_eq!(events.message(), b"go");
        // Not read before the output has drained.
        client.send(b"ping\n");
        for piece in body.chunks(64 * 1024) {
            assert!(client.receive(piece.len()) == piece);
        }
        events.drained();
        assert_eq!(client.receive(5), b"ping\n");
        server.finish(&events);
    }
}

#[test]
fn pipelined_lines_are_all_answered_in_order() {
    let (recorder, events) = Recorder::<Lines>::new();
    let echo = recorder.on_message(|conn, line| _ = conn.send(text(line)));
    let server = TestServer::start(listen(Lines::new()).tls(server_tls()), echo);
    let mut client = TlsClient::open(&server);
    let lines: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    assert!(client.exchange(lines.as_bytes(), lines.len()) == lines.as_bytes());
    // Each in a record of its own.
    let records = (0..2_000).map(|number| client.seal(format!("{number}\n").as_bytes()));
    let records = records.collect::<Vec<_>>().concat();
    client.send_raw(&records);
    let lines: String = (0..2_000).map(|number| format!("{number}\n")).collect();
    assert_eq!(client.receive(lines.len()), lines.as_bytes());
    server.finish(&events);
}

#[test]
fn the_answers_of_a_turn_are_one_record() {
    let (recorder, events) = Recorder::<Lines>::new();
    let echo = recorder.on_message(|conn, line| {
        for _ in 0..50 {
            conn.send(text(line));
        }
    });
    let server = TestServer::start(listen(Lines::new()).tls(server_tls()), echo);
    // Without tickets, which would be records of their own.
    let mut config = (*client_config(&VERSIONS[..1])).clone();
    config.resumption = rustls::client::Resumption::disabled();
    let mut client = TlsClient::open_with(server.addr(), &std::sync::Arc::new(config));
    client.send(b"hello\n");
    let mut header = [0; 5];
    client.stream.read_exact(&mut header).unwrap();
    let [23, 3, 3, high, low] = header else {
        panic!("no record of data: {header:?}");
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    assert!(length > 50 * 6, "{length} bytes");
    server.finish(&events);
}

#[test]
fn a_message_is_written_once_its_records_are_with_the_kernel() {
    let body = pattern(10, 2 * MEBIBYTE);
    let to_send = body.clone();
    let (done, outcomes) = channel();
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.on_message(move |conn, message| match message {
        b"ping\n" => _ = conn.send(message),
        _ => {
            let done = done.clone();
            let complete = move |outcome| done.send(outcome).unwrap();
            assert!(conn.send_then(&to_send, complete).is_queued());
        }
    });
    let server = TestServer::start(narrow(), recorder);
    let mut slow = TlsClient::open_narrow(server.addr());
    slow.send(b"go");
    assert_eq!(events.message(), b"go");
    // The pongs show that the server has gone on.
    let mut other = TlsClient::open(&server);
    other.ping();
    other.ping();
    assert!(outcomes.try_recv().is_err(), "the kernel has no such room");
    assert!(slow.receive(body.len() - 1) == body[..body.len() - 1]);
    assert_eq!(take(&outcomes), SendOutcome::Written);
    assert_eq!(slow.receive(1), body[body.len() - 1..]);
    // Of a peer that goes, nothing is said to be written that was not.
    let mut gone = TlsClient::open_narrow(server.addr());
    gone.send(b"go");
    let received = gone.receive(100_000);
    assert!(received == body[..100_000]);
    gone.reset();
    assert_eq!(take(&outcomes), SendOutcome::Lost);
    server.finish(&events);
}

/// A source that sends `bytes` in pieces.
fn source(bytes: Vec<u8>) -> impl FnMut(&mut Conn<'_, Raw>) -> SourceStep + Send + 'static {
    let mut sent = 0;
    move |conn| {
        let piece = &bytes[sent..bytes.len().min(sent + 16 * 1024)];
        assert!(conn.send(piece).is_queued());
        sent += piece.len();
        match sent == bytes.len() {
            true => SourceStep::Done,
            false => SourceStep::More,
        }
    }
}

#[test]
fn what_a_source_sends_arrives_whole_before_the_close() {
    for version in VERSIONS {
        let body = pattern(11, 4 * MEBIBYTE);
        let to_send = body.clone();
        let (done, outcomes) = channel();
        let (recorder, events) = Recorder::<Raw>::new();
        let recorder = recorder.on_message(move |conn, _| {
            let done = done.clone();
            let source = source(to_send.clone());
            conn.send_from_then(source, move |outcome| done.send(outcome).unwrap());
            conn.close();
        });
        let limits = Limits::default().low_water(8 * 1024).high_water(64 * 1024);
        let listen = listen(Raw)
            .tls(server_tls())
            .limits(limits.output(128 * 1024));
        let server = TestServer::start(listen.send_buffer_size(16 * 1024), recorder);
        let stream = support::tls::connect(server.addr(), true);
        let mut client = TlsClient::open_over(stream, &client_config(&[version]));
        client.send(b"go");
        assert!(client.receive_rest() == body);
        client.expect_eof();
        assert_eq!(take(&outcomes), SendOutcome::Written);
        assert_eq!(events.close_reason(), "Local");
        drop(client);
        server.finish(&events);
    }
}
