//! WebSocket (RFC 6455) with permessage-deflate (RFC 7692), as a [`Protocol`] like any other: it uses public items of the core
//! only.
//!
//! ```no_run
//! use ringwheel::websocket::{Message, WebSocket};
//! use ringwheel::{Conn, Handler, Server};
//!
//! #[derive(Clone)]
//! struct Echo;
//!
//! impl Handler for Echo {
//!     type Protocol = WebSocket;
//!     type Session = ();
//!     fn on_open(&mut self, _conn: &mut Conn<'_, WebSocket>) {}
//!     fn on_message(&mut self, conn: &mut Conn<'_, WebSocket>, _session: &mut (), message: Message<'_>) {
//!         conn.send(message);
//!     }
//! }
//!
//! Server::builder().listen("127.0.0.1:1833", Echo)?.run()
//! # ; Ok::<(), std::io::Error>(())
//! ```
//!
//! # What is automatic
//! The opening handshake, with an HTTP answer to a request that is not for WebSocket; the closing handshake in both directions;
//! pongs; pings, [every 30 seconds](WebSocket::ping_every) by default; compression, if turned on (`WebSocket::deflate`) and
//! offered by the client. [`Handler::on_open`](crate::Handler::on_open) is called once the opening handshake is over. An [`Accept`] decides who
//! may connect, chooses the subprotocol, and leaves a state for the session; it can also answer plain HTTP requests, so that a
//! page or a health check lives on the same port.
//!
//! [`Conn::close`](crate::Conn::close) sends a close frame with code 1000 (1001 when the server shuts down) and awaits the
//! peer's; [`Conn::close_with`](crate::Conn) takes a code and a reason. When the peer closes, it is answered, and the connection
//! ends with [`CloseReason::Peer`](crate::CloseReason::Peer); `Conn::peer_close` then has the peer's code and reason.
//!
//! # What a connection can do besides
//! A [`Conn`](crate::Conn) with this protocol has further methods: `send_text`, `send_binary`, `send_uncompressed`,
//! `send_fragment` and `send_last_fragment`, `ping`, `ping_with`, `round_trip_time`, `close_with`, `peer_close`, `subprotocol`,
//! `take_state`, `is_compressed` and `set_compression`.
//!
//! # Limits
//! | limit | default | what happens |
//! | --- | --- | --- |
//! | [`max_message`](WebSocket::max_message), inflated | 1 MiB | close code 1009 |
//! | [`fragment_overhead`](WebSocket::fragment_overhead), header bytes of one message's fragments | 1 MiB | close code 1009 |
//! | [`control_rate`](WebSocket::control_rate), control frames in a second | 1,000 | close code 1008 |
//! | [`message_rate`](WebSocket::message_rate), messages in a second | none | close code 1008 |
//! | [`max_head`](WebSocket::max_head), bytes of the opening request | 8 KiB | HTTP status 431 or 414 |
//! | [`max_headers`](WebSocket::max_headers) of it | 64 | HTTP status 431 |
//! | [`handshake_timeout`](WebSocket::handshake_timeout) | 10 s | HTTP status 408 |
//! | empty lines before the opening request | 4 | HTTP status 400 |
//! | interim answers before a server's answer, for a client | 8 | [`ClientHandshakeError::TooLong`] |
//! | [`pong_timeout`](WebSocket::pong_timeout), silence after an automatic ping | 20 s | close code 1008 |
//! | [`Listen::message_timeout`](crate::Listen::message_timeout), for a message that has begun | 30 s | it is cut off |
//! | [`Listen::close_timeout`](crate::Listen::close_timeout), for the peer's close frame | 10 s | it is cut off |
//!
//! Output is limited as for every protocol, by [`Limits`](crate::Limits): pongs count, and while a peer does not read, nothing is
//! read from it.
//!
//! # Answers to opening requests
//! A request is read by the grammar of RFC 9110, RFC 9112 and RFC 6455. Up to 4 empty lines before it are skipped. Every answer but
//! 101 has a `Date` and ends its connection; [`Accept::refused`] hears of refusals.
//!
//! | status | to | with |
//! | --- | --- | --- |
//! | 101 | an upgrade that [`Accept::upgrade`] accepts | |
//! | any | a rejection of [`Accept::upgrade`], an answer of [`Accept::http`] to GET or HEAD, in HTTP/1.0 too | |
//! | 204 | OPTIONS | `Allow` |
//! | 400 | anything malformed: the request line, the target, a header, `Host` (which only HTTP/1.0 may lack), `Upgrade`, `Connection`, `Sec-WebSocket-Key`, `Sec-WebSocket-Protocol`, `Sec-WebSocket-Extensions` | |
//! | 400 | a body, or what might be taken for one: `Transfer-Encoding`, or a `Content-Length` that is not 0 | |
//! | 403 | an upgrade from a page that the [`Origins`] do not allow | |
//! | 405 | another method of HTTP than GET, HEAD and OPTIONS | `Allow` |
//! | 408 | a request that is not whole within the [`handshake_timeout`](WebSocket::handshake_timeout) | |
//! | 414 | a request line longer than [`max_head`](WebSocket::max_head) | |
//! | 421 | a request for a host that is not among the [`Hosts`] | |
//! | 426 | a request without an upgrade that [`Accept::http`] does not answer | `Upgrade` |
//! | 426 | an upgrade to another version of WebSocket than 13 | `Upgrade`, `Sec-WebSocket-Version` |
//! | 431 | a head longer than [`max_head`](WebSocket::max_head), or with more than [`max_headers`](WebSocket::max_headers) | |
//! | 500 | a panic in [`Accept`], a response that cannot be sent, a subprotocol that was not offered | |
//! | 501 | a method that HTTP does not have | |
//! | 505 | another major version of HTTP than 1; a later minor version, such as HTTP/1.2, counts as 1.1 (RFC 9110 section 2.5) | |
//!
//! An extension that is not known, or has unknown parameters, is declined and not refused.
//!
//! # Memory
//! An idle connection holds no buffer. A message that lies whole in the receive buffer is unmasked and handed out there; one
//! that comes in parts is collected in a buffer of its own, at most twice as large as the part that has come, or four times where
//! its frame announces as much. Each thread keeps up to four large buffers, of together 4 MiB, for the next messages.

