//! Sends and closes from other threads reach the right connections, completions come in order, once.

use std::collections::HashSet;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use ringwheel::protocol::{Lines, Raw};
use ringwheel::{Conn, ConnHandle, Refusal, SendError, SendOutcome, Server};
use support::{
    Client, DEADLINE, Event, Events, Recorder, TestServer, eventually, listen, listen_roomy, take,
};

/// An echo that sends the test a handle to each connection.
fn lending() -> (Recorder<Raw>, Events, Receiver<ConnHandle<Raw>>) {
    let (recorder, events) = Recorder::<Raw>::new();
    let (handles, lent) = channel();
    let recorder = recorder
        .on_open(move |conn| {
            // The test may have dropped the receiver.
            let _ = handles.send(conn.handle());
        })
        .on_message(|conn, bytes| {
            conn.send(bytes);
        });
    (recorder, events, lent)
}

#[test]
fn a_send_from_another_thread_arrives() {
    let (recorder, events, handles) = lending();
    let server = TestServer::start(listen(Raw), recorder);
    let mut client = server.connect();
    let handle = take(&handles);
    assert_eq!(handle.id(), events.open());
    assert!(handle.is_alive());
    let sender = thread::spawn(move || handle.send(Bytes::from_static(b"hello")));
    assert_eq!(sender.join().unwrap(), Ok(()));
    assert_eq!(client.receive(5), b"hello");
    server.finish(&events);
}

#[test]
fn sends_of_a_thread_arrive_in_order_and_close_comes_after_them() {
    let (recorder, events, handles) = lending();
    let server = TestServer::start(listen(Raw), recorder);
    let mut client = server.connect();
    let handle = take(&handles);
    let expected: String = (0..10_000).map(|number| format!("{number} ")).collect();
    for number in 0..10_000 {
        handle.send(format!("{number} ")).unwrap();
    }
    handle.close().unwrap();
    assert!(client.receive_rest() == expected.as_bytes());
    drop(client);
    assert_eq!(events.close_reason(), "Local");
    server.finish(&events);
}

#[test]
fn abort_from_another_thread_resets() {
    let (recorder, events, handles) = lending();
    let server = TestServer::start(listen(Raw), recorder);
    let mut client = server.connect();
    take(&handles).abort().unwrap();
    client.expect_reset();
    assert_eq!(events.close_reason(), "Aborted");
    server.finish(&events);
}

#[test]
fn a_closure_runs_on_the_connections_worker() {
    let (recorder, events, handles) = lending();
    let server = TestServer::start_on(Server::builder().workers(2), listen(Raw), recorder);
    let (ran, has_run) = channel();
    let mut clients = [server.connect(), server.connect()];
    for _ in 0..2 {
        let handle = take(&handles);
        let ran = ran.clone();
        let run = move |conn: &mut Conn<'_, Raw>| {
            conn.send(b"done");
            ran.send((conn.id(), thread::current().name().map(str::to_owned)))
                .unwrap();
        };
        handle.run(run).unwrap();
        let (id, thread) = take(&has_run);
        assert_eq!(id, handle.id());
        assert_eq!(thread, Some(format!("ringwheel-{}", id.worker())));
    }
    clients
        .iter_mut()
        .for_each(|client| assert_eq!(client.receive(4), b"done"));
    server.finish(&events);
}

#[test]
fn a_send_may_come_from_another_connections_callback() {
    let (recorder, events) = Recorder::<Raw>::new();
    let others: Arc<Mutex<Vec<ConnHandle<Raw>>>> = Arc::default();
    let register = others.clone();
    let recorder = recorder
        .on_open(move |conn| register.lock().unwrap().push(conn.handle()))
        .on_message(move |conn, bytes| {
            for other in others
                .lock()
                .unwrap()
                .iter()
                .filter(|other| other.id() != conn.id())
            {
                other.send(bytes.to_vec()).unwrap();
            }
        });
    let server = TestServer::start_on(Server::builder().workers(2), listen(Raw), recorder);
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    (0..4).for_each(|_| {
        events.open();
    });
    clients[0].send(b"to all others");
    for client in &mut clients[1..] {
        assert_eq!(client.receive(13), b"to all others");
    }
    server.finish(&events);
}

