//! Every open has exactly one close with the right reason, whatever ends the connection, and no output is lost
//! needlessly.

use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ringwheel::protocol::{
    Decode, Encode, LengthPrefixed, Lines, Output, PackError, Protocol, Raw, UnpackContext,
    Unpacked,
};
use ringwheel::{Conn, ConnHandle, Limits, Refusal, SendError, SendOutcome, SendStatus};
use support::{
    Client, DEADLINE, Event, Events, Recorder, TestServer, deliberate_panic, eventually, listen,
    listen_roomy, pattern, take, text,
};

/// Raw bytes, except for some words that make the protocol fail.
#[derive(Clone, Copy)]
struct Fragile;

#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refused {}

impl Protocol for Fragile {
    type Decoder = Fragile;
    type Encoder = Fragile;

    fn open(&self) -> (Fragile, Fragile) {
        (Fragile, Fragile)
    }
}

impl Decode for Fragile {
    type Encoder = Fragile;
    type Message<'a> = &'a [u8];
    type Error = Refused;

    fn unpack<'a>(
        &'a mut self,
        input: &'a mut [u8],
        context: &mut UnpackContext<'_, Fragile>,
    ) -> Result<Unpacked<&'a [u8]>, Refused> {
        match &*input {
            b"panic in unpack" => deliberate_panic(),
            b"refuse" => {
                context.output.put_slice(b"farewell");
                Err(Refused)
            }
            _ => Ok(Unpacked::Message {
                consumed: input.len(),
                message: input,
            }),
        }
    }
}

impl Encode for Fragile {
    type Item<'a> = &'a [u8];
    type Owned = Bytes;

    fn borrow(owned: &Bytes) -> &[u8] {
        owned
    }

    fn owned_size(owned: &Bytes) -> usize {
        owned.len()
    }

    fn pack(&mut self, item: &[u8], output: &mut Output) -> Result<(), PackError> {
        output.put_slice(item);
        if item == b"panic in pack" {
            deliberate_panic();
        }
        Ok(())
    }
}

/// A handler that echoes, and obeys some words as commands.
fn obedient() -> (Recorder<Fragile>, Events) {
    let (recorder, events) = Recorder::<Fragile>::new();
    let recorder = recorder.on_message(|conn, bytes| match bytes {
        b"close" => conn.close(),
        b"abort" => conn.abort(),
        b"timer" => {
            conn.set_timer(Duration::ZERO, 7).unwrap();
        }
        b"panic" => deliberate_panic(),
        b"panic in completion" => {
            conn.send_then(b"x", |_| deliberate_panic());
        }
        bytes => {
            conn.send(bytes);
        }
    });
    (recorder, events)
}

#[test]
fn the_peers_end_between_messages_is_peer() {
    let (recorder, events) = Recorder::<Lines>::new();
    let server = TestServer::start(listen(Lines::new()), recorder);
    let mut client = server.connect();
    client.send(b"whole\n");
    client.finish();
    client.expect_eof();
    assert_eq!(events.close_reason(), "Peer");
    assert_eq!(events.messages(), [b"whole"]);
    server.finish(&events);
}

#[test]
fn the_peers_end_in_a_message_is_truncated() {
    let (recorder, events) = Recorder::<Lines>::new();
    let server = TestServer::start(listen(Lines::new()), recorder);
    let mut client = server.connect();
    client.send(b"whole\nhal");
    client.finish();
    client.expect_eof();
    assert_eq!(events.close_reason(), "Truncated");
    assert_eq!(events.messages(), [b"whole"]);
    server.finish(&events);
}

#[test]
fn the_peers_end_in_a_large_message_is_truncated() {
    let (recorder, events) = Recorder::<LengthPrefixed>::new();
    let server = TestServer::start(listen(LengthPrefixed::u32_be()), recorder);
    let mut client = server.connect();
    client.send(&200_000u32.to_be_bytes());
    client.send(&pattern(1, 199_999));
    drop(client);
    assert_eq!(events.close_reason(), "Truncated");
    server.finish(&events);
}

