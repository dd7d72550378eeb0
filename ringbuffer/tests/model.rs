//! Random sequences of operations against a `VecDeque<u8>` that does the obvious thing.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use ringwheel_ringbuffer::{Cursor, LimitExceeded, Patch, RingBuffer};

/// Small enough that sequences often meet the seam, growth, and the limit.
const SMALL: usize = 40;
/// Beyond the least capacity that growth allocates.
const LARGE: usize = 1200;

#[derive(Clone, Debug)]
enum Op {
    Extend(Vec<u8>),
    /// Writes as many of the bytes into the spare slices as fit there.
    Fill(Vec<u8>),
    Consume(usize),
    Truncate(usize),
    Clear,
    Reserve(usize),
    SetLimit(usize),
    ShrinkTo(usize),
    Contiguous,
    Prefix(usize),
    Put(Width, u64),
    Peek(Width, usize),
    Read(Width),
    Cursor(Vec<CursorOp>, End),
    ReservePatch(usize),
    /// Applies the n-th of the patches that still can be.
    Patch(usize, u8),
    ReadFrom {
        at_most: usize,
        source_gives: usize,
    },
    WriteTo {
        sink_takes: usize,
    },
    ReadOut(usize),
    WriteIn(Vec<u8>),
}

#[derive(Clone, Copy, Debug)]
enum Width {
    U8,
    U16Be,
    U16Le,
    U32Be,
    U32Le,
    U64Be,
    U64Le,
}

#[derive(Clone, Debug)]
enum CursorOp {
    Peek(Width),
    Read(Width),
    Slice(usize),
    Skip(usize),
}

#[derive(Clone, Copy, Debug)]
enum End {
    Commit,
    Revert,
    Drop,
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![12 => 0..SMALL, 1 => 0..LARGE]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![12 => vec(any::<u8>(), 0..SMALL), 1 => vec(any::<u8>(), 0..LARGE)]
}

fn width() -> impl Strategy<Value = Width> {
    use Width::*;
    prop::sample::select(vec![U8, U16Be, U16Le, U32Be, U32Le, U64Be, U64Le])
}

fn cursor_op() -> impl Strategy<Value = CursorOp> {
    prop_oneof![
        width().prop_map(CursorOp::Peek),
        width().prop_map(CursorOp::Read),
        size().prop_map(CursorOp::Slice),
        size().prop_map(CursorOp::Skip),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let end = prop::sample::select(vec![End::Commit, End::Revert, End::Drop]);
    prop_oneof![
        6 => payload().prop_map(Op::Extend),
        4 => payload().prop_map(Op::Fill),
        8 => size().prop_map(Op::Consume),
        1 => size().prop_map(Op::Truncate),
        1 => Just(Op::Clear),
        2 => size().prop_map(Op::Reserve),
        1 => (0..2 * LARGE).prop_map(Op::SetLimit),
        1 => size().prop_map(Op::ShrinkTo),
        2 => Just(Op::Contiguous),
        3 => size().prop_map(Op::Prefix),
        3 => (width(), any::<u64>()).prop_map(|(width, value)| Op::Put(width, value)),
        3 => (width(), size()).prop_map(|(width, offset)| Op::Peek(width, offset)),
        3 => width().prop_map(Op::Read),
        3 => (vec(cursor_op(), 0..6), end).prop_map(|(ops, end)| Op::Cursor(ops, end)),
        2 => size().prop_map(Op::ReservePatch),
        2 => (any::<usize>(), any::<u8>()).prop_map(|(n, byte)| Op::Patch(n, byte)),
        3 => (size(), size()).prop_map(|(at_most, source_gives)| Op::ReadFrom {
            at_most,
            source_gives,
        }),
        3 => size().prop_map(|sink_takes| Op::WriteTo { sink_takes }),
        2 => size().prop_map(Op::ReadOut),
        2 => payload().prop_map(Op::WriteIn),
    ]
}

/// Gives at most so many bytes a read, counting up, over all the slices offered.
struct PartialSource(usize);

impl Read for PartialSource {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.read_vectored(&mut [IoSliceMut::new(out)])
    }

    fn read_vectored(&mut self, out: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let bytes = out.iter_mut().flat_map(|slice| slice.iter_mut());
        let given = bytes.take(self.0).enumerate();
        Ok(given.map(|(i, byte)| *byte = counted(i)).count())
    }
}

