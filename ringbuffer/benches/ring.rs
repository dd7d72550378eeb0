//! Benchmarks the ring against `VecDeque<u8>` and `BytesMut` as the buffers of a connection.
//!
//! - `frame_by_frame`: a read of a few KiB arrives behind the incomplete frame that the last read
//!   left. Then for each whole frame the header is peeked, the payload is handed out as one slice,
//!   and the frame is consumed. An incomplete frame stays.
//! - `batch`: the same, but the frames are walked in one slice and consumed all at once.
//! - `output`: messages of 64 bytes are appended, and a sink takes them in two unequal writes, so
//!   that the buffer is rarely empty.
//!
//! Each implementation is used in the way that is fastest for it without `unsafe`. All buffers are
//! grown before the measurement starts.

#![expect(
    missing_docs,
    reason = "`criterion_group!` expands to a public function without any"
)]

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringwheel_ringbuffer::{PoolConfig, RingBuffer, RingPool};

const KIB: usize = 1024;
const HEADER: usize = 2;

/// A peer that endlessly sends frames: a payload length in two bytes, then the payload.
struct Peer {
    /// The same frames twice, so that a read need not wrap.
    stream: Vec<u8>,
    period: usize,
    position: usize,
}

impl Peer {
    /// Takes the payload lengths from `lengths`, in turn.
    fn new(mut lengths: impl FnMut() -> u16) -> Self {
        let mut stream = Vec::new();
        while stream.len() < 128 * KIB {
            let length = lengths();
            stream.extend_from_slice(&length.to_be_bytes());
            stream.extend((0..length).map(|i| i as u8));
        }
        let period = stream.len();
        stream.extend_from_within(..);
        Self {
            stream,
            period,
            position: 0,
        }
    }

    /// Messages of 64 bytes.
    fn small() -> Self {
        Self::new(|| 64)
    }

    /// Payloads of 1 to 1,024 bytes, chosen by a fixed seed.
    fn mixed() -> Self {
        let mut state = 0x2545_f491_u32;
        Self::new(move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            1 + (state >> 22) as u16
        })
    }

    /// The bytes that a socket read of `count` bytes would return.
    fn read(&mut self, count: usize) -> &[u8] {
        let start = self.position;
        self.position = (start + count) % self.period;
        &self.stream[start..start + count]
    }
}

/// The handler of a message.
#[inline(always)]
fn on_message(payload: &[u8]) {
    black_box(payload);
}

/// Hands out all whole frames of `bytes` and returns how many bytes they take up.
#[inline(always)]
fn walk(bytes: &[u8]) -> usize {
    let mut taken = 0;
    while let Some((header, rest)) = bytes[taken..].split_first_chunk::<HEADER>() {
        let length = usize::from(u16::from_be_bytes(*header));
        let Some(payload) = rest.get(..length) else {
            break;
        };
        on_message(payload);
        taken += HEADER + length;
    }
    taken
}

/// A receive buffer under measurement.
trait Receive {
    const NAME: &str;
    fn with_capacity(capacity: usize) -> Self;
    fn fill(&mut self, peer: &mut Peer, count: usize);
    fn take_frames(&mut self);
    fn take_batch(&mut self);
}

impl Receive for RingBuffer {
    const NAME: &str = "RingBuffer";

    fn with_capacity(capacity: usize) -> Self {
        RingBuffer::with_capacity(capacity)
    }

    fn fill(&mut self, peer: &mut Peer, count: usize) {
        self.reserve(count).unwrap();
        self.extend_from_slice(peer.read(count)).unwrap();
    }

    fn take_frames(&mut self) {
        while let Some(length) = self.peek_u16_be(0) {
            let frame_len = HEADER + usize::from(length);
            let Some(frame) = self.contiguous_prefix(frame_len) else {
                break;
            };
            on_message(&frame[HEADER..]);
            self.consume(frame_len);
        }
    }

    fn take_batch(&mut self) {
        let taken = walk(self.contiguous());
        self.consume(taken);
    }
}

/// The ring filled through its spare slices, as a socket fills it. The other two offer no such
/// access without `unsafe`.
struct FilledInPlace(RingBuffer);

impl Receive for FilledInPlace {
    const NAME: &str = "RingBuffer_spare";

    fn with_capacity(capacity: usize) -> Self {
        Self(RingBuffer::with_capacity(capacity))
    }

    fn fill(&mut self, peer: &mut Peer, count: usize) {
        self.0.reserve(count).unwrap();
        let bytes = peer.read(count);
        let (first, second) = self.0.spare();
        if let Some(room) = first.get_mut(..count) {
            room.copy_from_slice(bytes);
        } else {
            let (head, tail) = bytes.split_at(first.len());
            first.copy_from_slice(head);
            second[..tail.len()].copy_from_slice(tail);
        }
        self.0.commit(count);
    }

    fn take_frames(&mut self) {
        self.0.take_frames();
    }

    fn take_batch(&mut self) {
        self.0.take_batch();
    }
}

impl Receive for VecDeque<u8> {
    const NAME: &str = "VecDeque";

    fn with_capacity(capacity: usize) -> Self {
        VecDeque::with_capacity(capacity)
    }

    fn fill(&mut self, peer: &mut Peer, count: usize) {
        self.extend(peer.read(count));
    }

