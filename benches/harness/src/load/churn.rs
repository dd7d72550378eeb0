//! Connection churn: connect, echo one message, close; again and again. With TLS, this measures handshakes.
//!
//! After the echo the client ends its direction, waits for the server's end, and closes. A server that never closes is
//! therefore detected, and every counted connection is complete. The client ends first, so the minute of TIME_WAIT is
//! its own. To have enough ports without using the ephemeral ports of other programs, connections to 127.0.0.0/8 come
//! from 127.0.0.2 to 127.0.0.251 and ports 10,000 to 19,999, in turn: 2.5 million. A reset (`SO_LINGER` 0) would save
//! the ports, but the server would see an error where real clients close in order.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::clock::Clock;
use super::connection::connect_error;
use super::poller::Poller;
use super::stream::Stream;
use super::tls::{Client, TlsStream};
use super::window::Window;
use super::{Framing, LoadError, LoadReport, Observer, Trust, Until, WireImage};

/// Payload of the one message of each connection, in bytes.
const MESSAGE: usize = 64;
/// The longest wait before the phase and the server's silence are checked.
const TURN: Duration = Duration::from_millis(50);
/// Source addresses are 127.0.0.FIRST_HOST and the HOSTS - 1 after it, each with PORTS ports from FIRST_PORT on.
const FIRST_HOST: u8 = 2;
const HOSTS: usize = 250;
const FIRST_PORT: u16 = 10_000;
const PORTS: usize = 10_000;
/// The number of sources that are tried before the error that no port is left. Linux by default keeps at most 262,144
/// connections in TIME_WAIT.
const MAX_TRIES: usize = 300_000;

/// A connection churn load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChurnLoad {
    /// The server's address.
    pub address: SocketAddr,
    /// Connections that are open at the same time.
    pub concurrency: usize,
    /// The bytes around the message; WebSocket is refused.
    pub framing: Framing,
    /// The TLS handshake of each connection; `None` without TLS.
    pub handshakes: Option<Handshakes>,
    /// Time before the window opens.
    pub warm_up: Duration,
    /// The end of the window.
    pub until: Until,
}

/// The TLS handshakes of short connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Handshakes {
    /// The certificate that the clients trust.
    pub trust: Trust,
    /// True if each connection resumes the session of another by a ticket of TLS 1.3, which it must have got by then;
    /// the first ones, as many as are open at the same time, do a full handshake. Otherwise all handshakes are full.
    pub resumed: bool,
}

/// Runs the load to its end. An operation is one connection, opened, used and closed by both ends. Its latency counts
/// from the connect to the server's FIN.
///
/// [`LoadError::Options`] for WebSocket, whose handshake would dominate the measurement; otherwise the first failure
/// ends the run.
pub fn churn(load: &ChurnLoad, observer: &mut dyn Observer) -> Result<LoadReport, LoadError> {
    if load.concurrency == 0 {
        return Err(LoadError::Options(
            "a concurrency of at least one is needed".into(),
        ));
    }
    if load.framing.is_websocket() {
        return Err(LoadError::Options(
            "churn is not supported with WebSocket framing".into(),
        ));
    }
    let image = WireImage::new(load.framing, MESSAGE)?;
    let mut poller = Poller::new()?;
    let clock = Clock::start();
    let tls = match &load.handshakes {
        Some(handshakes) => Some(Client::new(&handshakes.trust, handshakes.resumed)?),
        None => None,
    };
    let must_resume = load.handshakes.as_ref().is_some_and(|it| it.resumed);
    let mut opened = 0;
    let mut next = |poller: &Poller, slot: usize| -> Result<Visit, LoadError> {
        let visit = Visit::begin(load.address, opened, &image, tls.as_ref(), clock.now())?;
        poller.add(&visit.stream, slot)?;
        opened += 1;
        Ok(visit)
    };
    let mut visits = (0..load.concurrency)
        .map(|slot| next(&poller, slot))
        .collect::<Result<Vec<_>, _>>()?;
    let mut window = Window::new(clock, load.warm_up, load.until, observer);

    while window.turn(load.concurrency as u64)? {
        for event in 0..poller.wait(TURN)? {
            let slot = poller.key(event);
            if visits[slot].advance(load.address, &image)? {
                if must_resume {
                    visits[slot].check_resumption(load.concurrency)?;
                }
                let now = clock.now();
                window.record(visits[slot].began, now);
                window.answered(MESSAGE as u64, now);
                // The assignment closes the old socket, which removes it from the poller.
                visits[slot] = next(&poller, slot)?;
            }
        }
    }
    Ok(window.into_report())
}

/// One short connection.
struct Visit {
    stream: Stream,
    number: usize,
    began: u64,
    sent: bool,
    received: usize,
}

