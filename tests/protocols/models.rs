//! Compares each protocol with a simple model: accepted items, written bytes, and the results for any input, whole and
//! in pieces.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use ringwheel::protocol::{
    Delimited, DelimitedError, Encode, EncodeParts, FixedLength, LengthPrefixed,
    LengthPrefixedError, Lines, LinesError, Output, Protocol, Raw, TypedFrame, TypedFrameBuf,
    TypedFrames, TypedFramesError,
};

use crate::drive::{Calling, Receiver, Subject, assert_received, cut, pack_all};

/// A configuration with a fixed seed, so that every run tests the same cases.
pub(crate) fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 512,
        rng_seed: RngSeed::Fixed(0x5EED),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Lengths of pieces: mostly short, some longer.
pub(crate) fn cuts() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![3 => 1..4usize, 1 => 4..100usize], 1..12)
}

/// The bytes that `protocol` writes for `item`; `None` if it refuses, which must leave nothing in the output.
fn packed<P: Subject>(protocol: &P, item: &P::Kept) -> Option<Vec<u8>> {
    let mut output = Output::detached();
    output.put_slice(b"before");
    let outcome = protocol.open().1.pack(P::item(item), &mut output);
    let written = output.take().split_off(6);
    assert!(
        outcome.is_ok() || written.is_empty(),
        "{outcome:?} left {written:?}"
    );
    outcome.ok().map(|()| written)
}

/// As [`packed`], with the item in parts of the given lengths.
fn packed_in_parts<P>(protocol: &P, item: &[u8], lengths: &[usize]) -> Option<Vec<u8>>
where
    P: Protocol<Encoder: EncodeParts>,
{
    let mut parts: Vec<_> = cut(item, lengths).collect();
    parts.insert(parts.len() / 2, b"");
    let mut output = Output::detached();
    let outcome = protocol.open().1.pack_parts(&parts, &mut output);
    assert!(outcome.is_ok() || output.is_empty());
    outcome.ok().map(|()| output.take())
}

/// Packs the items that the protocol accepts, and receives them in pieces.
fn assert_round_trip<P: Subject>(protocol: &P, items: &[P::Kept], lengths: &[usize]) {
    let is_packable = |item: &&P::Kept| packed(protocol, item).is_some();
    let items: Vec<_> = items.iter().filter(is_packable).cloned().collect();
    let (stream, ends) = pack_all(protocol, &items);
    assert_received(protocol, &items, &ends, cut(&stream, lengths));
}

/// Receives `stream` in pieces, and compares the results with those of the model for the whole.
fn assert_unpacked<P: Subject>(
    protocol: &P,
    stream: &[u8],
    lengths: &[usize],
    (messages, failure): (Vec<P::Kept>, Option<String>),
) {
    let mut receiver = Receiver::new(protocol, Calling::Always);
    cut(stream, lengths).for_each(|piece| receiver.receive(piece));
    assert_eq!(receiver.messages, messages);
    assert_eq!(receiver.failure.map(|error| error.to_string()), failure);

    // A decoder that is called only when enough has arrived may report an error later, but must report the same one.
    let mut receiver = Receiver::new(protocol, Calling::WhenComplete);
    cut(stream, lengths).for_each(|piece| receiver.receive(piece));
    assert_eq!(receiver.messages, messages);
    match receiver.failure {
        Some(error) => assert_eq!(Some(error.to_string()), failure),
        None => assert!(failure.is_none() || receiver.missing > 0),
    }
}

/// The position of the first `needle` in `haystack`.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

// ---- lines ----------------------------------------------------------------------------------------------------------