#[test]
fn pending_output_reaches_a_peer_that_ended_within_a_message() {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder.on_message(|conn, _| {
        conn.send("answer");
    });
    let server = TestServer::start(listen(Lines::new()), recorder);
    let mut client = server.connect();
    client.send(b"question\nhal");
    client.finish();
    assert_eq!(client.receive_rest(), b"answer\n");
    assert_eq!(events.close_reason(), "Truncated");
    server.finish(&events);
}

#[test]
fn a_connection_that_says_nothing_is_opened_and_closed() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile), recorder);
    drop(server.connect());
    assert!(matches!(events.next(), Event::Open(_)));
    assert!(matches!(events.next(), Event::HalfClose(_)));
    assert_eq!(events.close_reason(), "Peer");
    server.finish(&events);
}

#[test]
fn close_in_on_message_is_local() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile), recorder);
    let mut client = server.connect();
    client.send(b"close");
    client.expect_eof();
    drop(client);
    assert_eq!(events.close_reason(), "Local");
    server.finish(&events);
}

#[test]
fn close_in_on_open_is_local_and_sends_what_was_queued_before() {
    let (recorder, events) = obedient();
    let recorder = recorder.on_open(|conn| {
        conn.send(b"no room");
        conn.close();
        assert_eq!(
            conn.send(b"too late"),
            SendStatus::Refused(Refusal::Closing)
        );
        assert!(!conn.is_open());
    });
    let server = TestServer::start(listen(Fragile), recorder);
    let mut client = server.connect();
    assert_eq!(client.receive_rest(), b"no room");
    drop(client);
    assert_eq!(events.close_reason(), "Local");
    server.finish(&events);
}

#[test]
fn close_in_on_timer_is_local() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile), recorder.on_timer(|conn, _| conn.close()));
    let mut client = server.connect();
    client.send(b"timer");
    client.expect_eof();
    drop(client);
    assert_eq!(events.close_reason(), "Local");
    server.finish(&events);
}

#[test]
fn close_in_on_half_close_is_peer_because_the_peer_ended_first() {
    let (recorder, events) = obedient();
    let recorder = recorder.on_half_close(|conn| {
        conn.send(b"goodbye");
        conn.close();
    });
    let server = TestServer::start(listen(Fragile), recorder);
    let mut client = server.connect();
    client.finish();
    assert_eq!(client.receive_rest(), b"goodbye");
    assert_eq!(events.close_reason(), "Peer");
    server.finish(&events);
}

#[test]
fn close_in_on_drained_is_local() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder
        .on_message(|conn, _| send_until_above_high_water(conn))
        .on_drained(|conn| conn.close());
    let server = TestServer::start(listen(Raw), recorder);
    let mut client = server.connect();
    client.send(b"go");
    assert!(client.drain().unwrap() > 0);
    drop(client);
    assert_eq!(events.close_reason(), "Local");
    server.finish(&events);
}

/// Waits until so many connections are left, also of those that linger without the handler.
#[track_caller]
fn eventually_left(server: &TestServer, count: usize) {
    eventually("connections are gone", || {
        server.handle().stats().connections == count
    });
}

fn send_until_above_high_water(conn: &mut Conn<'_, Raw>) {
    while conn.send(&[b'.'; 4096]) == SendStatus::Queued {}
}

/// Leaves output pending, however much the kernel takes.
fn send_more_than_fits(conn: &mut Conn<'_, Raw>) {
    assert_eq!(conn.send(&vec![b'.'; 6 << 20]), SendStatus::AboveHighWater);
}

#[test]
fn abort_resets_and_loses_pending_output() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile), recorder);
    let mut client = server.connect();
    client.send(b"abort");
    client.expect_reset();
    assert_eq!(events.close_reason(), "Aborted");
    server.finish(&events);
}

#[test]
fn abort_in_on_open_resets() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile), recorder.on_open(|conn| conn.abort()));
    // The reset may arrive before `connect` has returned.
    match Client::try_connect(server.addr()) {
        Ok(mut client) => client.expect_reset(),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    assert_eq!(events.close_reason(), "Aborted");
    server.finish(&events);
}

