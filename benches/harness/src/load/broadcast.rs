//! WebSocket broadcast: one client publishes at a fixed rate, many receive.
//!
//! All connections receive the same messages, so they share one walk along the ring. The publisher receives its own
//! messages, too: they are verified like the others, but not counted. As in an open loop, the generator spins between
//! messages that follow each other closely, so its CPU share means nothing.
//!
//! Some subscribers may stop reading. The server decides about their messages: it may keep them, drop them, or close.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::connection::{Connection, connect, connect_prepared};
use super::descriptors::allow_descriptors;
use super::incoming::Incoming;
use super::poller::Poller;
use super::schedule::Schedule;
use super::stream::Stream;
use super::tls::Client;
use super::window::Window;
use super::wire::SLICE;
use super::{Framing, LoadError, LoadReport, Observer, PATIENCE, Trust, Until, WireImage, client};

/// The walk along the ring that all connections share.
const WALK: usize = 0;
/// The most messages published before deliveries are read, if the schedule is late.
const BURST: usize = 64;
/// The receive buffer of a subscriber that does not read: the smallest that the system permits. Its segments are so
/// small that the server's own socket buffer, which the system sizes by them, stays small, too.
const STALLED_BUFFER: usize = 1;
const STALLED_SEGMENT: u32 = 536;
/// Missing deliveries at which the run is given up, because the rate cannot be held.
const MAX_OWED: u64 = 1_000_000;

/// A broadcast load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BroadcastLoad {
    /// The server's address; the server sends every message to all connections, including the sender's.
    pub address: SocketAddr,
    /// Connections that receive; one more publishes.
    pub subscribers: usize,
    /// Number of subscribers, the last ones, that never read after the handshake. No delivery to them is expected, and
    /// may close them. Must be less than all.
    pub stalled: usize,
    /// Payload bytes per message.
    pub size: usize,
    /// Messages published per second.
    pub rate: u64,
    /// True if every received byte is compared with the byte sent.
    pub verify: bool,
    /// The certificate that TLS clients trust; `None` without TLS.
    pub tls: Option<Trust>,
    /// Time before the window opens.
    pub warm_up: Duration,
    /// The end of the window; operations are deliveries.
    pub until: Until,
}

/// Runs the load to its end. An operation is one delivery within the window. Its latency counts from the time when the
/// message should have been published. In errors the subscribers are the connections from 0, and the publisher follows
/// them.
///
/// The first failure ends the run: no server, a closed connection, wrong bytes; [`LoadError::Overrun`] if a million
/// deliveries are missing, [`LoadError::Undelivered`] if a message has not reached all connections within [`PATIENCE`].
pub fn broadcast(
    load: &BroadcastLoad,
    observer: &mut dyn Observer,
) -> Result<LoadReport, LoadError> {
    if load.subscribers == 0 || load.rate == 0 {
        return Err(LoadError::Options(
            "at least one subscriber and one message per second are needed".into(),
        ));
    }
    if load.stalled >= load.subscribers {
        return Err(LoadError::Options(
            "at least one subscriber must read".into(),
        ));
    }
    let mut poller = Poller::new()?;
    let mut channel = Channel::open(load, &poller)?;
    let clock = Clock::start();
    let mut schedule = Schedule::new(clock.now(), load.rate);
    let mut window = Window::new(clock, load.warm_up, load.until, observer);

    while window.turn(channel.published.owed)? {
        channel.publish(&mut schedule, clock.now())?;
        channel.published.check_age(clock.now())?;
        for event in 0..poller.wait(schedule.idle(clock.now()))? {
            loop {
                channel.receive(poller.key(event), clock, &mut window)?;
                // Reading from all can take longer than the time between two messages.
                channel.publish(&mut schedule, clock.now())?;
                // The end of a stream is not reported again if it came with the last bytes, so the stream is read on.
                if !poller.hung_up(event) {
                    break;
                }
            }
        }
    }
    Ok(window.into_report())
}

