//! Decoders that search do not look twice at what they have seen.
//!
//! Work is not counted here but made visible: once a decoder has asked for more, everything it has seen is overwritten by
//! delimiters. One that looked there again would find them.

use ringwheel::protocol::{Decode, Delimited, Lines, Output, Protocol, UnpackContext, Unpacked};

use crate::drive::{Asking, Receiver};

/// Drips `stream`, one message to its very end, and returns how much was consumed. `poison` is repeated over what was
/// seen.
fn drip_poisoned<P: Protocol>(protocol: &P, stream: &[u8], poison: &[u8]) -> usize {
    let (mut decoder, mut encoder) = protocol.open();
    let mut output = Output::detached();
    let mut input: Vec<u8> = Vec::new();
    for byte in stream {
        input.push(*byte);
        match decoder.unpack(
            &mut input,
            &mut UnpackContext::detached(&mut output, &mut encoder),
        ) {
            Ok(Unpacked::NeedMore { .. }) => {}
            Ok(Unpacked::Message { consumed, .. }) => return consumed,
            Ok(_) => panic!("a delimited message is all there is"),
            Err(error) => panic!("{error}"),
        }
        for (seen, byte) in input.iter_mut().zip(poison.iter().cycle()) {
            *seen = *byte;
        }
    }
    panic!("{} bytes without a message", stream.len());
}

#[test]
fn lines_are_searched_once() {
    let stream = ["x".repeat(500), "\n".to_owned()].concat();
    assert_eq!(
        drip_poisoned(&Lines::new(), stream.as_bytes(), b"\n"),
        stream.len()
    );
}

#[test]
fn delimited_messages_are_searched_once_even_where_a_delimiter_seemed_to_begin() {
    for (delimiter, message) in [
        (&b"\0"[..], "x".repeat(500)),
        (b"\r\n\r\n", "x\r\n\r".repeat(100)),
        (b"aaab", "aa".repeat(250)),
        (b"abab", "aba".repeat(150)),
    ] {
        let stream = [message.as_bytes(), delimiter].concat();
        // The message may run into its delimiter and end earlier; a plain search tells where.
        let is_end = |end: &usize| stream[..*end].ends_with(delimiter);
        let first_end = (1..=stream.len()).find(is_end).unwrap();
        assert_eq!(
            drip_poisoned(&Delimited::new(delimiter), &stream, delimiter),
            first_end
        );
    }
}

/// Searching all that has come at each byte would be half a million million steps.
#[test]
fn a_mebibyte_may_drip_in_byte_by_byte() {
    const LENGTH: usize = 1024 * 1024;
    let mut lines = Receiver::new(&Lines::new().max_length(2 * LENGTH), Asking::Always);
    let mut blocks = Receiver::new(
        &Delimited::new(b"\r\n\r\n").max_length(2 * LENGTH),
        Asking::Always,
    );
    for _ in 0..LENGTH {
        lines.receive(b"x");
        blocks.receive(b"\r");
    }
    lines.receive(b"\n");
    blocks.receive(b"\n\r\n");
    assert_eq!(lines.messages.len(), 1);
    assert_eq!(lines.messages[0].len(), LENGTH);
    assert_eq!(blocks.messages.len(), 1);
    assert_eq!(blocks.messages[0].len(), LENGTH - 1);
}
