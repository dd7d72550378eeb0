//! The echo server on ringwheel itself, with its own protocols.

use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use ringwheel::protocol::{Decode, Delimited, Encode, LengthPrefixed, Protocol, Raw};
use ringwheel::websocket::{Deflate, Message, MessageBuf, WebSocket};
use ringwheel::{Conn, Handler, Limits, Listen, Overflow, Server, Tls};
use ringwheel_peers::options::{Threads, Timers};
use ringwheel_peers::{MAX_MESSAGE, start, timers};

/// Longest time to send the pending output after the client's FIN.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(60);
/// The topic to which the connections of a broadcast subscribe.
const TOPIC: &str = "all";

/// An echo server on ringwheel.
#[derive(Parser)]
#[command(name = "peer-ringwheel")]
struct Options {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:1833")]
    addr: SocketAddr,
    /// The framing of messages
    #[arg(long, value_enum, default_value_t = Framing::Raw)]
    framing: Framing,
    /// Send every WebSocket message to all connections, the sender's too, instead of back
    #[arg(long)]
    broadcast: bool,
    /// PEM file with the certificate; the server then speaks TLS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    timers: Timers,
}

/// The framing of messages.
#[derive(Clone, Copy, ValueEnum)]
enum Framing {
    /// Bytes as they arrive.
    Raw,
    /// A payload after its length, a big-endian u32.
    LengthPrefixed,
    /// Bytes up to a line feed.
    Lines,
    /// A WebSocket message.
    Websocket,
    /// A WebSocket message, compressed.
    WebsocketDeflate,
}

fn main() -> ExitCode {
    start::run(|options: Options| match options.framing {
        Framing::Raw => serve(&options, Raw, Echo(PhantomData)),
        Framing::LengthPrefixed => {
            let protocol = LengthPrefixed::u32_be().max_length(MAX_MESSAGE);
            serve(&options, protocol, Echo(PhantomData))
        }
        Framing::Lines => {
            // `Lines` would accept only UTF-8.
            let protocol = Delimited::new(b"\n").max_length(MAX_MESSAGE);
            serve(&options, protocol, Echo(PhantomData))
        }
        Framing::Websocket => serve_websocket(&options, websocket()),
        Framing::WebsocketDeflate => {
            // Like the other peers: compresses every message, at level 1, without context takeover.
            let deflate = Deflate::new().level(1).min_size(0);
            serve_websocket(&options, websocket().deflate(deflate))
        }
    })
}

fn websocket() -> WebSocket {
    WebSocket::new().max_message(MAX_MESSAGE)
}

fn serve_websocket(options: &Options, protocol: WebSocket) -> io::Result<()> {
    match options.broadcast {
        true => {
            // A subscriber that does not read misses messages, and takes no more memory than this.
            let limits = Limits::default()
                .output(128 * 1024)
                .low_water(32 * 1024)
                .high_water(64 * 1024)
                .overflow(Overflow::DropMessage);
            serve_within(options, limits, protocol, Broadcast)
        }
        false => serve(options, protocol, WebSocketEcho),
    }
}

fn serve<H>(options: &Options, protocol: H::Protocol, handler: H) -> io::Result<()>
where
    H: Handler + Clone + Send,
{
    // The water marks, which pause reading, keep their defaults; the limits only let the largest message through.
    let limits = Limits::default()
        .input(2 * MAX_MESSAGE)
        .output(2 * MAX_MESSAGE);
    serve_within(options, limits, protocol, handler)
}

fn serve_within<H>(
    options: &Options,
    limits: Limits,
    protocol: H::Protocol,
    handler: H,
) -> io::Result<()>
where
    H: Handler + Clone + Send,
{
    let listen = Listen::with(protocol, options.addr)
        .limits(limits)
        // A client may read as slowly as it likes.
        .write_stall_timeout(None)
        .close_timeout(CLOSE_TIMEOUT);
    let listen = match (&options.tls_cert, &options.tls_key) {
        (Some(cert), Some(key)) => {
            listen.tls(Tls::from_pem_files(cert, key).map_err(io::Error::other)?)
        }
        _ => listen,
    };
    let server = Server::builder()
        .workers(options.threads.workers.get())
        .listen_with(listen, handler)?
        .build()?;
    for duration in timers::durations(options.timers.timers) {
        server.handle().run_every(duration, || {});
    }
    start::announce(server.local_addr().expect("there is a listener"))?;
    server.run()
}

/// Echoes every message.
struct Echo<P>(PhantomData<fn() -> P>);

impl<P> Clone for Echo<P> {
    fn clone(&self) -> Self {
        Echo(PhantomData)
    }
}

impl<P> Handler for Echo<P>
where
    P: Protocol,
    P::Decoder: for<'a> Decode<Message<'a> = &'a [u8]>,
    P::Encoder: for<'a> Encode<Item<'a> = &'a [u8]>,
{
    type Protocol = P;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, P>) {}

    fn on_message(&mut self, conn: &mut Conn<'_, P>, _session: &mut (), message: &[u8]) {
        conn.send(message);
    }
}

/// Echoes every WebSocket message.
#[derive(Clone)]
struct WebSocketEcho;

impl Handler for WebSocketEcho {
    type Protocol = WebSocket;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, WebSocket>) {}

    fn on_message(
        &mut self,
        conn: &mut Conn<'_, WebSocket>,
        _session: &mut (),
        message: Message<'_>,
    ) {
        conn.send(message);
    }
}

/// Sends every WebSocket message to all connections.
#[derive(Clone)]
struct Broadcast;

impl Handler for Broadcast {
    type Protocol = WebSocket;
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_, WebSocket>) {
        conn.subscribe(TOPIC)
            .expect("one topic with a short name is within the limits");
    }

    fn on_message(
        &mut self,
        conn: &mut Conn<'_, WebSocket>,
        _session: &mut (),
        message: Message<'_>,
    ) {
        // Fails only if the server ends.
        let _ = conn.publish(TOPIC, MessageBuf::from(message));
    }
}
