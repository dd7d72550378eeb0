//! Peers that fall silent together are found together, although each end is told to the others.

use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use ringwheel::protocol::ErrorOf;
use ringwheel::websocket::{Message, MessageBuf, WebSocket};
use ringwheel::{CloseReason, Conn, Connections, Handler, Server};
use support::websocket::Peer;
use support::{DEADLINE, TestServer, listen};

const PEERS: usize = 200;
/// Time between two pings, and for the answer. Found one by one, the peers would take longer than a test may.
const TIME: Duration = Duration::from_millis(150);

/// Tells a room of each connection that ends.
struct Room {
    all: Connections<Room>,
    ended: Sender<()>,
}

impl Handler for Room {
    type Protocol = WebSocket;
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_, WebSocket>) {
        conn.subscribe("room").unwrap();
    }

    fn on_message(&mut self, _: &mut Conn<'_, WebSocket>, _: &mut (), _: Message<'_>) {}

    fn on_close(&mut self, _: &Conn<'_, WebSocket>, _: (), _: CloseReason<ErrorOf<WebSocket>>) {
        let news = MessageBuf::text("somebody has left");
        self.all.publish("room", news).unwrap();
        self.ended.send(()).unwrap();
    }
}

#[test]
fn what_the_end_of_one_dead_peer_leads_to_does_not_excuse_another() {
    let (ended, ends) = channel();
    let protocol = WebSocket::new().ping_every(TIME).pong_timeout(TIME);
    let builder = Server::builder()
        .workers(1)
        .listen_with_factory(listen(protocol), move |start| Room {
            all: start.server().connections_of().unwrap(),
            ended: ended.clone(),
        })
        .unwrap();
    let server = TestServer::spawn(builder);
    let _silent: Vec<Peer> = (0..PEERS).map(|_| Peer::open(&server)).collect();
    let deadline = Instant::now() + DEADLINE;
    for number in 0..PEERS {
        let left = deadline.saturating_duration_since(Instant::now());
        let end = ends.recv_timeout(left);
        assert!(end.is_ok(), "{number} of {PEERS} are found");
    }
}
