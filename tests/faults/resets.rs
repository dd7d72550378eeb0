//! Connections that are reset in every state, in storms of resets, and silent connections: nothing of them may remain,
//! and no thread may spin.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ringwheel::protocol::{Lines, LinesError, Raw};
use ringwheel::websocket::{Message, WebSocket, WebSocketError};
use ringwheel::{CloseReason, Conn, Handler, Listen, Refusal, SendStatus, Server};
use support::scale::{report, sized};
use support::websocket::{Frame, KEY};
use support::{Client, DEADLINE, LOCAL, TestServer, eventually, listen};

use crate::measure::{in_child, open_descriptors, processor_time};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";
/// Length in bytes of the server's answer to the request.
const ANSWER: usize = 129;
/// More output than the kernel's buffers hold.
const FLOOD: usize = 512 * 1024;
/// A server without work is observed for this long ...
const REST: Duration = Duration::from_millis(500);
/// ... and may use this much processor time. A spinning thread would use all of it, an idle one next to nothing.
const REST_COSTS_AT_MOST: Duration = Duration::from_millis(100);

/// Counts connections by their last message and their close reason.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<BTreeMap<(String, String), usize>>>);

impl Ends {
    fn add<E: Debug>(&self, last: String, reason: CloseReason<E>) {
        let reason = match reason {
            CloseReason::Io(error) => format!("{:?}", error.kind()),
            other => format!("{other:?}"),
        };
        *self.0.lock().unwrap().entry((last, reason)).or_default() += 1;
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().values().sum()
    }

    /// The number of connections that ended with this reason after this message.
    fn of(&self, last: &str, reason: &str) -> usize {
        let key = (last.to_owned(), reason.to_owned());
        self.0.lock().unwrap().get(&key).copied().unwrap_or(0)
    }
}

/// A handler that answers lines and obeys some of them. The session is the last line.
#[derive(Clone)]
struct LineServer(Ends);

impl Handler for LineServer {
    type Protocol = Lines;
    type Session = String;

    fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) -> String {
        String::new()
    }

    fn on_message(&mut self, conn: &mut Conn<'_, Lines>, last: &mut String, line: &str) {
        line.clone_into(last);
        if line.starts_with("flood") {
            let part = "x".repeat(32 * 1024);
            while conn.send(&part).is_queued() && conn.write_buffer_len() < FLOOD {}
        } else {
            conn.send(line);
        }
        if line == "close" {
            conn.close();
        }
    }

    fn on_close(&mut self, _conn: &Conn<'_, Lines>, last: String, reason: CloseReason<LinesError>) {
        self.0.add(last, reason);
    }
}

/// The same as [`LineServer`], over WebSocket.
#[derive(Clone)]
struct WebServer(Ends);

impl Handler for WebServer {
    type Protocol = WebSocket;
    type Session = String;

    fn on_open(&mut self, _conn: &mut Conn<'_, WebSocket>) -> String {
        "web".to_owned()
    }

    fn on_message(
        &mut self,
        conn: &mut Conn<'_, WebSocket>,
        last: &mut String,
        message: Message<'_>,
    ) {
        let text = message.as_text().expect("a text");
        text.clone_into(last);
        conn.send(message);
        if text == "web close" {
            conn.close();
        }
    }

    fn on_close(
        &mut self,
        _conn: &Conn<'_, WebSocket>,
        last: String,
        reason: CloseReason<WebSocketError>,
    ) {
        self.0.add(last, reason);
    }
}

struct Servers {
    server: TestServer,
    ends: Ends,
    /// Descriptors that are open while no client is connected.
    descriptors: usize,
}

impl Servers {
    fn start(lines: Listen<Lines>) -> Self {
        let ends = Ends::default();
        let builder = Server::builder()
            .workers(2)
            .listen_with(lines, LineServer(ends.clone()))
            .and_then(|builder| builder.listen(LOCAL, WebServer(ends.clone())))
            .expect("free ports");
        let server = TestServer::spawn(builder);
        // One connection makes sure that all threads have opened their descriptors.
        server.connect().ping();
        eventually("the first connection has ended", || ends.count() == 1);
        eventually("all threads are idle", is_at_rest);
        Servers {
            server,
            ends,
            descriptors: open_descriptors(),
        }
    }

