#![doc = include_str!("../README.md")]
#![cfg_attr(not(feature = "websocket"), forbid(unsafe_code))]
#![cfg_attr(
    test,
    allow(clippy::too_many_lines, reason = "a test may list many cases")
)]

mod accept;
mod connection;
mod event_loop;
mod handler;
#[cfg(feature = "websocket")]
pub mod http;
mod io;
mod panics;
pub mod protocol;
mod reactor;
mod server;
mod service;
mod shared;
#[cfg(feature = "websocket")]
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
pub use connection::topics::SubscribeError;
pub use handler::Handler;
pub use handler::conn::Conn;
pub use handler::connections::Connections;
pub use handler::handle::ConnHandle;
pub use handler::local::LocalConnections;
pub use handler::publication::Published;
pub use handler::stats::ConnStats;
pub use handler::timeout::TimeoutDecision;
pub use handler::timers::{TimerId, TooManyTimersError};
pub use io::address::Address;
pub use ringwheel_ringbuffer as ringbuffer;
pub use server::Server;
pub use server::builder::ServerBuilder;
pub use server::handle::ServerHandle;
pub use server::listen::Listen;
pub use server::running::RunningServer;
pub use server::task_handle::TaskHandle;
pub use server::worker::WorkerStart;
pub use shared::current::current_worker;

/// Parts of the library that its own tests, fuzzers and benchmarks reach. No part of the public interface: it changes without
/// notice.
#[doc(hidden)]
pub mod internal {
    pub use crate::wheel::{TickClock, TimerKey, Wheel};
}
