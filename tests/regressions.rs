//! Defects that were found once, each in its smallest form.

mod support;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ringwheel::balance::Workers;
use ringwheel::protocol::{Lines, Protocol, Raw};
use ringwheel::{Builder, Conn, Delivery, Limits, Overflow, Refusal, Remote, SendStatus, Server};
use support::{
    Child, Client, DEADLINE, Event, Events, Recorder, TestServer, deliberate_panic, eventually,
    listen, pattern, text,
};

const SHORT: Duration = Duration::from_millis(150);

fn take<T>(channel: &Receiver<T>) -> T {
    channel.recv_timeout(DEADLINE).expect("it comes in time")
}

/// A callback that holds its worker up until the test lets it go.
#[derive(Clone)]
struct Hold {
    entered: Sender<()>,
    released: Arc<Mutex<Receiver<()>>>,
}

/// The test's side of a [`Hold`].
struct Grip {
    is_entered: Receiver<()>,
    release: Sender<()>,
}

impl Hold {
    fn new() -> (Self, Grip) {
        let (entered, is_entered) = channel();
        let (release, released) = channel();
        (
            Hold {
                entered,
                released: Arc::new(Mutex::new(released)),
            },
            Grip {
                is_entered,
                release,
            },
        )
    }

    fn enter(&self) {
        self.entered.send(()).unwrap();
        self.released
            .lock()
            .unwrap()
            .recv_timeout(DEADLINE)
            .unwrap();
    }
}

impl Grip {
    fn wait(&self) {
        take(&self.is_entered);
    }

    fn release(&self) {
        self.release.send(()).unwrap();
    }
}

/// Lends the test a handle to each connection.
fn lending<P: Protocol>(recorder: Recorder<P>) -> (Recorder<P>, Receiver<Remote<P>>) {
    let (remotes, lent) = channel();
    (
        recorder.on_open(move |conn| remotes.send(conn.remote()).unwrap()),
        lent,
    )
}

fn raw_echo() -> (Recorder<Raw>, Events) {
    let (recorder, events) = Recorder::<Raw>::new();
    let echo = |conn: &mut Conn<'_, Raw>, bytes: &[u8]| {
        conn.send(bytes);
    };
    (recorder.on_message(echo), events)
}

/// A server whose acceptor gives all connections to the first of two workers, and is there while that one is held up.
fn behind_an_acceptor() -> Builder {
    Server::builder()
        .workers(2)
        .balance(|_: SocketAddr, _: Workers<'_>| 0)
}

/// Waits until a draining server takes no more connections: its workers are told right after.
fn wait_until_draining(server: &TestServer) {
    eventually("nobody is accepted", || {
        Client::try_connect(server.addr()).is_err()
    });
}

/// Output above the high-water mark that `on_drained` has put on top, and that a flush got rid of at once, left the
/// connection waiting for ever: no event says that an output is writable which never was not.
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
    let limits = Limits::default().water(16 * 1024, 64 * 1024);
    let listen = listen(Raw).limits(limits).send_buffer_size(16 * 1024);
    let server = TestServer::start(listen, recorder);
    let mut client = server.connect();
    client.send(b"go");
    let received = client.receive_rest().len();
    assert_eq!(received, pieces.load(Ordering::Relaxed) * 4096);
    server.finish(&events);
}

/// A large item that met the socket's error was reported as written.
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
    client.reset();
    grip.release();
    // Not in the order in which they were sent: the second is refused at once, since the peer has gone.
    let mut deliveries = [take(&completions), take(&completions)];
    deliveries.sort_by_key(|delivery| *delivery == Delivery::Lost);
    assert_eq!(
        deliveries,
        [Delivery::Refused(Refusal::Closing), Delivery::Lost]
    );
    assert!(events.close_reason().starts_with("Io("));
    server.finish(&events);
}

/// A message in parts whose first part had left before the second did not fit ended the connection, although the policy
/// is that only the sender learns of it.
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
            .water(10_000, 50_000)
            .output(100_000)
            .overflow(policy);
        let server = TestServer::start(listen(Raw).limits(limits), recorder);
        let mut client = server.connect();
        client.send(b"go");
        assert_eq!(client.receive_rest(), b"goes on");
        server.finish(&events);
    }
}

