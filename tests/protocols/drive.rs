//! Feeds protocols as a connection does.

use std::fmt::Debug;

use bytes::Bytes;
use ringwheel::protocol::{
    Decode, Delimited, Encode, ErrorOf, FixedLength, ItemOf, LengthPrefixed, Lines, MessageOf,
    Output, OwnedOf, Protocol, Raw, TypedFrame, TypedFrameBuf, TypedFrames, UnpackContext,
    Unpacked,
};

/// A protocol whose messages can be stored, and sent again.
pub(crate) trait Subject: Protocol {
    type Kept: Clone + Debug + PartialEq;
    fn keep(message: MessageOf<'_, Self>) -> Self::Kept;
    fn item(kept: &Self::Kept) -> ItemOf<'_, Self>;
    fn own(kept: &Self::Kept) -> OwnedOf<Self>;
}

macro_rules! subjects_of_bytes {
    ($($protocol:ty),*) => {$(
        impl Subject for $protocol {
            type Kept = Vec<u8>;
            fn keep(message: &[u8]) -> Vec<u8> {
                message.to_vec()
            }
            fn item(kept: &Vec<u8>) -> &[u8] {
                kept
            }
            fn own(kept: &Vec<u8>) -> Bytes {
                Bytes::copy_from_slice(kept)
            }
        }
    )*};
}

subjects_of_bytes!(Raw, Delimited, FixedLength, LengthPrefixed);

impl Subject for Lines {
    type Kept = String;
    fn keep(message: &str) -> String {
        message.to_owned()
    }
    fn item(kept: &String) -> &str {
        kept
    }
    fn own(kept: &String) -> OwnedOf<Self> {
        kept.as_str().into()
    }
}

impl Subject for TypedFrames {
    type Kept = TypedFrameBuf;
    fn keep(message: TypedFrame<'_>) -> TypedFrameBuf {
        message.into()
    }
    fn item(kept: &TypedFrameBuf) -> TypedFrame<'_> {
        kept.as_frame()
    }
    fn own(kept: &TypedFrameBuf) -> TypedFrameBuf {
        kept.clone()
    }
}

/// The rule by which the receiver calls its decoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Calling {
    /// Only after the bytes have arrived that the decoder declared missing, as the contract promises.
    WhenComplete,
    /// Whenever bytes have arrived.
    Always,
}

/// The receiving end of a connection.
pub(crate) struct Receiver<P: Subject> {
    decoder: P::Decoder,
    encoder: P::Encoder,
    calling: Calling,
    /// Input that is not consumed yet.
    pub(crate) input: Vec<u8>,
    /// Bytes that the decoder declared missing.
    pub(crate) missing: usize,
    pub(crate) messages: Vec<P::Kept>,
    pub(crate) failure: Option<ErrorOf<P>>,
    /// The number of calls of the decoder.
    pub(crate) calls: usize,
}

impl<P: Subject> Receiver<P> {
    pub(crate) fn new(protocol: &P, calling: Calling) -> Self {
        let (decoder, encoder) = protocol.open();
        let (input, messages) = (Vec::new(), Vec::new());
        Receiver {
            decoder,
            encoder,
            calling,
            input,
            missing: 0,
            messages,
            failure: None,
            calls: 0,
        }
    }

    /// Takes `piece`, and unpacks all messages that it completes.
    pub(crate) fn receive(&mut self, piece: &[u8]) {
        self.input.extend_from_slice(piece);
        self.missing = match self.calling {
            Calling::WhenComplete => self.missing.saturating_sub(piece.len()),
            Calling::Always => 0,
        };
        let mut taken = 0;
        while taken < self.input.len() && self.missing == 0 && self.failure.is_none() {
            taken += self.unpack_one(taken);
        }
        self.input.drain(..taken);
    }

    /// Calls the decoder once, and returns the number of bytes consumed.
    fn unpack_one(&mut self, taken: usize) -> usize {
        let rest = &mut self.input[taken..];
        let available = rest.len();
        let mut reply = Output::detached();
        self.calls += 1;
        let consumed = match self.decoder.unpack(
            rest,
            &mut UnpackContext::detached(&mut reply, &mut self.encoder),
        ) {
            Ok(Unpacked::NeedMore { at_least }) => {
                self.missing = at_least.max(1);
                return 0;
            }
            Ok(Unpacked::Skip { consumed }) => consumed,
            Ok(Unpacked::Opened { .. } | Unpacked::End { .. }) => {
                unreachable!("framing neither opens nor ends")
            }
            Ok(Unpacked::Message { message, consumed }) => {
                self.messages.push(P::keep(message));
                consumed
            }
            Err(error) => {
                self.failure = Some(error);
                return 0;
            }
        };
        assert!(
            (1..=available).contains(&consumed),
            "{consumed} consumed of {available}"
        );
        assert!(reply.is_empty(), "a framing sends nothing by itself");
        consumed
    }
}

/// The stream made of `items`, and the position in it at which each item ends.
pub(crate) fn pack_all<P: Subject>(protocol: &P, items: &[P::Kept]) -> (Vec<u8>, Vec<usize>) {
    let (_, mut encoder) = protocol.open();
    let mut output = Output::detached();
    let pack = |item: &P::Kept| {
        encoder.pack(P::item(item), &mut output).unwrap();
        output.len()
    };
    let ends = items.iter().map(pack).collect();
    (output.take(), ends)
}

/// Receives `stream` in `pieces`. Asserts after each piece that exactly the items have come whose last byte has
/// arrived: a decoder that declares too many bytes missing is late.
pub(crate) fn assert_received<'a, P: Subject>(
    protocol: &P,
    items: &[P::Kept],
    ends: &[usize],
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Receiver<P> {
    let mut receiver = Receiver::new(protocol, Calling::WhenComplete);
    let mut arrived = 0;
    for piece in pieces {
        receiver.receive(piece);
        arrived += piece.len();
        assert!(
            receiver.failure.is_none(),
            "after {arrived} bytes: {:?}",
            receiver.failure
        );
        let complete = ends.iter().filter(|end| **end <= arrived).count();
        assert_eq!(
            receiver.messages,
            items[..complete],
            "after {arrived} bytes"
        );
    }
    assert_eq!(receiver.messages, items);
    assert!(receiver.input.is_empty());
    receiver
}

/// Cuts `stream` into pieces of the given lengths, which repeat.
pub(crate) fn cut<'a>(stream: &'a [u8], lengths: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = stream;
    let mut lengths = lengths.iter().cycle();
    std::iter::from_fn(move || {
        let length = (*lengths.next()?).clamp(1, rest.len().max(1));
        let (piece, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(piece)
    })
}
