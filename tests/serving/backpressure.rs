//! Peers that read more slowly than the server sends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use ringwheel::protocol::{LengthPrefixed, Lines, Protocol, Raw};
use ringwheel::{Conn, Limits, Listen, Overflow, Refusal, SendStatus};
use support::{
    DEADLINE, Event, Events, Random, Recorder, TestServer, listen, listen_roomy, pattern, take,
    text,
};

/// A listener with small kernel buffers, so that output soon stays pending.
fn narrow<P: Protocol>(protocol: P) -> Listen<P> {
    listen_roomy(protocol).send_buffer_size(128 * 1024)
}

/// More bytes than the kernel takes from a narrow connection, and more than the high-water mark.
const FLOOD: usize = 6 << 20;

#[test]
fn send_reports_the_high_water_mark_and_on_drained_that_there_is_room() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (lengths, reported) = channel();
    let at_drain = lengths.clone();
    let recorder = recorder
        .on_message(move |conn, _| {
            assert_eq!(conn.send(b"little"), SendStatus::Queued);
            assert_eq!(conn.send(&vec![0; FLOOD]), SendStatus::AboveHighWater);
            lengths.send(conn.write_buffer_len()).unwrap();
        })
        .on_drained(move |conn| {
            at_drain.send(conn.write_buffer_len()).unwrap();
            assert_eq!(conn.send(b"again"), SendStatus::Queued);
        });
    let limits = Limits::default().output(8 << 20);
    let server = TestServer::start(narrow(Raw).limits(limits), recorder);
    let mut client = server.connect();
    client.send(b"go");
    assert!(reported.recv_timeout(DEADLINE).unwrap() > limits.high_water);
    client.receive(6 + FLOOD);
    assert!(reported.recv_timeout(DEADLINE).unwrap() <= limits.low_water);
    assert_eq!(client.receive(5), b"again");
    assert_eq!(events.count(|event| matches!(event, Event::Drained(_))), 1);
    server.finish(&events);
}

#[test]
fn above_the_high_water_mark_nothing_is_read_or_delivered() {
    let (recorder, events) = Recorder::<Lines>::new();
    let answer = "x".repeat(60_000);
    let recorder = recorder.on_message(move |conn, line| {
        if line == b"flood" {
            while conn.send(&answer) == SendStatus::Queued {}
        }
        if line == b"ping" {
            conn.send("pong");
        }
    });
    let server = TestServer::start(narrow(Lines::new()), recorder);
    let mut client = server.connect();
    let mut neighbour = server.connect();
    client.send(b"flood\nsame burst\n");
    assert_eq!(events.message(), b"flood");
    client.send(b"later burst\n");
    for _ in 0..20 {
        neighbour.send(b"ping\n");
        assert_eq!(neighbour.receive(5), b"pong\n");
    }
    assert!(
        events.messages()[1..].iter().all(|line| line == b"ping"),
        "held back while nothing is read"
    );
    let mut reader = client.second_half();
    std::thread::spawn(move || reader.drain());
    events.drained();
    assert_eq!(events.message(), b"same burst");
    assert_eq!(events.message(), b"later burst");
    server.finish(&events);
}

/// The status of a send, and the dropped messages and pending bytes at that time.
type Report = (SendStatus, u64, usize);

/// A server that answers each message with frames until one is not accepted, and reports the result.
fn overfill(policy: Overflow) -> (TestServer, Events, Receiver<Report>) {
    let (recorder, events) = Recorder::<LengthPrefixed>::new();
    let (statuses, reported) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        let body = vec![b'.'; 20_000];
        let status = loop {
            let status = conn.send(&body);
            if !status.is_queued() {
                break status;
            }
        };
        statuses
            .send((status, conn.stats().dropped, conn.write_buffer_len()))
            .unwrap();
    });
    let limits = Limits::default()
        .low_water(10_000)
        .high_water(50_000)
        .output(100_000)
        .overflow(policy);
    let server = TestServer::start(narrow(LengthPrefixed::u32_be()).limits(limits), recorder);
    (server, events, reported)
}

const EMPTY_FRAME: &[u8] = &[0; 4];

