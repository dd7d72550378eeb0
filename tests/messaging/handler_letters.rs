//! Closures that run with a handler and its connections: on one worker, on all, for one connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use ringwheel::protocol::Lines;
use ringwheel::{
    CloseReason, Conn, ConnId, Connections, Handler, SendError, Server, current_worker,
};
use support::{
    Client, DEADLINE, Recorder, TestServer, deliberate_panic, listen, listen_roomy, take, text,
};

/// Counts lines in itself and in the session, echoes them, and tells of each end.
#[derive(Clone)]
struct Counter {
    lines: usize,
    closed: std::sync::mpsc::Sender<(ConnId, String, usize)>,
}

impl Handler for Counter {
    type Protocol = Lines;
    /// Lines of this connection.
    type Session = usize;

    fn on_open(&mut self, conn: &mut Conn<'_, Lines>) -> usize {
        conn.send(&conn.id().worker().to_string());
        0
    }

    fn on_message(&mut self, conn: &mut Conn<'_, Lines>, session: &mut usize, line: &str) {
        self.lines += 1;
        *session += 1;
        conn.send(line);
    }

    fn on_close(
        &mut self,
        conn: &Conn<'_, Lines>,
        session: usize,
        reason: CloseReason<ringwheel::protocol::LinesError>,
    ) {
        // The test may have seen enough.
        let _ = self
            .closed
            .send((conn.id(), format!("{reason:?}"), session));
    }
}

type Ends = std::sync::mpsc::Receiver<(ConnId, String, usize)>;

fn counter() -> (Counter, Ends) {
    let (closed, ends) = channel();
    (Counter { lines: 0, closed }, ends)
}

/// A server with two workers and this many listeners, all with the same type of handler.
fn start(listeners: usize) -> (TestServer, Connections<Counter>, Ends) {
    let (counter, ends) = counter();
    let mut builder = Server::builder().workers(2);
    for _ in 0..listeners {
        builder = builder
            .listen_with(listen(Lines::new()), counter.clone())
            .expect("a free port");
    }
    let server = TestServer::spawn(builder);
    let connections = server.handle().connections_of::<Counter>().unwrap();
    (server, connections, ends)
}

/// Connects to a listener. Returns also the worker that serves the connection.
fn connect(server: &TestServer, listener: usize) -> (Client, usize) {
    let mut client = Client::connect(server.addr_of(listener));
    let worker = text(&client.receive(2)).trim().parse().expect("a worker");
    (client, worker)
}

/// Runs a closure for each handler of a worker and collects what it returns.
fn ask<T: Send + 'static>(
    connections: &Connections<Counter>,
    worker: usize,
    question: impl Fn(&mut Counter, &mut ringwheel::LocalConnections<'_, Counter>) -> T
    + Send
    + Sync
    + 'static,
) -> Vec<T> {
    let (answer, answers) = channel();
    connections
        .on_worker(worker, move |handler, local| {
            answer.send(question(handler, local)).unwrap();
        })
        .expect("the mailbox has room");
    // The channel ends when the last of the closures is dropped.
    answers.iter().collect()
}

#[test]
fn a_closure_reads_and_changes_the_handler_on_its_worker_and_no_other() {
    let (server, connections, _ends) = start(1);
    let (mut client, worker) = connect(&server, 0);
    client.ping();
    client.ping();
    let threads = ask(&connections, worker, |handler, local| {
        handler.lines += 10;
        let name = thread::current().name().map(str::to_owned);
        (handler.lines, local.worker(), current_worker(), name)
    });
    let name = Some(format!("ringwheel-{worker}"));
    assert_eq!(threads, [(12, worker, Some(worker), name)]);
    assert_eq!(
        ask(&connections, 1 - worker, |handler, _| handler.lines),
        [0]
    );
    client.ping();
    assert_eq!(ask(&connections, worker, |handler, _| handler.lines), [13]);
    assert_eq!(current_worker(), None);
    server.handle().stop();
    server.join();
}

