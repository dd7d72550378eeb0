//! A multi-core reactor for TCP, Unix socket and WebSocket servers, without an async runtime.
//!
//! You implement [`Handler`], choose or write a [`Protocol`](protocol::Protocol), and the worker loops call you. There are
//! no futures and no tasks: a callback runs to its end, on the thread of the connection's worker, and must not block.
//!
//! # A first server
//!
//! It sends back whatever arrives:
//!
//! ```no_run
//! use ringwheel::{Conn, Handler, Server, protocol::Raw};
//!
//! #[derive(Clone)]
//! struct Echo;
//!
//! impl Handler for Echo {
//!     type Protocol = Raw;
//!     type Session = ();
//!     fn on_open(&mut self, _conn: &mut Conn<'_, Raw>) {}
//!     fn on_message(&mut self, conn: &mut Conn<'_, Raw>, _session: &mut (), bytes: &[u8]) {
//!         conn.send(bytes);
//!     }
//! }
//!
//! fn main() -> std::io::Result<()> {
//!     Server::builder().listen("127.0.0.1:1833", Echo)?.run()
//! }
//! ```
//!
//! # How a message travels
//!
//! ```text
//!            accept                    hand over (round-robin, least connections, source hash, yours)
//!  peers ──────────► acceptor loop ─────────────────────────────────► worker loop 0..N-1
//!                                                                     │
//!    one worker, one thread:                                          ▼
//!    poll ─► read ─► receive buffer ─► Protocol::unpack ─► Handler::on_message ─► Protocol::pack ─► output ring ─► write
//!     ▲              (the loop's own)   (the rest is kept                                          (the rest is kept
//!     │                                  in the connection's ring)                                  in the ring)
//!     ├── mailbox: sends, closes, publications and closures from any thread, with coalesced wake-ups
//!     ├── wheel: timers and deadlines; the poll sleeps until the next one
//!     └── ready list: connections with work left that no event will announce
//! ```
//!
//! A message that lies whole in the receive buffer reaches the handler without being copied. All replies of one turn leave in one
//! write. An idle connection holds no buffer: a worker lends its rings while there is a rest to keep.
//!
//! A single worker accepts its connections itself, on the thread that calls [`Server::run`]. With
//! [`Listen::reuse_port`] every worker accepts for itself. Otherwise one acceptor hands connections over.
//!
//! # If you want ... look at ...
//!
//! | to | look at |
//! | --- | --- |
//! | know when each callback comes | the table in [`Handler`] |
//! | keep state without locks | [`guide::state`] |
//! | answer from another thread | [`guide::reply_later`], [`ConnHandle`] |
//! | send to many | [`guide::broadcast`], [`Connections`] |
//! | do something later or repeatedly | [`guide::timers`] |
//! | survive peers that do not read | [`guide::slow_peers`], [`Limits`] |
//! | know why a connection ended, or evict silent peers | [`guide::closing`], [`CloseReason`] |
//! | choose a framing | [`protocol`] |
//! | write a protocol | [`guide::own_protocol`] |
#![cfg_attr(
    feature = "websocket",
    doc = "| serve browsers | [`websocket`], [`guide::browsers`] |"
)]
#![cfg_attr(
    not(feature = "websocket"),
    doc = "| serve browsers | feature `websocket` |"
)]
#![cfg_attr(
    unix,
    doc = "| listen on a Unix socket | [`Listen::unix`], [`guide::unix_sockets`] |"
)]
#![cfg_attr(
    unix,
    doc = "| take over a listener, or hand it on to a new version | [`Listen::adopt`], [`Server::duplicate_listeners`] |"
)]
#![cfg_attr(
    feature = "tls",
    doc = "| serve TLS, and renew certificates | [`Listen::tls`], [`guide::tls`] |"
)]
#![cfg_attr(not(feature = "tls"), doc = "| serve TLS | feature `tls` |")]
//! | end the server without losing answers | [`guide::shutdown`] |
//! | set addresses, socket options, timeouts | [`Listen`] |
//! | set workers, connection limits, buffers | [`ServerBuilder`] |
//! | know the clients behind a proxy | [`Listen::proxy_protocol`], [`Conn::proxy_header`], [`TrustedNetworks`] |
//! | spread connections over workers your way | [`balance`] |
//! | see whole programs | the folder `examples/` |
//!
//! # Limits at a glance
//!
//! Everything that a peer can make grow has a limit. Each protocol has a table of its own.
//!
//! | limit | default | beyond it |
//! | --- | --- | --- |
//! | [`ServerBuilder::max_connections`] | 100,000 | the connection is closed at once |
//! | [`ServerBuilder::max_connections_per_ip`] | none | the connection is closed at once |
//! | [`ServerBuilder::opening_limit`], connections of a worker whose PROXY header or handshake is not done | 1,024 | of the address with the most, the one without progress for longest is reset |
//! | [`ServerBuilder::opening_limit`], open connections that wait until their busy worker adopts them | 1,024 | an address with more than a 64th of the limit loses the one that has waited longest; if none has, or all are of one address, the others wait in the kernel's backlog |
//! | [`Listen::opening_timeout`], for both | 10 s | a reset |
//! | bytes before a handshake is done | 64 KiB | a reset |
//! | [`ServerBuilder::handover_limit`], connections waiting for one worker | 256 | the others wait in the kernel's backlog |
//! | [`ServerBuilder::mailbox_limit`], [`ServerBuilder::mailbox_bytes`], letters waiting for one worker, by the connections that they reach | 65,536, 64 MiB | the sender gets [`SendError::Full`]; a connection that posts is slowed before |
//! | [`Limits::publications`], mail of a connection on its way | 64, 256 KiB | its messages wait until half of it is delivered |
//! | [`Limits::patience`], the wait of publications for a subscriber above [`Limits::high_water`] | 1 s | it gets them up to [`Limits::output`] |
//! | [`ServerBuilder::read_budget`], bytes and work of one connection in a row | 256 KiB | other connections have their turn |
//! | [`Limits::input`], bytes kept of a message that is not whole | 16 MiB | [`CloseReason::InputLimit`] |
//! | [`Limits::high_water`], pending output | 192 KiB | the peer is not read until [`Limits::low_water`] (64 KiB) |
//! | [`Limits::output`], pending output | 1,280 KiB | as [`Limits::overflow`] says: [`CloseReason::OutputLimit`] |
//! | [`ServerBuilder::worker_memory`], kept input, pending output, completions and subscriptions of all connections of a worker | 1 GiB | the ones that hold most are slowed, then ended: [`CloseReason::WorkerMemory`] |
//! | [`Limits::timers`] of a connection | 64 | [`TooManyTimersError`] |
//! | [`Limits::subscriptions`] of a connection | 256 | [`SubscribeError::Count`] |
//! | [`Listen::idle_timeout`] | none | [`Timeout::Idle`] |
//! | [`Listen::first_message_timeout`], [`Listen::message_timeout`] | none; of a WebSocket message 30 s | [`Timeout::FirstMessage`], [`Timeout::Message`] |
//! | [`Listen::write_stall_timeout`], [`Listen::min_send_rate`] | 60 s, 1 KiB/s | [`Timeout::WriteStall`] |
//! | [`Listen::close_timeout`], while output leaves at less than [`Listen::min_send_rate`] | 10 s | a reset, and [`SendOutcome::Lost`] |
//! | [`Listen::close_timeout`], while a close waits for a source that sends nothing | 10 s | [`Timeout::SourceStall`] and a reset |
//!
//! # Features
//!
//! None is on by default; the default build is 10 crates.
//!
//! | feature | adds |
//! | --- | --- |
//! | `websocket` | WebSocket (RFC 6455) as a protocol, server and client codec, and HTTP message heads |
//! | `deflate` | compression of WebSocket messages (permessage-deflate, RFC 7692); includes `websocket` |
//! | `tls` | TLS 1.2 and 1.3 by rustls, with ring: certificates by server name, certificates of clients, reload while serving |
//!
//! # The floor plan
//!
//! Each folder of `src/` is one sentence of the architecture. `docs/ARCHITECTURE.md` walks through it.
//!
//! | folder | sentence |
//! | --- | --- |
//! | `server` | builds a server from listeners and settings, runs it on threads, and hands out handles to it |
//! | `event_loop` | a worker's loop: waits for events, tells the reactor the time, and passes on what happened |
//! | `opening` | connections before their protocol sees them: PROXY header and handshake, within a deadline and limits |
//! | `reactor` | one worker's connections, timers and mail, without a poll or a clock: events and the time are handed in |
//! | `service` | hides the types of a handler and its protocol from the reactor |
//! | `websocket` | WebSocket, a protocol like the others |
//! | `handler` | the public side: callbacks, a connection as they see it, handles for other threads |
//! | `connection` | one connection, whatever its protocol: life cycle, deadlines, limits, buffers |
//! | `protocol` | how bytes become messages and messages become bytes |
//! | `accept` | takes connections from listening sockets, within limits, and picks a worker for each |
//! | `http` | HTTP message heads, for WebSocket's opening handshake |
//! | `io` | the output of a connection, its socket, its address, and the header in which a proxy tells it |
//! | `shared` | the part of a worker that other threads reach |
//! | `wheel` | the timing wheel |
//!
//! The ring buffers are a crate of their own, [`ringbuffer`].
#![cfg_attr(not(feature = "websocket"), forbid(unsafe_code))]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    test,
    allow(clippy::too_many_lines, reason = "a test may list many cases")
)]

