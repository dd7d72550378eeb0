//! The ring buffer together with its model, a `VecDeque<u8>` whose correctness is obvious.
//!
//! The property tests (`ringbuffer/tests/model.rs`) and the fuzz target `ring` drive it with
//! operations that they generate.

mod partial_io;
mod width;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};

use ringwheel_ringbuffer::{LimitExceeded, Patch, PoolConfig, RingBuffer, RingPool};

use crate::partial_io::{PartialSink, PartialSource, counted};
pub use crate::width::Width;
use crate::width::{cursor_peek, cursor_read, peek, put, read};

/// The number of idle rings that the pool keeps.
const MAX_IDLE: usize = 2;

/// An operation of a cursor.
#[derive(Clone, Debug)]
pub enum CursorStep {
    Peek(Width),
    Read(Width),
    Slice(usize),
    Skip(usize),
}

/// The end of a cursor; all but `Commit` leave the ring as it was.
#[derive(Clone, Copy, Debug)]
pub enum CursorEnd {
    Commit,
    Revert,
    Drop,
}

/// A ring and its model. Every operation is applied to both and asserts that both return the same.
pub struct CheckedRing {
    ring: Box<RingBuffer>,
    pool: RingPool,
    model: VecDeque<u8>,
    limit: usize,
    /// Position in the stream of the model's first byte.
    consumed: usize,
    /// The reserved patches that are not applied yet: position in the stream, and the handle.
    patches: Vec<(usize, Patch)>,
}

impl CheckedRing {
    /// An empty ring, and a pool to exchange it with.
    pub fn new(ring: RingBuffer) -> Self {
        let config = PoolConfig {
            initial_capacity: 16,
            keep_capacity: 600,
            max_large: 2,
            large_bytes: 4_000,
            max_idle: MAX_IDLE,
        };
        CheckedRing {
            limit: ring.limit(),
            ring: Box::new(ring),
            pool: RingPool::new(config),
            model: VecDeque::new(),
            consumed: 0,
            patches: Vec::new(),
        }
    }

    pub fn extend(&mut self, bytes: &[u8]) {
        let expected = self.model_extend(bytes);
        assert_eq!(self.ring.extend_from_slice(bytes), expected);
    }

    pub fn extend_pair(&mut self, header: &[u8], body: &[u8]) {
        let expected = self.model_extend(&[header, body].concat());
        assert_eq!(self.ring.extend_from_pair(header, body), expected);
    }

    /// Writes as many of the bytes into the spare slices as fit.
    pub fn fill(&mut self, bytes: &[u8]) {
        let (first, second) = self.ring.spare();
        let to_first = bytes.len().min(first.len());
        let to_second = (bytes.len() - to_first).min(second.len());
        let count = to_first + to_second;
        first[..to_first].copy_from_slice(&bytes[..to_first]);
        second[..to_second].copy_from_slice(&bytes[to_first..count]);
        self.ring.commit(count);
        self.model.extend(&bytes[..count]);
    }

    /// Consumes `count` bytes, or all if there are fewer.
    pub fn consume(&mut self, count: usize) {
        let count = count.min(self.model.len());
        self.model_consume(count);
        self.ring.consume(count);
    }

    pub fn truncate(&mut self, length: usize) {
        self.model.truncate(length);
        self.ring.truncate(length);
    }

    pub fn clear(&mut self) {
        self.model_consume(self.model.len());
        self.ring.clear();
    }