// The files, from bytes to messages and back; both halves share the session, which lives with the encoder:
//
//   opening ── handshake ── http
//      │
//   decoder ── reader ── assembly ──► session ◄── encoder
//                                        │
//                                     writer ── compression ── deflate

mod accept;
mod assembly;
mod client;
mod close;
#[cfg(feature = "deflate")]
mod compressed_frames;
#[cfg(feature = "deflate")]
mod compression;
mod conn;
mod decoder;
#[cfg(feature = "deflate")]
mod deflate;
mod delivery;
mod encoder;
mod error;
mod extensions;
mod flags;
mod frame;
mod handshake;
mod hosts;
mod keepalive;
mod mask;
mod masker;
mod message;
mod opening;
mod origin;
mod rate;
mod reader;
mod session;
mod settings;
mod text;
mod writer;

pub use crate::http::{Request, Response};
pub use accept::{Accept, AcceptAll, Answer};
pub use client::WebSocketClient;
pub use close::{CloseCode, CloseFrame};
pub use decoder::{WebSocketClientDecoder, WebSocketDecoder};
#[cfg(feature = "deflate")]
pub use deflate::Deflate;
pub use delivery::{Delivery, Event, Pieces, Whole, WithPongs};
pub use encoder::WebSocketEncoder;
pub use error::{Violation, WebSocketError};
pub use handshake::{ClientHandshakeError, HandshakeError};
pub use hosts::{Hosts, InvalidHostError};
pub use message::{Kind, Message, MessageBuf, Piece};
pub use origin::{InvalidOriginError, Origins};

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::protocol::Protocol;
use opening::ServerOpening;
use reader::FrameReader;
use session::Session;
use settings::Settings;