/// All connections of a broadcast.
struct Channel {
    image: WireImage,
    load: BroadcastLoad,
    /// The connections that read.
    subscribers: Vec<Subscriber>,
    /// The connections that do not read; they are only kept open.
    _stalled: Vec<Stream>,
    publisher: Connection,
    published: Published,
    buffer: Vec<u8>,
}

impl Channel {
    /// Connects the subscribers and the publisher, and registers each under its number.
    fn open(load: &BroadcastLoad, poller: &Poller) -> Result<Self, LoadError> {
        allow_descriptors(load.subscribers + 1)?;
        let image = WireImage::new(Framing::WebSocket, load.size)?;
        let tls = client(load.tls.as_ref())?;
        let tls = tls.as_ref();
        let reading = load.subscribers - load.stalled;
        let mut subscribers = Vec::with_capacity(reading);
        for index in 0..reading {
            let subscriber = Subscriber::open(load.address, index, &image, tls)?;
            poller.add(&subscriber.stream, index)?;
            subscribers.push(subscriber);
        }
        let stalled = (reading..load.subscribers)
            .map(|index| connect_stalled(load.address, index, tls))
            .collect::<Result<_, _>>()?;
        let publisher =
            Connection::open_on_walk(load.address, load.subscribers, WALK, &image, tls)?;
        poller.add(publisher.stream(), load.subscribers)?;
        Ok(Self {
            image,
            load: load.clone(),
            subscribers,
            _stalled: stalled,
            publisher,
            published: Published::new(reading + 1),
            buffer: vec![0; SLICE],
        })
    }

    /// Publishes the messages that are due, [`BURST`] at most.
    #[inline]
    fn publish(&mut self, schedule: &mut Schedule, now: u64) -> Result<(), LoadError> {
        let before = schedule.sent();
        for due in std::iter::from_fn(|| schedule.take(now)).take(BURST) {
            self.publisher.enqueue(&self.image, 1, due);
            self.published.publish(due);
        }
        if schedule.sent() == before {
            return Ok(());
        }
        if self.published.owed > MAX_OWED {
            return Err(LoadError::Overrun {
                rate: self.load.rate,
                outstanding: self.published.owed,
            });
        }
        self.publisher.flush(&self.image)
    }

    /// Reads the bytes that have arrived on a connection.
    #[inline]
    fn receive(
        &mut self,
        connection: usize,
        clock: Clock,
        window: &mut Window<'_>,
    ) -> Result<(), LoadError> {
        let Some(subscriber) = self.subscribers.get_mut(connection) else {
            return self.receive_own();
        };
        let messages = subscriber.incoming.receive(
            &mut subscriber.stream,
            &self.image,
            &mut self.buffer,
            self.load.verify,
            (self.published.total() - subscriber.delivered) as usize,
        )?;
        if messages == 0 {
            return Ok(());
        }
        let now = clock.now();
        for _ in 0..messages {
            // Every due time counts: a server that is late still delivers messages from before the window.
            let due = self.published.deliver(subscriber.delivered);
            subscriber.delivered += 1;
            window.record(due, now);
        }
        window.answered((messages * self.load.size) as u64, now);
        Ok(())
    }

    /// Reads the publisher's own messages, and sends bytes that its socket had no room for before.
    fn receive_own(&mut self) -> Result<(), LoadError> {
        let messages = self
            .publisher
            .receive(&self.image, &mut self.buffer, self.load.verify)?;
        let delivered = self.published.total() - self.publisher.owed() as u64;
        for message in 0..messages as u64 {
            self.published.deliver(delivered + message);
        }
        drop(self.publisher.settle(messages));
        self.publisher.flush(&self.image)
    }
}

fn connect_stalled(
    address: SocketAddr,
    index: usize,
    tls: Option<&Client>,
) -> Result<Stream, LoadError> {
    connect_prepared(address, index, Framing::WebSocket, tls, |socket| {
        socket.set_recv_buffer_size(STALLED_BUFFER)?;
        socket.set_tcp_mss(STALLED_SEGMENT)
    })
}