    pub fn reserve(&mut self, additional: usize) {
        let before = self.ring.capacity();
        let fits = additional <= self.available();
        let needed = self.model.len() + additional;
        assert_eq!(self.ring.reserve(additional).is_ok(), fits);
        if fits && needed > before {
            // At least doubled, unless the limit forbids it, and never above the limit.
            let least = needed.max((2 * before).min(self.limit));
            assert!(self.ring.capacity() >= least);
            assert!(self.ring.capacity() <= self.limit);
        } else {
            assert_eq!(self.ring.capacity(), before);
        }
        if fits {
            let (first, second) = self.ring.spare();
            assert!(first.len() + second.len() >= additional);
        }
    }

    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.ring.set_limit(limit);
    }

    pub fn shrink_to(&mut self, min_capacity: usize) {
        let least = min_capacity.max(self.model.len());
        let expected = self.ring.capacity().min(least);
        self.ring.shrink_to(min_capacity);
        assert_eq!(self.ring.capacity(), expected);
    }

    pub fn contiguous(&mut self) {
        assert_eq!(self.ring.contiguous(), self.model.make_contiguous());
    }

    pub fn contiguous_prefix(&mut self, count: usize) {
        let expected = slice(&self.model, 0, count);
        let prefix = self.ring.contiguous_prefix(count);
        assert_eq!(prefix.as_deref(), expected.as_deref());
    }

    pub fn put(&mut self, width: Width, value: u64) {
        let expected = self.model_extend(&width.encode(value));
        assert_eq!(put(&mut self.ring, width, value), expected);
    }

    pub fn peek(&self, width: Width, offset: usize) {
        let expected = slice(&self.model, offset, width.bytes());
        let expected = expected.map(|bytes| width.decode(bytes));
        assert_eq!(peek(&self.ring, width, offset), expected);
    }

    pub fn read(&mut self, width: Width) {
        let is_enough = width.bytes() <= self.model.len();
        let expected = is_enough.then(|| width.decode(self.model_consume(width.bytes())));
        assert_eq!(read(&mut self.ring, width), expected);
    }

    /// Goes through the ring with a cursor, and compares after each step.
    pub fn cursor(&mut self, steps: &[CursorStep], end: CursorEnd) {
        let mut position = 0;
        let model = &self.model;
        let mut cursor = self.ring.cursor();
        for step in steps {
            match *step {
                CursorStep::Peek(width) => {
                    let expected = slice(model, position, width.bytes());
                    let expected = expected.map(|bytes| width.decode(bytes));
                    assert_eq!(cursor_peek(&cursor, width), expected);
                }
                CursorStep::Read(width) => {
                    let expected = slice(model, position, width.bytes());
                    position += expected.as_ref().map_or(0, Vec::len);
                    let expected = expected.map(|bytes| width.decode(bytes));
                    assert_eq!(cursor_read(&mut cursor, width), expected);
                }
                CursorStep::Slice(count) => {
                    let expected = slice(model, position, count);
                    position += expected.as_ref().map_or(0, Vec::len);
                    let slice = cursor.read_slice(count);
                    assert_eq!(slice.as_deref(), expected.as_deref());
                }
                CursorStep::Skip(count) => {
                    let is_enough = position + count <= model.len();
                    position += if is_enough { count } else { 0 };
                    assert_eq!(cursor.skip(count), is_enough);
                }
            }
            assert_eq!(cursor.position(), position);
            assert_eq!(cursor.remaining(), model.len() - position);
            let (first, second) = cursor.as_slices();
            let rest = model.range(position..).copied();
            assert!(rest.eq(first.iter().chain(second).copied()));
        }
        match end {
            CursorEnd::Commit => {
                assert_eq!(cursor.commit(), position);
                self.model_consume(position);
            }
            CursorEnd::Revert => cursor.revert(),
            CursorEnd::Drop => {}
        }
    }

    pub fn reserve_patch(&mut self, width: usize) {
        let position = self.consumed + self.model.len();
        let expected = self.model_extend(&vec![0; width]);
        let patch = self.ring.reserve_patch(width);
        assert_eq!(patch.as_ref().map(|_| ()), expected.as_ref().map(|_| ()));
        self.patches.extend(patch.map(|patch| (position, patch)));
    }

    /// Applies one of the patches whose bytes are still in the ring: the one at `number` modulo
    /// their count.
    pub fn patch(&mut self, number: usize, byte: u8) {
        let end = self.consumed + self.model.len();
        let is_held = |(position, patch): &(usize, Patch)| {
            *position >= self.consumed && position + patch.width() <= end
        };
        self.patches.retain(is_held);
        if self.patches.is_empty() {
            return;
        }
        let (position, patch) = self.patches.swap_remove(number % self.patches.len());
        let offset = position - self.consumed;
        let bytes = vec![byte; patch.width()];
        for target in self.model.range_mut(offset..offset + patch.width()) {
            *target = byte;
        }
        self.ring.patch(patch, &bytes);
    }

    /// Reads from a source that gives at most `source_gives` bytes per read.
    pub fn read_from(&mut self, at_most: usize, source_gives: usize) {
        let room = at_most.min(self.available());
        let mut source = PartialSource(source_gives);
        let answer = self.ring.read_from(&mut source, at_most);
        if at_most > 0 && room == 0 {
            let kind = answer.map_err(|error| error.kind());
            assert_eq!(kind, Err(ErrorKind::StorageFull));
        } else {
            let count = room.min(source_gives);
            assert_eq!(answer.ok(), Some(count));
            self.model.extend(counted().take(count));
        }
    }

    /// Writes to a sink that takes at most `sink_takes` bytes per write.
    pub fn write_to(&mut self, sink_takes: usize) {
        let mut sink = PartialSink {
            takes: sink_takes,
            taken: Vec::new(),
        };
        let count = sink_takes.min(self.model.len());
        assert_eq!(self.ring.write_to(&mut sink).ok(), Some(count));
        assert_eq!(sink.taken, self.model_consume(count));
    }

    /// Reads from the ring through `std::io::Read`.
    pub fn read_out(&mut self, length: usize) {
        let mut out = vec![0; length];
        let count = length.min(self.model.len());
        assert_eq!(Read::read(&mut *self.ring, &mut out).ok(), Some(count));
        assert_eq!(out[..count], self.model_consume(count));
    }

    /// Writes into the ring through `std::io::Write`.
    pub fn write_in(&mut self, bytes: &[u8]) {
        let expected = self.model_extend(bytes).is_ok();
        assert_eq!(self.ring.write_all(bytes).is_ok(), expected);
    }

    /// Consumes `count` bytes, or all if there are fewer, through `bytes::Buf`.
    pub fn buf_advance(&mut self, count: usize) {
        let chunk = bytes::Buf::chunk(&*self.ring);
        assert_eq!(chunk.is_empty(), self.model.is_empty());
        assert!(self.model.iter().take(chunk.len()).eq(chunk));
        let count = count.min(self.model.len());
        bytes::Buf::advance(&mut *self.ring, count);
        self.model_consume(count);
    }

    /// Appends through `bytes::BufMut`, if there is room.
    pub fn buf_put(&mut self, bytes: &[u8]) {
        if bytes.len() <= bytes::BufMut::remaining_mut(&*self.ring) {
            bytes::BufMut::put_slice(&mut *self.ring, bytes);
            assert_eq!(self.model_extend(bytes), Ok(()));
        }
    }

    /// Appends as many bytes as there is room for, chunk by chunk, through `bytes::BufMut`.
    pub fn buf_put_chunks(&mut self, bytes: &[u8]) {
        let mut rest = &bytes[..bytes.len().min(bytes::BufMut::remaining_mut(&*self.ring))];
        assert_eq!(self.model_extend(rest), Ok(()));
        while !rest.is_empty() {
            let count = bytes::BufMut::chunk_mut(&mut *self.ring)
                .len()
                .min(rest.len());
            assert!(count > 0, "the ring has room but offers no chunk");
            let (part, after) = rest.split_at(count);
            bytes::BufMut::put_slice(&mut *self.ring, part);
            rest = after;
        }
    }

    /// Gives the ring to the pool, and borrows an empty one with this limit.
    pub fn exchange(&mut self, limit: usize) {
        let ring = std::mem::replace(&mut self.ring, self.pool.lend(limit));
        self.pool.give_back(ring);
        self.limit = limit;
        self.model.clear();
        self.patches.clear();
        // A ring that comes back continues its own stream position; only differences count here.
        self.consumed = 0;
        assert!(self.pool.idle() <= MAX_IDLE);
    }

    /// Compares everything that is visible from outside.
    pub fn compare(&mut self) {
        assert_eq!(self.ring.len(), self.model.len());
        assert_eq!(self.ring.is_empty(), self.model.is_empty());
        assert_eq!(self.ring.limit(), self.limit);
        assert!(self.ring.len() <= self.ring.capacity());
        let (first, second) = self.ring.as_slices();
        assert!(self.model.iter().eq(first.iter().chain(second)));
        assert!(second.is_empty() || !first.is_empty());

        let free = self.ring.capacity() - self.ring.len();
        let free = free.min(self.available());
        let (first, second) = self.ring.spare();
        assert_eq!(first.len() + second.len(), free);
        assert!(second.is_empty() || !first.is_empty());
        assert!(
            second.is_empty() || !self.model.is_empty(),
            "an empty ring still has a second spare slice"
        );
    }

    fn available(&self) -> usize {
        self.limit.saturating_sub(self.model.len())
    }

    /// Appends to the model, and returns the result that the ring must return.
    fn model_extend(&mut self, bytes: &[u8]) -> Result<(), LimitExceeded> {
        if bytes.len() > self.available() {
            return Err(LimitExceeded);
        }
        self.model.extend(bytes);
        Ok(())
    }

    fn model_consume(&mut self, count: usize) -> Vec<u8> {
        self.consumed += count;
        self.model.drain(..count).collect()
    }
}

fn slice(model: &VecDeque<u8>, offset: usize, count: usize) -> Option<Vec<u8>> {
    let end = offset + count;
    (end <= model.len()).then(|| model.range(offset..end).copied().collect())
}
