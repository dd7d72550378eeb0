//! After `close()` nothing but `on_close` reaches a connection, whatever its protocol.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringwheel::protocol::{ErrorOf, MessageOf, Protocol, Raw};
use ringwheel::websocket::WebSocket;
use ringwheel::{CloseReason, Conn, ConnHandle, Handler, Listen, LocalConnections, TimerId};
use support::websocket::{Frame, Peer};
use support::{Client, DEADLINE, TestServer, listen};

const CLOSE: Duration = Duration::from_millis(300);

/// Closes at the first message, and reports whatever comes afterwards.
struct Closing<P: Protocol> {
    calls: Sender<&'static str>,
    handles: Sender<ConnHandle<P>>,
    is_closing: Arc<AtomicBool>,
}

impl<P: Protocol> Clone for Closing<P> {
    fn clone(&self) -> Self {
        Closing {
            calls: self.calls.clone(),
            handles: self.handles.clone(),
            is_closing: self.is_closing.clone(),
        }
    }
}

impl<P: Protocol> Closing<P> {
    fn report(&self, call: &'static str) {
        let _ = self.calls.send(call);
    }
}

impl<P: Protocol> Handler for Closing<P> {
    type Protocol = P;
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_, P>) {
        let _ = self.handles.send(conn.handle());
    }

    fn on_message(&mut self, conn: &mut Conn<'_, P>, _: &mut (), _: MessageOf<'_, P>) {
        if self.is_closing.swap(true, Ordering::SeqCst) {
            return self.report("message");
        }
        conn.set_timer(CLOSE / 30, 1).unwrap();
        conn.set_interval(CLOSE / 60, 2).unwrap();
        conn.close();
        self.report("closing");
    }

    fn on_timer(&mut self, _: &mut Conn<'_, P>, _: &mut (), _: TimerId, _: u64) {
        self.report("timer");
    }

    fn on_tick(&mut self, connections: &mut LocalConnections<'_, Self>) {
        let mut visits = 0;
        connections.for_each(|_, ()| visits += 1);
        if self.is_closing.load(Ordering::SeqCst) && visits + connections.ids().len() > 0 {
            self.report("tick");
        }
    }

    fn on_close(&mut self, _: &Conn<'_, P>, _: (), _: CloseReason<ErrorOf<P>>) {
        self.report("close");
    }
}

/// Starts a server, has a client say something, and checks the calls until the end.
fn check<P: Protocol>(listen: Listen<P>, talk: impl FnOnce(&TestServer) -> Client) {
    let (calls, called) = channel();
    let (handles, opened) = channel();
    let handler = Closing {
        calls,
        handles,
        is_closing: Arc::default(),
    };
    let listen = listen.close_timeout(CLOSE).tick_every(CLOSE / 100);
    let server = TestServer::start(listen, handler);
    let client = talk(&server);
    let next = |called: &Receiver<&'static str>| called.recv_timeout(DEADLINE).expect("a call");
    assert_eq!(next(&called), "closing");
    // The client neither answers nor ends its stream, so the close takes its whole time.
    let (visited, visits) = channel();
    let visited = Mutex::new(visited);
    let handle = opened.recv_timeout(DEADLINE).expect("it has opened");
    let told = visited.lock().unwrap().clone();
    // The connection may have ended by now, so that its handle does nothing at all.
    let _ = handle.run(move |_| _ = told.send("run"));
    let connections = server.handle().connections_of::<Closing<P>>().unwrap();
    let visit = connections.visit(move |_, ()| _ = visited.lock().unwrap().send("visit"));
    assert!(visit.is_ok(), "the server runs");
    assert_eq!(next(&called), "close");
    server.handle().stop();
    server.join();
    assert_eq!(visits.try_iter().collect::<Vec<_>>(), [""; 0]);
    assert_eq!(called.try_iter().collect::<Vec<_>>(), [""; 0]);
    drop(client);
}

#[test]
fn no_callback_comes_after_close_where_the_protocol_awaits_an_answer() {
    check(listen(WebSocket::new()), |server| {
        let mut peer = Peer::open(server);
        peer.send(Frame::text("one"));
        peer.send(Frame::text("two"));
        peer.client
    });
}

#[test]
fn no_callback_comes_after_close_where_it_does_not() {
    check(listen(Raw), |server| {
        let mut client = server.connect();
        client.send(b"one");
        client
    });
}