#[test]
fn abort_in_any_callback_resets() {
    type Script = fn(Recorder<Fragile>) -> Recorder<Fragile>;
    let in_timer: Script = |recorder| recorder.on_timer(|conn, _| conn.abort());
    let in_half_close: Script = |recorder| recorder.on_half_close(|conn| conn.abort());
    let after_close: Script = |recorder| {
        recorder.on_timer(|conn, _| {
            conn.close();
            conn.abort();
        })
    };
    let scripts = [(in_timer, &b"timer"[..], false), (in_half_close, b"", true)];
    for (script, trigger, finishes) in scripts {
        let (recorder, events) = obedient();
        let server = TestServer::start(listen(Fragile), script(recorder));
        let mut client = server.connect();
        client.send(trigger);
        if finishes {
            client.finish();
        }
        client.expect_reset();
        assert_eq!(events.close_reason(), "Aborted");
        server.finish(&events);
    }
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile), after_close(recorder));
    let mut client = server.connect();
    client.send(b"timer");
    client.expect_reset();
    assert_eq!(
        events.close_reason(),
        "Local",
        "the first cause counts if no output was lost"
    );
    server.finish(&events);
}

#[test]
fn a_reset_by_the_peer_is_io() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile), recorder);
    let mut client = server.connect();
    client.ping();
    client.reset();
    assert!(events.close_reason().starts_with("Io("));
    server.finish(&events);
}

#[test]
fn a_reset_is_noticed_although_reading_is_paused() {
    let (recorder, events) = obedient();
    let server = TestServer::start(
        listen(Fragile),
        recorder.on_open(|conn| conn.pause_reading()),
    );
    let client = server.connect();
    events.open();
    client.reset();
    assert!(events.close_reason().starts_with("Io("));
    server.finish(&events);
}

#[test]
fn a_reset_is_noticed_although_the_peer_had_ended_its_stream() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile), recorder.on_half_close(|_| {}));
    let mut client = server.connect();
    client.finish();
    events.half_close();
    client.reset();
    assert!(events.close_reason().starts_with("Io("));
    server.finish(&events);
}

#[test]
fn a_reset_while_output_is_pending_is_io() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (blocked, is_blocked) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        send_more_than_fits(conn);
        blocked.send(()).unwrap();
    });
    let server = TestServer::start(listen_roomy(Raw).send_buffer_size(128 * 1024), recorder);
    let mut client = server.connect();
    client.send(b"go");
    is_blocked.recv_timeout(DEADLINE).unwrap();
    client.reset();
    assert!(events.close_reason().starts_with("Io("));
    server.finish(&events);
}

#[test]
fn a_reset_that_loses_the_output_of_a_close_is_told_by_its_completion() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (told, outcome) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        let told = told.clone();
        conn.send_then(&vec![b'.'; 6 << 20], move |outcome| {
            told.send(outcome).unwrap();
        });
        conn.close();
    });
    let server = TestServer::start(listen_roomy(Raw).send_buffer_size(128 * 1024), recorder);
    let mut client = server.connect();
    client.send(b"go");
    events.message();
    assert_eq!(events.close_reason(), "Local");
    client.reset();
    assert_eq!(take(&outcome), SendOutcome::Lost);
    eventually_left(&server, 0);
    assert_eq!(server.handle().stats().output_lost, 1);
    server.finish(&events);
}

/// The handler was told of the end only once the peer had ended its stream, or after the close timeout: a user that was sent
/// away, or had broken the protocol, stayed in its tables for that long.
#[test]
fn the_handler_is_told_of_the_end_although_the_peer_is_silent() {
    for (word, reason) in [
        (&b"close"[..], "Local"),
        (b"refuse", "Protocol(Refused)"),
        (b"panic", "Panic"),
        (b"panic in unpack", "Panic"),
        (b"shutdown", "Local"),
    ] {
        let (recorder, events, handles) = lending();
        let listen = listen(Fragile).close_timeout(Duration::from_secs(3600));
        let server = TestServer::start(listen, recorder);
        let mut client = server.connect();
        let handle = take(&handles);
        let sent = match word {
            b"shutdown" => handle.close().is_ok(),
            word => client.try_send(word).is_ok(),
        };
        assert!(sent);
        assert_eq!(events.close_reason(), reason);
        assert!(!handle.is_alive());
        assert_eq!(handle.close(), Err(SendError::Closed(())));
        // The socket lingers without the handler.
        assert_eq!(server.handle().stats().connections, 1);
        client.finish();
        eventually_left(&server, 0);
        server.finish(&events);
    }
}