/// A connection that only receives.
struct Subscriber {
    stream: Stream,
    incoming: Incoming,
    /// Messages received completely.
    delivered: u64,
}

impl Subscriber {
    fn open(
        address: SocketAddr,
        index: usize,
        image: &WireImage,
        tls: Option<&Client>,
    ) -> Result<Self, LoadError> {
        let stream = connect(address, index, Framing::WebSocket, tls)?;
        stream
            .socket()
            .set_nonblocking(true)
            .map_err(LoadError::io("make a socket non-blocking"))?;
        Ok(Self {
            stream,
            incoming: Incoming::new(index, WALK, image),
            delivered: 0,
        })
    }
}

/// The published messages that some connection has not received yet.
///
/// Invariants: `messages` begins with message number `first`, which some connection lacks; `owed` is the number of
/// missing deliveries of all messages.
struct Published {
    connections: usize,
    first: u64,
    messages: VecDeque<Message>,
    owed: u64,
}

struct Message {
    due: u64,
    /// Connections that have not received it.
    lacking: usize,
}

impl Published {
    fn new(connections: usize) -> Self {
        debug_assert!(connections > 0);
        Self {
            connections,
            first: 0,
            messages: VecDeque::new(),
            owed: 0,
        }
    }

    /// The number of messages published so far.
    #[inline]
    fn total(&self) -> u64 {
        self.first + self.messages.len() as u64
    }

    fn publish(&mut self, due: u64) {
        self.messages.push_back(Message {
            due,
            lacking: self.connections,
        });
        self.owed += self.connections as u64;
    }

    /// Records that a connection has received message `number`; returns the time when it was due.
    #[inline]
    fn deliver(&mut self, number: u64) -> u64 {
        let message = &mut self.messages[(number - self.first) as usize];
        message.lacking -= 1;
        self.owed -= 1;
        let due = message.due;
        while self.messages.front().is_some_and(|it| it.lacking == 0) {
            self.messages.pop_front();
            self.first += 1;
        }
        debug_assert_eq!(self.messages.is_empty(), self.owed == 0);
        due
    }

    /// Fails if a message has been on its way for longer than [`PATIENCE`].
    fn check_age(&self, now: u64) -> Result<(), LoadError> {
        let Some(oldest) = self.messages.front() else {
            return Ok(());
        };
        let age = Duration::from_nanos(now.saturating_sub(oldest.due));
        if age <= PATIENCE {
            return Ok(());
        }
        Err(LoadError::Undelivered {
            message: self.first,
            age,
            lacking: oldest.lacking,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_kept_until_the_slowest_connection_has_it() {
        let mut published = Published::new(2);
        for due in [10, 20, 30] {
            published.publish(due);
        }
        assert_eq!((published.total(), published.owed), (3, 6));
        // One connection receives all three before the other one receives the first.
        assert_eq!(
            [0, 1, 2].map(|number| published.deliver(number)),
            [10, 20, 30]
        );
        assert_eq!((published.first, published.owed), (0, 3));
        assert_eq!(published.deliver(0), 10);
        assert_eq!((published.first, published.messages.len()), (1, 2));
        assert_eq!([1, 2].map(|number| published.deliver(number)), [20, 30]);
        assert_eq!((published.total(), published.owed), (3, 0));
    }

    #[test]
    fn a_message_that_is_under_way_for_too_long_is_named() {
        let patience = PATIENCE.as_nanos() as u64;
        let mut published = Published::new(3);
        assert!(published.check_age(u64::MAX).is_ok());
        published.publish(10);
        published.publish(20);
        published.deliver(0);
        assert!(published.check_age(10 + patience).is_ok());
        let error = published.check_age(11 + patience).unwrap_err();
        let LoadError::Undelivered {
            message, lacking, ..
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!((message, lacking), (0, 2));
        // The next message is not late yet.
        published.deliver(0);
        published.deliver(0);
        assert!(published.check_age(11 + patience).is_ok());
    }
}
