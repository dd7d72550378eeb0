//! Regressions of the completions of sends.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

use bytes::Bytes;
use ringwheel::protocol::Raw;
use ringwheel::{Refusal, SendOutcome};
use support::{
    Child, Client, DEADLINE, Hold, Recorder, TestServer, deliberate_panic, lending, listen,
    listen_roomy, raw_echo, take,
};

/// A large item whose write met a socket error was reported as written.
#[test]
fn a_large_item_that_meets_a_reset_is_lost() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (hold, grip) = Hold::new();
    let (completed, completions) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        hold.enter();
        for _ in 0..2 {
            let completed = completed.clone();
            conn.send_then(&[0; 64 * 1024], move |delivery| {
                completed.send(delivery).unwrap()
            });
        }
    });
    let server = TestServer::start(listen(Raw), recorder);
    let mut client = server.connect();
    client.send(b"go");
    grip.wait();
    client.reset_and_arrive();
    grip.release();
    // The completions may arrive in another order than the sends: the second send is refused at once, since the peer
    // has gone.
    let mut deliveries = [take(&completions), take(&completions)];
    deliveries.sort_by_key(|delivery| *delivery == SendOutcome::Lost);
    assert_eq!(
        deliveries,
        [SendOutcome::Refused(Refusal::Closing), SendOutcome::Lost]
    );
    assert!(events.close_reason().starts_with("Io("));
    server.finish(&events);
}

/// When `on_open` panicked, its sends' completions were called; one that panicked too ended the worker.
#[test]
fn a_completion_that_panics_after_on_open_panicked_does_not_end_the_worker() {
    if !Child::is_here() {
        return Child::pass(
            "completion_regressions::a_completion_that_panics_after_on_open_panicked_does_not_end_the_worker",
            256,
        );
    }
    let (recorder, events) = raw_echo();
    let armed = Arc::new(AtomicBool::new(true));
    let is_armed = armed.clone();
    let recorder = recorder.on_open(move |conn| {
        if is_armed.load(Ordering::Relaxed) {
            conn.send_then(b"x", |_| deliberate_panic());
            deliberate_panic();
        }
    });
    let server = TestServer::start(listen(Raw), recorder);
    // The reset may arrive before the client knows that it is connected.
    match Client::try_connect(server.addr()) {
        Ok(mut client) => client.expect_ended(),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    armed.store(false, Ordering::Relaxed);
    server.connect().ping();
    server.finish(&events);
}

/// Two completions that were lost with their connection and both panicked aborted the process: the second panicked
/// while the first was unwinding.
#[test]
fn lost_completions_may_all_panic() {
    if !Child::is_here() {
        return Child::pass(
            "completion_regressions::lost_completions_may_all_panic",
            256,
        );
    }
    let (recorder, events) = Recorder::<Raw>::new();
    let (completed, completions) = channel();
    let recorder = recorder.on_message(move |conn, bytes| {
        if bytes == b"ping\n" {
            conn.send(bytes);
            return;
        }
        conn.send(&vec![0; 6 << 20]);
        for _ in 0..3 {
            let completed = completed.clone();
            conn.send_then(b"lost", move |delivery| {
                completed.send(delivery).unwrap();
                deliberate_panic();
            });
        }
        conn.abort();
    });
    let server = TestServer::start(listen_roomy(Raw).send_buffer_size(128 * 1024), recorder);
    let mut client = server.connect();
    client.send(b"go");
    (0..3).for_each(|_| assert_eq!(take(&completions), SendOutcome::Lost));
    server.connect().ping();
    server.finish(&events);
}

/// The last letter within a full mail budget stayed queued if its connection had gone, and its completion was late.
#[test]
fn the_completion_of_a_letter_to_a_closed_connection_is_called_at_once() {
    for letters in 1020..1030 {
        let (recorder, events) = raw_echo();
        let (recorder, handles) = lending(recorder);
        let server = TestServer::start(listen(Raw), recorder);
        let _clients = [server.connect(), server.connect()];
        let [guard, victim] = [take(&handles), take(&handles)];
        let (hold, grip) = Hold::new();
        guard.run(move |_| hold.enter()).unwrap();
        grip.wait();
        victim.abort().unwrap();
        for _ in 0..letters - 3 {
            guard.run(|_| {}).unwrap();
        }
        let (completed, completions) = channel();
        victim
            .send_then(Bytes::from_static(b"late"), move |delivery| {
                completed.send(delivery).unwrap()
            })
            .unwrap();
        grip.release();
        assert_eq!(
            completions.recv_timeout(DEADLINE),
            Ok(SendOutcome::Lost),
            "the last of {letters} letters"
        );
        server.finish(&events);
    }
}