/// Messages that are on their way when the handler is told of the end have their completions afterwards.
#[test]
fn completions_come_after_the_end_once_the_output_has_left() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (told, outcome) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        let told = told.clone();
        conn.send_then(&vec![b'.'; 6 << 20], move |outcome| {
            told.send(outcome).unwrap();
        });
        conn.close();
    });
    let server = TestServer::start(listen_roomy(Raw).send_buffer_size(128 * 1024), recorder);
    let mut client = server.connect();
    client.send(b"go");
    assert_eq!(events.close_reason(), "Local");
    assert!(outcome.try_recv().is_err(), "the peer has read nothing");
    assert_eq!(client.drain().unwrap(), 6 << 20);
    assert_eq!(take(&outcome), SendOutcome::Written);
    server.finish(&events);
}

/// Subscriptions, timers and visits end with the connection, although its socket lingers.
#[test]
fn nothing_reaches_the_handler_after_the_end() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder
        .on_open(|conn| _ = conn.subscribe("room").unwrap())
        .on_message(|conn, _| {
            conn.set_interval(Duration::from_millis(1), 1).unwrap();
            conn.close();
        });
    let listen = listen(Raw).close_timeout(Duration::from_secs(3600));
    let server = TestServer::start(listen, recorder);
    let (mut client, other) = (server.connect(), server.connect());
    client.send(b"go");
    events.close();
    let connections = server.handle().connections_of::<Recorder<Raw>>().unwrap();
    let (told, counts) = channel();
    connections
        .on_worker(0, move |_, connections| {
            told.send((connections.subscribers("room"), connections.ids().len()))
                .unwrap();
        })
        .unwrap();
    assert_eq!(take(&counts), (1, 1));
    assert_eq!(server.handle().stats().connections, 2);
    server.let_pass(Duration::from_millis(20));
    drop((client, other));
    server.finish(&events);
}

#[test]
fn a_protocol_error_ends_the_connection_after_its_farewell() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile), recorder);
    let mut client = server.connect();
    client.ping();
    client.send(b"refuse");
    assert_eq!(client.receive_rest(), b"farewell");
    drop(client);
    assert_eq!(events.close_reason(), "Protocol(Refused)");
    server.finish(&events);
}

#[test]
fn a_protocol_error_does_not_lose_the_answers_before_it() {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder.on_message(|conn, line| {
        conn.send(text(line));
    });
    let server = TestServer::start(listen(Lines::new().max_length(8)), recorder);
    let mut client = server.connect();
    client.send(b"one\ntwo\nmuch too long\nthree\n");
    assert_eq!(client.receive_rest(), b"one\ntwo\n");
    drop(client);
    assert_eq!(events.close_reason(), "Protocol(TooLong { limit: 8 })");
    server.finish(&events);
}

#[test]
fn after_close_no_message_of_the_burst_is_delivered() {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder.on_message(|conn, line| {
        if line == b"close" {
            conn.close();
        }
    });
    let server = TestServer::start(listen(Lines::new()), recorder);
    let mut client = server.connect();
    client.send(b"one\nclose\nnever\nnever\n");
    client.expect_eof();
    let _ = client.try_send(b"nor this\n");
    drop(client);
    assert_eq!(events.close_reason(), "Local");
    assert_eq!(events.messages(), [&b"one"[..], b"close"]);
    server.finish(&events);
}