fn lines_model(limit: usize, stream: &[u8]) -> (Vec<String>, Option<String>) {
    let too_long = LinesError::TooLong { limit };
    let (mut messages, mut rest) = (Vec::new(), stream);
    while let Some(end) = find(rest, b"\n") {
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        if line.len() > limit {
            return (messages, Some(too_long.to_string()));
        }
        match String::from_utf8(line.to_vec()) {
            Ok(line) => messages.push(line),
            Err(error) => {
                let position = error.utf8_error().valid_up_to();
                return (
                    messages,
                    Some(LinesError::InvalidUtf8 { position }.to_string()),
                );
            }
        }
        rest = &rest[end + 1..];
    }
    let beginning = rest.strip_suffix(b"\r").unwrap_or(rest);
    (
        messages,
        (beginning.len() > limit).then(|| too_long.to_string()),
    )
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn lines_come_back(items in vec("[a\u{e9}\r\n]{0,3}|[a-z\u{2713}]{0,90}", 0..8), crlf: bool, limit in 0..100usize, cuts in cuts()) {
        let protocol = Lines::new().max_length(limit);
        let protocol = if crlf { protocol.crlf() } else { protocol };
        for item in &items {
            let is_line = item.len() <= limit && !item.contains(['\r', '\n']);
            let ending = if crlf { "\r\n" } else { "\n" };
            let expected = is_line.then(|| [item, ending].concat().into_bytes());
            prop_assert_eq!(packed(&protocol, item), expected);
        }
        assert_round_trip(&protocol, &items, &cuts);
    }

    #[test]
    fn any_bytes_are_lines_or_an_error(
        stream in vec(prop_oneof![8 => Just(b'a'), 2 => Just(b'\n'), 2 => Just(b'\r'), 1 => Just(0xC3), 1 => Just(0xA9)], 0..200),
        limit in 0..20usize,
        cuts in cuts(),
    ) {
        let protocol = Lines::new().max_length(limit);
        assert_unpacked(&protocol, &stream, &cuts, lines_model(limit, &stream));
    }
}

// ---- delimited ------------------------------------------------------------------------------------------------------

fn delimited_model(
    delimiter: &[u8],
    limit: usize,
    stream: &[u8],
) -> (Vec<Vec<u8>>, Option<String>) {
    let too_long = Some(DelimitedError::TooLong { limit }.to_string());
    let (mut messages, mut rest) = (Vec::new(), stream);
    while let Some(length) = find(rest, delimiter) {
        if length > limit {
            return (messages, too_long);
        }
        messages.push(rest[..length].to_vec());
        rest = &rest[length + delimiter.len()..];
    }
    let begun = |length: &usize| rest.ends_with(&delimiter[..*length]);
    let matched = (0..delimiter.len())
        .rev()
        .find(begun)
        .expect("length 0 always matches");
    (messages, too_long.filter(|_| rest.len() - matched > limit))
}

/// Bytes with few different values, so that delimiters overlap themselves and the bytes before them.
fn ab(lengths: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![3 => Just(b'a'), 2 => Just(b'b')], lengths)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn delimited_messages_come_back(delimiter in ab(1..8), items in vec(ab(0..40), 0..8), limit in 0..40usize, cuts in cuts()) {
        let protocol = Delimited::new(&*delimiter).max_length(limit);
        for item in &items {
            let written = [&item[..], &delimiter].concat();
            let is_expressible = item.len() <= limit && find(&written, &delimiter) == Some(item.len());
            let expected = is_expressible.then_some(written);
            prop_assert_eq!(packed_in_parts(&protocol, item, &cuts), expected.clone());
            prop_assert_eq!(packed(&protocol, item), expected);
        }
        assert_round_trip(&protocol, &items, &cuts);
    }

    #[test]
    fn any_bytes_are_delimited_messages_or_too_long(delimiter in ab(1..8), stream in ab(0..200), limit in 0..40usize, cuts in cuts()) {
        let protocol = Delimited::new(&*delimiter).max_length(limit);
        assert_unpacked(&protocol, &stream, &cuts, delimited_model(&delimiter, limit, &stream));
    }
}

// ---- fixed length, raw ----------------------------------------------------------------------------------------------

proptest! {
    #![proptest_config(config())]

    #[test]
    fn messages_of_a_fixed_length_come_back(length in 1..9usize, items in vec(vec(any::<u8>(), 0..9), 0..30), cuts in cuts()) {
        let protocol = FixedLength::new(length);
        for item in &items {
            let expected = (item.len() == length).then(|| item.clone());
            prop_assert_eq!(packed_in_parts(&protocol, item, &cuts), expected.clone());
            prop_assert_eq!(packed(&protocol, item), expected);
        }
        assert_round_trip(&protocol, &items, &cuts);
    }

    #[test]
    fn raw_bytes_are_unchanged(stream in vec(any::<u8>(), 0..300), cuts in cuts()) {
        prop_assert_eq!(packed(&Raw, &stream), Some(stream.clone()));
        prop_assert_eq!(packed_in_parts(&Raw, &stream, &cuts), Some(stream.clone()));
        let mut receiver = Receiver::new(&Raw, Calling::WhenComplete);
        cut(&stream, &cuts).for_each(|piece| receiver.receive(piece));
        prop_assert_eq!(receiver.messages.concat(), stream);
    }
}

