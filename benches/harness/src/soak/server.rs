//! The server of a soak: it echoes, broadcasts, keeps a timer for each connection, and counts.

use std::io::{self, BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringwheel::protocol::{ErrorOf, MessageOf, Protocol, Raw};
use ringwheel::websocket::{Deflate, Message, MessageBuf, WebSocket};
use ringwheel::{Address, CloseReason, Conn, Handler, Limits, Listen, Overflow, Server, TimerId};
use serde::{Deserialize, Serialize};

use super::reading::Counts;

/// A silent connection is ended after this time.
pub(super) const FIRST_MESSAGE: Duration = Duration::from_secs(2);
/// A connection that does not read is ended after one to two times this time.
const WRITE_STALL: Duration = Duration::from_secs(3);
/// Longest time for a close, and for the end of the server.
const CLOSE: Duration = Duration::from_secs(5);
/// Interval of each connection's timer.
const TICK: Duration = Duration::from_millis(500);
const WORKERS: usize = 2;
/// The topic to which the connections of the broadcast subscribe.
const TOPIC: &str = "all";

/// The server's addresses.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Addresses {
    pub(super) plain: SocketAddr,
    pub(super) websocket: SocketAddr,
    pub(super) deflated: SocketAddr,
    pub(super) broadcast: SocketAddr,
}

impl Default for Addresses {
    fn default() -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Addresses {
            plain: nowhere,
            websocket: nowhere,
            deflated: nowhere,
            broadcast: nowhere,
        }
    }
}

/// Serves until its standard input ends. Prints its addresses on standard output, and answers each line with its
/// [`Counts`].
///
/// # Errors
/// Fails if it cannot listen, or ends with an error.
pub fn serve() -> io::Result<()> {
    let counters = Arc::new(Counters::default());
    let running = Server::builder()
        .workers(WORKERS)
        .listen_with(plain(), Counted::<Raw>::new(&counters, echo_bytes, |_| {}))?
        .listen_with(
            web(websocket()),
            Counted::<WebSocket>::new(&counters, echo, |_| {}),
        )?
        .listen_with(
            web(websocket().deflate(Deflate::new().level(1).min_size(0))),
            Counted::<WebSocket>::new(&counters, echo, |_| {}),
        )?
        .listen_with(
            broadcast(),
            Counted::<WebSocket>::new(&counters, publish, subscribe),
        )?
        .spawn()?;
    let addresses = running.local_addrs();
    let addresses: Vec<SocketAddr> = addresses.iter().filter_map(Address::socket_addr).collect();
    let [plain, websocket, deflated, broadcast] = addresses[..] else {
        unreachable!("there are four listeners");
    };
    answer(&Addresses {
        plain,
        websocket,
        deflated,
        broadcast,
    })?;
    for question in io::stdin().lock().lines() {
        question?;
        answer(&counters.read(running.handle().stats().connections))?;
    }
    running.shutdown(CLOSE)
}

fn answer(value: &impl Serialize) -> io::Result<()> {
    let mut output = io::stdout().lock();
    serde_json::to_writer(&mut output, value)?;
    output.write_all(b"\n")?;
    output.flush()
}

fn here<P: Protocol>(protocol: P) -> Listen<P> {
    Listen::with(protocol, (Ipv4Addr::LOCALHOST, 0))
        .write_stall_timeout(Some(WRITE_STALL))
        .close_timeout(CLOSE)
}

fn plain() -> Listen<Raw> {
    here(Raw).first_message_timeout(FIRST_MESSAGE)
}

fn websocket() -> WebSocket {
    WebSocket::new()
        .handshake_timeout(FIRST_MESSAGE)
        .ping_every(Duration::from_secs(3600))
}

fn web(protocol: WebSocket) -> Listen<WebSocket> {
    here(protocol)
}

/// A connection that does not read misses messages, and is ended only after it has not read for long.
fn broadcast() -> Listen<WebSocket> {
    here(websocket()).limits(
        Limits::default()
            .output(128 * 1024)
            .low_water(32 * 1024)
            .high_water(64 * 1024)
            .overflow(Overflow::DropMessage),
    )
}

fn echo_bytes(conn: &mut Conn<'_, Raw>, bytes: &[u8]) {
    conn.send(bytes);
}

fn echo(conn: &mut Conn<'_, WebSocket>, message: Message<'_>) {
    conn.send(message);
}

fn subscribe(conn: &mut Conn<'_, WebSocket>) {
    conn.subscribe(TOPIC)
        .expect("one topic with a short name is within the limits");
}

fn publish(conn: &mut Conn<'_, WebSocket>, message: Message<'_>) {
    // Fails only if the server ends or a mailbox is full: the load then misses the message.
    let _ = conn.publish(TOPIC, MessageBuf::from(message));
}

#[derive(Default)]
struct Counters {
    opened: AtomicU64,
    closed: AtomicU64,
    timers: AtomicU64,
    messages: AtomicU64,
}

impl Counters {
    fn read(&self, live: usize) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        Counts {
            // Read before the opens, so that no reading has more closes than opens.
            closed: of(&self.closed),
            opened: of(&self.opened),
            live: live as u64,
            timers: of(&self.timers),
            messages: of(&self.messages),
        }
    }
}

/// The handler: echoes or broadcasts, keeps a timer running, and counts.
struct Counted<P: Protocol> {
    counters: Arc<Counters>,
    on_message: OnMessage<P>,
    on_open: OnOpen<P>,
}

type OnMessage<P> = fn(&mut Conn<'_, P>, MessageOf<'_, P>);
type OnOpen<P> = fn(&mut Conn<'_, P>);

impl<P: Protocol> Counted<P> {
    fn new(counters: &Arc<Counters>, on_message: OnMessage<P>, on_open: OnOpen<P>) -> Self {
        Counted {
            counters: counters.clone(),
            on_message,
            on_open,
        }
    }

    fn set_timer(&self, conn: &mut Conn<'_, P>) {
        conn.set_timer(TICK, 0).expect("one timer is allowed");
        self.counters.timers.fetch_add(1, Ordering::SeqCst);
    }
}

impl<P: Protocol> Clone for Counted<P> {
    fn clone(&self) -> Self {
        Counted::new(&self.counters, self.on_message, self.on_open)
    }
}

impl<P: Protocol> Handler for Counted<P> {
    type Protocol = P;
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_, P>) {
        self.counters.opened.fetch_add(1, Ordering::SeqCst);
        self.set_timer(conn);
        (self.on_open)(conn);
    }

    fn on_message(&mut self, conn: &mut Conn<'_, P>, _: &mut (), message: MessageOf<'_, P>) {
        self.counters.messages.fetch_add(1, Ordering::Relaxed);
        (self.on_message)(conn, message);
    }

    fn on_timer(&mut self, conn: &mut Conn<'_, P>, _: &mut (), _: TimerId, _: u64) {
        self.counters.timers.fetch_sub(1, Ordering::SeqCst);
        self.set_timer(conn);
    }

    fn on_close(&mut self, _: &Conn<'_, P>, _: (), _: CloseReason<ErrorOf<P>>) {
        // The connection's timer ends with it.
        self.counters.timers.fetch_sub(1, Ordering::SeqCst);
        self.counters.closed.fetch_add(1, Ordering::SeqCst);
    }
}
