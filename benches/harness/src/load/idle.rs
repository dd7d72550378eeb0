//! Holds many idle connections and measures the memory of each: the server's resident memory, and the kernel's memory
//! for both ends, since server and generator share the machine.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::connection::connect;
use super::descriptors::allow_descriptors;
use super::incoming::Incoming;
use super::stream::Stream;
use super::wire::SLICE;
use super::{Framing, LoadError, PATIENCE, Trust, WireImage, client};
use crate::proc_fs::{KernelMemory, Memory};
use crate::process;

/// Payload of the one message that is exchanged, in bytes.
const MESSAGE: usize = 64;
/// The same for a deflated message.
const DOCUMENT: usize = 1024;
/// Interval between two readings of the server's memory.
const LOOK: Duration = Duration::from_millis(100);
/// A server whose memory still changes after this many settling times is measured anyway.
const MAX_SETTLING: u32 = 5;

/// An idle holding load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IdleLoad {
    /// The server's address.
    pub address: SocketAddr,
    /// Number of connections to hold; the hard limit of descriptors bounds it on both sides.
    pub connections: usize,
    /// True if each connection also exchanges one message.
    pub exchange: bool,
    /// The bytes around that message, and the handshake after the connect.
    pub framing: Framing,
    /// The certificate that TLS clients trust; `None` without TLS.
    pub tls: Option<Trust>,
    /// Process number of the server.
    pub pid: u32,
    /// Time for which the server's memory must not change before it is read.
    pub settle: Duration,
}

/// The memory of the server and the kernel, before and with the connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IdleReport {
    /// Number of connections held.
    pub connections: usize,
    /// The server's memory before the first connection.
    pub before: Memory,
    /// With all connections open and silent.
    pub connected: Memory,
    /// After each connection has exchanged one message.
    pub exchanged: Option<Memory>,
    /// The kernel's memory for the whole machine before the first connection.
    pub before_kernel: KernelMemory,
    /// With all connections open and silent.
    pub connected_kernel: KernelMemory,
    /// After each connection has exchanged one message.
    pub exchanged_kernel: Option<KernelMemory>,
}

impl IdleReport {
    /// Resident bytes per connection at the time of `then`.
    pub fn resident_per_connection(&self, then: &Memory) -> f64 {
        per_connection(self.before.resident, then.resident, self.connections)
    }

    /// Resident anonymous bytes (heap and stacks) per connection at the time of `then`.
    pub fn anonymous_per_connection(&self, then: &Memory) -> f64 {
        per_connection(self.before.anonymous, then.anonymous, self.connections)
    }

    /// Kernel bytes per connection at the time of `then`, for both ends.
    pub fn kernel_per_connection(&self, then: &KernelMemory) -> f64 {
        let all = |memory: &KernelMemory| memory.slab + memory.sockets;
        per_connection(all(&self.before_kernel), all(then), self.connections)
    }
}

fn per_connection(before: u64, then: u64, connections: usize) -> f64 {
    (then as f64 - before as f64) / connections as f64
}

/// Runs the load to its end.
///
/// # Errors
/// The first failure ends the run: too few descriptors, a refused connection, no such process, a wrong answer.
pub fn idle(load: &IdleLoad) -> Result<IdleReport, LoadError> {
    if load.connections == 0 {
        return Err(LoadError::Options(
            "at least one connection is needed".into(),
        ));
    }
    allow_descriptors(load.connections)?;
    let size = match load.framing {
        Framing::WebSocketDeflate => DOCUMENT,
        _ => MESSAGE,
    };
    let image = WireImage::new(load.framing, size)?;
    let tls = client(load.tls.as_ref())?;
    let (before, before_kernel) = settled_memory(load)?;
    let mut held = Vec::with_capacity(load.connections);
    for index in 0..load.connections {
        held.push(connect(load.address, index, load.framing, tls.as_ref())?);
    }
    let (connected, connected_kernel) = settled_memory(load)?;
    let (mut exchanged, mut exchanged_kernel) = (None, None);
    if load.exchange {
        let mut buffer = vec![0; SLICE];
        for (index, stream) in held.iter_mut().enumerate() {
            exchange(stream, index, &image, &mut buffer)?;
        }
        (exchanged, exchanged_kernel) =
            settled_memory(load).map(|(own, kernel)| (Some(own), Some(kernel)))?;
    }
    Ok(IdleReport {
        connections: held.len(),
        before,
        connected,
        exchanged,
        before_kernel,
        connected_kernel,
        exchanged_kernel,
    })
}

/// Sends one message and waits for its answer, for at most [`PATIENCE`].
fn exchange(
    stream: &mut Stream,
    index: usize,
    image: &WireImage,
    buffer: &mut [u8],
) -> Result<(), LoadError> {
    let ring = image.sent();
    let (length, _) = ring.span(ring.first(index), 1);
    stream
        .write_all(ring.slice(ring.start(index), length))
        .map_err(LoadError::io("send"))?;
    let mut incoming = Incoming::new(index, index, image);
    let start = Instant::now();
    // The socket blocks until its timeout: each read returns the part of the answer that has arrived, or nothing.
    while incoming.receive(stream, image, buffer, true, 1)? == 0 {
        if start.elapsed() > PATIENCE {
            return Err(LoadError::Stalled {
                silence: start.elapsed(),
                outstanding: 1,
            });
        }
    }
    Ok(())
}

/// The server's memory, once it has not changed for the settling time, and the kernel's memory at that moment. The
/// kernel's memory always changes, so nothing waits for it.
fn settled_memory(load: &IdleLoad) -> Result<(Memory, KernelMemory), LoadError> {
    let read = || process::memory(load.pid).map_err(LoadError::io("read the server's memory"));
    let mut memory = read()?;
    let (mut still_since, start) = (Instant::now(), Instant::now());
    while still_since.elapsed() < load.settle && start.elapsed() < load.settle * MAX_SETTLING {
        std::thread::sleep(LOOK.min(load.settle));
        let now = read()?;
        if now != memory {
            memory = now;
            still_since = Instant::now();
        }
    }
    let kernel = process::kernel_memory().map_err(LoadError::io("read the kernel's memory"))?;
    Ok((memory, kernel))
}
