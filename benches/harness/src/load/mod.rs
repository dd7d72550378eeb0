//! The load generator: one thread, one epoll instance, no allocation per message.
//!
//! Each mode is a function that runs to its end and returns a [`LoadReport`] (idle: its own report), or the first
//! [`LoadError`]. An [`Observer`] is called when the measured window opens and closes, on this same thread, so that the
//! server's counters are read at exactly these two moments.

mod answer_error;
mod broadcast;
mod churn;
mod clock;
mod connection;
mod deflate;
mod descriptors;
mod documents;
mod echo;
mod error;
mod faults;
mod frames;
mod framing;
mod handshake;
mod handshake_error;
mod idle;
mod incoming;
mod open;
mod poller;
mod random;
mod schedule;
mod slow_readers;
mod stream;
mod tickets;
mod tls;
mod window;
mod wire;

use std::net::SocketAddr;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

pub use answer_error::AnswerError;
pub use broadcast::{BroadcastLoad, broadcast};
pub use churn::{ChurnLoad, Handshakes, churn};
pub use clock::thread_cpu_time;
pub use echo::{EchoLoad, echo};
pub use error::LoadError;
pub use faults::{FaultLoad, faults};
pub use framing::Framing;
pub use handshake_error::{HandshakeError, MAX_HEAD};
pub use idle::{IdleLoad, IdleReport, idle};
pub use open::{OpenLoad, open};
pub use slow_readers::{SlowReadersLoad, slow_readers};
pub use tls::Trust;
pub use wire::{Ring, WireImage};

use tls::Client;

/// Longest time for a connect, or a missing answer, before the load gives up.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The messages and the connections of a load; shared by the echo modes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Traffic {
    /// The server's address.
    pub address: SocketAddr,
    /// Number of connections held open.
    pub connections: usize,
    /// Payload bytes per message, without a frame.
    pub size: usize,
    /// The bytes around each payload.
    pub framing: Framing,
    /// True if every received byte is compared with the byte sent.
    pub verify: bool,
    /// The certificate that TLS clients trust; `None` without TLS.
    pub tls: Option<Trust>,
}

impl Traffic {
    /// The TLS of the clients, without resumption.
    pub(crate) fn client(&self) -> Result<Option<Client>, LoadError> {
        client(self.tls.as_ref())
    }
}

/// The TLS of clients that trust `trust` and do not resume sessions; `None` without TLS.
pub(crate) fn client(trust: Option<&Trust>) -> Result<Option<Client>, LoadError> {
    trust.map(|trust| Client::new(trust, false)).transpose()
}

/// The end of the measured part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Until {
    /// After this long.
    Elapsed(Duration),
    /// After this many operations.
    Operations(u64),
}

/// The number of parts of a window that [`Observer::window_goes_on`] distinguishes.
pub const TENTHS: u32 = 10;

/// Called when the measured window opens and closes, on the load's own thread.
pub trait Observer {
    /// The warm-up is over and the measurement begins.
    ///
    /// # Errors
    /// An error ends the run.
    fn window_opens(&mut self) -> std::io::Result<()>;

    /// The measurement goes on. Called about [`TENTHS`] times in a window with a fixed length.
    ///
    /// # Errors
    /// An error ends the run.
    fn window_goes_on(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    /// The measurement is over.
    ///
    /// # Errors
    /// An error ends the run.
    fn window_closes(&mut self) -> std::io::Result<()>;
}

/// Observes nothing.
impl Observer for () {
    fn window_opens(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    fn window_closes(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The results of a run's measured window.
#[derive(Debug)]
pub struct LoadReport {
    /// Completed operations: messages answered, or connections opened, used and closed.
    pub operations: u64,
    /// Payload bytes received.
    pub bytes: u64,
    /// Length of the window.
    pub elapsed: Duration,
    /// Latency of each operation in nanoseconds.
    pub latency: Histogram<u64>,
    /// CPU time that the generator's thread used within the window.
    pub load_cpu: Duration,
}

impl LoadReport {
    /// Operations per second.
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64()
    }

    /// The generator's share of one CPU, 0 to 1.
    pub fn load_share(&self) -> f64 {
        self.load_cpu.as_secs_f64() / self.elapsed.as_secs_f64()
    }
}
