#![doc = include_str!("../README.md")]
#![cfg_attr(not(feature = "websocket"), forbid(unsafe_code))]

mod acceptor;
mod admission;
pub mod balance;
mod builder;
mod close_reason;
mod completion;
mod conn;
mod conn_id;
mod conn_table;
mod connection;
mod contain;
mod event_loop;
mod handler;
mod limits;
mod listen;
#[cfg(all(test, loom))]
mod loom_models;
mod loop_shared;
mod loop_state;
mod mailbox;
mod output;
mod places;
pub mod protocol;
mod reactor;
mod remote;
mod reserve;
mod send_status;
mod server;
mod server_handle;
mod service;
mod sweep_flag;
mod sync;
mod task;
mod topics;
mod transport;
mod wake_flag;
#[cfg(feature = "websocket")]
pub mod websocket;
pub mod wheel;
mod worker;

pub use admission::ServerStats;
pub use builder::Builder;
pub use close_reason::{CloseReason, Timeout};
pub use completion::Delivery;
pub use conn::{Conn, ConnStats, TimerId, TimerLimit};
pub use conn_id::ConnId;
pub use handler::Handler;
pub use limits::{Limits, Overflow};
pub use listen::Listen;
pub use remote::{Clients, Remote, RemoteError};
pub use ringwheel_ringbuffer as ringbuffer;
pub use send_status::{Refusal, SendStatus};
pub use server::{RunningServer, Server};
pub use server_handle::{ServerHandle, TaskHandle};
pub use topics::{Published, SubscriptionLimit};
pub use worker::WorkerStart;