/// A close in the midst of messages that were held back, more of them than the input limit allows for one, brought the
/// worker down when there was more to read.
#[test]
fn a_close_among_messages_held_back_beyond_the_input_limit_spares_the_worker() {
    let (recorder, events) = Recorder::<Lines>::new();
    let (remotes, lent) = channel();
    let recorder = recorder
        .on_open(move |conn| {
            conn.pause_reading();
            remotes.send(conn.remote()).unwrap();
        })
        .on_message(|conn, line| match line {
            b"ping" => {
                conn.send("ping");
            }
            _ if conn.stats().messages_in == 1 => conn.pause_reading(),
            _ => conn.close(),
        });
    let limits = Limits::default().input(8 * 1024);
    let server = TestServer::start(listen(Lines::new()).limits(limits), recorder);
    let mut neighbour = server.connect();
    let resume = |conn: &mut Conn<'_, Lines>| conn.resume_reading();
    take(&lent).run(resume).unwrap();
    neighbour.ping();
    let mut client = server.connect();
    let remote = take(&lent);
    client.send(&b"123456789\n".repeat(6000));
    remote.run(resume).unwrap();
    events.wait_for(|event| {
        matches!(event, Event::Message(_, line) if line == b"123456789").then_some(())
    });
    client.send(b"and more\n");
    neighbour.ping();
    remote.run(resume).unwrap();
    client.expect_eof();
    drop(client);
    neighbour.ping();
    assert_eq!(events.close_reason(), "Local");
    server.finish(&events);
}

/// A handle that `on_open` has lent before it panicked stayed alive for ever.
#[test]
fn a_handle_to_a_connection_whose_on_open_panicked_is_stale() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (remotes, lent) = channel();
    let recorder = recorder.on_open(move |conn| {
        remotes.send(conn.remote()).unwrap();
        deliberate_panic();
    });
    let server = TestServer::start(listen(Raw), recorder);
    server.connect().expect_ended();
    let remote = take(&lent);
    eventually("the handle knows", || !remote.is_alive());
    server.finish(&events);
}

/// A completion lost in an `on_open` that panicked, and that panics in turn, brought the worker down.
#[test]
fn a_completion_that_panics_as_on_open_panics_spares_the_worker() {
    if !Child::is_here() {
        return Child::pass(
            "a_completion_that_panics_as_on_open_panics_spares_the_worker",
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
    // The reset may come before the client knows that it is connected.
    match Client::try_connect(server.addr()) {
        Ok(mut client) => client.expect_ended(),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    armed.store(false, Ordering::Relaxed);
    server.connect().ping();
    server.finish(&events);
}

/// Two completions that were lost with their connection and both panicked ended the process: the second panicked while
/// the first was unwinding.
#[test]
fn lost_completions_may_all_panic() {
    if !Child::is_here() {
        return Child::pass("lost_completions_may_all_panic", 256);
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
    let server = TestServer::start(listen(Raw).send_buffer_size(128 * 1024), recorder);
    let mut client = server.connect();
    client.send(b"go");
    (0..3).for_each(|_| assert_eq!(take(&completions), Delivery::Lost));
    server.connect().ping();
    server.finish(&events);
}

/// The last letter that a full mail budget allows stayed at hand when it found nobody, and its completion with it.
#[test]
fn the_completion_of_a_letter_that_finds_nobody_is_told_at_once() {
    for letters in 1020..1030 {
        let (recorder, events) = raw_echo();
        let (recorder, remotes) = lending(recorder);
        let server = TestServer::start(listen(Raw), recorder);
        let _clients = [server.connect(), server.connect()];
        let [guard, victim] = [take(&remotes), take(&remotes)];
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
            Ok(Delivery::Lost),
            "the last of {letters} letters"
        );
        server.finish(&events);
    }
}

/// A task that was scheduled while the worker was held up ran early: its time was counted from the beginning of that
/// iteration.
#[test]
fn run_after_is_not_early_on_a_busy_worker() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (hold, grip) = Hold::new();
    let recorder = recorder.on_message(move |_, _| {
        thread::sleep(2 * SHORT);
        hold.enter();
    });
    let server = TestServer::start(listen(Raw), recorder);
    let mut client = server.connect();
    client.send(b"go");
    grip.wait();
    let (ran, has_run) = channel();
    let start = Instant::now();
    server
        .handle()
        .run_after(SHORT, move || ran.send(Instant::now()).unwrap());
    // It is already due, so the worker does not sleep before it looks at the clock again.
    server.handle().run_after(Duration::ZERO, || {});
    grip.release();
    assert!(take(&has_run) - start >= SHORT);
    server.finish(&events);
}

/// As above, for the deadlines of a connection that came meanwhile.
#[test]
fn deadlines_of_a_connection_that_comes_while_its_worker_is_busy_are_not_early() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (hold, grip) = Hold::new();
    let recorder = recorder.on_message(move |_, _| {
        thread::sleep(2 * SHORT);
        hold.enter();
    });
    let listen = listen(Raw).first_message_timeout(SHORT);
    let server = TestServer::start_on(behind_an_acceptor(), listen, recorder);
    let mut busy = server.connect();
    busy.send(b"go");
    grip.wait();
    let start = Instant::now();
    let mut late = server.connect();
    eventually("it was handed over", || {
        server.handle().connections() == [2, 0]
    });
    grip.release();
    late.expect_ended();
    assert!(start.elapsed() >= SHORT);
    assert_eq!(events.close_reason(), "Timeout(FirstMessage)");
    server.finish(&events);
}

/// Of those that waited to be accepted when the server was shut down, only one burst was taken.
#[test]
fn a_shutdown_serves_all_who_wait_in_the_backlog() {
    for reuse_port in [false, true] {
        let (echo, events) = raw_echo();
        let builder = Server::builder().workers(1).accept_burst(1);
        let builder = builder
            .listen_with(listen(Raw).reuse_port(reuse_port), echo)
            .unwrap();
        let address = builder.local_addrs()[0];
        let server = builder.build().unwrap();
        let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(address)).collect();
        clients.iter_mut().for_each(|client| client.send(b"hello"));
        server.handle().shutdown(DEADLINE);
        let server = TestServer::adopt(server.spawn().unwrap());
        for client in &mut clients {
            assert_eq!(client.receive_rest(), b"hello", "reuse_port: {reuse_port}");
        }
        drop(clients);
        server.join();
        events.assert_lifecycles();
    }
}

