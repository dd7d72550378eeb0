//! Sources: what is larger than the output is drawn while the peer reads.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use ringwheel::protocol::{Lines, Raw};
use ringwheel::{Conn, Limits, Overflow, Refusal, SendOutcome, SendStatus, SourceStep};
use support::{Client, Recorder, TestServer, deliberate_panic, lending, listen, pattern, take};

const LIMIT: usize = 64 * 1024;
const PIECE: usize = 16 * 1024;

fn limits() -> Limits {
    Limits::default()
        .low_water(16 * 1024)
        .high_water(32 * 1024)
        .output(LIMIT)
        .overflow(Overflow::Refuse)
        .sources(3)
}

/// Makes a source that sends these bytes in pieces.
fn source(bytes: Vec<u8>) -> impl FnMut(&mut Conn<'_, Raw>) -> SourceStep + 'static {
    let mut sent = 0;
    move |conn| {
        assert!(conn.write_buffer_len() <= 16 * 1024, "above low water");
        let piece = &bytes[sent..bytes.len().min(sent + PIECE)];
        assert!(conn.send(piece).is_queued());
        sent += piece.len();
        match sent == bytes.len() {
            true => SourceStep::Done,
            false => SourceStep::More,
        }
    }
}

#[test]
fn a_body_far_above_the_limit_arrives_whole_before_the_close() {
    let body = pattern(1, 100 * LIMIT);
    let (recorder, events) = Recorder::<Raw>::new();
    let (done, outcomes) = channel();
    let to_send = body.clone();
    let recorder = recorder.on_message(move |conn, _| {
        let done = done.clone();
        let source = source(to_send.clone());
        let status = conn.send_from_then(source, move |outcome| done.send(outcome).unwrap());
        assert_eq!(status, SendStatus::Queued);
        conn.close();
        assert!(!conn.is_open());
        assert_eq!(conn.send(b"x"), SendStatus::Refused(Refusal::Closing));
        assert_eq!(
            conn.send_from(|_| SourceStep::Done),
            SendStatus::Refused(Refusal::Closing)
        );
    });
    let listen = listen(Raw).limits(limits()).send_buffer_size(16 * 1024);
    let server = TestServer::start(listen, recorder);
    let mut client = Client::connect_narrow(server.addr());
    client.send(b"a");
    // What comes behind the close is not delivered.
    client.send(b"b");
    assert!(client.receive_rest() == body);
    client.finish();
    assert_eq!(take(&outcomes), SendOutcome::Written);
    assert_eq!(events.close_reason(), "Local");
    assert_eq!(events.messages().len(), 1);
    server.finish(&events);
    assert!(outcomes.try_recv().is_err());
}

#[test]
fn our_end_of_the_stream_waits_for_the_sources() {
    let body = pattern(2, 10 * LIMIT);
    let (recorder, events) = Recorder::<Raw>::new();
    let to_send = body.clone();
    let recorder = recorder.on_message(move |conn, message| match message {
        b"a" => {
            conn.send_from(source(to_send.clone()));
            conn.shutdown_write();
        }
        _ => conn.close(),
    });
    let server = TestServer::start(listen(Raw).limits(limits()), recorder);
    let mut client = server.connect();
    client.send(b"a");
    assert!(client.receive_rest() == body);
    client.send(b"still heard");
    client.finish();
    assert_eq!(events.close_reason(), "Local");
    server.finish(&events);
}

#[test]
fn sources_follow_one_another_and_sends_wait_for_none() {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder.on_message(|conn, _| {
        for name in ["a", "b"] {
            let mut number = 0;
            conn.send_from(move |conn| {
                number += 1;
                conn.send(&format!("{name}{number}"));
                match number {
                    1 if name == "a" => {
                        conn.send_from(|conn| {
                            conn.send("c");
                            conn.close();
                            SourceStep::Done
                        });
                        SourceStep::More
                    }
                    3 => SourceStep::Done,
                    _ => SourceStep::More,
                }
            });
        }
        conn.send("at once");
    });
    let server = TestServer::start(listen(Lines::new()).limits(limits()), recorder);
    let mut client = server.connect();
    client.send(b"go\n");
    let received = String::from_utf8(client.receive_rest()).unwrap();
    let lines: Vec<_> = received.lines().collect();
    assert_eq!(lines, ["at once", "a1", "a2", "a3", "b1", "b2", "b3", "c"]);
    client.finish();
    server.finish(&events);
}

#[test]
fn a_source_that_waits_is_called_again_when_it_is_resumed() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (recorder, handles) = lending(recorder);
    let (called, calls) = channel();
    let recorder = recorder.on_message(move |conn, message| {
        if message != b"go" {
            conn.send(b"reply");
            return;
        }
        let called = called.clone();
        let mut count = 0;
        conn.send_from(move |conn| {
            count += 1;
            called.send(count).unwrap();
            match count {
                1 => SourceStep::Wait,
                // Nothing is sent, so it waits, too.
                2 => SourceStep::More,
                _ => {
                    conn.send(b"done");
                    SourceStep::Done
                }
            }
        });
    });
    let server = TestServer::start(listen(Raw).limits(limits()), recorder);
    let mut client = server.connect();
    let handle = take(&handles);
    client.send(b"go");
    for expected in [1, 2] {
        assert_eq!(take(&calls), expected);
        // Other turns do not wake it.
        client.send(b"x");
        assert_eq!(client.receive(5), b"reply");
        assert!(calls.try_recv().is_err());
        handle.run(|conn| conn.resume_sources()).unwrap();
    }
    assert_eq!(client.receive(4), b"done");
    client.finish();
    server.finish(&events);
}