impl Visit {
    fn begin(
        address: SocketAddr,
        number: usize,
        image: &WireImage,
        tls: Option<&Client>,
        began: u64,
    ) -> Result<Self, LoadError> {
        let socket = connect(address).map_err(|source| connect_error(address, number, source))?;
        let stream = match tls {
            None => Stream::Plain(socket),
            Some(client) => {
                let begun = TlsStream::begin(socket, client);
                let stream = begun.map_err(|source| connect_error(address, number, source))?;
                Stream::Tls(Box::new(stream))
            }
        };
        let mut visit = Self {
            stream,
            number,
            began,
            sent: false,
            received: 0,
        };
        // On loopback the TCP handshake has usually completed when `connect` returns.
        visit.send(address, image)?;
        Ok(visit)
    }

    /// Advances as far as the socket allows. `Ok(true)` if the server has answered and closed.
    fn advance(&mut self, address: SocketAddr, image: &WireImage) -> Result<bool, LoadError> {
        self.send(address, image)?;
        if !self.sent {
            return Ok(false);
        }
        let mut buffer = [0; 512];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) if self.received == image.sent().frame() => return Ok(true),
                Ok(0) => return Err(self.closed()),
                Ok(length) => {
                    self.check(image, &buffer[..length])?;
                    if self.received == image.sent().frame() {
                        return self.end();
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return Err(self.closed());
                }
                Err(error) => return Err(LoadError::io("receive")(error)),
            }
        }
    }

    /// Sends the message once the connection is established.
    fn send(&mut self, address: SocketAddr, image: &WireImage) -> Result<(), LoadError> {
        if self.sent {
            return Ok(());
        }
        let ring = image.sent();
        let message = ring.slice(ring.start(self.number), ring.frame() as u64);
        match self.stream.write(message) {
            Ok(length) => {
                debug_assert_eq!(
                    length,
                    message.len(),
                    "an empty socket buffer takes a small message whole"
                );
                self.sent = true;
                Ok(())
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::NotConnected
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(connect_error(address, self.number, error)),
        }
    }

    /// Ends the sending direction; the server's end comes later.
    fn end(&mut self) -> Result<bool, LoadError> {
        match self.stream.end() {
            Ok(()) => Ok(false),
            // A server that ends first, with a reset, is done, too.
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(true),
            Err(error) => Err(LoadError::io("shutdown")(error)),
        }
    }

    /// Fails if the session was not resumed, except on the `first` connections.
    fn check_resumption(&self, first: usize) -> Result<(), LoadError> {
        match self.number < first || self.stream.is_resumed() {
            true => Ok(()),
            false => Err(LoadError::NotResumed {
                connection: self.number,
            }),
        }
    }

    fn closed(&self) -> LoadError {
        LoadError::Closed {
            connection: self.number,
            outstanding: 1,
        }
    }

    fn check(&mut self, image: &WireImage, found: &[u8]) -> Result<(), LoadError> {
        let ring = image.sent();
        let expected = ring.slice(ring.start(self.number), ring.frame() as u64);
        let rest = &expected[self.received..];
        if found.len() > rest.len() {
            return Err(LoadError::Surplus {
                connection: self.number,
                bytes: (found.len() - rest.len()) as u64,
            });
        }
        if let Some(offset) = found
            .iter()
            .zip(rest)
            .position(|(found, sent)| found != sent)
        {
            return Err(LoadError::WrongByte {
                connection: self.number,
                position: (self.received + offset) as u64,
                expected: rest[offset],
                found: found[offset],
            });
        }
        self.received += found.len();
        Ok(())
    }
}

/// Begins a non-blocking connect from a free source address.
fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    if address.ip().is_loopback() && address.is_ipv4() {
        bind_to_free_source(&socket)?;
    }
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {
            Ok(socket.into())
        }
        result => result.map(|()| socket.into()),
    }
}

fn bind_to_free_source(socket: &Socket) -> io::Result<()> {
    /// Continues across all loads of this process, because closed connections hold their source for a minute.
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let first = std::process::id() as usize * MAX_TRIES;
    for _ in 0..MAX_TRIES {
        let source = source(first.wrapping_add(TURN.fetch_add(1, Ordering::Relaxed)));
        match socket.bind(&SockAddr::from(source)) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            result => return result,
        }
    }
    Err(ErrorKind::AddrInUse.into())
}

/// The source address number `turn`: all hosts with one port, then all with the next.
fn source(turn: usize) -> SocketAddrV4 {
    // Below 250 and below 10,000, so the casts are exact.
    let host = FIRST_HOST + (turn % HOSTS) as u8;
    let port = FIRST_PORT + (turn / HOSTS % PORTS) as u16;
    SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, host), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_take_turns() {
        assert_eq!(source(0), "127.0.0.2:10000".parse().unwrap());
        assert_eq!(source(249), "127.0.0.251:10000".parse().unwrap());
        assert_eq!(source(250), "127.0.0.2:10001".parse().unwrap());
        assert_eq!(
            source(HOSTS * PORTS - 1),
            "127.0.0.251:19999".parse().unwrap()
        );
        assert_eq!(source(HOSTS * PORTS), source(0));
    }
}
