#![doc = include_str!("../README.md")]

mod acceptor;
mod admission;
pub mod balance;
mod completion;
mod conn;
mod conn_table;
mod connection;
mod event_loop;
mod handler;
mod limits;
mod listen;
mod loop_state;
mod mailbox;
mod output;
pub mod protocol;
mod reactor;
mod remote;
mod server;
mod service;
mod task;
mod transport;
pub mod wheel;
mod worker;

pub use admission::ServerStats;
pub use completion::Delivery;
pub use conn::{Conn, ConnStats, Refusal, SendStatus, TimerId, TimerLimit};
pub use conn_table::ConnId;
pub use handler::{CloseReason, Handler, Timeout};
pub use limits::{Limits, Overflow};
pub use listen::Listen;
pub use remote::{Clients, Remote, RemoteError};
pub use ringwheel_ringbuffer as ringbuffer;
pub use server::{Builder, RunningServer, Server, ServerHandle};
pub use task::TaskHandle;
pub use worker::WorkerStart;