#[test]
fn each_handler_of_the_type_on_a_worker_is_visited_with_its_own_connections() {
    let (server, connections, _ends) = start(3);
    let mut clients = Vec::new();
    for (listener, count) in [(0, 4), (1, 2), (2, 0)] {
        for _ in 0..count {
            clients.push(connect(&server, listener));
        }
    }
    for worker in 0..2 {
        let mut counts = ask(&connections, worker, |_, local| {
            let ids = local.ids();
            assert!(ids.iter().all(|id| id.worker() == local.worker()));
            let mut visited = Vec::new();
            local.for_each(|conn, _| visited.push(conn.id()));
            assert_eq!(visited, ids);
            ids.len()
        });
        counts.sort_unstable();
        assert_eq!(counts, [0, 1, 2], "worker {worker}");
    }
    let (ran, runs) = channel();
    connections
        .on_each_worker(move |_, local| ran.send(local.worker()).unwrap())
        .unwrap();
    let mut workers: Vec<usize> = runs.iter().collect();
    workers.sort_unstable();
    assert_eq!(workers, [0, 0, 0, 1, 1, 1]);
}

#[test]
fn a_connection_is_reached_with_its_session_and_what_is_sent_leaves() {
    let (server, connections, _ends) = start(1);
    let (mut client, worker) = connect(&server, 0);
    let (mut other, other_worker) = connect(&server, 0);
    assert_ne!(worker, other_worker);
    client.ping();
    other.ping();
    let other_id = ask(&connections, other_worker, |_, local| local.ids()[0])[0];
    let told = ask(&connections, worker, move |_, local| {
        let id = local.ids()[0];
        let lines = local.with(id, |conn, session| {
            conn.send("from the handler's letter");
            *session += 5;
            *session
        });
        (lines, local.with(other_id, |_, _| ()))
    });
    assert_eq!(told, [(Some(6), None)], "the other is on another worker");
    assert_eq!(client.receive(26), b"from the handler's letter\n");
}

#[test]
fn connections_that_close_are_no_longer_listed_or_visited() {
    let (server, connections, ends) = start(1);
    let (mut client, worker) = connect(&server, 0);
    client.ping();
    let told = ask(&connections, worker, |_, local| {
        let id = local.ids()[0];
        let closed = local.with(id, |conn, _| conn.close());
        let again = local.with(id, |_, _| ());
        let mut visited = 0;
        local.for_each(|_, _| visited += 1);
        (closed, again, visited, local.ids().len())
    });
    assert_eq!(told, [(Some(()), None, 0, 0)]);
    client.expect_eof();
    drop(client);
    let (id, reason, lines) = take(&ends);
    assert_eq!((reason.as_str(), lines), ("Local", 1));
    let gone = ask(&connections, worker, move |_, local| {
        local.with(id, |_, _| ()).is_none()
    });
    assert_eq!(gone, [true]);
}

#[test]
fn a_panic_in_a_visit_ends_that_connection_only() {
    let (server, connections, ends) = start(1);
    let mut clients: Vec<_> = (0..6).map(|_| connect(&server, 0)).collect();
    let worker = clients[0].1;
    let told = ask(&connections, worker, |handler, local| {
        let ids = local.ids();
        let first = ids[0];
        let panicked = local.with(first, |conn, _| {
            conn.send("last words");
            deliberate_panic()
        });
        handler.lines = 100;
        let mut visited = Vec::new();
        local.for_each(|conn, _| {
            visited.push(conn.id());
            if conn.id() == ids[1] {
                deliberate_panic();
            }
            conn.send("alive");
        });
        (panicked.is_none(), visited == ids[1..])
    });
    assert_eq!(told, [(true, true)]);
    let mut received: Vec<_> = clients
        .iter_mut()
        .filter(|(_, at)| *at == worker)
        .map(|(client, _)| {
            client.finish();
            client.receive_rest()
        })
        .collect();
    received.sort();
    assert_eq!(received, [&b""[..], b"alive\n", b"last words\n"]);
    let mut reasons: Vec<_> = (0..3).map(|_| take(&ends).1).collect();
    reasons.sort();
    assert_eq!(reasons, ["Panic", "Panic", "Peer"]);
    assert_eq!(ask(&connections, worker, |handler, _| handler.lines), [100]);
}

