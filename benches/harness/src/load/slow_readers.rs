//! Echo beside clients that write as much as they can and never read.
//!
//! The server decides about such clients: it may keep the answers, stop reading, or close. Their writes stop at a
//! limit, so that a server that keeps everything does not run out of memory.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::connection::connect;
use super::descriptors::allow_descriptors;
use super::echo::echo_beside;
use super::poller::Poller;
use super::stream::Stream;
use super::tls::Client;
use super::{EchoLoad, LoadError, LoadReport, Observer, Traffic, Until, WireImage};

/// Approximate bytes that one slow reader writes: whole messages, and at least one.
const MAX_WRITTEN: u64 = 8 * 1024 * 1024;

/// An echo load with slow readers beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SlowReadersLoad {
    /// The messages and connections of the healthy clients.
    pub traffic: Traffic,
    /// Messages in flight per healthy connection.
    pub in_flight: usize,
    /// Further connections that write up to 8 MiB each, and never read.
    pub slow: usize,
    /// Time before the window opens.
    pub warm_up: Duration,
    /// The end of the window.
    pub until: Until,
}

/// Runs the load to its end. Operations and latencies are those of the healthy connections. The slow readers connect
/// and begin to write before the warm-up.
///
/// # Errors
/// The first failure of a healthy connection ends the run, and so does a slow reader that cannot connect. A server may
/// close slow readers.
pub fn slow_readers(
    load: &SlowReadersLoad,
    observer: &mut dyn Observer,
) -> Result<LoadReport, LoadError> {
    let healthy = EchoLoad {
        traffic: load.traffic.clone(),
        in_flight: load.in_flight,
        warm_up: load.warm_up,
        until: load.until,
    };
    healthy.check()?;
    allow_descriptors(load.traffic.connections + load.slow)?;
    let image = WireImage::new(load.traffic.framing, load.traffic.size)?;
    let poller = Poller::new()?;
    let tls = load.traffic.client()?;
    let first_key = load.traffic.connections;
    let mut slow = Vec::with_capacity(load.slow);
    for key in first_key..first_key + load.slow {
        let mut reader = SlowReader::open(&load.traffic, key, &image, tls.as_ref())?;
        // Registered before the first write, so that no readiness is missed.
        poller.add(&reader.stream, key)?;
        reader.write(&image);
        slow.push(reader);
    }
    let ready = |key: usize| slow[key - first_key].write(&image);
    echo_beside(&healthy, &image, poller, ready, observer)
}

/// A client that never reads.
struct SlowReader {
    stream: Stream,
    /// Position of the next byte in the sent ring.
    cursor: usize,
    /// Bytes that it still has to write; 0 after the server has closed the connection.
    left: u64,
}

impl SlowReader {
    fn open(
        traffic: &Traffic,
        index: usize,
        image: &WireImage,
        tls: Option<&Client>,
    ) -> Result<Self, LoadError> {
        let stream = connect(traffic.address, index, traffic.framing, tls)?;
        stream
            .socket()
            .set_nonblocking(true)
            .map_err(LoadError::io("make a socket non-blocking"))?;
        let ring = image.sent();
        let messages = (MAX_WRITTEN as usize / ring.frame()).max(1);
        Ok(Self {
            stream,
            cursor: ring.start(index),
            left: ring.span(ring.first(index), messages).0,
        })
    }

    /// Writes as many bytes as the socket takes.
    fn write(&mut self, image: &WireImage) {
        while self.left > 0 {
            let slice = image.sent().slice(self.cursor, self.left);
            match self.stream.write(slice) {
                Ok(length) => {
                    self.cursor = image.sent().advance(self.cursor, length);
                    self.left -= length as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The server has closed it.
                Err(_) => self.left = 0,
            }
        }
    }
}
