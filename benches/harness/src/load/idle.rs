//! Idle holding: many connections that say nothing, and what each costs the server in resident memory.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::connection::connect_error;
use super::{Framing, LoadError, PATIENCE, WireImage};
use crate::proc_fs::Memory;
use crate::process;

/// Payload of the one message that is exchanged, in bytes.
const MESSAGE: usize = 64;
/// Descriptors that the generator needs besides its connections.
const SPARE_DESCRIPTORS: u64 = 16;
/// The server's memory is looked at this often until it has been still for the settling time.
const LOOK: Duration = Duration::from_millis(100);
/// A server whose memory still moves after this many settling times is measured as it is.
const MAX_SETTLING: u32 = 5;

/// An idle holding load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IdleLoad {
    /// Where the server listens.
    pub address: SocketAddr,
    /// Number of connections to hold; bounded by the hard limit of descriptors, on both sides.
    pub connections: usize,
    /// Whether each connection also exchanges one message.
    pub exchange: bool,
    /// What is put in front of that message.
    pub framing: Framing,
    /// The server's process.
    pub pid: u32,
    /// How long the server's memory must be still before it is read.
    pub settle: Duration,
}

/// What the server's memory was, and is, per connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IdleReport {
    /// Number of connections held.
    pub connections: usize,
    /// The server's memory before the first connection.
    pub before: Memory,
    /// With all connections open and nothing said.
    pub connected: Memory,
    /// After each connection has exchanged one message.
    pub exchanged: Option<Memory>,
}

impl IdleReport {
    /// Resident bytes per connection at `then`.
    pub fn resident_per_connection(&self, then: &Memory) -> f64 {
        per_connection(self.before.resident, then.resident, self.connections)
    }

    /// Resident anonymous bytes (heap and stacks) per connection at `then`.
    pub fn anonymous_per_connection(&self, then: &Memory) -> f64 {
        per_connection(self.before.anonymous, then.anonymous, self.connections)
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
    allow_descriptors(load.connections as u64 + SPARE_DESCRIPTORS)?;
    let image = WireImage::new(load.framing, MESSAGE)?;
    let before = settled_memory(load)?;
    let mut held = Vec::with_capacity(load.connections);
    for index in 0..load.connections {
        held.push(connect(load.address, index)?);
    }
    let connected = settled_memory(load)?;
    let mut exchanged = None;
    if load.exchange {
        for (index, socket) in held.iter_mut().enumerate() {
            exchange(socket, index, &image)?;
        }
        exchanged = Some(settled_memory(load)?);
    }
    Ok(IdleReport {
        connections: held.len(),
        before,
        connected,
        exchanged,
    })
}

/// Raises the soft limit of open files, to the hard limit if need be.
///
/// # Errors
/// Fails when even the hard limit is below `count`.
fn allow_descriptors(count: u64) -> Result<(), LoadError> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|soft| soft >= count) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|hard| hard < count) {
        let hard = limit.maximum.unwrap_or(count);
        return Err(LoadError::Options(format!(
            "{count} descriptors are needed, and the hard limit (ulimit -Hn) is {hard}"
        )));
    }
    let raised = Rlimit {
        current: limit.maximum.or(Some(count)),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(LoadError::errno("raise the limit of open files"))
}

fn connect(address: SocketAddr, index: usize) -> Result<TcpStream, LoadError> {
    let failed = |source| connect_error(address, index, source);
    let socket = TcpStream::connect_timeout(&address, PATIENCE).map_err(failed)?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    socket.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    Ok(socket)
}

fn exchange(socket: &mut TcpStream, index: usize, image: &WireImage) -> Result<(), LoadError> {
    let message = image.slice(image.start(index), image.frame() as u64);
    let mut answer = vec![0; message.len()];
    socket.write_all(message).map_err(LoadError::io("send"))?;
    socket
        .read_exact(&mut answer)
        .map_err(LoadError::io("receive"))?;
    match message
        .iter()
        .zip(&answer)
        .position(|(sent, found)| sent != found)
    {
        None => Ok(()),
        Some(offset) => Err(LoadError::WrongByte {
            connection: index,
            position: offset as u64,
            expected: message[offset],
            found: answer[offset],
        }),
    }
}

/// The server's memory, once it has not changed for the settling time.
fn settled_memory(load: &IdleLoad) -> Result<Memory, LoadError> {
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
    Ok(memory)
}