#[test]
fn four_threads_send_ten_thousand_each_and_all_arrive_in_the_order_of_their_thread() {
    const THREADS: usize = 4;
    const EACH: usize = 10_000;
    let (recorder, events) = Recorder::<Lines>::new();
    let (handles, lent) = channel();
    let recorder = recorder.on_open(move |conn| handles.send(conn.handle()).unwrap());
    let server = TestServer::start(listen(Lines::new()), recorder);
    let mut client = server.connect();
    let handle = take(&lent);
    let senders: Vec<_> = (0..THREADS)
        .map(|thread| {
            let handle = handle.clone();
            thread::spawn(move || {
                for number in 0..EACH {
                    // The mailbox's limit is higher, so it never gets full here.
                    handle.send(format!("{thread} {number}")).unwrap();
                }
            })
        })
        .collect();
    let closing = thread::spawn(move || {
        senders
            .into_iter()
            .for_each(|sender| sender.join().unwrap());
        handle.close().unwrap();
    });
    let received = String::from_utf8(client.receive_rest()).unwrap();
    closing.join().unwrap();
    let mut next = [0; THREADS];
    for line in received.lines() {
        let (thread, number) = line.split_once(' ').unwrap();
        let thread: usize = thread.parse().unwrap();
        assert_eq!(number.parse(), Ok(next[thread]));
        next[thread] += 1;
    }
    assert_eq!(next, [EACH; THREADS]);
    server.finish(&events);
}

#[test]
fn a_completion_reports_written_once_the_kernel_has_the_item() {
    let (recorder, events, handles) = lending();
    let server = TestServer::start(listen(Raw), recorder);
    let mut client = server.connect();
    let handle = take(&handles);
    let (completed, completions) = channel();
    for number in 0..1000u32 {
        let completed = completed.clone();
        let done = move |delivery| completed.send((number, delivery)).unwrap();
        handle
            .send_then(number.to_be_bytes().to_vec(), done)
            .unwrap();
    }
    for number in 0..1000 {
        assert_eq!(
            take(&completions),
            (number, SendOutcome::Written),
            "completions come in order"
        );
    }
    client.receive(4000);
    server.finish(&events);
    assert!(
        completions.try_recv().is_err(),
        "each completion comes once"
    );
}

#[test]
fn a_completion_waits_for_a_peer_that_does_not_read() {
    const FLOOD: usize = 6 << 20;
    let (recorder, events) = Recorder::<Raw>::new();
    let (completed, completions) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        let (small, large, last) = (completed.clone(), completed.clone(), completed.clone());
        conn.flush();
        conn.send_then(b"small", move |delivery| {
            small.send(("small", delivery)).unwrap()
        });
        conn.send_then(&vec![0; FLOOD], move |delivery| {
            large.send(("large", delivery)).unwrap()
        });
        conn.send_then(b"last", move |delivery| {
            last.send(("last", delivery)).unwrap()
        });
    });
    let server = TestServer::start(listen_roomy(Raw).send_buffer_size(128 * 1024), recorder);
    let mut client = server.connect();
    client.send(b"go");
    assert_eq!(take(&completions), ("small", SendOutcome::Written));
    // Several turns of the loop pass.
    (0..20).for_each(|_| drop(server.connect()));
    (0..20).for_each(|_| drop(events.close()));
    assert!(
        completions.try_recv().is_err(),
        "the kernel has not taken the large item"
    );
    client.receive(5 + FLOOD + 4);
    assert_eq!(take(&completions), ("large", SendOutcome::Written));
    assert_eq!(take(&completions), ("last", SendOutcome::Written));
    server.finish(&events);
}

#[test]
fn completions_of_items_that_were_never_sent_report_lost() {
    const FLOOD: usize = 6 << 20;
    let (recorder, events) = Recorder::<Raw>::new();
    let (completed, completions) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        let (first, second, third) = (completed.clone(), completed.clone(), completed.clone());
        conn.send_then(&vec![0; FLOOD], move |delivery| {
            first.send((1, delivery)).unwrap()
        });
        conn.send_then(b"behind it", move |delivery| {
            second.send((2, delivery)).unwrap()
        });
        conn.abort();
        conn.send_then(b"after the end", move |delivery| {
            third.send((3, delivery)).unwrap()
        });
    });
    let server = TestServer::start(listen_roomy(Raw).send_buffer_size(128 * 1024), recorder);
    let mut client = server.connect();
    client.send(b"go");
    // The client reads only afterwards: a client that reads meanwhile can take everything.
    let told: HashSet<_> = (0..3).map(|_| take(&completions)).collect();
    client.expect_reset();
    assert_eq!(
        told,
        HashSet::from([
            (1, SendOutcome::Lost),
            (2, SendOutcome::Lost),
            (3, SendOutcome::Refused(Refusal::Closing)),
        ])
    );
    assert_eq!(events.close_reason(), "Aborted");
    server.finish(&events);
    assert!(
        completions.try_recv().is_err(),
        "each completion comes once"
    );
}