#[test]
fn after_abort_no_message_of_the_burst_is_delivered() {
    let (recorder, events) = Recorder::<Lines>::new();
    let server = TestServer::start(
        listen(Lines::new()),
        recorder.on_message(|conn, _| conn.abort()),
    );
    let mut client = server.connect();
    client.send(b"one\nnever\n");
    client.expect_reset();
    assert_eq!(events.close_reason(), "Aborted");
    assert_eq!(events.messages(), [b"one"]);
    server.finish(&events);
}

#[test]
fn pending_output_is_flushed_at_a_close() {
    let payload = pattern(2, 4 << 20);
    let (recorder, events) = Recorder::<Raw>::new();
    let to_send = payload.clone();
    let recorder = recorder.on_message(move |conn, _| {
        conn.send(&to_send);
        conn.close();
    });
    let server = TestServer::start(listen_roomy(Raw), recorder);
    let mut client = server.connect();
    client.send(b"go");
    // The client reads nothing before the close has begun.
    events.message();
    assert!(client.receive_rest() == payload);
    drop(client);
    assert_eq!(events.close_reason(), "Local");
    server.finish(&events);
}

#[test]
fn a_close_lingers_until_the_peer_has_ended() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile), recorder);
    let mut neighbour = server.connect();
    let mut client = server.connect();
    client.send(b"close");
    client.expect_eof();
    // The socket still accepts input, so that no reset destroys bytes that the peer has not read yet.
    for _ in 0..10 {
        client.send(&[0; 10_000]);
        neighbour.ping();
    }
    assert_eq!(server.handle().stats().connections, 2);
    client.finish();
    eventually_left(&server, 1);
    assert_eq!(events.close_reason(), "Local");
    server.finish(&events);
}

#[test]
fn a_close_lingers_no_longer_than_its_timeout() {
    let timeout = Duration::from_millis(150);
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile).close_timeout(timeout), recorder);
    let mut client = server.connect();
    let start = Instant::now();
    client.send(b"close");
    client.expect_eof();
    eventually_left(&server, 0);
    assert!(start.elapsed() >= timeout);
    assert_eq!(events.close_reason(), "Local");
    assert_eq!(server.handle().stats().output_lost, 0);
    server.finish(&events);
}

#[test]
fn a_close_that_cannot_flush_times_out() {
    let timeout = Duration::from_millis(150);
    let (recorder, events) = Recorder::<Raw>::new();
    let (told, outcome) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        let told = told.clone();
        conn.send_then(&vec![b'.'; 6 << 20], move |outcome| {
            told.send(outcome).unwrap();
        });
        conn.close();
    });
    let server = TestServer::start(
        listen_roomy(Raw)
            .send_buffer_size(128 * 1024)
            .close_timeout(timeout),
        recorder,
    );
    let mut client = server.connect();
    let start = Instant::now();
    client.send(b"go");
    // The handler has heard of the end when it began; the completion tells what became of the output.
    assert_eq!(events.close_reason(), "Local");
    assert_eq!(take(&outcome), SendOutcome::Lost);
    assert!(start.elapsed() >= timeout);
    client.expect_reset();
    eventually_left(&server, 0);
    assert_eq!(server.handle().stats().output_lost, 1);
    server.finish(&events);
}

/// Makes one connection of a server panic. Checks that it ends with that reason, that a neighbour on the same worker is
/// not affected, and that new connections are served.
#[track_caller]
fn assert_only_the_victim_ends(
    recorder: Recorder<Fragile>,
    events: &Events,
    bring_down: impl FnOnce(&TestServer, &mut Client),
) {
    let server = TestServer::start(listen(Fragile), recorder);
    let mut neighbour = server.connect();
    neighbour.ping();
    let mut victim = server.connect();
    victim.ping();
    bring_down(&server, &mut victim);
    victim.expect_ended();
    drop(victim);
    assert_eq!(events.close_reason(), "Panic");
    neighbour.ping();
    server.connect().ping();
    server.finish(events);
}

#[test]
fn a_panic_in_on_message_ends_only_its_connection() {
    let (recorder, events) = obedient();
    assert_only_the_victim_ends(recorder, &events, |_, victim| victim.send(b"panic"));
}