/// A message that lay with the kernel because the output was above its high-water mark was not answered at a shutdown.
#[test]
fn a_shutdown_answers_what_waits_behind_pressure() {
    const ANSWER: usize = 6 << 20;
    let (recorder, events) = Recorder::<Raw>::new();
    let (statuses, reported) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        statuses.send(conn.send(&vec![0; ANSWER])).unwrap();
    });
    let server = TestServer::start(listen(Raw).send_buffer_size(128 * 1024), recorder);
    let mut client = server.connect();
    client.send(b"first");
    assert_eq!(take(&reported), SendStatus::AboveHighWater);
    client.send(b"second");
    server.handle().shutdown(DEADLINE);
    wait_until_draining(&server);
    assert_eq!(client.receive_rest().len(), 2 * ANSWER);
    drop(client);
    server.join();
    events.assert_lifecycles();
}

/// What had arrived was answered only as far as some turns with the read budget went.
#[test]
fn a_shutdown_answers_all_that_has_arrived_whatever_the_budget() {
    let (recorder, events) = Recorder::<Lines>::new();
    let (hold, grip) = Hold::new();
    let recorder = recorder.on_message(move |conn, line| {
        if line == b"hold" {
            hold.enter();
        }
        conn.send(text(line));
    });
    let builder = behind_an_acceptor().receive_buffer(4096).read_budget(4096);
    let server = TestServer::start_on(builder, listen(Lines::new()), recorder);
    let mut client = server.connect();
    client.send(b"hold\n");
    grip.wait();
    let sent = b"question\n".repeat(12_000);
    client.send(&sent);
    server.handle().shutdown(DEADLINE);
    wait_until_draining(&server);
    grip.release();
    assert_eq!(client.receive(5), b"hold\n");
    assert_eq!(client.receive_rest().len(), sent.len());
    drop(client);
    server.join();
    events.assert_lifecycles();
}

/// What other threads had sent before a shutdown was sent only as far as the mail budget went.
#[test]
fn a_shutdown_sends_all_that_was_sent_before_it() {
    let (recorder, events) = raw_echo();
    let (recorder, remotes) = lending(recorder);
    let server = TestServer::start_on(behind_an_acceptor(), listen(Raw), recorder);
    let mut client = server.connect();
    let remote = take(&remotes);
    let (hold, grip) = Hold::new();
    remote.run(move |_| hold.enter()).unwrap();
    grip.wait();
    (0..10_000).for_each(|_| remote.send(Bytes::from_static(b"1234")).unwrap());
    server.handle().shutdown(DEADLINE);
    wait_until_draining(&server);
    grip.release();
    assert_eq!(client.receive_rest().len(), 40_000);
    drop(client);
    server.join();
    events.assert_lifecycles();
}

/// A worker that panicked before it ran left a server that never ended and kept giving it connections.
#[test]
fn a_worker_that_cannot_start_ends_the_server_with_an_error() {
    let (echo, _events) = raw_echo();
    let builder = Server::builder().workers(2).on_worker_start(|index| {
        if index == 1 {
            deliberate_panic();
        }
    });
    let server = TestServer::start_on(builder, listen(Raw), echo);
    assert!(server.outcome().is_err());
}