fn counted(i: usize) -> u8 {
    (i % 251) as u8
}

/// Takes at most so many bytes a write, over all the slices offered.
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

impl Width {
    fn bytes(self) -> usize {
        match self {
            Width::U8 => 1,
            Width::U16Be | Width::U16Le => 2,
            Width::U32Be | Width::U32Le => 4,
            Width::U64Be | Width::U64Le => 8,
        }
    }

    fn is_little_endian(self) -> bool {
        matches!(self, Width::U16Le | Width::U32Le | Width::U64Le)
    }

    /// The low bytes of `value`, in the order of this width.
    fn encode(self, value: u64) -> Vec<u8> {
        let mut bytes = value.to_le_bytes()[..self.bytes()].to_vec();
        if !self.is_little_endian() {
            bytes.reverse();
        }
        bytes
    }

    fn decode(self, mut bytes: Vec<u8>) -> u64 {
        if !self.is_little_endian() {
            bytes.reverse();
        }
        bytes.resize(8, 0);
        u64::from_le_bytes(bytes.try_into().unwrap())
    }
}

/// The ring, and what it should be.
struct Pair {
    ring: RingBuffer,
    model: VecDeque<u8>,
    limit: usize,
    /// Position in the stream of the model's front.
    consumed: usize,
    /// Reserved and not yet patched: position in the stream, and the handle.
    patches: Vec<(usize, Patch)>,
}

impl Pair {
    fn new(ring: RingBuffer) -> Self {
        Self {
            model: VecDeque::new(),
            limit: ring.limit(),
            consumed: 0,
            patches: Vec::new(),
            ring,
        }
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

    fn model_peek(&self, offset: usize, count: usize) -> Option<Vec<u8>> {
        let end = offset + count;
        (end <= self.model.len()).then(|| self.model.range(offset..end).copied().collect())
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Extend(bytes) => {
                let expected = self.model_extend(&bytes);
                assert_eq!(self.ring.extend_from_slice(&bytes), expected);
            }
            Op::Fill(bytes) => self.fill(&bytes),
            Op::Consume(count) => {
                let count = count.min(self.model.len());
                self.model_consume(count);
                self.ring.consume(count);
            }
            Op::Truncate(len) => {
                self.model.truncate(len);
                self.ring.truncate(len);
            }
            Op::Clear => {
                self.model_consume(self.model.len());
                self.ring.clear();
            }
            Op::Reserve(additional) => self.reserve(additional),
            Op::SetLimit(limit) => {
                self.limit = limit;
                self.ring.set_limit(limit);
            }
            Op::ShrinkTo(min_capacity) => self.shrink_to(min_capacity),
            Op::Contiguous => assert_eq!(self.ring.contiguous(), self.model.make_contiguous()),
            Op::Prefix(count) => {
                let expected = self.model_peek(0, count);
                let prefix = self.ring.contiguous_prefix(count);
                assert_eq!(prefix.as_deref(), expected.as_deref());
            }
            Op::Put(width, value) => {
                let expected = self.model_extend(&width.encode(value));
                assert_eq!(self.put(width, value), expected);
            }
            Op::Peek(width, offset) => {
                let expected = self.model_peek(offset, width.bytes());
                let expected = expected.map(|bytes| width.decode(bytes));
                assert_eq!(self.peek(width, offset), expected);
            }
            Op::Read(width) => {
                let enough = width.bytes() <= self.model.len();
                let expected = enough.then(|| width.decode(self.model_consume(width.bytes())));
                assert_eq!(self.read(width), expected);
            }
            Op::Cursor(ops, end) => self.cursor(ops, end),
            Op::ReservePatch(width) => {
                let position = self.consumed + self.model.len();
                let expected = self.model_extend(&vec![0; width]);
                let patch = self.ring.reserve_patch(width);
                assert_eq!(patch.as_ref().map(|_| ()), expected.as_ref().map(|_| ()));
                self.patches.extend(patch.map(|patch| (position, patch)));
            }
            Op::Patch(n, byte) => self.patch(n, byte),
            Op::ReadFrom {
                at_most,
                source_gives,
            } => self.read_from(at_most, source_gives),
            Op::WriteTo { sink_takes } => {
                let mut sink = PartialSink {
                    takes: sink_takes,
                    taken: Vec::new(),
                };
                let count = sink_takes.min(self.model.len());
                assert_eq!(self.ring.write_to(&mut sink).unwrap(), count);
                assert_eq!(sink.taken, self.model_consume(count));
            }
            Op::ReadOut(len) => {
                let mut out = vec![0; len];
                let count = len.min(self.model.len());
                assert_eq!(Read::read(&mut self.ring, &mut out).unwrap(), count);
                assert_eq!(out[..count], self.model_consume(count));
            }
            Op::WriteIn(bytes) => {
                let expected = self.model_extend(&bytes).is_ok();
                assert_eq!(self.ring.write_all(&bytes).is_ok(), expected);
            }
        }
    }