mod accept;
mod connection;
mod event_loop;
mod handler;
#[cfg(feature = "websocket")]
#[cfg_attr(docsrs, doc(cfg(feature = "websocket")))]
pub mod http;
mod io;
mod opening;
mod panics;
pub mod protocol;
mod reactor;
#[cfg(test)]
mod seeds;
mod server;
mod service;
mod shared;
#[cfg(feature = "websocket")]
#[cfg_attr(docsrs, doc(cfg(feature = "websocket")))]
pub mod websocket;
mod wheel;

pub use accept::admission::ServerStats;
pub use accept::balance;
pub use connection::close_reason::{CloseReason, Timeout};
pub use connection::completion::SendOutcome;
pub use connection::id::ConnId;
pub use connection::limits::{Limits, Overflow};
pub use connection::send_error::SendError;
pub use connection::send_status::{Refusal, SendStatus};
pub use connection::subscribe_error::SubscribeError;
pub use handler::Handler;
pub use handler::conn::Conn;
pub use handler::connections::Connections;
pub use handler::handle::ConnHandle;
pub use handler::local::LocalConnections;
pub use handler::publication::Published;
pub use handler::source::SourceStep;
pub use handler::stats::ConnStats;
pub use handler::timeout::TimeoutDecision;
pub use handler::timers::{TimerId, TooManyTimersError};
pub use io::address::Address;
#[cfg(unix)]
pub use io::adopt_error::AdoptError;
pub use io::proxy_header::error::ProxyHeaderError;
pub use io::proxy_header::tls::ProxyTls;
pub use io::proxy_header::{ParsedProxyHeader, ProxyHeader, ProxyVersion};
#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
pub use io::tls::Tls;
#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
pub use io::tls::builder::TlsBuilder;
#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
pub use io::tls::error::{TlsError, TlsErrorKind};
#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
pub use io::tls::pem::Pem;
#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
pub use io::tls::session::TlsSession;
pub use io::trusted_networks::{NetworkError, TrustedNetworks};
pub use ringwheel_ringbuffer as ringbuffer;
pub use server::Server;
pub use server::builder::ServerBuilder;
pub use server::handle::ServerHandle;
pub use server::listen::Listen;
pub use server::running::RunningServer;
pub use server::setting_error::SettingError;
pub use server::task_handle::TaskHandle;
pub use server::unknown_handler::UnknownHandlerError;
pub use server::worker::WorkerStart;
pub use shared::current::current_worker;

