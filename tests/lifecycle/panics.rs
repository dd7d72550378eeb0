//! Panics in callbacks and protocols: each ends its own connection and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use ringwheel::protocol::Raw;
use ringwheel::{Conn, Limits, Refusal, SendStatus, SourceStep};
use support::{
    Client, DEADLINE, Event, Events, Recorder, TestServer, deliberate_panic, eventually, listen,
    take,
};

use crate::fragile::{Fragile, lending, obedient};

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

/// Writes these pieces of a message, panics, and catches the panic as a handler may.
fn send_half(conn: &mut Conn<'_, Raw>, pieces: &[&[u8]]) {
    let half = catch_unwind(AssertUnwindSafe(|| {
        conn.encode_with(|_, output| {
            pieces.iter().for_each(|piece| output.put_slice(piece));
            deliberate_panic()
        })
    }));
    assert!(half.is_err());
}

/// The handler catches the panic of its own code, so that the connection goes on.
#[test]
fn a_panic_that_the_handler_catches_leaves_no_half_of_a_message() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.on_message(|conn, _| {
        send_half(conn, &[b"half"]);
        conn.send(b"whole");
    });
    let server = TestServer::start(listen(Raw), recorder);
    let mut client = server.connect();
    client.send(b"go");
    assert_eq!(client.receive(5), b"whole");
    client.finish();
    client.expect_eof();
    server.finish(&events);
}

/// A part has left, and the rest will never come: the peer must not take it for a whole stream.
#[test]
fn a_caught_panic_resets_a_connection_that_has_sent_half_of_a_message() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.on_message(|conn, _| {
        // More than may wait, so that a part is offered to the socket.
        let piece: &[u8] = &[7; 100_000];
        send_half(conn, &[piece; 8]);
        let refused = SendStatus::Refused(Refusal::Closing);
        assert_eq!(conn.send(b"whole"), refused);
    });
    let limits = Limits::default().high_water(200_000).output(400_000);
    let server = TestServer::start(listen(Raw).limits(limits), recorder);
    let mut client = server.connect();
    client.send(b"go");
    client.drain().unwrap_err();
    assert_eq!(events.close_reason(), "Panic");
    server.finish(&events);
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        deliberate_panic()
    }
}

/// A closure that is not called, because the connection is closed and waits for a source, ended the whole worker.
#[test]
fn a_panic_in_the_drop_of_a_closure_that_comes_too_late_ends_nothing() {
    let (handles, closed) = channel();
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.on_message(move |conn, bytes| match bytes {
        b"close" => {
            conn.send_from(|_| SourceStep::Wait);
            conn.close();
            handles.send(conn.handle()).unwrap();
        }
        bytes => _ = conn.send(bytes),
    });
    let server = TestServer::start(listen(Raw), recorder);
    let mut neighbour = server.connect();
    neighbour.ping();
    let mut client = server.connect();
    client.send(b"close");
    let handle = take(&closed);
    let bomb = Bomb;
    handle.run(move |_| drop(bomb)).unwrap();
    neighbour.ping();
    handle.abort().unwrap();
    client.expect_ended();
    drop(client);
    neighbour.ping();
    drop(neighbour);
    server.finish(&events);
}

#[test]
fn a_panic_in_a_completion_ends_only_its_connection() {
    let (recorder, events) = obedient();
    assert_only_the_victim_ends(recorder, &events, |_, victim| {
        victim.send(b"panic in completion")
    });
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