/// A close that waits for sources reads no more, so the rest of a message that has begun is not missed: the message timeout cut
/// such a close off.
#[test]
fn a_close_that_waits_for_a_source_needs_no_rest_of_a_message() {
    let (recorder, events) = Recorder::<Lines>::new();
    let (recorder, handles) = lending(recorder);
    let listen = listen(Lines::new()).message_timeout(Duration::from_millis(100));
    let server = TestServer::start(listen, recorder);
    let mut client = server.connect();
    let handle = take(&handles);
    client.send(b"first\npart");
    assert_eq!(events.message(), b"first");
    let mut is_resumed = false;
    let closed = handle.run(move |conn| {
        conn.send_from(move |conn| {
            if !std::mem::replace(&mut is_resumed, true) {
                return SourceStep::Wait;
            }
            conn.send("body");
            SourceStep::Done
        });
        conn.close();
    });
    assert!(closed.is_ok());
    // The same message of another client ends that one later.
    let mut other = server.connect();
    other.send(b"part");
    assert!(other.receive_rest().is_empty());
    handle.resume_sources().unwrap();
    assert_eq!(client.receive_rest(), b"body\n");
    client.finish();
    server.finish(&events);
}

/// Anything but an orderly close loses what was not drawn: the peer sees a reset, and the completion is told once.
#[test]
fn an_end_that_does_not_wait_tells_that_the_body_is_lost() {
    type End = fn(&mut Conn<'_, Raw>);
    let ends: [(&str, End); 3] = [
        ("Aborted", |conn| conn.abort()),
        ("Panic", |_| deliberate_panic()),
        ("Panic", |conn| {
            _ = conn.send_from(|_| deliberate_panic());
            conn.resume_sources();
        }),
    ];
    for (reason, end) in ends {
        let (recorder, events) = Recorder::<Raw>::new();
        let (done, outcomes) = channel();
        let recorder = recorder.on_message(move |conn, message| {
            if message == b"end" {
                return end(conn);
            }
            let done = done.clone();
            let mut calls = 0;
            let source = move |conn: &mut Conn<'_, Raw>| {
                calls += 1;
                conn.send(b"half a body");
                if calls == 1 {
                    SourceStep::Wait
                } else {
                    SourceStep::Done
                }
            };
            conn.send_from_then(source, move |outcome| done.send(outcome).unwrap());
        });
        let server = TestServer::start(listen(Raw).limits(limits()), recorder);
        let mut client = server.connect();
        client.send(b"go");
        assert_eq!(client.receive(11), b"half a body");
        client.send(b"end");
        assert_eq!(events.close_reason(), reason);
        let outcome = take(&outcomes);
        // In the last case the first source ends before the second one panics.
        assert!(matches!(outcome, SendOutcome::Lost | SendOutcome::Written));
        let _ = client.drain();
        client.expect_ended();
        server.finish(&events);
        assert!(outcomes.try_recv().is_err());
    }
}