#[test]
fn a_panic_in_on_timer_ends_only_its_connection() {
    let (recorder, events) = obedient();
    let recorder = recorder.on_timer(|_, _| deliberate_panic());
    assert_only_the_victim_ends(recorder, &events, |_, victim| victim.send(b"timer"));
}

#[test]
fn a_panic_in_on_half_close_ends_only_its_connection() {
    let (recorder, events) = obedient();
    let recorder = recorder.on_half_close(|_| deliberate_panic());
    assert_only_the_victim_ends(recorder, &events, |_, victim| victim.finish());
}

#[test]
fn a_panic_in_on_drained_ends_only_its_connection() {
    let (recorder, events) = obedient();
    let recorder = recorder
        .on_message(|conn, bytes| match bytes {
            b"flood" => while conn.send(&[b'.'; 4096]) == SendStatus::Queued {},
            bytes => {
                conn.send(bytes);
            }
        })
        .on_drained(|_| deliberate_panic());
    assert_only_the_victim_ends(recorder, &events, |_, victim| victim.send(b"flood"));
}

#[test]
fn a_panic_in_the_decoder_ends_only_its_connection() {
    let (recorder, events) = obedient();
    assert_only_the_victim_ends(recorder, &events, |_, victim| {
        victim.send(b"panic in unpack")
    });
}

#[test]
fn a_panic_in_the_encoder_ends_only_its_connection_and_sends_nothing_of_the_item() {
    let (recorder, events) = obedient();
    assert_only_the_victim_ends(recorder, &events, |_, victim| {
        victim.send(b"panic in pack");
        victim.expect_eof();
    });
}

#[test]
fn a_panic_in_a_completion_ends_only_its_connection() {
    let (recorder, events) = obedient();
    assert_only_the_victim_ends(recorder, &events, |_, victim| {
        victim.send(b"panic in completion")
    });
}

/// A handler that echoes and sends the test a handle to each connection.
fn lending() -> (Recorder<Fragile>, Events, Receiver<ConnHandle<Fragile>>) {
    let (recorder, events) = obedient();
    let (handles, lent) = channel();
    (
        recorder.on_open(move |conn| handles.send(conn.handle()).unwrap()),
        events,
        lent,
    )
}

#[test]
fn a_panic_in_a_closure_from_another_thread_ends_only_its_connection() {
    let (recorder, events, handles) = lending();
    assert_only_the_victim_ends(recorder, &events, |_, _| {
        let _neighbour = handles.recv_timeout(DEADLINE).unwrap();
        let victim = handles.recv_timeout(DEADLINE).unwrap();
        victim.run(|_| deliberate_panic()).unwrap();
    });
}

#[test]
fn a_panic_in_the_encoder_of_a_send_from_another_thread_ends_only_its_connection() {
    let (recorder, events, handles) = lending();
    assert_only_the_victim_ends(recorder, &events, |_, _| {
        let _neighbour = handles.recv_timeout(DEADLINE).unwrap();
        let victim = handles.recv_timeout(DEADLINE).unwrap();
        victim.send(Bytes::from_static(b"panic in pack")).unwrap();
    });
}

#[test]
fn a_panic_in_a_visitor_ends_only_its_connection() {
    let (recorder, events) = obedient();
    assert_only_the_victim_ends(recorder, &events, |server, victim| {
        let address = victim.addr();
        let visited = server
            .handle()
            .connections_of::<Recorder<Fragile>>()
            .unwrap()
            .visit(move |conn, _| {
                if *conn.peer_addr() == address {
                    deliberate_panic();
                }
            });
        visited.unwrap();
    });
}

#[test]
fn a_panic_in_a_scheduled_task_ends_nothing() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile), recorder);
    let mut client = server.connect();
    client.ping();
    let (ran, has_run) = channel();
    server
        .handle()
        .run_after(Duration::ZERO, || deliberate_panic());
    server
        .handle()
        .run_after(Duration::from_millis(5), move || ran.send(()).unwrap());
    has_run.recv_timeout(DEADLINE).unwrap();
    client.ping();
    assert_eq!(events.count(|event| matches!(event, Event::Close(..))), 0);
    server.finish(&events);
}

