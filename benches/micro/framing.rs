//! The cost of framing: a burst of 16 frames with 64 payload bytes is unpacked, and each message is packed again.
//!
//! `copy only` is the minimum for every protocol: each frame is copied to the output in one piece, and the output is
//! taken, as in all other rows. The reported elements are frames.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use ringwheel::protocol::{
    Decode, Delimited, Encode, ItemOf, LengthPrefixed, Lines, MessageOf, Output, Protocol,
    TypedFrame, TypedFrames, UnpackContext, Unpacked,
};

const FRAMES: usize = 16;
const PAYLOAD: &str = "GET /a/path/that/is/long/enough/to/fill/all/of/the/64/bytes HTTP";

/// A protocol whose messages can be sent back unchanged.
trait Echo: Protocol {
    fn payload() -> ItemOf<'static, Self>;
    fn answer<'a>(message: MessageOf<'a, Self>) -> ItemOf<'a, Self>;
}

macro_rules! echo {
    ($protocol:ty, $payload:expr) => {
        impl Echo for $protocol {
            fn payload() -> ItemOf<'static, Self> {
                $payload
            }
            #[inline]
            fn answer<'a>(message: MessageOf<'a, Self>) -> ItemOf<'a, Self> {
                message
            }
        }
    };
}

echo!(LengthPrefixed, PAYLOAD.as_bytes());
echo!(Lines, PAYLOAD);
echo!(Delimited, PAYLOAD.as_bytes());
echo!(
    TypedFrames,
    TypedFrame {
        type_name: "Ping",
        data: &PAYLOAD.as_bytes()[..60]
    }
);

fn burst<P: Echo>(protocol: &P) -> Vec<u8> {
    let (_, mut encoder) = protocol.open();
    let mut output = Output::detached();
    for _ in 0..FRAMES {
        encoder
            .pack(P::payload(), &mut output)
            .expect("the protocol can express the payload");
    }
    output.take()
}

fn bench_echo<P: Echo>(criterion: &mut Criterion, name: &str, protocol: P) {
    let mut input = burst(&protocol);
    let (mut decoder, mut encoder) = protocol.open();
    let (mut output, mut reply) = (Output::detached(), Output::detached());
    let mut group = criterion.benchmark_group("framing");
    group.throughput(Throughput::Elements(FRAMES as u64));
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            let mut rest = black_box(&mut input[..]);
            while !rest.is_empty() {
                let Ok(Unpacked::Message { message, consumed }) =
                    decoder.unpack(rest, &mut UnpackContext::detached(&mut reply, &mut encoder))
                else {
                    panic!("the burst consists of whole messages");
                };
                encoder
                    .pack(P::answer(message), &mut output)
                    .expect("the protocol can express its own message");
                rest = &mut rest[consumed..];
            }
            output.take()
        });
    });
    group.finish();
}

fn bench_copy_only(criterion: &mut Criterion) {
    let input = burst(&LengthPrefixed::u32_be());
    let mut output = Output::detached();
    let mut group = criterion.benchmark_group("framing");
    group.throughput(Throughput::Elements(FRAMES as u64));
    group.bench_function("copy only", |bencher| {
        bencher.iter(|| {
            for frame in black_box(&input[..]).chunks(input.len() / FRAMES) {
                output.put_slice(frame);
            }
            output.take()
        });
    });
    group.finish();
}

fn main() {
    let criterion = &mut Criterion::default().configure_from_args();
    bench_copy_only(criterion);
    bench_echo(criterion, "length prefixed, u32", LengthPrefixed::u32_be());
    bench_echo(
        criterion,
        "length prefixed, with its header",
        LengthPrefixed::u32_be().strip(0),
    );
    bench_echo(criterion, "lines", Lines::new());
    bench_echo(criterion, "delimited, 1 byte", Delimited::new(b"\0"));
    bench_echo(criterion, "delimited, 4 bytes", Delimited::new(b"\r\n\r\n"));
    bench_echo(criterion, "typed frames", TypedFrames::new());
    criterion.final_summary();
}
