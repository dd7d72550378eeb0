use super::*;

#[track_caller]
fn assert_unpacks(
    protocol: LengthPrefixed,
    input: &[u8],
    expected: Result<Unpacked<&[u8]>, LengthPrefixedError>,
) {
    let mut input = input.to_vec();
    let (mut decoder, mut encoder) = protocol.open();
    assert_eq!(
        decoder.unpack(
            &mut input,
            &mut UnpackContext::detached(&mut Output::detached(), &mut encoder)
        ),
        expected,
        "{protocol:?}"
    );
}

fn packed(protocol: LengthPrefixed, item: &[u8]) -> Result<Vec<u8>, PackError> {
    let mut output = Output::detached();
    let outcome = protocol.open().1.pack(item, &mut output);
    assert!(
        outcome.is_ok() || output.is_empty(),
        "a refused item leaves nothing behind"
    );
    outcome.map(|()| output.take())
}

#[test]
fn every_width_in_both_orders() {
    for width in 1..=8 {
        let mut field = vec![0; width];
        field[width - 1] = 3;
        let frame = [&field[..], b"abc"].concat();
        let message = || {
            Ok(Unpacked::Message {
                message: &b"abc"[..],
                consumed: width + 3,
            })
        };
        assert_unpacks(LengthPrefixed::big_endian(width), &frame, message());
        assert_eq!(
            packed(LengthPrefixed::big_endian(width), b"abc").unwrap(),
            frame
        );

        field.reverse();
        let frame = [&field[..], b"abc"].concat();
        assert_unpacks(LengthPrefixed::little_endian(width), &frame, message());
        assert_eq!(
            packed(LengthPrefixed::little_endian(width), b"abc").unwrap(),
            frame
        );
    }
}

#[test]
fn bytes_after_the_field_are_not_read_as_part_of_it() {
    let message = || {
        Ok(Unpacked::Message {
            message: &b"\xFF"[..],
            consumed: 4,
        })
    };
    assert_unpacks(
        LengthPrefixed::big_endian(3),
        b"\0\0\x01\xFF\xFF\xFF\xFF\xFF\xFF",
        message(),
    );
    assert_unpacks(
        LengthPrefixed::little_endian(3),
        b"\x01\0\0\xFF\xFF\xFF\xFF\xFF\xFF",
        message(),
    );
}

#[test]
fn need_more_states_exactly_how_many_bytes_are_missing() {
    let protocol = LengthPrefixed::u16_be().offset(1);
    let frame = b"K\0\x03abc";
    for (have, at_least) in [(1, 2), (2, 1), (3, 3), (5, 1)] {
        assert_unpacks(
            protocol,
            &frame[..have],
            Ok(Unpacked::NeedMore { at_least }),
        );
    }
    let message = Unpacked::Message {
        message: &b"abc"[..],
        consumed: 6,
    };
    assert_unpacks(protocol, frame, Ok(message));
}

#[test]
fn lengths_at_the_edges_of_integers_are_too_long() {
    let limit = LengthPrefixed::DEFAULT_MAX_LENGTH;
    for length in [
        limit as u64 + 1,
        (1 << 31) - 1,
        1 << 31,
        (1 << 31) + 1,
        (1 << 32) - 1,
        1 << 32,
        (1 << 32) + 1,
        (1 << 63) - 1,
        1 << 63,
        (1 << 63) + 1,
        u64::MAX - 1,
        u64::MAX,
    ] {
        let too_long = || Err(LengthPrefixedError::TooLong { length, limit });
        assert_unpacks(LengthPrefixed::u64_be(), &length.to_be_bytes(), too_long());
        assert_unpacks(LengthPrefixed::u64_le(), &length.to_le_bytes(), too_long());
        if let Ok(length) = u32::try_from(length) {
            assert_unpacks(LengthPrefixed::u32_be(), &length.to_be_bytes(), too_long());
            assert_unpacks(LengthPrefixed::u32_le(), &length.to_le_bytes(), too_long());
        }
    }
}

