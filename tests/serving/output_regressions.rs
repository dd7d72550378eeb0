//! Regressions of the output: limits, pressure, and lost bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use ringwheel::protocol::{Lines, Raw};
use ringwheel::{Conn, Limits, Overflow, Refusal, SendStatus};
use support::{Client, Recorder, TestServer, listen, pattern, take, text};

/// `on_drained` raised the output above the high-water mark, and a flush sent all of it at once. The connection then
/// waited for ever, because a socket that never blocked reports no writable event.
#[test]
fn on_drained_may_fill_the_output_again_and_again() {
    const ROUNDS: usize = 50;
    let (recorder, events) = Recorder::<Raw>::new();
    let rounds = AtomicUsize::new(0);
    let pieces = Arc::new(AtomicUsize::new(0));
    let sent = pieces.clone();
    let fill = move |conn: &mut Conn<'_, Raw>| {
        while conn.send(&[b'.'; 4096]) == SendStatus::Queued {
            sent.fetch_add(1, Ordering::Relaxed);
        }
        sent.fetch_add(1, Ordering::Relaxed);
    };
    let refill = fill.clone();
    let recorder = recorder
        .on_message(move |conn, _| fill(conn))
        .on_drained(move |conn| {
            if rounds.fetch_add(1, Ordering::Relaxed) + 1 < ROUNDS {
                refill(conn);
            } else {
                conn.close();
            }
        });
    let limits = Limits::default().low_water(16 * 1024).high_water(64 * 1024);
    let listen = listen(Raw).limits(limits).send_buffer_size(16 * 1024);
    let server = TestServer::start(listen, recorder);
    let mut client = server.connect();
    client.send(b"go");
    let received = client.receive_rest().len();
    assert_eq!(received, pieces.load(Ordering::Relaxed) * 4096);
    server.finish(&events);
}

/// A message in parts ended the connection if its first part was sent and the second did not fit, although the policy
/// was to refuse the message and tell only the sender.
#[test]
fn a_message_in_parts_is_refused_as_a_whole() {
    for (policy, refusal) in [
        (Overflow::Refuse, Refusal::OutputLimit),
        (Overflow::DropMessage, Refusal::Dropped),
    ] {
        let (recorder, events) = Recorder::<Raw>::new();
        let recorder = recorder.on_message(move |conn, _| {
            let status = conn.send_vectored(&[&[b'a'; 10_000], &[b'b'; 200_000]]);
            assert_eq!(status, SendStatus::Refused(refusal));
            conn.send(b"goes on");
            conn.close();
        });
        let limits = Limits::default()
            .low_water(10_000)
            .high_water(50_000)
            .output(100_000)
            .overflow(policy);
        let server = TestServer::start(listen(Raw).limits(limits), recorder);
        let mut client = server.connect();
        client.send(b"go");
        assert_eq!(client.receive_rest(), b"goes on");
        server.finish(&events);
    }
}

/// A message below the limit was refused, and the connection reset, because of what had collected before it in the same
/// turn, although the peer read.
#[test]
fn a_message_fits_once_the_socket_has_taken_the_messages_before_it() {
    const BEFORE: usize = 60_000;
    const LARGE: usize = 220_000;
    // In one slice, and in many small ones.
    for parts in [1, 2_200] {
        let (recorder, events) = Recorder::<Raw>::new();
        let recorder = recorder.on_message(move |conn, _| {
            (0..10).for_each(|_| assert!(conn.send(&[b'.'; BEFORE / 10]).is_queued()));
            let part = vec![b'#'; LARGE / parts];
            let status = conn.send_vectored(&vec![&part[..]; parts]);
            assert!(status.is_queued(), "{status:?}");
            conn.close();
        });
        let limits = Limits::default().output(256 * 1024);
        let server = TestServer::start(listen(Raw).limits(limits), recorder);
        let mut client = server.connect();
        client.send(b"go");
        assert_eq!(client.receive_rest().len(), BEFORE + LARGE);
        client.finish();
        assert_eq!(events.close_reason(), "Local");
        server.finish(&events);
    }
}

/// The echo to a peer that had sent many bytes and ended its stream stopped while reading was held back.
#[test]
fn an_echo_of_much_small_output_under_pressure_arrives_whole() {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder.without_messages().on_message(|conn, line| {
        conn.send(text(line));
    });
    let limits = Limits::default().low_water(0).high_water(1);
    let server = TestServer::start(listen(Lines::new()).limits(limits), recorder);
    let mut client = server.connect();
    let text: Vec<u8> = pattern(1, 200_000)
        .iter()
        .map(|byte| if byte % 16 == 0 { b'\n' } else { b'.' })
        .collect();
    let text = [&text[..], b"\n"].concat();
    let mut writer = client.second_half();
    let to_write = text.clone();
    let writing = thread::spawn(move || {
        writer.send(&to_write);
        writer.finish();
    });
    assert!(client.receive_rest() == text);
    writing.join().unwrap();
    assert_eq!(events.close_reason(), "Peer");
    server.finish(&events);
}

/// Pending output was still sent at the end of the turn in which the connection was aborted, or by a flush behind the abort.
#[test]
fn an_abort_loses_pending_output() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.on_message(|conn, bytes| {
        conn.send(bytes);
        conn.abort();
        conn.flush();
    });
    let server = TestServer::start(listen(Raw), recorder);
    let mut client = server.connect();
    client.send(b"pending");
    let ending = events.close();
    assert_eq!(ending.reason, "Aborted");
    assert_eq!(ending.stats.bytes_out, 0);
    client.expect_ended();
    server.finish(&events);
}

/// The room reserved for a protocol's own bytes once counted as part of the limit for messages, so a ping or a farewell
/// did not fit. Messages must not use that room.
#[test]
fn messages_fill_the_output_up_to_the_limit_exactly() {
    const LIMIT: usize = 100_000;
    for piece in [100, 10_000] {
        let (recorder, events) = Recorder::<Raw>::new();
        let (filled, is_filled) = channel();
        let recorder = recorder.on_message(move |conn, _| {
            while LIMIT - conn.write_buffer_len() > piece {
                let status = conn.send(&vec![0; piece]);
                assert!(!matches!(status, SendStatus::Refused(_)), "{status:?}");
            }
            let room = LIMIT - conn.write_buffer_len();
            let refused = SendStatus::Refused(Refusal::OutputLimit);
            assert_eq!(conn.send(&vec![0; room + 1]), refused);
            assert_eq!(conn.send(&vec![0; room]), SendStatus::AboveHighWater);
            assert_eq!(conn.send(b"x"), refused);
            filled.send(conn.write_buffer_len()).unwrap();
        });
        let limits = Limits::default()
            .low_water(10_000)
            .high_water(50_000)
            .output(LIMIT)
            .overflow(Overflow::Refuse);
        let listen = listen(Raw).limits(limits).send_buffer_size(16 * 1024);
        let server = TestServer::start(listen, recorder);
        let mut client = Client::connect_narrow(server.addr());
        client.send(b"go");
        assert_eq!(take(&is_filled), LIMIT);
        server.finish(&events);
    }
}