    fn fill(&mut self, bytes: &[u8]) {
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
        let before = self.ring.capacity();
        let fits = additional <= self.available();
        let needed = self.model.len() + additional;
        assert_eq!(self.ring.reserve(additional).is_ok(), fits);
        if fits && needed > before {
            // At least doubled, unless the limit forbids it; never beyond limit or need.
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

    fn shrink_to(&mut self, min_capacity: usize) {
        let least = min_capacity.max(self.model.len());
        let expected = self.ring.capacity().min(least);
        self.ring.shrink_to(min_capacity);
        assert_eq!(self.ring.capacity(), expected);
    }

    fn patch(&mut self, n: usize, byte: u8) {
        let end = self.consumed + self.model.len();
        let held = |(position, patch): &(usize, Patch)| {
            *position >= self.consumed && position + patch.width() <= end
        };
        self.patches.retain(held);
        if self.patches.is_empty() {
            return;
        }
        let (position, patch) = self.patches.swap_remove(n % self.patches.len());
        let offset = position - self.consumed;
        let bytes = vec![byte; patch.width()];
        for target in self.model.range_mut(offset..offset + patch.width()) {
            *target = byte;
        }
        self.ring.patch(patch, &bytes);
    }

    fn read_from(&mut self, at_most: usize, source_gives: usize) {
        let room = at_most.min(self.available());
        let answer = self
            .ring
            .read_from(&mut PartialSource(source_gives), at_most);
        if at_most > 0 && room == 0 {
            assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::StorageFull);
        } else {
            let count = room.min(source_gives);
            assert_eq!(answer.unwrap(), count);
            self.model.extend((0..count).map(counted));
        }
    }

    fn cursor(&mut self, ops: Vec<CursorOp>, end: End) {
        let mut position = 0;
        let model = &self.model;
        let peek = |position: usize, count: usize| {
            let end = position + count;
            (end <= model.len()).then(|| model.range(position..end).copied().collect::<Vec<_>>())
        };
        let mut cursor = self.ring.cursor();
        for op in ops {
            match op {
                CursorOp::Peek(width) => {
                    let expected = peek(position, width.bytes());
                    let expected = expected.map(|bytes| width.decode(bytes));
                    assert_eq!(cursor_peek(&cursor, width), expected);
                }
                CursorOp::Read(width) => {
                    let expected = peek(position, width.bytes());
                    position += expected.as_ref().map_or(0, Vec::len);
                    let expected = expected.map(|bytes| width.decode(bytes));
                    assert_eq!(cursor_read(&mut cursor, width), expected);
                }
                CursorOp::Slice(count) => {
                    let expected = peek(position, count);
                    position += expected.as_ref().map_or(0, Vec::len);
                    let slice = cursor.read_slice(count);
                    assert_eq!(slice.as_deref(), expected.as_deref());
                }
                CursorOp::Skip(count) => {
                    let enough = position + count <= model.len();
                    position += if enough { count } else { 0 };
                    assert_eq!(cursor.skip(count), enough);
                }
            }
            assert_eq!(cursor.position(), position);
            assert_eq!(cursor.remaining(), model.len() - position);
            let (first, second) = cursor.as_slices();
            let rest = model.range(position..).copied();
            assert!(rest.eq(first.iter().chain(second).copied()));
        }
        match end {
            End::Commit => {
                assert_eq!(cursor.commit(), position);
                self.model_consume(position);
            }
            End::Revert => cursor.revert(),
            End::Drop => {}
        }
    }

    fn put(&mut self, width: Width, value: u64) -> Result<(), LimitExceeded> {
        match width {
            Width::U8 => self.ring.put_u8(value as u8),
            Width::U16Be => self.ring.put_u16_be(value as u16),
            Width::U16Le => self.ring.put_u16_le(value as u16),
            Width::U32Be => self.ring.put_u32_be(value as u32),
            Width::U32Le => self.ring.put_u32_le(value as u32),
            Width::U64Be => self.ring.put_u64_be(value),
            Width::U64Le => self.ring.put_u64_le(value),
        }
    }

    fn peek(&self, width: Width, offset: usize) -> Option<u64> {
        match width {
            Width::U8 => self.ring.peek_u8(offset).map(u64::from),
            Width::U16Be => self.ring.peek_u16_be(offset).map(u64::from),
            Width::U16Le => self.ring.peek_u16_le(offset).map(u64::from),
            Width::U32Be => self.ring.peek_u32_be(offset).map(u64::from),
            Width::U32Le => self.ring.peek_u32_le(offset).map(u64::from),
            Width::U64Be => self.ring.peek_u64_be(offset),
            Width::U64Le => self.ring.peek_u64_le(offset),
        }
    }

    fn read(&mut self, width: Width) -> Option<u64> {
        match width {
            Width::U8 => self.ring.read_u8().map(u64::from),
            Width::U16Be => self.ring.read_u16_be().map(u64::from),
            Width::U16Le => self.ring.read_u16_le().map(u64::from),
            Width::U32Be => self.ring.read_u32_be().map(u64::from),
            Width::U32Le => self.ring.read_u32_le().map(u64::from),
            Width::U64Be => self.ring.read_u64_be(),
            Width::U64Le => self.ring.read_u64_le(),
        }
    }

    /// Everything that can be seen from outside.
    fn check(&mut self) {
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
        assert!(second.is_empty() || !self.model.is_empty(), "not rewound");
    }
}

fn cursor_peek(cursor: &Cursor<'_>, width: Width) -> Option<u64> {
    match width {
        Width::U8 => cursor.peek_u8().map(u64::from),
        Width::U16Be => cursor.peek_u16_be().map(u64::from),
        Width::U16Le => cursor.peek_u16_le().map(u64::from),
        Width::U32Be => cursor.peek_u32_be().map(u64::from),
        Width::U32Le => cursor.peek_u32_le().map(u64::from),
        Width::U64Be => cursor.peek_u64_be(),
        Width::U64Le => cursor.peek_u64_le(),
    }
}

fn cursor_read(cursor: &mut Cursor<'_>, width: Width) -> Option<u64> {
    match width {
        Width::U8 => cursor.read_u8().map(u64::from),
        Width::U16Be => cursor.read_u16_be().map(u64::from),
        Width::U16Le => cursor.read_u16_le().map(u64::from),
        Width::U32Be => cursor.read_u32_be().map(u64::from),
        Width::U32Le => cursor.read_u32_le().map(u64::from),
        Width::U64Be => cursor.read_u64_be(),
        Width::U64Le => cursor.read_u64_le(),
    }
}

/// The same sequences on every run.
fn config() -> Config {
    Config {
        cases: 1000,
        rng_seed: RngSeed::Fixed(0x5269_6e67),
        failure_persistence: None,
        ..Config::default()
    }
}

fn run(ring: RingBuffer, ops: Vec<Op>) {
    let mut pair = Pair::new(ring);
    for op in ops {
        pair.apply(op);
        pair.check();
    }
}

proptest! {
    #![proptest_config(config())]

    /// From nothing: growth, doubling, and the limit.
    #[test]
    fn a_growing_ring_does_what_the_model_does(
        limit in 0..2 * LARGE,
        ops in vec(op(), 1..60),
    ) {
        run(RingBuffer::with_limit(limit), ops);
    }

    /// In a few bytes that never grow: the seam.
    #[test]
    fn a_small_ring_does_what_the_model_does(
        capacity in 1..2 * SMALL,
        ops in vec(op(), 1..60),
    ) {
        let mut ring = RingBuffer::with_capacity(capacity);
        ring.set_limit(capacity);
        let ops = ops.into_iter().filter(|op| !matches!(op, Op::SetLimit(_) | Op::ShrinkTo(_)));
        run(ring, ops.collect());
    }
}