#[test]
fn visits_to_a_peer_that_reads_late_keep_their_order_and_hold_nobody_up() {
    const LINE: usize = 8 * 1024;
    let (counter, _ends) = counter();
    let terms = listen_roomy(Lines::new()).send_buffer_size(16 * 1024);
    let server = TestServer::start(terms, counter);
    let connections = server.handle().connections_of::<Counter>().unwrap();
    let (mut late, _) = connect(&server, 0);
    let (mut reader, _) = connect(&server, 0);
    let mut expected = Vec::new();
    for round in 0..200 {
        let line = format!("{round:0>width$}", width = LINE - 1);
        expected.extend_from_slice(line.as_bytes());
        expected.push(b'\n');
        connections
            .on_each_worker(move |_, local| {
                local.for_each(|conn, _| _ = conn.send(&line));
                for id in local.ids() {
                    local.with(id, |conn, _| assert!(conn.is_open()));
                }
            })
            .unwrap();
        assert!(reader.receive(LINE) == expected[round * LINE..]);
    }
    assert!(late.receive(expected.len()) == expected);
}

#[test]
fn a_closure_that_panics_leaves_the_worker_and_the_handler_alone() {
    let (server, connections, _ends) = start(2);
    let (mut client, worker) = connect(&server, 0);
    connections
        .on_each_worker(|handler, _| {
            handler.lines = 7;
            deliberate_panic()
        })
        .unwrap();
    assert_eq!(
        ask(&connections, worker, |handler, _| handler.lines),
        [7, 7]
    );
    client.ping();
    let mut lines = ask(&connections, worker, |handler, _| handler.lines);
    lines.sort_unstable();
    assert_eq!(lines, [7, 8]);
}

#[test]
fn run_gets_handler_connection_and_session_of_any_worker() {
    let (server, connections, _ends) = start(2);
    let mut clients: Vec<_> = [0, 0, 1, 1]
        .map(|listener| connect(&server, listener))
        .into();
    let ids: Vec<ConnId> = (0..2)
        .flat_map(|worker| ask(&connections, worker, |_, local| local.ids()))
        .flatten()
        .collect();
    assert_eq!(ids.len(), 4);
    for id in &ids {
        connections
            .run(*id, |handler, conn, session| {
                handler.lines += 1;
                *session += 1;
                assert_eq!(current_worker(), Some(conn.id().worker()));
                conn.send("run");
            })
            .unwrap();
    }
    for (client, _) in &mut clients {
        assert_eq!(client.receive(4), b"run\n");
    }
    for worker in 0..2 {
        let lines = ask(&connections, worker, |handler, _| handler.lines);
        assert_eq!(lines, [1, 1], "each listener has one connection there");
    }
}

#[test]
fn run_is_dropped_where_the_connection_has_ended_and_panics_end_it() {
    let (server, connections, ends) = start(1);
    let (mut client, worker) = connect(&server, 0);
    let id = ask(&connections, worker, |_, local| local.ids()[0])[0];
    connections.run(id, |_, _, _| deliberate_panic()).unwrap();
    client.expect_eof();
    drop(client);
    assert_eq!(take(&ends).1, "Panic");
    let (kept, is_dropped) = channel::<()>();
    connections
        .run(id, move |_, _, _| kept.send(()).unwrap())
        .expect("its worker has it");
    let outcome = is_dropped.recv_timeout(DEADLINE);
    assert_eq!(
        outcome,
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected),
        "it is dropped and not called"
    );
}

#[test]
fn letters_of_all_kinds_to_one_connection_keep_their_order() {
    let (server, connections, _ends) = start(1);
    let (mut client, worker) = connect(&server, 0);
    let id = ask(&connections, worker, |_, local| local.ids()[0])[0];
    let mut expected = String::new();
    for round in 0..200 {
        connections.send_to(id, format!("send {round}")).unwrap();
        connections
            .run(id, move |_, conn, _| _ = conn.send(&format!("run {round}")))
            .unwrap();
        connections
            .on_worker(worker, move |_, local| {
                local.for_each(|conn, _| _ = conn.send(&format!("each {round}")));
            })
            .unwrap();
        connections
            .send_to_all_of(&[id], format!("all {round}"))
            .unwrap();
        connections.broadcast(format!("cast {round}")).unwrap();
        expected +=
            &format!("send {round}\nrun {round}\neach {round}\nall {round}\ncast {round}\n");
    }
    assert_eq!(text(&client.receive(expected.len())), expected);
}