#[test]
fn sources_beyond_the_limit_are_refused() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (done, outcomes) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        let statuses = [0; 4].map(|_| {
            let done = done.clone();
            conn.send_from_then(|_| SourceStep::Wait, move |it| done.send(it).unwrap())
        });
        assert_eq!(statuses[..3], [SendStatus::Queued; 3]);
        assert_eq!(statuses[3], SendStatus::Refused(Refusal::Sources));
        conn.abort();
    });
    let server = TestServer::start(listen(Raw).limits(limits()), recorder);
    let mut client = server.connect();
    client.send(b"go");
    assert_eq!(take(&outcomes), SendOutcome::Refused(Refusal::Sources));
    for _ in 0..3 {
        assert_eq!(take(&outcomes), SendOutcome::Lost);
    }
    client.expect_ended();
    server.finish(&events);
}

/// In one turn no more than the budget is drawn, whatever the socket takes.
#[test]
fn a_source_does_not_keep_the_worker_to_itself() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (drawn, per_iteration) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        let drawn = drawn.clone();
        let this = Rc::new(Cell::new((Duration::ZERO, 0usize)));
        let mut left = 64 * LIMIT;
        conn.send_from(move |conn| {
            let (at, bytes) = this.get();
            let bytes = if at == conn.now() { bytes } else { 0 };
            conn.send(&[b'.'; PIECE]);
            this.set((conn.now(), bytes + PIECE));
            drawn.send(bytes + PIECE).unwrap();
            left -= PIECE;
            if left == 0 {
                SourceStep::Done
            } else {
                SourceStep::More
            }
        });
        conn.close();
    });
    let listen = listen(Raw)
        .limits(limits().low_water(32 * 1024))
        .send_buffer_size(4 * 1024 * 1024);
    let server = TestServer::start(listen, recorder);
    let mut client = server.connect();
    client.send(b"go");
    assert_eq!(client.receive_rest().len(), 64 * LIMIT);
    client.finish();
    events.close();
    server.finish(&events);
    // An iteration may hold one turn for the event and another from the ready list.
    let most = per_iteration.try_iter().max().unwrap();
    assert!(
        most <= 2 * (256 * 1024 + PIECE),
        "{most} bytes in one iteration"
    );
}

/// Progress that the kernel shows in large steps was taken for none, and the peer was reset.
#[test]
fn a_peer_that_reads_steadily_gets_all_of_a_source_before_the_close() {
    const RATE: u32 = 64 * 1024;
    let body = pattern(5, 640 * 1024);
    let (recorder, events) = Recorder::<Raw>::new();
    let to_send = body.clone();
    let recorder = recorder.on_message(move |conn, _| {
        conn.send_from(source(to_send.clone()));
        conn.close();
    });
    let listen = listen(Raw)
        .limits(limits())
        .min_send_rate(RATE)
        .close_timeout(Duration::from_millis(100));
    let server = TestServer::start(listen, recorder);
    let mut client = server.connect();
    client.send(b"go");
    let begin = Instant::now();
    let mut received = Vec::new();
    while received.len() < body.len() {
        received.extend(client.receive(4 * 1024));
        // Twice the least rate.
        let due = Duration::from_secs(received.len() as u64) / (2 * RATE);
        thread::sleep(due.saturating_sub(begin.elapsed()));
    }
    assert!(received == body);
    client.expect_eof();
    drop(client);
    server.finish(&events);
}