// ---- length prefixed ------------------------------------------------------------------------------------------------

/// A configuration of [`LengthPrefixed`].
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    width: usize,
    big_endian: bool,
    offset: usize,
    adjustment: i64,
    strip: Option<usize>,
    limit: usize,
}

impl Layout {
    pub(crate) fn protocol(&self) -> LengthPrefixed {
        let protocol = match self.big_endian {
            true => LengthPrefixed::big_endian(self.width),
            false => LengthPrefixed::little_endian(self.width),
        };
        let protocol = protocol.offset(self.offset).adjustment(self.adjustment);
        let protocol = protocol.max_length(self.limit);
        self.strip.map_or(protocol, |bytes| protocol.strip(bytes))
    }

    fn header(&self) -> usize {
        self.offset + self.width
    }

    fn stripped(&self) -> usize {
        self.strip.unwrap_or(self.header())
    }

    /// The frame whose message is `item`; `None` if there is none.
    fn frame(&self, item: &[u8]) -> Option<Vec<u8>> {
        let mut frame = vec![0; self.stripped()];
        frame.extend_from_slice(item);
        let following = frame
            .len()
            .checked_sub(self.header())
            .filter(|n| *n <= self.limit)?;
        let length = following as i128 - i128::from(self.adjustment);
        if length < 0 || length >= 1 << (8 * self.width) {
            return None;
        }
        let field = &mut frame[self.offset..self.header()];
        for (place, byte) in field.iter_mut().rev().enumerate() {
            *byte = (length >> (8 * place)) as u8;
        }
        if !self.big_endian {
            field.reverse();
        }
        Some(frame)
    }

    fn model(&self, stream: &[u8]) -> (Vec<Vec<u8>>, Option<String>) {
        let (mut messages, mut rest) = (Vec::new(), stream);
        while let Some(field) = rest.get(self.offset..self.header()) {
            let mut field = field.to_vec();
            if !self.big_endian {
                field.reverse();
            }
            let length = field
                .iter()
                .fold(0i128, |value, byte| (value << 8) | i128::from(*byte));
            let following = length + i128::from(self.adjustment);
            if let Some(error) = self.refusal(length, following) {
                return (messages, Some(error.to_string()));
            }
            let total = self.header() + following as usize;
            let Some(frame) = rest.get(..total) else {
                break;
            };
            messages.push(frame[self.stripped()..].to_vec());
            rest = &rest[total..];
        }
        (messages, None)
    }

    fn refusal(&self, length: i128, following: i128) -> Option<LengthPrefixedError> {
        let (header, strip) = (self.header() as i128, self.stripped());
        if following < 0 {
            let (length, adjustment) = (length as u64, self.adjustment);
            Some(LengthPrefixedError::Negative { length, adjustment })
        } else if following > self.limit as i128 {
            let length = following.min(i128::from(u64::MAX)) as u64;
            Some(LengthPrefixedError::TooLong {
                length,
                limit: self.limit,
            })
        } else if header + following < strip as i128 {
            let length = (header + following) as usize;
            Some(LengthPrefixedError::ShorterThanStrip { length, strip })
        } else {
            None
        }
    }
}

pub(crate) fn layouts() -> impl Strategy<Value = Layout> {
    let adjustments = prop_oneof![2 => Just(0i64), 3 => -20..20i64, 1 => any::<i64>()];
    let strips = proptest::option::of(0..24usize);
    (
        1..9usize,
        any::<bool>(),
        0..12usize,
        adjustments,
        strips,
        0..90usize,
    )
        .prop_map(
            |(width, big_endian, offset, adjustment, strip, limit)| Layout {
                width,
                big_endian,
                offset,
                adjustment,
                strip,
                limit,
            },
        )
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn length_prefixed_messages_come_back(layout in layouts(), items in vec(vec(any::<u8>(), 0..80), 0..8), cuts in cuts()) {
        let protocol = layout.protocol();
        // The protocol overwrites a length field inside an item, so the message has the true length.
        let mut messages = Vec::new();
        for item in &items {
            let frame = layout.frame(item);
            prop_assert_eq!(packed_in_parts(&protocol, item, &cuts), frame.clone());
            prop_assert_eq!(packed(&protocol, item), frame.clone());
            messages.extend(frame.map(|frame| frame[layout.stripped()..].to_vec()));
        }
        assert_round_trip(&protocol, &messages, &cuts);
    }

    #[test]
    fn unstripped_messages_are_written_unchanged(layout in layouts(), items in vec(vec(any::<u8>(), 0..80), 0..8)) {
        let layout = Layout { strip: Some(0), ..layout };
        for frame in items.iter().filter_map(|item| layout.frame(item)) {
            let mut receiver = Receiver::new(&layout.protocol(), Calling::WhenComplete);
            receiver.receive(&frame);
            prop_assert_eq!(&receiver.messages, std::slice::from_ref(&frame));
            prop_assert_eq!(packed(&layout.protocol(), &frame), Some(frame));
        }
    }

    #[test]
    fn any_bytes_are_length_prefixed_messages_or_an_error(
        layout in layouts(),
        stream in vec(prop_oneof![4 => Just(0), 3 => 0..24u8, 1 => any::<u8>()], 0..200),
        cuts in cuts(),
    ) {
        assert_unpacked(&layout.protocol(), &stream, &cuts, layout.model(&stream));
    }
}