    fn connect_to_web(&self) -> Client {
        let mut client = Client::connect(self.server.addr_of(1));
        client.send(REQUEST);
        client.receive(ANSWER);
        client
    }

    /// Checks that nothing of the closed connections remains, and that no thread spins.
    #[track_caller]
    fn check_rest(&self) {
        eventually("all connections have ended", || {
            self.server.handle().stats().connections == 0
        });
        // The kernel may still have held some that were reset before they were accepted.
        eventually("no descriptor is left", || {
            open_descriptors() == self.descriptors
        });
        let before = processor_time();
        thread::sleep(REST);
        let used = processor_time() - before;
        assert!(used <= REST_COSTS_AT_MOST, "{used:?} in {REST:?} of rest");
    }
}

fn is_at_rest() -> bool {
    let before = processor_time();
    thread::sleep(Duration::from_millis(20));
    processor_time() == before
}

/// A client's actions before it resets, and the end that the server then records: the last message and the reason.
/// Connections that have not opened are not recorded.
type State = (fn(&Servers) -> Client, Option<(&'static str, &'static str)>);

const RESET: &str = "ConnectionReset";

const STATES: &[State] = &[
    // Before any message. The connection may or may not have been accepted.
    (|servers| servers.server.connect(), Some(("", RESET))),
    // Idle.
    (
        |servers| {
            let mut client = servers.server.connect();
            client.ping();
            client
        },
        Some(("ping", RESET)),
    ),
    // In the middle of a message.
    (
        |servers| {
            let mut client = servers.server.connect();
            assert_eq!(client.ask(b"half a line\n"), b"half a line\n");
            client.send(b"another ha");
            client
        },
        Some(("half a line", RESET)),
    ),
    // With output pending.
    (
        |servers| {
            let mut client = servers.server.connect();
            client.send(b"flood\n");
            client.receive(1000);
            client
        },
        Some(("flood", RESET)),
    ),
    // With output pending after the peer's end of stream; the kernel then reports a broken pipe.
    (
        |servers| {
            let mut client = servers.server.connect();
            client.send(b"flood and end\n");
            client.finish();
            client.receive(1000);
            client
        },
        Some(("flood and end", "BrokenPipe")),
    ),
    // After we have closed and everything has arrived.
    (
        |servers| {
            let mut client = servers.server.connect();
            client.send(b"close\n");
            assert_eq!(client.receive_rest(), b"close\n");
            client
        },
        Some(("close", "Local")),
    ),
    // In the middle of the opening handshake.
    (
        |servers| {
            let mut client = Client::connect(servers.server.addr_of(1));
            client.send(&REQUEST[..50]);
            client
        },
        None,
    ),
    // After the opening handshake.
    (Servers::connect_to_web, Some(("web", RESET))),
    // In the middle of a frame.
    (
        |servers| {
            let mut client = servers.connect_to_web();
            let frame = Frame::text("web half").masked(KEY).bytes();
            client.send(&frame);
            client.receive(frame.len() - KEY.len());
            client.send(&frame[..5]);
            client
        },
        Some(("web half", RESET)),
    ),
    // After a close frame was sent and before it is answered.
    (
        |servers| {
            let mut client = servers.connect_to_web();
            let frame = Frame::text("web close").masked(KEY).bytes();
            client.send(&frame);
            client.receive(frame.len() - KEY.len() + 4);
            client
        },
        Some(("web close", "Local")),
    ),
];

#[test]
fn resets_in_every_state_leave_nothing_behind() {
    in_child(
        "resets::resets_in_every_state_leave_nothing_behind",
        256,
        || {
            let rounds = sized(50, 1000);
            let servers = Servers::start(listen(Lines::new()).send_buffer_size(16 * 1024));
            for _ in 0..rounds {
                for (reach, _) in STATES {
                    reach(&servers).reset();
                }
            }
            servers.check_rest();
            // The connection that `start` made has ended in order.
            let mut left = servers.ends.count() - 1;
            for (last, reason) in STATES.iter().filter_map(|(_, end)| *end) {
                let of_this = servers.ends.of(last, reason);
                assert_eq!(of_this, rounds, "{last:?} {reason}: {:?}", servers.ends.0);
                left -= of_this;
            }
            assert_eq!(left, 0, "{:?}", servers.ends.0);
            report(
                "reset in every state",
                format_args!(
                    "{} resets in {} states, no descriptor left, each with the right reason",
                    rounds * STATES.len(),
                    STATES.len()
                ),
            );
        },
    );
}