#[test]
fn at_the_hard_limit_the_policy_close_resets() {
    let (server, events, reported) = overfill(Overflow::Close);
    let mut client = server.connect();
    client.send(EMPTY_FRAME);
    let (status, dropped, _) = reported.recv_timeout(DEADLINE).unwrap();
    assert_eq!(
        (status, dropped),
        (SendStatus::Refused(Refusal::OutputLimit), 0)
    );
    client.expect_reset();
    assert_eq!(events.close_reason(), "OutputLimit");
    server.finish(&events);
}

#[test]
fn at_the_hard_limit_the_policy_drop_counts_and_goes_on() {
    let (server, events, reported) = overfill(Overflow::DropMessage);
    assert_goes_on_whole(&server, &reported, SendStatus::Refused(Refusal::Dropped), 1);
    assert_eq!(events.close().stats.dropped, 1);
    server.finish(&events);
}

#[test]
fn at_the_hard_limit_the_policy_refuse_goes_on() {
    let (server, events, reported) = overfill(Overflow::Refuse);
    assert_goes_on_whole(
        &server,
        &reported,
        SendStatus::Refused(Refusal::OutputLimit),
        0,
    );
    assert_eq!(events.close().stats.dropped, 0);
    server.finish(&events);
}

/// Checks that the refused message leaves no trace between the others, and that the connection goes on.
#[track_caller]
fn assert_goes_on_whole(
    server: &TestServer,
    reported: &Receiver<Report>,
    expected: SendStatus,
    expected_dropped: u64,
) {
    let mut client = server.connect();
    client.send(EMPTY_FRAME);
    let (status, dropped, pending) = reported.recv_timeout(DEADLINE).unwrap();
    assert_eq!((status, dropped), (expected, expected_dropped));
    assert!(pending <= 100_000);
    client.finish();
    let received = client.receive_rest();
    let frame = [&20_000u32.to_be_bytes()[..], &[b'.'; 20_000]].concat();
    assert_eq!(received.len() % frame.len(), 0, "only whole frames");
    assert!(received.chunks(frame.len()).all(|chunk| chunk == frame));
}

#[test]
fn pending_output_never_exceeds_its_limit() {
    const LIMIT: usize = 200_000;
    let (recorder, events) = Recorder::<Lines>::new();
    let highest = Arc::new(AtomicUsize::new(0));
    let seen = highest.clone();
    let recorder = recorder.on_message(move |conn, line| {
        let mut random = Random::new(line.len() as u64);
        for _ in 0..50 {
            conn.send(&"y".repeat(random.below(60_000)));
            seen.fetch_max(conn.write_buffer_len(), Ordering::Relaxed);
        }
    });
    // The high-water mark is at the limit, so only the limit itself holds.
    let limits = Limits::default()
        .low_water(LIMIT)
        .high_water(LIMIT)
        .output(LIMIT)
        .overflow(Overflow::DropMessage);
    let server = TestServer::start(narrow(Lines::new()).limits(limits), recorder);
    let mut client = server.connect();
    for round in 1..20 {
        client.send(format!("{}\n", "z".repeat(round)).as_bytes());
    }
    client.finish();
    for line in client.receive_rest().split(|byte| *byte == b'\n') {
        assert!(line.iter().all(|byte| *byte == b'y'));
    }
    let ending = events.close();
    assert!(ending.stats.dropped > 0, "the limit was met");
    assert_eq!(ending.stats.messages_out + ending.stats.dropped, 19 * 50);
    assert!(
        (LIMIT / 2..=LIMIT).contains(&highest.load(Ordering::Relaxed)),
        "{highest:?}"
    );
    server.finish(&events);
}

#[test]
fn an_echo_to_a_peer_that_does_not_read_stops_at_the_high_water_mark() {
    let (recorder, events) = Recorder::<Raw>::new();
    let highest = Arc::new(AtomicUsize::new(0));
    let seen = highest.clone();
    let recorder = recorder.without_messages().on_message(move |conn, bytes| {
        conn.send(bytes);
        seen.fetch_max(conn.write_buffer_len(), Ordering::Relaxed);
    });
    let limits = Limits::default();
    let server = TestServer::start(narrow(Raw).limits(limits), recorder);
    let mut client = server.connect();
    let payload = pattern(1, 32 << 20);
    let mut writer = client.second_half();
    let to_write = payload.clone();
    let writing = std::thread::spawn(move || writer.send(&to_write));
    let mut neighbour = server.connect();
    for _ in 0..200 {
        neighbour.ping();
    }
    assert!(client.receive(payload.len()) == payload);
    writing.join().unwrap();
    // The answers to one read at most are above the mark.
    assert!(
        highest.load(Ordering::Relaxed) <= limits.high_water + 64 * 1024,
        "{highest:?}"
    );
    server.finish(&events);
}