// ---- typed frames ---------------------------------------------------------------------------------------------------

fn typed_frames_model(limit: usize, stream: &[u8]) -> (Vec<TypedFrameBuf>, Option<String>) {
    let (mut messages, mut rest) = (Vec::new(), stream);
    while let Some(field) = rest.get(..4) {
        let length = u32::from_be_bytes(field.try_into().unwrap());
        if length < 2 {
            return (
                messages,
                Some(TypedFramesError::TooShort { length }.to_string()),
            );
        }
        if length as usize > limit {
            return (
                messages,
                Some(TypedFramesError::TooLong { length, limit }.to_string()),
            );
        }
        let Some(field) = rest.get(4..6) else { break };
        let name_length = u16::from_be_bytes(field.try_into().unwrap());
        if u32::from(name_length) > length - 2 {
            let error = TypedFramesError::NameOverrun {
                name_length,
                length,
            };
            return (messages, Some(error.to_string()));
        }
        let Some(frame) = rest.get(..4 + length as usize) else {
            break;
        };
        let (name, data) = frame[6..].split_at(usize::from(name_length));
        match std::str::from_utf8(name) {
            Ok(type_name) => messages.push(TypedFrame { type_name, data }.into()),
            Err(error) => {
                let position = error.valid_up_to();
                return (
                    messages,
                    Some(TypedFramesError::NameNotUtf8 { position }.to_string()),
                );
            }
        }
        rest = &rest[frame.len()..];
    }
    (messages, None)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn typed_frames_come_back(items in vec(("\\PC{0,12}", vec(any::<u8>(), 0..40)), 0..8), limit in 0..80usize, cuts in cuts()) {
        let protocol = TypedFrames::new().max_length(limit);
        let frame = |(name, data): &(String, Vec<u8>)| TypedFrame { type_name: name, data }.into();
        let items: Vec<TypedFrameBuf> = items.iter().map(frame).collect();
        for item in &items {
            let (name, data) = (item.type_name.as_bytes(), &item.data[..]);
            let length = 2 + name.len() + data.len();
            let fields = [&(length as u32).to_be_bytes()[..], &(name.len() as u16).to_be_bytes()].concat();
            let expected = (length <= limit).then(|| [&fields, name, data].concat());
            prop_assert_eq!(packed(&protocol, item), expected);
        }
        assert_round_trip(&protocol, &items, &cuts);
    }

    #[test]
    fn any_bytes_are_typed_frames_or_an_error(
        frames in vec((vec(prop_oneof![9 => Just(0), 1 => any::<u8>()], 3), 0..12u8, Just(0u8), 0..9u8, vec(prop_oneof![20 => Just(b'a'), 1 => any::<u8>()], 0..12)), 0..8),
        exact: bool,
        limit in 0..40usize,
        cuts in cuts(),
    ) {
        let mut stream = Vec::new();
        for (high, low, name_high, name_low, content) in frames {
            let low = if exact { content.len() as u8 + 2 } else { low };
            stream.extend_from_slice(&high);
            stream.extend_from_slice(&[low, name_high, name_low]);
            stream.extend_from_slice(&content);
        }
        let protocol = TypedFrames::new().max_length(limit);
        assert_unpacked(&protocol, &stream, &cuts, typed_frames_model(limit, &stream));
    }
}
