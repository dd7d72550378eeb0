//! One side ends the stream while output is pending: every byte must arrive.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use ringwheel::Conn;
use ringwheel::protocol::Raw;
use socket2::{Domain, Socket, Type};
use support::scale::{report, sized};
use support::{DEADLINE, Event, Events, Random, Recorder, TestServer, listen, pattern};

use crate::measure::source;

/// Longest answer, in bytes. Below the high-water mark, above which the handler would hear of the peer's end only after
/// the peer has read.
const LONGEST: usize = 192 * 1024;
/// Shortest answer, in bytes. More than the kernel's buffers hold at these sizes.
const SHORTEST: usize = 128 * 1024;
const SEND_BUFFER: usize = 16 * 1024;
const RECEIVE_BUFFER: usize = 8 * 1024;

/// Connects with a receive buffer that is soon full.
fn connect(address: SocketAddr, number: usize) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket
        .set_recv_buffer_size(RECEIVE_BUFFER)
        .expect("a small buffer");
    socket
        .bind(&SocketAddr::new(source(number).into(), 0).into())
        .expect("a loopback address");
    socket
        .connect_timeout(&address.into(), DEADLINE)
        .expect("the server accepts");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
    stream
}

/// Asks for an answer of `length` bytes.
fn ask(stream: &mut TcpStream, length: usize) {
    let length = u32::try_from(length).expect("a short answer");
    stream
        .write_all(&length.to_le_bytes())
        .expect("the server reads");
}

fn answer(conn: &mut Conn<'_, Raw>, asked: &[u8], text: &[u8]) {
    let length = u32::from_le_bytes(asked.try_into().expect("four bytes come at once"));
    assert!(conn.send(&text[..length as usize]).is_queued());
}

/// Asks `times` times, calls `after_asking`, and checks each answer. Returns the number of bytes that arrived.
#[track_caller]
fn check_answers(
    server: &TestServer,
    times: usize,
    text: &[u8],
    mut after_asking: impl FnMut(&TcpStream),
) -> u64 {
    let mut random = Random::new(times as u64);
    let mut bytes = 0;
    for number in 0..times {
        let length = SHORTEST + random.below(LONGEST - SHORTEST);
        let mut stream = connect(server.addr(), number);
        ask(&mut stream, length);
        after_asking(&stream);
        let mut came = Vec::with_capacity(length);
        stream.read_to_end(&mut came).expect("an end of stream");
        assert_eq!(came.len(), length, "connection {number}");
        assert!(came == text[..length], "connection {number}");
        bytes += length as u64;
    }
    bytes
}

#[track_caller]
fn assert_all_ended_with(server: TestServer, events: &Events, times: usize, reason: &str) {
    let ended = (0..times).filter(|_| events.close_reason() == reason);
    assert_eq!(ended.count(), times);
    server.finish(events);
    let opened = events.count(|event| matches!(event, Event::Open(_)));
    assert_eq!(opened, times);
}

#[test]
fn a_peer_that_ends_its_stream_gets_all_pending_output() {
    let times = sized(300, 10_000);
    let text = pattern(5, LONGEST);
    let (pending, has_ended): (_, Receiver<usize>) = channel();
    let (recorder, events) = Recorder::<Raw>::new();
    let answers = text.clone();
    let recorder = recorder
        .without_messages()
        .on_message(move |conn, asked| answer(conn, asked, &answers))
        .on_half_close(move |conn| {
            pending.send(conn.write_buffer_len()).expect("a test");
            conn.close();
        });
    let server = TestServer::start(listen(Raw).send_buffer_size(SEND_BUFFER), recorder);
    let bytes = check_answers(&server, times, &text, |stream| {
        stream.shutdown(Shutdown::Write).expect("it is connected");
        // The client reads only after the server has seen the end of the stream, so that output is pending then.
        let pending = has_ended.recv_timeout(DEADLINE).expect("a half-close");
        assert!(pending > 0);
    });
    assert_all_ended_with(server, &events, times, "Peer");
    report(
        "send, then FIN, with output pending",
        format_args!("{times} times, {bytes} bytes, all arrived"),
    );
}

#[test]
fn output_pending_at_our_close_arrives() {
    let times = sized(300, 10_000);
    let text = pattern(6, LONGEST);
    let (recorder, events) = Recorder::<Raw>::new();
    let answers = text.clone();
    let (pending, has_closed): (_, Receiver<usize>) = channel();
    let recorder = recorder.without_messages().on_message(move |conn, asked| {
        answer(conn, asked, &answers);
        pending.send(conn.write_buffer_len()).expect("a test");
        conn.close();
    });
    let server = TestServer::start(listen(Raw).send_buffer_size(SEND_BUFFER), recorder);
    let bytes = check_answers(&server, times, &text, |_| {
        // The client reads only after the server has answered, so that output is pending at the close.
        let pending = has_closed.recv_timeout(DEADLINE).expect("an answer");
        assert!(pending > 0);
    });
    assert_all_ended_with(server, &events, times, "Local");
    report(
        "close with output pending",
        format_args!("{times} times, {bytes} bytes, all arrived"),
    );
}