#[test]
fn each_of_many_completions_comes_once_while_connections_come_and_go() {
    const ROUNDS: usize = 200;
    const EACH: usize = 50;
    let (recorder, events, handles) = lending();
    let server = TestServer::start_on(
        Server::builder().workers(2),
        listen(Raw),
        recorder.without_messages(),
    );
    let (completed, completions) = channel();
    for round in 0..ROUNDS {
        let client = server.connect();
        let handle = take(&handles);
        let ending = thread::spawn(move || {
            if round % 2 == 0 {
                client.reset()
            }
        });
        for number in 0..EACH {
            let completed = completed.clone();
            // A refusal is reported by the completion too.
            let _ = handle.send_then(vec![0; 10_000], move |_| {
                completed.send((round, number)).unwrap()
            });
        }
        ending.join().unwrap();
    }
    let told: Vec<_> = (0..ROUNDS * EACH).map(|_| take(&completions)).collect();
    assert_eq!(told.iter().collect::<HashSet<_>>().len(), ROUNDS * EACH);
    server.finish(&events);
    assert!(
        completions.try_recv().is_err(),
        "each completion comes once"
    );
}

#[test]
fn a_stale_handle_has_no_effect_and_returns_an_error() {
    let (recorder, events, handles) = lending();
    let server = TestServer::start(listen(Raw), recorder);
    drop(server.connect());
    let stale = take(&handles);
    events.close();
    eventually("the handle is stale", || !stale.is_alive());
    let mut heir = server.connect();
    let handle = take(&handles);
    assert_ne!(stale.id(), handle.id());

    let payload = Bytes::from_static(b"not for you");
    assert_eq!(
        stale.send(payload.clone()),
        Err(SendError::Closed(payload.clone()))
    );
    let (completed, completions) = channel();
    let refused = stale.send_then(payload.clone(), move |delivery| {
        completed.send(delivery).unwrap()
    });
    assert_eq!(refused, Err(SendError::Closed(payload)));
    assert_eq!(take(&completions), SendOutcome::Lost);
    assert_eq!(stale.close(), Err(SendError::Closed(())));
    assert_eq!(stale.abort(), Err(SendError::Closed(())));
    let run = stale.run(|_| panic!("the connection is gone"));
    assert_eq!(run, Err(SendError::Closed(())));
    heir.ping();
    server.finish(&events);
}

#[test]
fn letters_to_an_ended_connection_do_not_reach_the_next_connection_in_its_slot() {
    let (recorder, events, handles) = lending();
    let server = TestServer::start(listen(Raw), recorder);
    let mut guard = server.connect();
    let guard_handle = take(&handles);
    for _ in 0..100 {
        let old_client = server.connect();
        let old = take(&handles);
        // While the worker is held up, the connection ends, letters for it pile up, and the next connection waits.
        let (entered, is_entered) = channel();
        let (release, released) = channel::<()>();
        let hold = move |_: &mut Conn<'_, Raw>| {
            entered.send(()).unwrap();
            released.recv_timeout(DEADLINE).unwrap();
        };
        guard_handle.run(hold).unwrap();
        take(&is_entered);
        old.abort().unwrap();
        for _ in 0..10 {
            old.send(Bytes::from_static(b"stale")).unwrap();
        }
        old.close().unwrap();
        drop(old_client);
        let mut heir = server.connect();
        release.send(()).unwrap();
        take(&handles);
        heir.ping();
        old.send(Bytes::from_static(b"staler")).unwrap_err();
        heir.ping();
        heir.finish();
        heir.expect_eof();
    }
    guard.ping();
    server.finish(&events);
}