/// The server's side of WebSocket; see the [module](self).
///
/// `A` decides on opening handshakes, and `D` is how messages are handed to the handler: [`Whole`], in [`Pieces`], or
/// [`WithPongs`].
///
/// ```
/// use std::time::Duration;
/// use ringwheel::Listen;
/// use ringwheel::websocket::{Hosts, WebSocket};
///
/// let protocol: WebSocket = WebSocket::new()
///     .hosts(Hosts::list(["chat.example.com"]))
///     .max_message(64 * 1024)
///     .ping_every(Duration::from_secs(30));
/// let listen = Listen::with(protocol, "127.0.0.1:0");
/// # drop(listen);
/// ```
pub struct WebSocket<A = AcceptAll, D = Whole> {
    accept: Arc<A>,
    settings: Arc<Settings>,
    delivery: PhantomData<fn() -> D>,
}

impl WebSocket {
    /// Accepts every valid opening handshake, but from pages of other hosts.
    #[must_use]
    pub fn new() -> Self {
        WebSocket::accepting(AcceptAll)
    }
}

impl<A: Accept, D: Delivery> WebSocket<A, D> {
    /// Accepts the opening handshakes that `accept` accepts. All workers share it.
    #[must_use]
    pub fn accepting(accept: A) -> Self {
        WebSocket {
            accept: Arc::new(accept),
            settings: Arc::default(),
            delivery: PhantomData,
        }
    }

    fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }

    /// Sets the longest message that is accepted, in bytes, compressed or inflated, whole or in fragments. Default 1 MiB. A longer
    /// one is refused with close code 1009 as soon as its length is known. Nothing is allocated for a length that is only
    /// announced.
    #[must_use]
    pub fn max_message(self, bytes: usize) -> Self {
        self.set(|settings| settings.max_message = bytes)
    }

    /// Limits the bytes of frame headers in one message, without the first. Default 1 MiB; past it close code 1009. It keeps a
    /// peer from sending a message in empty fragments for ever.
    #[must_use]
    pub fn fragment_overhead(self, bytes: usize) -> Self {
        self.set(|settings| settings.fragment_overhead = bytes)
    }

    /// Limits the control frames (ping, pong, close) that a peer may send within a second. Default 1,000; past it close code
    /// 1008.
    #[must_use]
    pub fn control_rate(self, frames: u16) -> Self {
        self.set(|settings| settings.control_rate = frames)
    }

    /// Limits the messages, text or binary, that a peer may begin within a second; `None` for no limit. Default none, since only
    /// the application knows the pace of its peers; past it close code 1008. A message counts once, in however many
    /// fragments it comes.
    ///
    /// A flood costs its own connection turns, not others ([`ServerBuilder::read_budget`](crate::ServerBuilder::read_budget));
    /// this limit is for messages that cost something elsewhere, such as those that are published to a room.
    ///
    /// ```
    /// use ringwheel::websocket::WebSocket;
    ///
    /// let chat: WebSocket = WebSocket::new().message_rate(20);
    /// # drop(chat);
    /// ```
    #[must_use]
    pub fn message_rate(self, messages: impl Into<Option<u16>>) -> Self {
        let messages = messages.into();
        self.set(|settings| settings.message_rate = messages)
    }

    /// Limits the head of an opening request, in bytes. Default 8 KiB; past it HTTP status 431, or 414 within the first line.
    #[must_use]
    pub fn max_head(self, bytes: usize) -> Self {
        self.set(|settings| settings.head.bytes = bytes)
    }

    /// Limits the number of headers of an opening request. Default 64; past it HTTP status 431.
    #[must_use]
    pub fn max_headers(self, headers: usize) -> Self {
        self.set(|settings| settings.head.fields = headers)
    }

    /// Limits the time for the opening handshake. Default 10 s; past it HTTP status 408.
    #[must_use]
    pub fn handshake_timeout(self, timeout: Duration) -> Self {
        self.set(|settings| settings.handshake_timeout = timeout)
    }

    /// Sets the web pages that may connect. Default: those of the [same host](Origins::same_host), and programs that are not
    /// browsers.
    ///
    /// A browser names the page that opens a connection. If [any](Origins::any) page may, then each that a user visits can use the
    /// server in the user's name (cross-site WebSocket hijacking). A proxy before the server has to pass `Host` on as it is, or the
    /// pages have to be [listed](Origins::list): the browser names the host that it knows, and another one is refused with status
    /// 403.
    #[must_use]
    pub fn origins(self, origins: Origins) -> Self {
        self.set(|settings| settings.origins = origins)
    }

    /// Sets the names that the server is known by. Default: any name. A request for another host is refused with status 421; see
    /// [`Hosts`] for when this matters.
    #[must_use]
    pub fn hosts(self, hosts: Hosts) -> Self {
        self.set(|settings| settings.hosts = hosts)
    }

    /// Sends each peer a ping once in every `period`, at least 1 ms; `None` for never. Default 30 s. It costs some 200 bytes for
    /// each connection.
    ///
    /// Without pings a peer that has gone without a word, such as a telephone that has lost its network, keeps its connection
    /// until something is sent to it; and many proxies cut a connection that is silent for a minute.
    #[must_use]
    pub fn ping_every(self, period: impl Into<Option<Duration>>) -> Self {
        // At most one ping leaves in an iteration of the loop.
        let period = period
            .into()
            .map(|period| period.max(Duration::from_millis(1)));
        self.set(|settings| settings.ping_every = period)
    }

    /// Sets the time for which a peer may be silent after an automatic ping that it does not answer. Default 20 s; past it close
    /// code 1008. Any byte that comes is a sign of life, since a peer cannot put a pong into the middle of a frame.
    ///
    /// After [`Conn::shutdown_write`](crate::Conn::shutdown_write), which ends the pings, it is the time for which the peer may
    /// be silent before it ends its side of the stream.
    ///
    /// The time does not run while output is pending, since the ping may be behind it, nor while input of the peer is held back,
    /// since the pong may be in it; after that the peer has the full time again. It does run while bytes that the kernel has
    /// taken are on their way.
    #[must_use]
    pub fn pong_timeout(self, timeout: Duration) -> Self {
        self.set(|settings| settings.pong_timeout = timeout)
    }

    /// Compresses the messages of clients that offer it. Default: off.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn deflate(self, deflate: Deflate) -> Self {
        self.set(|settings| settings.deflate = Some(deflate))
    }
}

impl<A: Accept + Default, D: Delivery> Default for WebSocket<A, D> {
    fn default() -> Self {
        WebSocket::accepting(A::default())
    }
}

impl<A, D> Clone for WebSocket<A, D> {
    fn clone(&self) -> Self {
        WebSocket {
            accept: self.accept.clone(),
            settings: self.settings.clone(),
            delivery: PhantomData,
        }
    }
}

impl<A: Accept, D: Delivery> Protocol for WebSocket<A, D> {
    const OPENS_AT_ONCE: bool = false;
    type Decoder = WebSocketDecoder<A, D>;
    type Encoder = WebSocketEncoder<A::State>;

    /// 30 seconds: a message that has begun holds what has come of it, inflated, and so pins up to a thousand times the bytes
    /// that its peer has sent.
    fn message_timeout(&self) -> Option<Duration> {
        Some(settings::MESSAGE_TIMEOUT)
    }

    fn open(&self) -> (Self::Decoder, Self::Encoder) {
        let opening = ServerOpening::new(self.accept.clone());
        (
            WebSocketDecoder(FrameReader::new(self.settings.clone(), opening)),
            WebSocketEncoder::new(Session::server()),
        )
    }
}

impl<A, D> fmt::Debug for WebSocket<A, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
