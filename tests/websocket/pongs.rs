//! Pings with a payload, and pongs that are delivered to the handler, over real sockets.

use std::sync::mpsc::{Receiver, Sender, channel};

use ringwheel::websocket::{
    AcceptAll, Delivery, Event, Kind, Message, Piece, Pieces, WebSocket, Whole, WithPongs,
};
use ringwheel::{Conn, Handler, Refusal, SendStatus};

use support::websocket::Peer;
use support::websocket::{Frame, PING};
use support::{DEADLINE, TestServer, listen};

#[derive(Debug, PartialEq)]
enum Seen {
    Message(Vec<u8>),
    Pong(Vec<u8>),
}

/// A handler that sends pings when it opens, and reports messages and pongs.
struct Prober<D> {
    told: Sender<Seen>,
    delivery: std::marker::PhantomData<fn() -> D>,
}

impl<D> Clone for Prober<D> {
    fn clone(&self) -> Self {
        Prober {
            told: self.told.clone(),
            delivery: self.delivery,
        }
    }
}

/// The bytes of a message, or of a piece of one.
trait Bytes {
    fn bytes(&self) -> &[u8];
}

impl Bytes for Message<'_> {
    fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Bytes for Piece<'_> {
    fn bytes(&self) -> &[u8] {
        assert_eq!(self.kind, Kind::Binary);
        self.bytes
    }
}

impl<D: Delivery> Handler for Prober<D>
where
    for<'a> D::Message<'a>: Bytes,
{
    type Protocol = WebSocket<AcceptAll, WithPongs<D>>;
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_, Self::Protocol>) {
        assert!(conn.ping_with(b"probe").is_queued());
        assert!(conn.ping_with(&[7; 125]).is_queued());
        let too_long = conn.ping_with(&[7; 126]);
        assert!(matches!(too_long, SendStatus::Refused(Refusal::Pack(_))));
        assert!(conn.ping().is_queued());
        conn.handle()
            .ping_with(&b"from a handle"[..])
            .expect("it is open");
    }

    fn on_message(
        &mut self,
        _: &mut Conn<'_, Self::Protocol>,
        _: &mut (),
        event: Event<'_, D::Message<'_>>,
    ) {
        let seen = match event {
            Event::Message(message) => Seen::Message(message.bytes().to_vec()),
            Event::Pong(payload) => Seen::Pong(payload.to_vec()),
            other => panic!(
                "an event of another kind: {:?}",
                std::mem::discriminant(&other)
            ),
        };
        self.told.send(seen).expect("the test listens");
    }
}

fn start<D: Delivery>() -> (TestServer, Receiver<Seen>, Peer)
where
    for<'a> D::Message<'a>: Bytes,
{
    let (told, seen) = channel();
    let prober = Prober::<D> {
        told,
        delivery: std::marker::PhantomData,
    };
    let server = TestServer::start(listen(WebSocket::accepting(AcceptAll)), prober);
    let peer = Peer::open(&server);
    (server, seen, peer)
}

#[track_caller]
fn expect(seen: &Receiver<Seen>, expected: Seen) {
    assert_eq!(seen.recv_timeout(DEADLINE), Ok(expected));
}

#[test]
fn pongs_reach_a_handler_that_asks_for_them() {
    let (server, seen, mut peer) = start::<Whole>();
    peer.expect(Frame::ping("probe"));
    peer.expect(Frame::ping([7; 125]));
    let timed = peer.next_frame();
    assert_eq!((timed.opcode(), timed.payload.len()), (PING, 8));
    peer.expect(Frame::ping("from a handle"));
    for frame in [
        Frame::pong("probe"),
        Frame::pong(""),
        Frame::binary("me").fragment(),
        Frame::pong("between"),
        // The pong for the ping that measures the round-trip time is not delivered to the handler.
        Frame::pong(&timed.payload),
        Frame::continuation("ssage"),
        // The same pong a second time is delivered like any other.
        Frame::pong(&timed.payload),
    ] {
        peer.send(frame);
    }
    expect(&seen, Seen::Pong(b"probe".to_vec()));
    expect(&seen, Seen::Pong(Vec::new()));
    expect(&seen, Seen::Pong(b"between".to_vec()));
    expect(&seen, Seen::Message(b"message".to_vec()));
    expect(&seen, Seen::Pong(timed.payload));
    server.handle().stop();
    server.join();
}

#[test]
fn pongs_come_between_pieces() {
    let (server, seen, mut peer) = start::<Pieces>();
    peer.send(Frame::binary("a").fragment());
    expect(&seen, Seen::Message(b"a".to_vec()));
    peer.send(Frame::pong("between"));
    expect(&seen, Seen::Pong(b"between".to_vec()));
    peer.send(Frame::continuation("b"));
    expect(&seen, Seen::Message(b"b".to_vec()));
    server.handle().stop();
    server.join();
}