#[test]
fn a_panic_in_on_open_drops_the_connection_and_owes_no_close() {
    let (recorder, events) = obedient();
    let armed = Arc::new(AtomicBool::new(false));
    let is_armed = armed.clone();
    let recorder = recorder.on_open(move |_| {
        if is_armed.load(Ordering::Relaxed) {
            deliberate_panic();
        }
    });
    let server = TestServer::start(listen(Fragile), recorder);
    let mut neighbour = server.connect();
    neighbour.ping();
    armed.store(true, Ordering::Relaxed);
    server.connect().expect_ended();
    armed.store(false, Ordering::Relaxed);
    neighbour.ping();
    server.connect().ping();
    eventually("the dropped connection is no longer counted", || {
        server.handle().connections_per_worker()[0] <= 2
    });
    server.finish(&events);
    let ended = events.count(|event| matches!(event, Event::Close(..)));
    assert_eq!(ended, 2, "the neighbour and the late connection");
}

#[test]
fn a_panic_in_on_close_is_contained() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile), recorder.on_close(|_| deliberate_panic()));
    let mut neighbour = server.connect();
    neighbour.ping();
    let mut client = server.connect();
    client.send(b"close");
    client.expect_eof();
    drop(client);
    assert_eq!(events.close_reason(), "Local");
    neighbour.ping();
    server.connect().ping();
    server.finish(&events);
}

#[test]
fn a_panic_in_on_shutdown_ends_only_its_connection() {
    let (recorder, events) = obedient();
    let recorder = recorder.on_shutdown(|conn| {
        if conn.stats().messages_in > 1 {
            deliberate_panic();
        }
        conn.send(b"last word");
    });
    let server = TestServer::start(listen(Fragile), recorder);
    let [mut victim, mut neighbour] = [server.connect(), server.connect()];
    victim.ping();
    victim.ping();
    neighbour.ping();
    server.handle().shutdown(DEADLINE);
    victim.expect_eof();
    drop(victim);
    assert_eq!(events.close_reason(), "Panic");
    assert_eq!(neighbour.receive_rest(), b"last word");
    drop(neighbour);
    assert_eq!(events.close_reason(), "Shutdown");
    server.join();
    events.assert_lifecycles();
}

#[test]
fn a_slot_is_reused_and_events_of_the_old_connection_do_not_reach_the_new_one() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile), recorder);
    for round in 0..200 {
        let mut client = server.connect();
        client.ping();
        if round % 2 == 0 {
            client.reset()
        } else {
            drop(client)
        }
        let mut next = server.connect();
        next.ping();
        drop(next);
    }
    server.finish(&events);
    assert_eq!(events.count(|event| matches!(event, Event::Open(_))), 400);
}

#[test]
fn every_end_of_a_connection_reduces_the_count() {
    let (recorder, events) = obedient();
    let server = TestServer::start(listen(Fragile), recorder);
    for end in [
        &b"close"[..],
        b"abort",
        b"panic",
        b"refuse",
        b"panic in pack",
    ] {
        let mut client = server.connect();
        client.send(end);
        client.expect_ended();
    }
    eventually("no connection is counted any more", || {
        server.handle().stats().connections == 0
    });
    assert_eq!(server.handle().connections_per_worker(), [0]);
    assert_eq!(server.handle().stats().accepted, 5);
    server.finish(&events);
}

#[test]
fn an_input_limit_ends_the_connection_with_its_reason() {
    let (recorder, events) = Recorder::<LengthPrefixed>::new();
    let listen = listen(LengthPrefixed::u32_be()).limits(Limits::default().input(1000));
    let server = TestServer::start(listen, recorder);
    let mut client = server.connect();
    client.send(&2000u32.to_be_bytes());
    client.expect_eof();
    drop(client);
    assert_eq!(events.close_reason(), "InputLimit");
    server.finish(&events);
}