/// Guides, one screen each: how to do what most servers need.
pub mod guide {
    #[doc = include_str!("guide/state.md")]
    pub mod state {}
    #[doc = include_str!("guide/reply_later.md")]
    pub mod reply_later {}
    #[doc = include_str!("guide/broadcast.md")]
    pub mod broadcast {}
    #[doc = include_str!("guide/timers.md")]
    pub mod timers {}
    #[doc = include_str!("guide/slow_peers.md")]
    pub mod slow_peers {}
    #[doc = include_str!("guide/closing.md")]
    pub mod closing {}
    #[doc = include_str!("guide/own_protocol.md")]
    pub mod own_protocol {}
    #[doc = include_str!("guide/shutdown.md")]
    pub mod shutdown {}
    #[cfg(unix)]
    #[doc = include_str!("guide/unix_sockets.md")]
    pub mod unix_sockets {}
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    #[doc = include_str!("guide/tls.md")]
    pub mod tls {}
    #[cfg(feature = "websocket")]
    #[cfg_attr(docsrs, doc(cfg(feature = "websocket")))]
    #[doc = include_str!("guide/browsers.md")]
    pub mod browsers {}
}

/// Compiles the examples of the README, of which one is a WebSocket server.
#[cfg(all(doctest, feature = "websocket"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// Parts of the library that its own tests, fuzzers and benchmarks reach. No part of the public interface: it changes without
/// notice.
#[doc(hidden)]
pub mod internal {
    pub use crate::wheel::{TickClock, TimerKey, Wheel};

    /// Checks a sealed wire by the operations that these bytes stand for. For the fuzz target `wire`.
    #[cfg(fuzzing)]
    pub fn check_wire(data: &[u8]) {
        crate::io::wire::checked::check(data);
    }
}
