//! Slowloris: many clients that send one byte now and then, or nothing at all.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ringwheel::Server;
use ringwheel::protocol::LengthPrefixed;
use ringwheel::websocket::WebSocket;
use support::scale::{is_full, milliseconds, report, sized};
use support::websocket::{Frame, Peer};
use support::{Client, TestServer, eventually, listen};

use crate::tally::Counts;

/// The kinds of attackers. Each stalls at another place in its input; [`Kind::bytes`] is what it drips, the last byte
/// for ever.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// In the head of the opening request.
    Head,
    /// In a frame of an open WebSocket.
    Frame,
    /// In the first message of a protocol that opens at once.
    FirstMessage,
    /// In the second message of such a protocol.
    LaterMessage,
    /// Silent before the opening request.
    SilentHead,
    SilentMessage,
}

const KINDS: [Kind; 6] = [
    Kind::Head,
    Kind::Frame,
    Kind::FirstMessage,
    Kind::LaterMessage,
    Kind::SilentHead,
    Kind::SilentMessage,
];

impl Kind {
    fn bytes(self) -> &'static [u8] {
        match self {
            Kind::Head => b"GET / HTTP/1.1\r\nX: a",
            Kind::Frame => b"\x82\xFE\x10\0maska",
            Kind::FirstMessage | Kind::LaterMessage => b"\0\0\x10\0a",
            Kind::SilentHead | Kind::SilentMessage => b"",
        }
    }

    #[track_caller]
    fn connect(self, [websocket, plain]: [SocketAddr; 2]) -> Attacker {
        let client = match self {
            Kind::Head | Kind::SilentHead => Client::connect(websocket),
            Kind::Frame => Peer::open_over(Client::connect(websocket)).client,
            Kind::FirstMessage | Kind::SilentMessage => Client::connect(plain),
            Kind::LaterMessage => {
                let mut client = Client::connect(plain);
                assert_eq!(client.ask(b"\0\0\0\x01x"), b"\0\0\0\x01x");
                client
            }
        };
        let stream = client.stream().try_clone().expect("a descriptor");
        stream.set_nonblocking(true).expect("a socket");
        Attacker {
            kind: self,
            stream,
            sent: 0,
        }
    }
}

struct Attacker {
    kind: Kind,
    stream: TcpStream,
    sent: usize,
}

impl Attacker {
    /// Sends the next byte, even if the server no longer reads. The attacker never closes by itself.
    fn drip(&mut self) {
        let bytes = self.kind.bytes();
        if let Some(last) = bytes.len().checked_sub(1) {
            let _ = self.stream.write(&[bytes[self.sent.min(last)]]);
            self.sent += 1;
        }
    }

    /// True if the server has ended the connection.
    fn has_ended(&mut self) -> bool {
        let mut buffer = [0; 512];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
        }
    }
}

/// Well-behaved connections, whose response times are measured.
struct Healthy {
    websockets: Vec<Peer>,
    plain: Vec<Client>,
}

impl Healthy {
    const COUNT: usize = 10;

    fn connect([websocket, plain]: [SocketAddr; 2]) -> Self {
        let half = 0..Self::COUNT / 2;
        Healthy {
            websockets: half
                .clone()
                .map(|_| Peer::open_over(Client::connect(websocket)))
                .collect(),
            plain: half.map(|_| Client::connect(plain)).collect(),
        }
    }

    /// Sends questions on all connections in turn until `stop` is set; returns the response times, sorted.
    fn ask(&mut self, stop: &AtomicBool) -> Vec<Duration> {
        let mut times = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            for peer in &mut self.websockets {
                let start = Instant::now();
                peer.send(Frame::text("how are you"));
                loop {
                    let frame = peer.next_frame();
                    match frame.opcode() {
                        0x9 => peer.send(Frame::pong(frame.payload)),
                        _ => break assert_eq!(frame, Frame::text("how are you")),
                    }
                }
                times.push(start.elapsed());
            }
            for client in &mut self.plain {
                let start = Instant::now();
                let question = b"\0\0\0\x0bhow are you";
                assert_eq!(client.ask(question), question);
                times.push(start.elapsed());
            }
            thread::sleep(Duration::from_millis(2));
        }
        times.sort_unstable();
        times
    }
}

/// The 99th percentile.
fn p99(sorted: &[Duration]) -> Duration {
    sorted[sorted.len() * 99 / 100]
}

fn drip_until(
    stop: Arc<AtomicBool>,
    mut attackers: Vec<Attacker>,
    interval: Duration,
) -> JoinHandle<Vec<Attacker>> {
    thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let next = Instant::now() + interval;
            attackers.iter_mut().for_each(Attacker::drip);
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        attackers
    })
}

