//! A stream yields the same messages however it is cut, each message as soon as it is complete.

use ringwheel::protocol::{
    Delimited, Encode, FixedLength, LengthPrefixed, Lines, Output, Raw, TypedFrame, TypedFrameBuf,
    TypedFrames,
};

use crate::drive::{Calling, Receiver, Subject, assert_received, cut, pack_all};

/// Cuts the stream of `items` in every way into one, two and three pieces, and into single bytes.
fn assert_every_cut<P: Subject>(protocol: &P, items: &[P::Kept]) {
    let (stream, ends) = pack_all(protocol, items);
    for first in 0..=stream.len() {
        for second in first..=stream.len() {
            let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
            let pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
            assert_received(protocol, items, &ends, pieces);
        }
    }
    assert_received(protocol, items, &ends, stream.chunks(1));

    // A decoder that is called too often finds the same messages.
    let mut receiver = Receiver::new(protocol, Calling::Always);
    stream.chunks(1).for_each(|byte| receiver.receive(byte));
    assert_eq!(receiver.messages, items);
    assert!(receiver.input.is_empty() && receiver.failure.is_none());
}

fn byte_items<const N: usize>(items: [&[u8]; N]) -> [Vec<u8>; N] {
    items.map(<[u8]>::to_vec)
}

fn frame(type_name: &str, data: &[u8]) -> TypedFrameBuf {
    TypedFrame { type_name, data }.into()
}

#[test]
fn lines() {
    let items = [
        "",
        "one",
        "\u{e9}\u{2713}",
        "",
        "a line longer than a chunk of the search is",
    ];
    let items = items.map(String::from);
    assert_every_cut(&Lines::new(), &items);
    assert_every_cut(&Lines::new().crlf(), &items);
    assert_every_cut(&Lines::new().crlf().max_length(43), &items);
}

#[test]
fn delimited() {
    let items = byte_items([b"", b"one\r", b"\r\n\r", b"two\r\r\n\r", b"", b"x"]);
    assert_every_cut(&Delimited::new(b"\r\n\r\n").max_length(7), &items[..2]);
    assert_every_cut(&Delimited::new(b"\0"), &items);
    let items = byte_items([b"aaa", b"", b"aabaa", b"ba", b"baabaa"]);
    assert_every_cut(&Delimited::new(b"aabaaab"), &items);
}

#[test]
fn fixed_length() {
    assert_every_cut(
        &FixedLength::new(5),
        &byte_items([b"12345", b"\0\0\0\0\0", b"abcde"]),
    );
    assert_every_cut(&FixedLength::new(1), &byte_items([b"1", b"2", b"3"]));
}

#[test]
fn length_prefixed() {
    let items = byte_items([b"", b"a", b"twelve bytes", b""]);
    for width in 1..=8 {
        for protocol in [
            LengthPrefixed::big_endian(width),
            LengthPrefixed::little_endian(width),
        ] {
            assert_every_cut(&protocol, &items);
            assert_every_cut(&protocol.offset(3).adjustment(-1 - width as i64), &items);
        }
    }
    let stripped_of_more = LengthPrefixed::u16_be().strip(4);
    assert_every_cut(&stripped_of_more, &items);
    let whole_frames = byte_items([b"K\x04\0", b"L\x06\0ab", b"M\x04\0"]);
    assert_every_cut(
        &LengthPrefixed::u16_le().offset(1).adjustment(-4).strip(0),
        &whole_frames,
    );
}

#[test]
fn typed_frames() {
    let items = [
        frame("", b""),
        frame("Ping", b""),
        frame("", b"data"),
        frame("\u{e9}", b"\0\xFF"),
    ];
    assert_every_cut(&TypedFrames::new(), &items);
}

#[test]
fn raw_gives_each_piece_as_it_comes() {
    let stream = b"some bytes";
    for lengths in [&[1][..], &[3], &[1, 7, 2], &[100]] {
        let mut receiver = Receiver::new(&Raw, Calling::WhenComplete);
        cut(stream, lengths).for_each(|piece| receiver.receive(piece));
        let pieces: Vec<_> = cut(stream, lengths).map(<[u8]>::to_vec).collect();
        assert_eq!(receiver.messages, pieces);
    }
}

/// A frame costs one call for its header and one for the rest, however slowly it arrives.
#[test]
fn a_slow_frame_costs_at_most_one_call_for_each_of_its_fields() {
    let items = byte_items([&[b'x'; 300], &[b'y'; 300]]);
    // The three results of calls: too little for a header, too little for the body, and the message.
    let calls_for = |receiver_calls: usize| receiver_calls / items.len();
    let protocol = LengthPrefixed::u32_be().offset(4);
    let (stream, ends) = pack_all(&protocol, &items);
    assert_eq!(
        calls_for(assert_received(&protocol, &items, &ends, stream.chunks(1)).calls),
        3
    );

    let protocol = FixedLength::new(300);
    let (stream, ends) = pack_all(&protocol, &items);
    assert_eq!(
        calls_for(assert_received(&protocol, &items, &ends, stream.chunks(1)).calls),
        2
    );

    let items = [frame("Type", &[b'x'; 300]), frame("Type", &[b'y'; 300])];
    let protocol = TypedFrames::new();
    let (stream, ends) = pack_all(&protocol, &items);
    assert_eq!(
        calls_for(assert_received(&protocol, &items, &ends, stream.chunks(1)).calls),
        4
    );
}

fn assert_owned_is_packed_alike<P: Subject>(protocol: &P, item: &P::Kept) {
    let mut output = Output::detached();
    let owned = P::own(item);
    protocol
        .open()
        .1
        .pack(P::Encoder::borrow(&owned), &mut output)
        .unwrap();
    assert_eq!(
        output.take(),
        pack_all(protocol, std::slice::from_ref(item)).0
    );
}

#[test]
fn owned_items_are_packed_like_borrowed_ones() {
    assert_owned_is_packed_alike(&Raw, &b"bytes".to_vec());
    assert_owned_is_packed_alike(&Lines::new(), &"a line".to_owned());
    assert_owned_is_packed_alike(&Delimited::new(b"--"), &b"bytes".to_vec());
    assert_owned_is_packed_alike(&FixedLength::new(5), &b"bytes".to_vec());
    assert_owned_is_packed_alike(&LengthPrefixed::u8(), &b"bytes".to_vec());
    assert_owned_is_packed_alike(&TypedFrames::new(), &frame("Type", b"data"));
}
