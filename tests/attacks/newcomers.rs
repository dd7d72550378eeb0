//! New clients amid connections from another address that come without pause and cost much: they take turns before they are adopted.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ringwheel::protocol::{Lines, LinesError};
use ringwheel::{CloseReason, Conn, Handler, Server, ServerBuilder};
use support::{Client, Hold, TestServer, behind_an_acceptor, listen};

/// The address from which the connections come that cost much. New clients come from others.
const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The time that each of them takes.
const COST: Duration = Duration::from_millis(1);

/// The callback that takes long for each connection of the attacker.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Opening,
    First,
    Closing,
}

/// Takes long for each connection of the attacker, and counts these callbacks.
#[derive(Clone)]
struct Costly {
    kind: Kind,
    hold: Hold,
    called: Arc<AtomicUsize>,
    called_before_answer: Arc<OnceLock<usize>>,
}

impl Costly {
    fn call(&self, kind: Kind, conn: &Conn<'_, Lines>) {
        if kind == self.kind && conn.peer_addr().ip() == Some(ATTACKER) {
            self.called.fetch_add(1, Ordering::SeqCst);
            let begin = Instant::now();
            while begin.elapsed() < COST {}
        }
    }
}

impl Handler for Costly {
    type Protocol = Lines;
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_, Lines>) {
        self.call(Kind::Opening, conn);
    }

    fn on_message(&mut self, conn: &mut Conn<'_, Lines>, _session: &mut (), line: &str) {
        match line {
            "hold" => self.hold.enter(),
            "?" => {
                let called = self.called.load(Ordering::SeqCst);
                _ = self.called_before_answer.set(called);
                _ = conn.send("!");
            }
            _ => self.call(Kind::First, conn),
        }
    }

    fn on_close(&mut self, conn: &Conn<'_, Lines>, _session: (), _: CloseReason<LinesError>) {
        self.call(Kind::Closing, conn);
    }
}

/// The attacker makes so many connections while the worker is held up, and ends them, and then another client comes. Returns the number of
/// costly callbacks that were called before that one was answered.
fn called_before_answer(kind: Kind, builder: ServerBuilder, connections: usize) -> usize {
    let (hold, grip) = Hold::new();
    let handler = Costly {
        kind,
        hold,
        called: Arc::default(),
        called_before_answer: Arc::default(),
    };
    let terms = listen(Lines::new()).backlog(4096);
    let server = TestServer::start_on(builder, terms, handler.clone());
    let from = |last| Client::connect_from(Ipv4Addr::new(127, 0, 0, last).into(), server.addr());
    let mut busy = from(3);
    busy.send(b"hold\n");
    grip.wait();
    for _ in 0..connections {
        server.connect().send(b"x\n");
    }
    let mut newcomer = from(2);
    newcomer.send(b"?\n");
    grip.release();
    assert_eq!(newcomer.receive(2), b"!\n");
    *handler.called_before_answer.get().expect("it was answered")
}

/// All connections stood in one queue, in the order in which they came.
#[test]
fn a_new_client_waits_for_few_connections_of_another_address() {
    for (kind, connections, most) in [
        (Kind::Opening, 600, 60),
        (Kind::Closing, 600, 60),
        // So many that newcomers are slowed, because more than 1,024 wait for their turns.
        (Kind::First, 1_900, 100),
    ] {
        for acceptor in [false, true] {
            let builder = match acceptor {
                true => behind_an_acceptor(),
                false => Server::builder().workers(1),
            };
            let called = called_before_answer(kind, builder, connections);
            println!("{kind:?}, acceptor {acceptor}: {called} of {connections} before the answer");
            assert!(called <= most, "{kind:?}: {called} callbacks came first");
        }
    }
}