#[test]
fn the_highest_limit_counts_without_overflow() {
    let limit = isize::MAX as usize - LengthPrefixed::MAX_OFFSET - 8;
    let protocol = LengthPrefixed::u64_be().max_length(usize::MAX);
    let highest = (limit as u64).to_be_bytes();
    assert_unpacks(
        protocol,
        &highest,
        Ok(Unpacked::NeedMore { at_least: limit }),
    );
    let length = limit as u64 + 1;
    let too_long = Err(LengthPrefixedError::TooLong { length, limit });
    assert_unpacks(protocol, &length.to_be_bytes(), too_long);
}

#[test]
fn extreme_adjustments_are_checked() {
    use LengthPrefixedError::*;
    let limit = LengthPrefixed::DEFAULT_MAX_LENGTH;
    let half = 1 << 63;
    for (length, adjustment, error) in [
        (
            u64::MAX,
            1,
            TooLong {
                length: u64::MAX,
                limit,
            },
        ),
        (
            u64::MAX,
            i64::MAX,
            TooLong {
                length: u64::MAX,
                limit,
            },
        ),
        (
            u64::MAX,
            i64::MIN,
            TooLong {
                length: half - 1,
                limit,
            },
        ),
        (
            0,
            i64::MAX,
            TooLong {
                length: half - 1,
                limit,
            },
        ),
        (
            0,
            i64::MIN,
            Negative {
                length: 0,
                adjustment: i64::MIN,
            },
        ),
        (
            half - 1,
            i64::MIN,
            Negative {
                length: half - 1,
                adjustment: i64::MIN,
            },
        ),
        (
            3,
            -4,
            Negative {
                length: 3,
                adjustment: -4,
            },
        ),
    ] {
        let protocol = LengthPrefixed::u64_be().adjustment(adjustment);
        assert_unpacks(protocol, &length.to_be_bytes(), Err(error));
    }
    let protocol = LengthPrefixed::u64_be().adjustment(i64::MIN);
    let message = Unpacked::Message {
        message: &b"x"[..],
        consumed: 9,
    };
    assert_unpacks(protocol, b"\x80\0\0\0\0\0\0\x01x", Ok(message));
    assert_eq!(packed(protocol, b"x").unwrap(), b"\x80\0\0\0\0\0\0\x01x");
    assert!(packed(LengthPrefixed::u64_be().adjustment(i64::MAX), b"x").is_err());
}

/// The examples in the documentation of Netty's LengthFieldBasedFrameDecoder, in the same order.
#[test]
fn the_examples_of_netty_give_the_same_results() {
    let u16_be = LengthPrefixed::u16_be();
    for (protocol, frame, message) in [
        (
            u16_be.strip(0),
            &b"\x00\x0CHELLO, WORLD"[..],
            &b"\x00\x0CHELLO, WORLD"[..],
        ),
        (u16_be.strip(2), b"\x00\x0CHELLO, WORLD", b"HELLO, WORLD"),
        (
            u16_be.adjustment(-2).strip(0),
            b"\x00\x0EHELLO, WORLD",
            b"\x00\x0EHELLO, WORLD",
        ),
        (
            LengthPrefixed::big_endian(3).offset(2).strip(0),
            b"\xCA\xFE\x00\x00\x0CHELLO, WORLD",
            b"\xCA\xFE\x00\x00\x0CHELLO, WORLD",
        ),
        (
            LengthPrefixed::big_endian(3).adjustment(2).strip(0),
            b"\x00\x00\x0C\xCA\xFEHELLO, WORLD",
            b"\x00\x00\x0C\xCA\xFEHELLO, WORLD",
        ),
        (
            u16_be.offset(1).adjustment(1).strip(3),
            b"\xCA\x00\x0C\xFEHELLO, WORLD",
            b"\xFEHELLO, WORLD",
        ),
        (
            u16_be.offset(1).adjustment(-3).strip(3),
            b"\xCA\x00\x10\xFEHELLO, WORLD",
            b"\xFEHELLO, WORLD",
        ),
    ] {
        let consumed = frame.len();
        assert_unpacks(protocol, frame, Ok(Unpacked::Message { message, consumed }));
        let mut rewritten = frame.to_vec();
        if protocol.stripped() > 0 {
            rewritten[..protocol.offset].fill(0);
        }
        assert_eq!(
            packed(protocol, message).unwrap(),
            rewritten,
            "{protocol:?}"
        );
    }
}

