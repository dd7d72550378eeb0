//! The ring buffer against a `VecDeque<u8>` that does the obvious thing.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};

use arbitrary::Arbitrary;
use ringwheel_ringbuffer::{LimitExceeded, Patch, PoolConfig, RingBuffer, RingPool};

use crate::input::plan;

/// More operations than this teach the fuzzer nothing.
const MAX_OPERATIONS: usize = 300;

#[derive(Arbitrary, Debug)]
struct Plan {
    start: Start,
    operations: Vec<Operation>,
}

#[derive(Arbitrary, Debug)]
enum Start {
    New,
    Limit(Size),
    Capacity(Size),
}

/// Mostly small, so that sequences often meet the seam, growth and the limit; some beyond the least growth.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Size(u8);

impl Size {
    fn get(self) -> usize {
        match usize::from(self.0) {
            small @ 0..192 => small % 48,
            large => (large - 192) * 24,
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Operation {
    Extend(Size),
    ExtendPair(Size, Size),
    /// Writes as many bytes into the spare slices as fit there.
    Fill(Size),
    Consume(Size),
    Truncate(Size),
    Clear,
    Reserve(Size),
    SetLimit(Size),
    ShrinkTo(Size),
    Contiguous,
    Prefix(Size),
    PutU16(u16),
    PutU64(u64),
    PeekU32(Size),
    ReadU64,
    Cursor(Vec<CursorStep>, bool),
    ReservePatch(u8),
    /// Applies the n-th of the patches that still can be.
    Patch(u8, u8),
    ReadFrom {
        at_most: Size,
        source_gives: Size,
    },
    WriteTo {
        sink_takes: Size,
    },
    ReadOut(Size),
    BufAdvance(Size),
    BufPut(Size),
    /// Writes part of a chunk in place.
    Chunk(Size),
    /// Gives the ring to a pool, and borrows another one of a limit.
    Pool(Size),
}

#[derive(Arbitrary, Debug)]
enum CursorStep {
    PeekU16,
    ReadU32,
    Slice(Size),
    Skip(Size),
}

/// Gives at most so many bytes a read, counting up, over all the slices offered.
struct PartialSource(usize);

impl Read for PartialSource {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.read_vectored(&mut [IoSliceMut::new(out)])
    }

    fn read_vectored(&mut self, out: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let bytes = out.iter_mut().flat_map(|slice| slice.iter_mut());
        let given = bytes.take(self.0).zip(counted());
        Ok(given.map(|(byte, value)| *byte = value).count())
    }
}

fn counted() -> impl Iterator<Item = u8> {
    (0..251).cycle()
}

/// Takes at most so many bytes, over all the slices offered.
struct PartialSink {
    takes: usize,
    taken: Vec<u8>,
}

impl Write for PartialSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes = slices.iter().flat_map(|slice| slice.iter());
        self.taken.extend(bytes.take(self.takes));
        Ok(self.taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The ring, and what it should be.
struct Pair {
    ring: Box<RingBuffer>,
    pool: RingPool,
    model: VecDeque<u8>,
    limit: usize,
    /// Position in the stream of the model's front.
    consumed: usize,
    /// Reserved and not yet patched: position in the stream, and the handle.
    patches: Vec<(usize, Patch)>,
    /// The next byte to be written, so that no two neighbours are alike.
    next: u8,
}

/// The target.
pub fn run(data: &[u8]) {
    let Some(Plan { start, operations }) = plan(data) else {
        return;
    };
    let ring = match start {
        Start::New => RingBuffer::new(),
        Start::Limit(limit) => RingBuffer::with_limit(limit.get()),
        Start::Capacity(capacity) => RingBuffer::with_capacity(capacity.get()),
    };
    let config = PoolConfig {
        initial_capacity: 16,
        keep_capacity: 600,
        max_idle: 2,
    };
    let mut pair = Pair {
        limit: ring.limit(),
        ring: Box::new(ring),
        pool: RingPool::new(config),
        model: VecDeque::new(),
        consumed: 0,
        patches: Vec::new(),
        next: 0,
    };
    for operation in operations.into_iter().take(MAX_OPERATIONS) {
        pair.apply(operation);
        pair.compare();
    }
}

impl Pair {
    fn payload(&mut self, size: Size) -> Vec<u8> {
        let mut byte = || {
            self.next = self.next.wrapping_add(1);
            self.next
        };
        (0..size.get()).map(|_| byte()).collect()
    }

    fn available(&self) -> usize {
        self.limit.saturating_sub(self.model.len())
    }

    /// Appends to the model, and says what the ring has to answer.
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

    fn model_peek<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        peek(&self.model, offset, N)?.try_into().ok()
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Extend(size) => {
                let bytes = self.payload(size);
                let expected = self.model_extend(&bytes);
                assert_eq!(self.ring.extend_from_slice(&bytes), expected);
            }
            Operation::ExtendPair(header, body) => {
                let (header, body) = (self.payload(header), self.payload(body));
                let expected = self.model_extend(&[&header[..], &body].concat());
                assert_eq!(self.ring.extend_from_pair(&header, &body), expected);
            }
            Operation::Fill(size) => self.fill(size),
            Operation::Consume(size) => {
                let count = size.get().min(self.model.len());
                self.model_consume(count);
                self.ring.consume(count);
            }
            Operation::Truncate(size) => {
                self.model.truncate(size.get());
                self.ring.truncate(size.get());
            }
            Operation::Clear => {
                self.model_consume(self.model.len());
                self.ring.clear();
            }
            Operation::Reserve(size) => self.reserve(size.get()),
            Operation::SetLimit(size) => {
                self.limit = size.get();
                self.ring.set_limit(size.get());
            }
            Operation::ShrinkTo(size) => {
                let least = size.get().max(self.model.len());
                let expected = self.ring.capacity().min(least);
                self.ring.shrink_to(size.get());
                assert_eq!(self.ring.capacity(), expected);
            }
            Operation::Contiguous => {
                assert_eq!(self.ring.contiguous(), self.model.make_contiguous());
            }
            Operation::Prefix(size) => {
                let expected = peek(&self.model, 0, size.get());
                let prefix = self.ring.contiguous_prefix(size.get());
                assert_eq!(prefix.as_deref(), expected.as_deref());
            }
            Operation::PutU16(value) => {
                let expected = self.model_extend(&value.to_le_bytes());
                assert_eq!(self.ring.put_u16_le(value), expected);
            }
            Operation::PutU64(value) => {
                let expected = self.model_extend(&value.to_be_bytes());
                assert_eq!(self.ring.put_u64_be(value), expected);
            }
            Operation::PeekU32(offset) => {
                let expected = self.model_peek(offset.get()).map(u32::from_le_bytes);
                assert_eq!(self.ring.peek_u32_le(offset.get()), expected);
            }
            Operation::ReadU64 => {
                let expected = self.model_peek(0).map(u64::from_be_bytes);
                if expected.is_some() {
                    self.model_consume(8);
                }
                assert_eq!(self.ring.read_u64_be(), expected);
            }
            Operation::Cursor(steps, commit) => self.cursor(&steps, commit),
            Operation::ReservePatch(width) => self.reserve_patch(usize::from(width % 16)),
            Operation::Patch(number, byte) => self.patch(number, byte),
            Operation::ReadFrom {
                at_most,
                source_gives,
            } => self.read_from(at_most.get(), source_gives.get()),
            Operation::WriteTo { sink_takes } => self.write_to(sink_takes.get()),
            Operation::ReadOut(size) => {
                let mut out = vec![0; size.get()];
                let count = out.len().min(self.model.len());
                assert_eq!(Read::read(&mut *self.ring, &mut out).ok(), Some(count));
                assert_eq!(out[..count], self.model_consume(count));
            }
            Operation::BufAdvance(size) => {
                let chunk = bytes::Buf::chunk(&*self.ring);
                assert_eq!(chunk.is_empty(), self.model.is_empty());
                assert!(self.model.iter().take(chunk.len()).eq(chunk));
                let count = size.get().min(self.model.len());
                bytes::Buf::advance(&mut *self.ring, count);
                self.model_consume(count);
            }
            Operation::BufPut(size) => {
                let bytes = self.payload(size);
                if bytes.len() <= bytes::BufMut::remaining_mut(&*self.ring) {
                    bytes::BufMut::put_slice(&mut *self.ring, &bytes);
                    assert_eq!(self.model_extend(&bytes), Ok(()));
                }
            }
            Operation::Chunk(size) => self.chunk(size),
            Operation::Pool(limit) => self.exchange(limit.get()),
        }
    }

    fn fill(&mut self, size: Size) {
        let bytes = self.payload(size);
        let (first, second) = self.ring.spare();
        let to_first = bytes.len().min(first.len());
        let to_second = (bytes.len() - to_first).min(second.len());
        let count = to_first + to_second;
        first[..to_first].copy_from_slice(&bytes[..to_first]);
        second[..to_second].copy_from_slice(&bytes[to_first..count]);
        self.ring.commit(count);
        self.model.extend(&bytes[..count]);
    }

    fn reserve(&mut self, additional: usize) {
        let fits = additional <= self.available();
        assert_eq!(self.ring.reserve(additional).is_ok(), fits);
        if fits {
            let (first, second) = self.ring.spare();
            assert!(first.len() + second.len() >= additional);
        }
    }

    fn reserve_patch(&mut self, width: usize) {
        let position = self.consumed + self.model.len();
        let expected = self.model_extend(&vec![0; width]);
        let patch = self.ring.reserve_patch(width);
        assert_eq!(patch.is_ok(), expected.is_ok());
        self.patches.extend(patch.map(|patch| (position, patch)));
    }

    fn patch(&mut self, number: u8, byte: u8) {
        let end = self.consumed + self.model.len();
        let is_held = |(position, patch): &(usize, Patch)| {
            *position >= self.consumed && position + patch.width() <= end
        };
        self.patches.retain(is_held);
        if self.patches.is_empty() {
            return;
        }
        let number = usize::from(number) % self.patches.len();
        let (position, patch) = self.patches.swap_remove(number);
        let offset = position - self.consumed;
        let bytes = vec![byte; patch.width()];
        for target in self.model.range_mut(offset..offset + patch.width()) {
            *target = byte;
        }
        self.ring.patch(patch, &bytes);
    }

    fn read_from(&mut self, at_most: usize, source_gives: usize) {
        let room = at_most.min(self.available());
        let mut source = PartialSource(source_gives);
        let answer = self.ring.read_from(&mut source, at_most);
        if at_most > 0 && room == 0 {
            let kind = answer.map_err(|error| error.kind());
            assert_eq!(kind, Err(io::ErrorKind::StorageFull));
        } else {
            let count = room.min(source_gives);
            assert_eq!(answer.ok(), Some(count));
            self.model.extend(counted().take(count));
        }
    }

    fn write_to(&mut self, takes: usize) {
        let taken = Vec::new();
        let mut sink = PartialSink { takes, taken };
        let count = takes.min(self.model.len());
        assert_eq!(self.ring.write_to(&mut sink).ok(), Some(count));
        assert_eq!(sink.taken, self.model_consume(count));
    }

    /// Writes into a chunk by parts, as far as there is room.
    fn chunk(&mut self, size: Size) {
        let bytes = self.payload(size);
        let mut rest = &bytes[..bytes.len().min(bytes::BufMut::remaining_mut(&*self.ring))];
        assert_eq!(self.model_extend(rest), Ok(()));
        while !rest.is_empty() {
            let count = bytes::BufMut::chunk_mut(&mut *self.ring)
                .len()
                .min(rest.len());
            assert!(count > 0, "there is room, and no chunk of it");
            let (part, after) = rest.split_at(count);
            bytes::BufMut::put_slice(&mut *self.ring, part);
            rest = after;
        }
    }

    fn exchange(&mut self, limit: usize) {
        let ring = std::mem::replace(&mut self.ring, self.pool.lend(limit));
        self.pool.give_back(ring);
        self.limit = limit;
        self.model.clear();
        self.patches.clear();
        // A ring that comes back has a position of its own in its stream; only differences count.
        self.consumed = 0;
        assert!(self.pool.idle() <= 2);
    }

    fn cursor(&mut self, steps: &[CursorStep], commit: bool) {
        let mut position = 0;
        let mut cursor = self.ring.cursor();
        for step in steps {
            match step {
                CursorStep::PeekU16 => {
                    let expected = peek(&self.model, position, 2).map(|bytes| [bytes[0], bytes[1]]);
                    assert_eq!(cursor.peek_u16_be(), expected.map(u16::from_be_bytes));
                }
                CursorStep::ReadU32 => {
                    let expected = peek(&self.model, position, 4);
                    let read = cursor
                        .read_u32_le()
                        .map(|value| value.to_le_bytes().to_vec());
                    position += if expected.is_some() { 4 } else { 0 };
                    assert_eq!(read, expected);
                }
                CursorStep::Slice(size) => {
                    let expected = peek(&self.model, position, size.get());
                    let slice = cursor.read_slice(size.get()).map(|slice| slice.to_vec());
                    position += expected.as_ref().map_or(0, Vec::len);
                    assert_eq!(slice, expected);
                }
                CursorStep::Skip(size) => {
                    let is_there = position + size.get() <= self.model.len();
                    assert_eq!(cursor.skip(size.get()), is_there);
                    position += if is_there { size.get() } else { 0 };
                }
            }
            assert_eq!(cursor.position(), position);
            assert_eq!(cursor.remaining(), self.model.len() - position);
        }
        if commit {
            assert_eq!(cursor.commit(), position);
            self.model_consume(position);
        }
    }

    fn compare(&self) {
        let (first, second) = self.ring.as_slices();
        assert!(self.model.iter().eq(first.iter().chain(second)));
        assert!(second.is_empty() || !first.is_empty());
        assert_eq!(self.ring.len(), self.model.len());
        assert_eq!(self.ring.is_empty(), self.model.is_empty());
        assert_eq!(self.ring.limit(), self.limit);
        assert!(self.ring.capacity() >= self.model.len());
    }
}

fn peek(model: &VecDeque<u8>, offset: usize, count: usize) -> Option<Vec<u8>> {
    let end = offset + count;
    (end <= model.len()).then(|| model.range(offset..end).copied().collect())
}
