//! Checks the frames that tests make by hand with the examples of RFC 6455.

use support::websocket::{Frame, KEY};

/// The examples of section 5.7.
#[test]
fn section_5_7_examples() {
    let examples: [(Frame, &[u8]); 6] = [
        (Frame::text("Hello"), b"\x81\x05Hello"),
        (
            Frame::text("Hello").masked(KEY),
            b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58",
        ),
        (Frame::text("Hel").fragment(), b"\x01\x03Hel"),
        (Frame::continuation("lo"), b"\x80\x02lo"),
        (Frame::ping("Hello"), b"\x89\x05Hello"),
        (
            Frame::pong("Hello").masked(KEY),
            b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58",
        ),
    ];
    for (frame, bytes) in examples {
        assert_eq!(frame.bytes(), bytes);
        assert_eq!(Frame::parse(bytes), Some((frame, bytes.len())));
    }
    for length in [0, 125, 126, 65535, 65536] {
        let frame = Frame::binary(vec![7; length]).masked(KEY);
        assert_eq!(Frame::parse_all(&frame.bytes()), [frame]);
    }
}
