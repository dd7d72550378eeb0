//! The ring buffer compared with a `VecDeque<u8>`.

use arbitrary::Arbitrary;
use ring_support::{CheckedRing, CursorEnd, Width};
use ringwheel_ringbuffer::RingBuffer;

use crate::input::plan;

/// More operations than this find nothing new.
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

/// Mostly small, so that many sequences meet the seam, growth and the limit; some exceed the smallest growth.
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
    /// Writes as many bytes into the spare slices as fit.
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
    /// Applies the n-th of the patches whose bytes are still in the ring.
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
    /// Gives the ring back to a pool, and borrows another one with this limit.
    Pool(Size),
}

#[derive(Arbitrary, Debug)]
enum CursorStep {
    PeekU16,
    ReadU32,
    Slice(Size),
    Skip(Size),
}

/// The fuzz target.
pub fn run(data: &[u8]) {
    let Some(Plan { start, operations }) = plan(data) else {
        return;
    };
    let ring = match start {
        Start::New => RingBuffer::new(),
        Start::Limit(limit) => RingBuffer::with_limit(limit.get()),
        Start::Capacity(capacity) => RingBuffer::with_capacity(capacity.get()),
    };
    let mut driver = Driver {
        ring: CheckedRing::new(ring),
        next: 0,
    };
    for operation in operations.into_iter().take(MAX_OPERATIONS) {
        driver.apply(operation);
        driver.ring.compare();
    }
}

struct Driver {
    ring: CheckedRing,
    /// The next byte to write, so that neighbouring bytes differ.
    next: u8,
}

impl Driver {
    fn payload(&mut self, size: Size) -> Vec<u8> {
        let mut byte = || {
            self.next = self.next.wrapping_add(1);
            self.next
        };
        (0..size.get()).map(|_| byte()).collect()
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Extend(size) => {
                let bytes = self.payload(size);
                self.ring.extend(&bytes);
            }
            Operation::ExtendPair(header, body) => {
                let (header, body) = (self.payload(header), self.payload(body));
                self.ring.extend_pair(&header, &body);
            }
            Operation::Fill(size) => {
                let bytes = self.payload(size);
                self.ring.fill(&bytes);
            }
            Operation::Consume(size) => self.ring.consume(size.get()),
            Operation::Truncate(size) => self.ring.truncate(size.get()),
            Operation::Clear => self.ring.clear(),
            Operation::Reserve(size) => self.ring.reserve(size.get()),
            Operation::SetLimit(size) => self.ring.set_limit(size.get()),
            Operation::ShrinkTo(size) => self.ring.shrink_to(size.get()),
            Operation::Contiguous => self.ring.contiguous(),
            Operation::Prefix(size) => self.ring.contiguous_prefix(size.get()),
            Operation::PutU16(value) => self.ring.put(Width::U16Le, value.into()),
            Operation::PutU64(value) => self.ring.put(Width::U64Be, value),
            Operation::PeekU32(offset) => self.ring.peek(Width::U32Le, offset.get()),
            Operation::ReadU64 => self.ring.read(Width::U64Be),
            Operation::Cursor(steps, commit) => self.cursor(&steps, commit),
            Operation::ReservePatch(width) => self.ring.reserve_patch(usize::from(width % 16)),
            Operation::Patch(number, byte) => self.ring.patch(number.into(), byte),
            Operation::ReadFrom {
                at_most,
                source_gives,
            } => self.ring.read_from(at_most.get(), source_gives.get()),
            Operation::WriteTo { sink_takes } => self.ring.write_to(sink_takes.get()),
            Operation::ReadOut(size) => self.ring.read_out(size.get()),
            Operation::BufAdvance(size) => self.ring.buf_advance(size.get()),
            Operation::BufPut(size) => {
                let bytes = self.payload(size);
                self.ring.buf_put(&bytes);
            }
            Operation::Chunk(size) => {
                let bytes = self.payload(size);
                self.ring.buf_put_chunks(&bytes);
            }
            Operation::Pool(limit) => self.ring.exchange(limit.get()),
        }
    }

    fn cursor(&mut self, steps: &[CursorStep], commit: bool) {
        let steps = steps.iter().map(|step| match *step {
            CursorStep::PeekU16 => ring_support::CursorStep::Peek(Width::U16Be),
            CursorStep::ReadU32 => ring_support::CursorStep::Read(Width::U32Le),
            CursorStep::Slice(size) => ring_support::CursorStep::Slice(size.get()),
            CursorStep::Skip(size) => ring_support::CursorStep::Skip(size.get()),
        });
        let steps: Vec<_> = steps.collect();
        let end = if commit {
            CursorEnd::Commit
        } else {
            CursorEnd::Drop
        };
        self.ring.cursor(&steps, end);
    }
}
