//! No bytes make a decoder panic, consume nothing for ever, or deliver more than its limit.

use proptest::collection::vec;
use proptest::prelude::*;
use ringwheel::protocol::{Delimited, FixedLength, Lines, Raw, TypedFrames};

use crate::drive::{Asking, Receiver, Subject, cut};
use crate::models::{config, cuts, layouts};

/// The receiver itself asserts that each message consumes something, and not more than there is.
fn survive<P: Subject>(protocol: &P, stream: &[u8], lengths: &[usize]) {
    for asking in [Asking::WhenItMayHelp, Asking::Always] {
        let mut receiver = Receiver::new(protocol, asking);
        cut(stream, lengths).for_each(|piece| receiver.receive(piece));
        let is_at_rest = receiver.input.is_empty() || receiver.missing > 0;
        assert!(is_at_rest || receiver.failure.is_some());
    }
}

/// Bytes as they come, and bytes that the protocols care about.
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