#[test]
fn a_peer_that_reads_nothing_is_dropped_after_the_write_stall_timeout() {
    let timeout = Duration::from_millis(150);
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.on_message(|conn, _| {
        conn.send(&vec![0; FLOOD]);
    });
    let server = TestServer::start(narrow(Raw).write_stall_timeout(Some(timeout)), recorder);
    let mut client = server.connect();
    let start = Instant::now();
    client.send(b"go");
    assert_eq!(events.close_reason(), "Timeout(WriteStall)");
    assert!(start.elapsed() >= timeout);
    client.expect_reset();
    server.finish(&events);
}

#[test]
fn a_peer_that_reads_a_little_now_and_then_does_not_stall() {
    support::unless_held_up(|| {
        let timeout = Duration::from_millis(500);
        let (recorder, events) = Recorder::<Raw>::new();
        let recorder = recorder.on_message(|conn, _| {
            conn.send(&vec![0; FLOOD]);
        });
        let server = TestServer::start(narrow(Raw).write_stall_timeout(Some(timeout)), recorder);
        let mut client = server.connect();
        let start = Instant::now();
        client.send(b"go");
        let (mut left, mut begun) = (FLOOD, Vec::new());
        // The pieces last for several timeouts, and each timeout sees progress.
        while left > 0 {
            let is_over = start.elapsed() >= 5 * timeout / 2;
            let piece = if is_over { left } else { FLOOD / 256 }.min(left);
            begun.push(Instant::now());
            if client.try_receive(piece).is_err() {
                let recent = begun.iter().filter(|at| at.elapsed() < timeout);
                assert!(recent.count() < 25, "cut off while it read");
                return false;
            }
            left -= piece;
            std::thread::sleep(timeout / 50);
        }
        client.finish();
        client.expect_eof();
        assert_eq!(events.close_reason(), "Peer");
        server.finish(&events);
        true
    });
}

#[test]
fn a_connection_without_output_never_stalls() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.on_message(|conn, bytes| {
        conn.send(bytes);
    });
    let server = TestServer::start(
        listen(Raw).write_stall_timeout(Some(Duration::from_millis(20))),
        recorder,
    );
    let mut client = server.connect();
    client.ping();
    let (ticks, ticked) = channel();
    let every = server
        .handle()
        .run_every(Duration::from_millis(20), move || {
            let _ = ticks.send(());
        });
    (0..5).for_each(|_| ticked.recv_timeout(DEADLINE).unwrap());
    every.cancel();
    client.ping();
    assert_eq!(events.count(|event| matches!(event, Event::Close(..))), 0);
    server.finish(&events);
}

#[test]
fn one_stalled_reader_does_not_delay_the_others() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.without_messages().on_message(|conn, bytes| {
        if bytes == b"flood" {
            conn.send(&vec![0; FLOOD]);
        } else {
            conn.send(bytes);
        }
    });
    let server = TestServer::start(narrow(Raw), recorder);
    let mut stalled: Vec<_> = (0..10).map(|_| server.connect()).collect();
    for client in &mut stalled {
        client.send(b"flood");
        client.receive(1);
    }
    let mut others: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for _ in 0..20 {
        others.iter_mut().for_each(|client| client.ping());
    }
    server.finish(&events);
}

#[test]
fn a_stream_fed_from_on_drained_arrives_whole() {
    const TOTAL: usize = 16 << 20;
    let payload = Arc::new(pattern(2, TOTAL));
    let (recorder, events) = Recorder::<Raw>::new();
    let feed = move |conn: &mut Conn<'_, Raw>| {
        loop {
            let sent = conn.stats().bytes_out as usize + conn.write_buffer_len();
            let piece = &payload[sent..TOTAL.min(sent + 50_000)];
            if piece.is_empty() {
                return conn.close();
            }
            if conn.send(piece) == SendStatus::AboveHighWater {
                return;
            }
        }
    };
    let feed_on = feed.clone();
    let recorder = recorder.on_open(feed).on_drained(feed_on);
    let server = TestServer::start(narrow(Raw), recorder);
    let mut client = server.connect();
    assert!(client.receive_rest() == pattern(2, TOTAL));
    drop(client);
    assert_eq!(events.close_reason(), "Local");
    assert!(events.count(|event| matches!(event, Event::Drained(_))) > 1);
    server.finish(&events);
}