/// As above, where it is the handler that cannot be made.
#[test]
fn a_handler_that_cannot_be_made_ends_the_server_with_an_error() {
    let (echo, _events) = raw_echo();
    let make = move |start: ringwheel::WorkerStart<'_>| {
        let worker = start.index();
        if worker == 1 {
            deliberate_panic();
        }
        echo.clone()
    };
    let builder = Server::builder()
        .workers(2)
        .listen_made_by(listen(Raw), make)
        .unwrap();
    assert!(TestServer::spawn(builder).outcome().is_err());
}

/// A balancer that panicked took the acceptor with it, and left a server that accepted nobody and could not be shut down.
#[test]
fn a_panic_in_the_balancer_costs_one_connection_at_most() {
    let (echo, events) = raw_echo();
    let panicked = OnceLock::new();
    let balance = move |_, _: Workers<'_>| {
        if panicked.set(()).is_ok() {
            deliberate_panic();
        }
        0
    };
    let server = TestServer::start_on(
        Server::builder().workers(2).balance(balance),
        listen(Raw),
        echo,
    );
    let _first = server.connect();
    server.connect().ping();
    server.finish(&events);
}

/// The answers to a peer that had sent a lot and ended its stream came to a halt with the gate shut.
#[test]
fn an_echo_of_much_small_output_under_pressure_arrives_whole() {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder.without_messages().on_message(|conn, line| {
        conn.send(text(line));
    });
    let limits = Limits::default().water(0, 1);
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

/// Evicting a silent peer that had not read its answer ended the stream as if the answer were whole.
#[test]
fn an_eviction_with_output_pending_resets() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (sent, is_sent) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        conn.send(&vec![0; 7 << 20]);
        conn.flush();
        sent.send(conn.write_buffer_len()).unwrap();
    });
    let listen = listen(Raw).send_buffer_size(64 * 1024).idle_timeout(SHORT);
    let server = TestServer::start(listen, recorder);
    let mut client = Client::connect_narrow(server.addr());
    client.send(b"go");
    assert!(take(&is_sent) > 0, "more than the kernel takes");
    assert_eq!(events.close_reason(), "Timeout(Idle)");
    assert!(client.drain().is_err(), "a reset, not an end of stream");
    server.finish(&events);
}

/// What the kernel had taken, and a slow peer was still reading, was thrown away at the drain's deadline.
#[test]
fn a_drain_deadline_spares_what_the_kernel_has_taken() {
    const ANSWER: usize = 100_000;
    let (recorder, events) = Recorder::<Raw>::new();
    let (completed, completions) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        let completed = completed.clone();
        conn.send_then(&vec![7; ANSWER], move |delivery| {
            completed.send(delivery).unwrap()
        });
    });
    let server = TestServer::start(listen(Raw).send_buffer_size(1 << 20), recorder);
    let mut client = server.connect();
    client.send(b"go");
    assert_eq!(take(&completions), Delivery::Written);
    server.handle().shutdown(SHORT);
    assert_eq!(events.close_reason(), "Shutdown");
    assert_eq!(client.receive_rest().len(), ANSWER);
    server.join();
    events.assert_lifecycles();
}

/// A handler that had paused to compute an answer elsewhere was closed before it could give it.
#[test]
fn a_drain_waits_for_a_handler_that_has_paused() {
    let (recorder, events) = Recorder::<Lines>::new();
    let (asked, questions) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        conn.pause_reading();
        asked.send(conn.remote()).unwrap();
    });
    let server = TestServer::start(listen(Lines::new()), recorder);
    let mut client = server.connect();
    client.send(b"one\n");
    let answer = |conn: &mut Conn<'_, Lines>| {
        conn.send("answer");
        conn.resume_reading();
    };
    let first = take(&questions);
    client.send(b"two\n");
    server.handle().shutdown(DEADLINE);
    wait_until_draining(&server);
    first.run(answer).unwrap();
    take(&questions).run(answer).unwrap();
    assert_eq!(client.receive_rest(), b"answer\nanswer\n");
    drop(client);
    server.join();
    events.assert_lifecycles();
}

/// An abort did nothing to a connection that was closing in order already, until the close's deadline.
#[test]
fn an_abort_cuts_an_orderly_close_short() {
    let (echo, events) = raw_echo();
    let (recorder, remotes) = lending(echo);
    let server = TestServer::start(listen(Raw).close_timeout(10 * DEADLINE), recorder);
    let mut client = server.connect();
    let remote = take(&remotes);
    remote.close().unwrap();
    client.expect_eof();
    assert!(remote.is_alive(), "it waits for the peer's end");
    remote.abort().unwrap();
    assert_eq!(events.close_reason(), "Local");
    server.finish(&events);
}

/// What was pending was sent once more at the end of the turn in which the connection was aborted.
#[test]
fn an_abort_loses_what_is_pending() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.on_message(|conn, bytes| {
        conn.send(bytes);
        conn.abort();
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