#[test]
fn handles_of_an_ended_server_return_closed() {
    let (recorder, events, handles) = lending();
    let server = TestServer::start(listen(Raw), recorder);
    let _client = server.connect();
    let handle = take(&handles);
    let server_handle = server.handle().clone();
    let everyone = server_handle.connections_of::<Recorder<Raw>>().unwrap();
    server.finish(&events);
    assert!(!handle.is_alive());
    assert_eq!(handle.close(), Err(SendError::Closed(())));
    assert_eq!(
        everyone.broadcast(Bytes::from_static(b"nobody")),
        Err(SendError::Closed(()))
    );
    assert_eq!(server_handle.connections_per_worker(), [0]);
    assert_eq!(server_handle.stats().connections, 0);
    server_handle.stop();
    server_handle.shutdown(Duration::ZERO);
}

#[test]
fn a_broadcast_reaches_every_connection_of_every_worker_and_listener() {
    let (recorder, events, _) = lending();
    let (lines, line_events) = Recorder::<Lines>::new();
    let builder = Server::builder()
        .workers(2)
        .listen_with(listen(Raw), recorder.clone())
        .and_then(|builder| builder.listen_with(listen(Raw), recorder))
        .and_then(|builder| builder.listen_with(listen(Lines::new()), lines))
        .unwrap();
    let server = TestServer::spawn(builder);
    let mut reached: Vec<Client> = (0..20)
        .map(|index| Client::connect(server.addr_of(index % 2)))
        .collect();
    reached.iter_mut().for_each(Client::ping);
    let mut of_another_handler = Client::connect(server.addr_of(2));
    line_events.open();
    let everyone = server.handle().connections_of::<Recorder<Raw>>().unwrap();
    everyone.broadcast(Bytes::from_static(b"news")).unwrap();
    reached
        .iter_mut()
        .for_each(|client| assert_eq!(client.receive(4), b"news"));
    server
        .handle()
        .connections_of::<Recorder<Lines>>()
        .unwrap()
        .broadcast("lines only")
        .unwrap();
    assert_eq!(of_another_handler.receive(11), b"lines only\n");
    reached.iter_mut().for_each(Client::ping);
    server.finish(&events);
}

#[test]
fn a_filtered_broadcast_reaches_the_connections_that_pass_the_filter() {
    let (recorder, events, _) = lending();
    let server = TestServer::start_on(Server::builder().workers(2), listen(Raw), recorder);
    let mut silent: Vec<Client> = (0..5).map(|_| server.connect()).collect();
    let mut talkers: Vec<Client> = (0..5).map(|_| server.connect()).collect();
    talkers.iter_mut().for_each(Client::ping);
    (0..10).for_each(|_| {
        events.wait_for(|event| matches!(event, Event::Open(_) | Event::Message(..)).then_some(()));
    });
    let everyone = server.handle().connections_of::<Recorder<Raw>>().unwrap();
    everyone
        .broadcast_if(Bytes::from_static(b"for talkers"), |_, messages| {
            *messages > 0
        })
        .unwrap();
    talkers
        .iter_mut()
        .for_each(|client| assert_eq!(client.receive(11), b"for talkers"));
    silent.iter_mut().for_each(Client::ping);
    server.finish(&events);
}

#[test]
fn a_visit_sees_each_connection_once_with_its_session() {
    let (recorder, events, _) = lending();
    let server = TestServer::start_on(Server::builder().workers(2), listen(Raw), recorder);
    let mut clients: Vec<Client> = (0..30).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(Client::ping);
    let (visited, visits) = channel();
    let everyone = server.handle().connections_of::<Recorder<Raw>>().unwrap();
    everyone
        .visit(move |conn, messages| {
            *messages += 10;
            visited.send((conn.peer_addr().clone(), *messages)).unwrap();
        })
        .unwrap();
    let seen: HashSet<_> = (0..30).map(|_| take(&visits)).collect();
    assert_eq!(
        seen,
        clients
            .iter()
            .map(|client| (client.addr().into(), 11))
            .collect()
    );
    assert_eq!(
        visits.recv_timeout(DEADLINE),
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected),
        "the visitor is dropped"
    );
    server.finish(&events);
}

#[test]
fn connections_are_counted_per_worker() {
    let (recorder, events, _) = lending();
    let server = TestServer::start_on(Server::builder().workers(3), listen(Raw), recorder);
    let mut clients: Vec<Client> = (0..9).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(Client::ping);
    assert_eq!(server.handle().connections_per_worker(), [3, 3, 3]);
    drop(clients);
    eventually("no connection is counted any more", || {
        server.handle().connections_per_worker() == [0, 0, 0]
    });
    server.finish(&events);
}
