//! Decoders that search never look twice at the same byte.
//!
//! This is tested without counting: once a decoder has asked for more, all bytes that it has seen are overwritten with
//! delimiters. A decoder that looked at them again would find these.

use ringwheel::protocol::{Decode, Delimited, Lines, Output, Protocol, UnpackContext, Unpacked};

use crate::drive::{Calling, Receiver};

/// Feeds `stream`, which is exactly one message, byte by byte, and returns the number of bytes consumed. Seen bytes are
/// overwritten with `poison`, repeated.
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
            Ok(_) => panic!("only a delimited message is possible"),
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
fn delimited_messages_are_searched_once_even_after_partial_delimiters() {
    for (delimiter, message) in [
        (&b"\0"[..], "x".repeat(500)),
        (b"\r\n\r\n", "x\r\n\r".repeat(100)),
        (b"aaab", "aa".repeat(250)),
        (b"abab", "aba".repeat(150)),
    ] {
        let stream = [message.as_bytes(), delimiter].concat();
        // The message may overlap with its delimiter and end earlier; a plain search tells where.
        let is_end = |end: &usize| stream[..*end].ends_with(delimiter);
        let first_end = (1..=stream.len()).find(is_end).unwrap();
        assert_eq!(
            drip_poisoned(&Delimited::new(delimiter), &stream, delimiter),
            first_end
        );
    }
}

/// Searching all input again at each byte would take half a million million steps.
#[test]
fn a_mebibyte_can_arrive_byte_by_byte() {
    const LENGTH: usize = 1024 * 1024;
    let mut lines = Receiver::new(&Lines::new().max_length(2 * LENGTH), Calling::Always);
    let mut blocks = Receiver::new(
        &Delimited::new(b"\r\n\r\n").max_length(2 * LENGTH),
        Calling::Always,
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