/// Messages that go to the socket directly were not counted, so code that sends until it is told to wait sent for ever.
#[test]
fn a_peer_that_reads_fast_is_pressure_too() {
    for size in [4 * 1024, 16 * 1024, 100_000] {
        let (counts, sent) = channel();
        let (recorder, events) = Recorder::<Raw>::new();
        let recorder = recorder.on_message(move |conn, _| {
            let piece = vec![7; size];
            let statuses = std::iter::repeat_with(|| conn.send(&piece)).take(1_000);
            let queued = statuses.take_while(|status| *status == SendStatus::Queued);
            counts.send(queued.count() + 1).unwrap();
        });
        let server = TestServer::start(listen(Raw), recorder);
        let mut client = server.connect();
        client.send(b"go");
        let bytes = take(&sent) * size;
        assert!(bytes <= 1 << 20, "{bytes} bytes in one callback");
        assert_eq!(client.receive(bytes), vec![7; bytes]);
        drop(client);
        server.finish(&events);
    }
}

#[test]
fn flush_sends_before_the_callback_returns() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (received, is_received) = channel();
    let is_received = std::sync::Mutex::new(is_received);
    let recorder = recorder.on_message(move |conn, _| {
        conn.send(b"now");
        conn.flush();
        assert_eq!(conn.write_buffer_len(), 0);
        is_received
            .lock()
            .unwrap()
            .recv_timeout(DEADLINE)
            .expect("the client has it while the callback runs");
        conn.send(b"then");
    });
    let server = TestServer::start(listen(Raw), recorder);
    let mut client = server.connect();
    client.send(b"go");
    assert_eq!(client.receive(3), b"now");
    received.send(()).unwrap();
    assert_eq!(client.receive(4), b"then");
    server.finish(&events);
}

#[test]
fn paused_reading_holds_messages_back_and_resuming_delivers_them_all() {
    let (recorder, events) = Recorder::<Lines>::new();
    let (handles, lent) = channel();
    let recorder = recorder.on_message(move |conn, line| {
        if line == b"pause" {
            conn.pause_reading();
            handles.send(conn.handle()).unwrap();
        } else {
            conn.send(text(line));
        }
    });
    let server = TestServer::start(listen(Lines::new()), recorder);
    let mut client = server.connect();
    let mut neighbour = server.connect();
    client.send(b"before\npause\nin the burst\n");
    assert_eq!(client.receive(7), b"before\n");
    let paused = lent.recv_timeout(DEADLINE).unwrap();
    let long: String = (0..20_000)
        .map(|number| format!("held back {number}\n"))
        .collect();
    let mut writer = client.second_half();
    let to_write = long.clone();
    let writing = std::thread::spawn(move || writer.send(to_write.as_bytes()));
    (0..20).for_each(|_| neighbour.ping());
    assert!(events.messages()[2..].iter().all(|line| line == b"ping"));
    paused.run(|conn| conn.resume_reading()).unwrap();
    assert_eq!(client.receive(13), b"in the burst\n");
    assert!(client.receive(long.len()) == long.as_bytes());
    writing.join().unwrap();
    server.finish(&events);
}

#[test]
fn a_pause_in_every_message_delivers_one_at_a_time() {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder
        .on_message(|conn, line| {
            conn.pause_reading();
            conn.send(text(line));
            conn.set_timer(Duration::ZERO, 0).unwrap();
        })
        .on_timer(|conn, _| conn.resume_reading());
    let server = TestServer::start(listen(Lines::new()), recorder);
    let mut client = server.connect();
    let lines: String = (0..200).map(|number| format!("{number}\n")).collect();
    assert_eq!(client.ask(lines.as_bytes()), lines.as_bytes());
    server.finish(&events);
}
