//! Tests the ring with random sequences of operations that are also applied to a model.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use ringwheel_ringbuffer::RingBuffer;
use support::{CheckedRing, CursorEnd, CursorStep, Width};

/// Small enough that many sequences meet the seam, growth, and the limit.
const SMALL: usize = 40;
/// Larger than the smallest capacity that growth allocates.
const LARGE: usize = 1200;

#[derive(Clone, Debug)]
enum Op {
    Extend(Vec<u8>),
    ExtendPair(Vec<u8>, Vec<u8>),
    /// Writes as many of the bytes into the spare slices as fit.
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
    Cursor(Vec<CursorStep>, CursorEnd),
    ReservePatch(usize),
    /// Applies the n-th of the patches whose bytes are still in the ring.
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
    BufAdvance(usize),
    BufPut(Vec<u8>),
    BufPutChunks(Vec<u8>),
    /// Gives the ring back to a pool, and borrows another one with this limit.
    Exchange(usize),
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

fn cursor_step() -> impl Strategy<Value = CursorStep> {
    prop_oneof![
        width().prop_map(CursorStep::Peek),
        width().prop_map(CursorStep::Read),
        size().prop_map(CursorStep::Slice),
        size().prop_map(CursorStep::Skip),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let end = prop::sample::select(vec![CursorEnd::Commit, CursorEnd::Revert, CursorEnd::Drop]);
    prop_oneof![
        6 => payload().prop_map(Op::Extend),
        2 => (payload(), payload()).prop_map(|(header, body)| Op::ExtendPair(header, body)),
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
        3 => (vec(cursor_step(), 0..6), end).prop_map(|(steps, end)| Op::Cursor(steps, end)),
        2 => size().prop_map(Op::ReservePatch),
        2 => (any::<usize>(), any::<u8>()).prop_map(|(n, byte)| Op::Patch(n, byte)),
        3 => (size(), size()).prop_map(|(at_most, source_gives)| Op::ReadFrom {
            at_most,
            source_gives,
        }),
        3 => size().prop_map(|sink_takes| Op::WriteTo { sink_takes }),
        2 => size().prop_map(Op::ReadOut),
        2 => payload().prop_map(Op::WriteIn),
        2 => size().prop_map(Op::BufAdvance),
        2 => payload().prop_map(Op::BufPut),
        2 => payload().prop_map(Op::BufPutChunks),
        1 => size().prop_map(Op::Exchange),
    ]
}

fn apply(op: Op, ring: &mut CheckedRing) {
    match op {
        Op::Extend(bytes) => ring.extend(&bytes),
        Op::ExtendPair(header, body) => ring.extend_pair(&header, &body),
        Op::Fill(bytes) => ring.fill(&bytes),
        Op::Consume(count) => ring.consume(count),
        Op::Truncate(length) => ring.truncate(length),
        Op::Clear => ring.clear(),
        Op::Reserve(additional) => ring.reserve(additional),
        Op::SetLimit(limit) => ring.set_limit(limit),
        Op::ShrinkTo(min_capacity) => ring.shrink_to(min_capacity),
        Op::Contiguous => ring.contiguous(),
        Op::Prefix(count) => ring.contiguous_prefix(count),
        Op::Put(width, value) => ring.put(width, value),
        Op::Peek(width, offset) => ring.peek(width, offset),
        Op::Read(width) => ring.read(width),
        Op::Cursor(steps, end) => ring.cursor(&steps, end),
        Op::ReservePatch(width) => ring.reserve_patch(width),
        Op::Patch(number, byte) => ring.patch(number, byte),
        Op::ReadFrom {
            at_most,
            source_gives,
        } => ring.read_from(at_most, source_gives),
        Op::WriteTo { sink_takes } => ring.write_to(sink_takes),
        Op::ReadOut(length) => ring.read_out(length),
        Op::WriteIn(bytes) => ring.write_in(&bytes),
        Op::BufAdvance(count) => ring.buf_advance(count),
        Op::BufPut(bytes) => ring.buf_put(&bytes),
        Op::BufPutChunks(bytes) => ring.buf_put_chunks(&bytes),
        Op::Exchange(limit) => ring.exchange(limit),
    }
}

/// A configuration with a fixed seed, so that every run tests the same sequences.
fn config() -> Config {
    Config {
        cases: 1000,
        rng_seed: RngSeed::Fixed(0x5269_6e67),
        failure_persistence: None,
        ..Config::default()
    }
}

fn run(ring: RingBuffer, ops: Vec<Op>) {
    let mut ring = CheckedRing::new(ring);
    for op in ops {
        apply(op, &mut ring);
        ring.compare();
    }
}

proptest! {
    #![proptest_config(config())]

    /// Starts from nothing: tests growth, doubling, and the limit.
    #[test]
    fn a_growing_ring_behaves_like_the_model(
        limit in 0..2 * LARGE,
        ops in vec(op(), 1..60),
    ) {
        run(RingBuffer::with_limit(limit), ops);
    }

    /// Starts with a few bytes that never grow: tests the seam.
    #[test]
    fn a_small_ring_behaves_like_the_model(
        capacity in 1..2 * SMALL,
        ops in vec(op(), 1..60),
    ) {
        let mut ring = RingBuffer::with_capacity(capacity);
        ring.set_limit(capacity);
        let grows = |op: &Op| matches!(op, Op::SetLimit(_) | Op::ShrinkTo(_) | Op::Exchange(_));
        let ops = ops.into_iter().filter(|op| !grows(op));
        run(ring, ops.collect());
    }
}