/// A server for both protocols, with deadlines.
fn serve(counts: &Counts, deadline: Duration) -> TestServer {
    let linger = Duration::from_millis(100);
    let websocket = WebSocket::new()
        .handshake_timeout(deadline)
        .ping_every(deadline / 2)
        // On a busy machine the attackers are silent for long while the last of them connect. With a short time for the
        // pong they would be ended for that, and not by the deadline of their message.
        .pong_timeout(10 * deadline);
    let websocket = listen(websocket)
        .message_timeout(deadline)
        .close_timeout(linger);
    let plain = listen(LengthPrefixed::u32_be())
        .first_message_timeout(deadline)
        .message_timeout(deadline)
        .close_timeout(linger);
    let builder = Server::builder().workers(1);
    let builder = builder.listen_with(websocket, counts.echo()).unwrap();
    let builder = builder.listen_with(plain, counts.echo()).unwrap();
    TestServer::spawn(builder)
}

#[test]
fn slowloris_is_evicted_and_hurts_nobody() {
    let of_each_kind = sized(40, 340);
    let deadline = Duration::from_millis(sized(600, 5000));
    let interval = Duration::from_millis(sized(50, 1000));
    let calm = Duration::from_millis(sized(200, 3000));
    let counts = Counts::default();
    let server = serve(&counts, deadline);
    let addresses = [0, 1].map(|listener| server.addr_of(listener));

    let mut healthy = Healthy::connect(addresses);
    let stop = Arc::new(AtomicBool::new(false));
    let before = thread::scope(|scope| {
        let asking = scope.spawn(|| healthy.ask(&stop));
        thread::sleep(calm);
        stop.store(true, Ordering::Relaxed);
        asking.join().unwrap()
    });

    stop.store(false, Ordering::Relaxed);
    let (during, mut attackers, lasted) = thread::scope(|scope| {
        let asking = scope.spawn(|| healthy.ask(&stop));
        let kinds = KINDS.iter().cycle().take(of_each_kind * KINDS.len());
        let attackers = kinds.map(|kind| kind.connect(addresses)).collect();
        let connected = Instant::now();
        let dripping = drip_until(stop.clone(), attackers, interval);
        eventually("all attackers are gone", || {
            server.handle().stats().connections == Healthy::COUNT
        });
        let lasted = connected.elapsed();
        stop.store(true, Ordering::Relaxed);
        let attackers = dripping.join().unwrap();
        (asking.join().unwrap(), attackers, lasted)
    });
    assert!(attackers.iter_mut().all(Attacker::has_ended));
    drop(healthy);
    eventually("all are gone", || server.handle().stats().connections == 0);

    let each = of_each_kind as u64;
    assert_eq!(counts.ended("Timeout(Message)"), 2 * each, "{counts:?}");
    assert_eq!(counts.ended("Timeout(FirstMessage)"), 2 * each);
    assert_eq!(counts.opened(), 4 * each + Healthy::COUNT as u64);
    counts.finish(server);

    let (before, during) = (p99(&before), p99(&during));
    report(
        "slowloris_is_evicted_and_hurts_nobody",
        format_args!(
            "{} attackers evicted {} after the last had connected, with a deadline of {}; p99 of healthy clients {} before, {} during",
            attackers.len(),
            milliseconds(lasted),
            milliseconds(deadline),
            milliseconds(before),
            milliseconds(during)
        ),
    );
    if is_full() {
        assert!(lasted < deadline + Duration::from_secs(1), "{lasted:?}");
        // Shorter times cannot be measured reliably.
        let floor = Duration::from_micros(500);
        assert!(
            during < 2 * before.max(floor),
            "{during:?} and {before:?} before"
        );
    }
}

/// Later messages have a deadline too: a protocol without pings evicts clients that stop in the middle of one.
#[test]
fn clients_that_stop_within_a_message_are_evicted() {
    let clients = sized(50, 1000);
    let deadline = Duration::from_millis(sized(1000, 2000));
    let counts = Counts::default();
    let plain = listen(LengthPrefixed::u32_be())
        .idle_timeout(deadline)
        .close_timeout(Duration::from_millis(100));
    let server = TestServer::start(plain, counts.echo());
    // Each asks at once, so that its own time runs for one exchange and not for those of the others.
    let connect = |_| {
        let mut client = server.connect();
        assert_eq!(client.ask(b"\0\0\0\x01x"), b"\0\0\0\x01x");
        client.send(b"\0\0\x10\0and no more");
        client
    };
    let mut attackers: Vec<Client> = (0..clients).map(connect).collect();
    let start = Instant::now();
    eventually("all are gone", || server.handle().stats().connections == 0);
    let lasted = start.elapsed();
    attackers.iter_mut().for_each(Client::expect_eof);
    assert_eq!(counts.ended("Timeout(Idle)"), clients);
    counts.finish(server);
    report(
        "clients_that_stop_within_a_message_are_evicted",
        format_args!(
            "{clients} evicted after {}, with a deadline of {}",
            milliseconds(lasted),
            milliseconds(deadline)
        ),
    );
    if is_full() {
        assert!(lasted < deadline + Duration::from_secs(1), "{lasted:?}");
    }
}
