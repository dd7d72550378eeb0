//! The framing protocols: any stream is received whole and in pieces, and received messages can be sent again.
//!
//! Input: the protocol, its limit, three bytes of settings, the lengths of the pieces, and the stream.

use ringwheel::protocol::{
    Decode, Delimited, Encode, ErrorOf, FixedLength, ItemOf, LengthPrefixed, Lines, Output, Raw,
    TypedFrame, TypedFrameBuf, TypedFrames,
};

use crate::endpoint::{Calling, Endpoint, Subject, assert_cut_alike};
use crate::input::{Input, cut};

/// A framing whose messages can be sent as they were received.
trait Framing: Subject<Decoder: Decode<Error: PartialEq>> {
    fn item(kept: &Self::Kept) -> ItemOf<'_, Self>;
    fn length(kept: &Self::Kept) -> usize;
}

macro_rules! framings_of_bytes {
    ($($protocol:ty),*) => {$(
        impl Subject for $protocol {
            type Kept = Vec<u8>;
            fn keep(message: &[u8]) -> Vec<u8> {
                message.to_vec()
            }
        }

        impl Framing for $protocol {
            fn item(kept: &Vec<u8>) -> &[u8] {
                kept
            }
            fn length(kept: &Vec<u8>) -> usize {
                kept.len()
            }
        }
    )*};
}

framings_of_bytes!(Raw, Delimited, FixedLength, LengthPrefixed);

impl Subject for Lines {
    type Kept = String;
    fn keep(message: &str) -> String {
        message.to_owned()
    }
}

impl Framing for Lines {
    fn item(kept: &String) -> &str {
        kept
    }
    fn length(kept: &String) -> usize {
        kept.len()
    }
}

impl Subject for TypedFrames {
    type Kept = TypedFrameBuf;
    fn keep(message: TypedFrame<'_>) -> TypedFrameBuf {
        message.into()
    }
}

impl Framing for TypedFrames {
    fn item(kept: &TypedFrameBuf) -> TypedFrame<'_> {
        kept.as_frame()
    }
    fn length(kept: &TypedFrameBuf) -> usize {
        2 + kept.type_name.len() + kept.data.len()
    }
}

/// The fuzz target.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (protocol, limit) = (input.byte() % 6, usize::from(input.byte()));
    let settings = [input.byte(), input.byte(), input.byte()];
    let lengths = input.lengths();
    let stream = input.rest();
    match protocol {
        0 => raw(stream, &lengths),
        1 => {
            let lines = Lines::new().max_length(limit);
            let lines = if settings[0] & 1 != 0 {
                lines.crlf()
            } else {
                lines
            };
            check(&lines, limit, stream, &lengths);
        }
        2 => {
            let delimiter = &settings[..1 + usize::from(settings[2] % 3)];
            let delimited = Delimited::new(delimiter).max_length(limit);
            check(&delimited, limit, stream, &lengths);
        }
        3 => check(&FixedLength::new(1 + limit), 1 + limit, stream, &lengths),
        4 => {
            let (protocol, longest) = length_prefixed(settings, limit);
            check(&protocol, longest, stream, &lengths);
        }
        _ => check(
            &TypedFrames::new().max_length(limit),
            limit,
            stream,
            &lengths,
        ),
    }
}

/// A layout, and the greatest length of its messages.
fn length_prefixed([field, adjustment, strip]: [u8; 3], limit: usize) -> (LengthPrefixed, usize) {
    let width = 1 + usize::from(field & 7);
    let offset = usize::from(field >> 4);
    let protocol = match field & 8 {
        0 => LengthPrefixed::big_endian(width),
        _ => LengthPrefixed::little_endian(width),
    };
    let protocol = protocol
        .offset(offset)
        .adjustment(i64::from(adjustment as i8))
        .max_length(limit);
    let header = width + offset;
    match strip {
        0..32 => (protocol.strip(strip.into()), header + limit),
        _ => (protocol, limit),
    }
}

fn check<P: Framing>(protocol: &P, limit: usize, stream: &[u8], lengths: &[usize])
where
    ErrorOf<P>: PartialEq,
{
    let open = |calling| Endpoint::new(protocol, calling);
    let mut whole = assert_cut_alike(open, stream, lengths, |_, _| false);
    assert!(
        whole.take_said().is_empty(),
        "a framing sends nothing by itself"
    );
    for message in &whole.messages() {
        assert!(
            P::length(message) <= limit,
            "{message:?} is longer than {limit}"
        );
        assert_round_trip(protocol, message);
    }
}

/// Asserts that a message that can be sent is received unchanged.
fn assert_round_trip<P: Framing>(protocol: &P, message: &P::Kept) {
    let mut output = Output::detached();
    let packed = protocol.open().1.pack(P::item(message), &mut output);
    if packed.is_err() {
        return;
    }
    let mut receiver = Endpoint::new(protocol, Calling::WhenComplete);
    receiver.receive(&output.take());
    assert_eq!(receiver.messages(), std::slice::from_ref(message));
    assert!(receiver.input.is_empty() && receiver.failure.is_none());
}

/// Raw bytes are delivered in the pieces in which they arrive.
fn raw(stream: &[u8], lengths: &[usize]) {
    let mut receiver = Endpoint::new(&Raw, Calling::WhenComplete);
    cut(stream, lengths).for_each(|piece| receiver.receive(piece));
    let pieces: Vec<_> = cut(stream, lengths).map(<[u8]>::to_vec).collect();
    assert_eq!(receiver.messages(), pieces);
}
