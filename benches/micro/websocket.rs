//! The WebSocket decoder: frames per second, and the speed of unmasking compared with copying.
//!
//! Unmasking twice restores the input, so the same bytes are decoded repeatedly: the payload alternates between two
//! states, and the headers stay.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_main};
use ringwheel::protocol::{Decode, Output, Protocol, UnpackContext, Unpacked};
use ringwheel::websocket::WebSocket;

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// Frames of one burst.
const FRAMES: usize = 64;

/// A masked binary frame with a payload of `length` bytes.
fn frame(length: usize) -> Vec<u8> {
    let mut frame = vec![0x82];
    match u16::try_from(length) {
        Ok(length @ 0..=125) => frame.push(0x80 | length as u8),
        Ok(length) => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => panic!("{length} bytes are more than this needs"),
    }
    frame.extend_from_slice(&[0x12, 0x34, 0x56, 0x78]);
    frame.extend((0..length).map(|i| i as u8));
    frame
}

/// Decodes `input`, which consists of whole frames, repeatedly.
fn bench_decode(criterion: &mut Criterion, name: &str, throughput: Throughput, input: &[u8]) {
    let mut input = input.to_vec();
    let (mut decoder, mut encoder) = WebSocket::new().open();
    let mut output = Output::detached();
    let mut request = REQUEST.to_vec();
    let opened = decoder.unpack(
        &mut request,
        &mut UnpackContext::detached(&mut output, &mut encoder),
    );
    assert!(matches!(opened, Ok(Unpacked::Opened { .. })));
    let mut group = criterion.benchmark_group("websocket");
    group.throughput(throughput);
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            let mut rest = black_box(&mut input[..]);
            while !rest.is_empty() {
                let mut turn = UnpackContext::detached(&mut output, &mut encoder);
                let Ok(Unpacked::Message { message, consumed }) = decoder.unpack(rest, &mut turn)
                else {
                    panic!("the input is whole messages");
                };
                black_box(message.as_bytes());
                rest = &mut rest[consumed..];
            }
        });
    });
    group.finish();
}

fn bench_frames(criterion: &mut Criterion) {
    for length in [16, 64, 125] {
        let input = frame(length).repeat(FRAMES);
        let name = format!("decode frames of {length} B");
        let frames = Throughput::Elements(FRAMES as u64);
        bench_decode(criterion, &name, frames, &input);
    }
}

/// Measures unmasking of a payload that stays in the first-level cache, next to memcpy, whose half speed is the goal.
fn bench_masking(criterion: &mut Criterion) {
    const LENGTH: usize = 4096;
    let throughput = || Throughput::Bytes(LENGTH as u64);
    bench_decode(criterion, "unmask 4 KiB", throughput(), &frame(LENGTH));
    let source = vec![7_u8; LENGTH];
    let mut target = vec![0_u8; LENGTH];
    let mut group = criterion.benchmark_group("websocket");
    group.throughput(throughput());
    group.bench_function("copy 4 KiB", |bencher| {
        bencher.iter(|| black_box(&mut target[..]).copy_from_slice(black_box(&source)));
    });
    group.finish();
}

fn benches() {
    let mut criterion = Criterion::default().configure_from_args();
    bench_frames(&mut criterion);
    bench_masking(&mut criterion);
}
criterion_main!(benches);
