//! No input makes a decoder panic, consume nothing for ever, or deliver more than its limit.

use proptest::collection::vec;
use proptest::prelude::*;
use ringwheel::protocol::{Delimited, FixedLength, Lines, Raw, TypedFrames};

use crate::drive::{Calling, Receiver, Subject, cut};
use crate::models::{config, cuts, layouts};

/// Feeds a receiver, which itself asserts that each message consumes at least one byte, and no more than there are.
fn survive<P: Subject>(protocol: &P, stream: &[u8], lengths: &[usize]) {
    for calling in [Calling::WhenComplete, Calling::Always] {
        let mut receiver = Receiver::new(protocol, calling);
        cut(stream, lengths).for_each(|piece| receiver.receive(piece));
        let is_at_rest = receiver.input.is_empty() || receiver.missing > 0;
        assert!(is_at_rest || receiver.failure.is_some());
    }
}

/// Random bytes, mixed with bytes that are special to the protocols.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let telling = prop::sample::select(&b"\0\x01\x02\x03\x04\x7F\x80\xFF\r\n"[..]);
    prop_oneof![vec(any::<u8>(), 0..400), vec(telling, 0..400)]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn garbage_never_panics(stream in garbage(), layout in layouts(), length in 1..50usize, delimiter in vec(any::<u8>(), 1..5), cuts in cuts()) {
        survive(&Raw, &stream, &cuts);
        survive(&Lines::new(), &stream, &cuts);
        survive(&Lines::new().max_length(length), &stream, &cuts);
        survive(&Delimited::new(b"\r\n"), &stream, &cuts);
        survive(&Delimited::new(delimiter).max_length(length), &stream, &cuts);
        survive(&FixedLength::new(length), &stream, &cuts);
        survive(&layout.protocol(), &stream, &cuts);
        survive(&layout.protocol().max_length(usize::MAX), &stream, &cuts);
        survive(&TypedFrames::new(), &stream, &cuts);
        survive(&TypedFrames::new().max_length(usize::MAX), &stream, &cuts);
    }
}