#[test]
fn a_storm_of_resets_does_not_affect_other_connections() {
    in_child(
        "resets::a_storm_of_resets_does_not_affect_other_connections",
        1024,
        || {
            let (threads, each) = (4, sized(250, 2500));
            let servers = Servers::start(listen(Lines::new()));
            let mut healthy = servers.server.connect();
            let address = servers.server.addr();
            let storm: Vec<_> = (0..threads)
                .map(|_| {
                    thread::spawn(move || (0..each).for_each(|_| Client::connect(address).reset()))
                })
                .collect();
            let mut pings = 0;
            while pings < 100 || storm.iter().any(|thread| !thread.is_finished()) {
                healthy.ping();
                pings += 1;
            }
            for thread in storm {
                thread.join().expect("all have connected");
            }
            drop(healthy);
            servers.check_rest();
            // The kernel may have dropped some before they were accepted. The connections outside the storm are not
            // counted.
            let met = servers.ends.of("", RESET);
            assert_eq!(met, servers.ends.count() - 2, "{:?}", servers.ends.0);
            assert!(met > 0);
            report(
                "connect-and-reset storm",
                format_args!(
                    "{} resets by {threads} threads, {met} of them seen as such, {pings} pings answered beside them, no \
                 descriptor left",
                    threads * each
                ),
            );
        },
    );
}

#[test]
fn clients_that_connect_and_say_nothing_are_evicted() {
    let name = "resets::clients_that_connect_and_say_nothing_are_evicted";
    in_child(name, sized(1024, 12_000), || {
        let silent = sized(400, 5000);
        let patience = sized(Duration::from_millis(200), Duration::from_secs(2));
        let servers = Servers::start(listen(Lines::new()).first_message_timeout(patience));
        let mut clients: Vec<Client> = (0..silent).map(|_| servers.server.connect()).collect();
        // Some of them have sent half a message.
        clients
            .iter_mut()
            .step_by(2)
            .for_each(|client| client.send(b"half"));
        clients.iter_mut().for_each(Client::expect_ended);
        drop(clients);
        servers.check_rest();
        assert_eq!(servers.ends.of("", "Timeout(FirstMessage)"), silent);
        report(
            "connect and say nothing",
            format_args!("{silent} evicted after {patience:?}, no descriptor left"),
        );
    });
}

/// A handler that sends as much as it may, when the test allows it to.
#[derive(Clone)]
struct Filler {
    part: Vec<u8>,
    may_send: Arc<Mutex<Receiver<()>>>,
    refused: Sender<SendStatus>,
}

impl Handler for Filler {
    type Protocol = Raw;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, Raw>) {}

    fn on_message(&mut self, conn: &mut Conn<'_, Raw>, _session: &mut (), _bytes: &[u8]) {
        let may_send = self.may_send.lock().unwrap();
        may_send.recv_timeout(DEADLINE).expect("a test");
        let status = loop {
            match conn.send(&self.part) {
                SendStatus::Queued => {}
                status => break status,
            }
        };
        self.refused.send(status).expect("a test");
    }
}

#[test]
fn a_callback_that_sends_until_refused_returns_although_the_peer_has_gone() {
    for part in [1, 1000, 32 * 1024, 1 << 20] {
        let (say, may_send) = channel();
        let (refuse, refused) = channel();
        let filler = Filler {
            part: vec![7; part],
            may_send: Arc::new(Mutex::new(may_send)),
            refused: refuse,
        };
        let server = TestServer::start(listen(Raw), filler);
        let mut client = server.connect();
        client.send(b"go");
        client.reset_and_arrive();
        say.send(()).expect("a server");
        let status = refused.recv_timeout(DEADLINE);
        assert!(
            matches!(
                status,
                Ok(SendStatus::AboveHighWater | SendStatus::Refused(Refusal::Closing))
            ),
            "parts of {part}: {status:?}"
        );
        server.handle().stop();
        server.join();
    }
    report("send until refused, to nobody", "ends");
}
