//! The ranges of a builder's settings.

use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::ServerBuilder;
use crate::server::setting_error::check;
use crate::shared::places::Places;
use crate::shared::token::MAX_OPENINGS;

/// The name of a connection has 16 bits for its worker.
const WORKERS: RangeInclusive<usize> = 1..=1 << 16;
/// The largest buffer or ring that a worker can be told to begin with: above this a setting is taken for a mistake.
const MAX_BUFFER: usize = 256 * 1024 * 1024;
pub(super) const MIN_RECEIVE_BUFFER: usize = 4096;
/// Below, the rings of a few connections are too much.
const MIN_WORKER_MEMORY: usize = 1024 * 1024;
/// Below, every call of the poll is late; above, no deadline is met.
const TICK: RangeInclusive<Duration> = Duration::from_micros(1)..=Duration::from_secs(3600);

impl ServerBuilder {
    /// Checks every setting that would fail on a worker otherwise.
    pub(super) fn check(&self) -> io::Result<()> {
        check("workers", self.worker_count(), WORKERS)?;
        check("ipv6_prefix", self.ipv6_prefix, 1..=128)?;
        check("opening_limit", self.opening_limit, 1..=MAX_OPENINGS)?;
        check("tick", self.tick, TICK)?;
        let (letters, bytes) = self.mailbox;
        check("mailbox_limit", letters, 0..=Places::MOST.0)?;
        check("mailbox_bytes", bytes, 0..=Places::MOST.1)?;
        let memory = self.reactor.memory.bytes;
        check("worker_memory", memory, MIN_WORKER_MEMORY..=usize::MAX)?;
        let receive_buffer = MIN_RECEIVE_BUFFER..=MAX_BUFFER;
        check(
            "receive_buffer",
            self.reactor.receive_buffer,
            receive_buffer,
        )?;
        let initial = self.reactor.pool.initial_capacity;
        check("ring_pool.initial_capacity", initial, 0..=MAX_BUFFER)
    }
}