    fn take_frames(&mut self) {
        while let (Some(&high), Some(&low)) = (self.front(), self.get(1)) {
            let frame_len = HEADER + usize::from(u16::from_be_bytes([high, low]));
            if self.len() < frame_len {
                break;
            }
            if self.as_slices().0.len() < frame_len {
                self.make_contiguous();
            }
            on_message(&self.as_slices().0[HEADER..frame_len]);
            self.drain(..frame_len);
        }
    }

    fn take_batch(&mut self) {
        let taken = walk(self.make_contiguous());
        self.drain(..taken);
    }
}

impl Receive for BytesMut {
    const NAME: &str = "BytesMut";

    fn with_capacity(capacity: usize) -> Self {
        BytesMut::with_capacity(capacity)
    }

    fn fill(&mut self, peer: &mut Peer, count: usize) {
        self.extend_from_slice(peer.read(count));
    }

    fn take_frames(&mut self) {
        while let Some(header) = self.first_chunk::<HEADER>() {
            let frame_len = HEADER + usize::from(u16::from_be_bytes(*header));
            let Some(frame) = self.get(..frame_len) else {
                break;
            };
            on_message(&frame[HEADER..]);
            self.advance(frame_len);
        }
    }

    fn take_batch(&mut self) {
        let taken = walk(self);
        self.advance(taken);
    }
}

/// Measures one read of `fill` bytes and the handling of all frames that it completes.
fn receive<B: Receive>(c: &mut Criterion, group: &str, peer: fn() -> Peer, take: fn(&mut B)) {
    let mut group = c.benchmark_group(group);
    for fill in [KIB, 4 * KIB, 16 * KIB, 64 * KIB] {
        group.throughput(Throughput::Bytes(fill as u64));
        let name = BenchmarkId::new(B::NAME, format!("{}KiB", fill / KIB));
        group.bench_function(name, |b| {
            let mut peer = peer();
            // Enough room for every buffer. `BytesMut` would grow rather than wrap, and then be
            // compared at another size.
            let mut buffer = B::with_capacity(4 * fill);
            b.iter(|| {
                buffer.fill(&mut peer, fill);
                take(&mut buffer);
            });
        });
    }
    group.finish();
}

fn receive_all(c: &mut Criterion) {
    for (sizes, peer) in [
        ("64B", Peer::small as fn() -> Peer),
        ("mixed", Peer::mixed as fn() -> Peer),
    ] {
        let frames = format!("frame_by_frame/{sizes}");
        receive(c, &frames, peer, RingBuffer::take_frames);
        receive(c, &frames, peer, FilledInPlace::take_frames);
        receive(c, &frames, peer, <VecDeque<u8>>::take_frames);
        receive(c, &frames, peer, BytesMut::take_frames);
        let batch = format!("batch/{sizes}");
        receive(c, &batch, peer, RingBuffer::take_batch);
        receive(c, &batch, peer, FilledInPlace::take_batch);
        receive(c, &batch, peer, <VecDeque<u8>>::take_batch);
        receive(c, &batch, peer, BytesMut::take_batch);
    }
}

/// Bytes that one write to the sink takes at most; not a multiple of the bytes appended in between.
const SINK: usize = 700;
const MESSAGE: [u8; 64] = [b'm'; 64];
const BURST: usize = 16;

fn output(c: &mut Criterion) {
    let mut group = c.benchmark_group("output");
    group.throughput(Throughput::Elements(BURST as u64));
    group.bench_function("RingBuffer", |b| {
        let mut ring = RingBuffer::with_capacity(4 * KIB);
        b.iter(|| {
            for _ in 0..BURST {
                ring.extend_from_slice(black_box(&MESSAGE)).unwrap();
            }
            for _ in 0..2 {
                let (first, second) = ring.as_slices();
                let taken = SINK.min(first.len() + second.len());
                black_box((first, second));
                ring.consume(taken);
            }
        });
    });
    group.bench_function("VecDeque", |b| {
        let mut deque = VecDeque::<u8>::with_capacity(4 * KIB);
        b.iter(|| {
            for _ in 0..BURST {
                deque.extend(black_box(&MESSAGE));
            }
            for _ in 0..2 {
                let taken = SINK.min(deque.len());
                black_box(deque.as_slices());
                deque.drain(..taken);
            }
        });
    });
    group.bench_function("BytesMut", |b| {
        let mut bytes = BytesMut::with_capacity(4 * KIB);
        b.iter(|| {
            for _ in 0..BURST {
                bytes.extend_from_slice(black_box(&MESSAGE));
            }
            for _ in 0..2 {
                let taken = SINK.min(bytes.len());
                black_box(&bytes[..]);
                bytes.advance(taken);
            }
        });
    });
    group.finish();
}

fn pool(c: &mut Criterion) {
    c.bench_function("pool/lend_and_give_back", |b| {
        let mut pool = RingPool::new(PoolConfig::default());
        b.iter(|| {
            let ring = black_box(pool.lend(black_box(64 * KIB)));
            pool.give_back(ring);
        });
    });
}

fn brief() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_millis(1500))
        .sample_size(50)
        .without_plots()
}

criterion_group! {
    name = benches;
    config = brief();
    targets = receive_all, output, pool
}
criterion_main!(benches);