#[test]
fn stripping_beyond_the_frame_is_an_error() {
    let protocol = LengthPrefixed::u8().strip(3);
    let short = LengthPrefixedError::ShorterThanStrip {
        length: 2,
        strip: 3,
    };
    assert_unpacks(protocol, b"\x01", Err(short));
    let message = Unpacked::Message {
        message: &b""[..],
        consumed: 3,
    };
    assert_unpacks(protocol, b"\x02ab", Ok(message));
    assert_eq!(packed(protocol, b"").unwrap(), b"\x02\0\0");
}

#[test]
fn an_item_is_a_frame_without_its_stripped_zeros() {
    // The strip ends before, within and after the length field.
    let protocol = LengthPrefixed::u16_be().offset(2);
    for (strip, item, frame) in [
        (0, &b"AB??cd"[..], &b"AB\x00\x02cd"[..]),
        (1, b"B??cd", b"\0B\x00\x02cd"),
        (2, b"??cd", b"\0\0\x00\x02cd"),
        (3, b"?cd", b"\0\0\x00\x02cd"),
        (4, b"cd", b"\0\0\x00\x02cd"),
        (5, b"d", b"\0\0\x00\x02\0d"),
    ] {
        let protocol = protocol.strip(strip);
        assert_eq!(packed(protocol, item).unwrap(), frame, "strip {strip}");
        let mut output = Output::detached();
        let parts: Vec<_> = item.chunks(1).collect();
        protocol.open().1.pack_parts(&parts, &mut output).unwrap();
        assert_eq!(output.take(), frame, "strip {strip}, in parts");
    }
    assert!(packed(protocol.strip(0), b"AB?").is_err());
    assert_eq!(packed(protocol.strip(100), b"x").unwrap().len(), 101);
}

#[test]
fn items_too_long_for_the_field_or_the_limit_are_refused() {
    assert!(packed(LengthPrefixed::u8(), &[0; 255]).is_ok());
    assert!(packed(LengthPrefixed::u8(), &[0; 256]).is_err());
    assert!(packed(LengthPrefixed::u8().adjustment(1), &[0; 256]).is_ok());
    assert!(packed(LengthPrefixed::u8().adjustment(1), &[]).is_err());
    let protocol = LengthPrefixed::u32_le().max_length(4);
    assert!(packed(protocol, b"four").is_ok());
    assert!(packed(protocol, b"fives").is_err());
    let too_long = LengthPrefixedError::TooLong {
        length: 5,
        limit: 4,
    };
    assert_unpacks(protocol, b"\x05\0\0\0fives", Err(too_long));
}

#[test]
#[should_panic(expected = "1 to 8 bytes")]
fn a_field_of_zero_bytes_panics() {
    LengthPrefixed::big_endian(0);
}

#[test]
#[should_panic(expected = "1 to 8 bytes")]
fn a_field_wider_than_a_u64_panics() {
    LengthPrefixed::little_endian(9);
}

#[test]
#[should_panic(expected = "at most 64 KiB")]
fn an_offset_is_limited() {
    let _ = LengthPrefixed::u8().offset(LengthPrefixed::MAX_OFFSET + 1);
}

#[test]
#[should_panic(expected = "more is stripped")]
fn a_strip_is_limited() {
    let _ = LengthPrefixed::u8().strip(LengthPrefixed::MAX_STRIP + 1);
}