#[test]
fn a_callback_may_send_a_letter_to_its_own_handler() {
    let (server, connections, _ends) = start(1);
    let (mut client, worker) = connect(&server, 0);
    let id = ask(&connections, worker, |_, local| local.ids()[0])[0];
    let own = connections.clone();
    connections
        .run(id, move |handler, conn, _| {
            handler.lines = 1;
            own.on_worker(worker, |handler, local| {
                handler.lines *= 2;
                let line = handler.lines.to_string();
                local.for_each(|conn, _| _ = conn.send(&line));
            })
            .unwrap();
            conn.send("before");
            handler.lines = 21;
        })
        .unwrap();
    assert_eq!(client.receive(10), b"before\n42\n");
}

#[test]
fn a_closure_that_sends_itself_again_for_ever_lets_others_have_their_turn() {
    let (server, connections, _ends) = start(1);
    let (mut client, worker) = connect(&server, 0);
    let rounds = Arc::new(AtomicUsize::new(0));
    again(connections.clone(), worker, rounds.clone());
    for _ in 0..50 {
        client.ping();
    }
    support::eventually("it runs again and again", || {
        rounds.load(Ordering::Relaxed) > 1000
    });
}

fn again(connections: Connections<Counter>, worker: usize, rounds: Arc<AtomicUsize>) {
    rounds.fetch_add(1, Ordering::Relaxed);
    let own = connections.clone();
    // Refused once the server ends.
    let _ = connections.on_worker(worker, move |_, _| {
        again(own.clone(), worker, rounds.clone());
    });
}

#[test]
fn letters_during_a_drain_are_carried_out() {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder
        .staying()
        .on_shutdown(|conn| _ = conn.send("draining"));
    let server = TestServer::start(listen(Lines::new()), recorder);
    let connections = server.handle().connections_of::<Recorder<Lines>>().unwrap();
    let mut client = server.connect();
    events.open();
    server.handle().shutdown(DEADLINE);
    assert_eq!(client.receive(9), b"draining\n");
    connections
        .on_each_worker(|_, local| {
            local.for_each(|conn, _| {
                conn.send("farewell");
                conn.close();
            });
        })
        .expect("a draining worker reads its mail");
    assert_eq!(client.receive_rest(), b"farewell\n");
    drop(client);
    server.join();
    assert_eq!(events.close_reason(), "Shutdown");
    assert_eq!(
        connections.on_each_worker(|_, _| {}),
        Err(SendError::Closed(()))
    );
}

#[test]
fn there_is_no_such_worker_or_no_such_listener_or_the_server_has_ended() {
    let (server, connections, _ends) = start(1);
    let closed = Err(SendError::Closed(()));
    assert_eq!(connections.on_worker(2, |_, _| {}), closed);
    let strangers = server.handle().connections_of::<Recorder<Lines>>();
    let error = strangers.unwrap_err().to_string();
    assert!(
        error.starts_with("no listener has a handler of the type "),
        "{error}"
    );
    assert!(error.contains("Recorder<"), "{error}");
    let (_client, worker) = connect(&server, 0);
    let id = ask(&connections, worker, |_, local| local.ids()[0])[0];
    server.handle().stop();
    server.join();
    assert_eq!(connections.on_worker(0, |_, _| {}), closed);
    assert_eq!(connections.on_each_worker(|_, _| {}), closed);
    assert_eq!(connections.run(id, |_, _, _| {}), closed);
}

#[test]
fn a_full_mailbox_refuses_a_closure() {
    let (counter, _ends) = counter();
    let server = TestServer::start_on(
        Server::builder().workers(2).mailbox_limit(0),
        listen(Lines::new()),
        counter,
    );
    let connections = server.handle().connections_of::<Counter>().unwrap();
    let full = Err(SendError::Full(()));
    assert_eq!(connections.on_worker(1, |_, _| {}), full);
    assert_eq!(connections.on_each_worker(|_, _| {}), full);
    let (mut client, _) = connect(&server, 0);
    client.ping();
}
