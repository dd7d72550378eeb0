//! Sends deflate payloads of any kind through a connection with compression, in all modes of context takeover and with
//! all windows. Another inflater must inflate delivered messages to the same bytes.
//!
//! Input: the mode, the windows, the limit, the lengths of the pieces; then the messages, each two bytes of length (the
//! top bit marks an uncompressed message, the next bit a fragment) and that many bytes.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use ringwheel::websocket::{AcceptAll, WebSocket};
use support::websocket::{Frame, KEY, RSV1};

use crate::endpoint::{Event, assert_cut_alike};
use crate::input::Input;
use crate::websocket::{are_alike, deflate, open_server};

/// One message as it is sent.
struct Sent {
    is_compressed: bool,
    payload: Vec<u8>,
}

/// The fuzz target.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (mode, window, limit) = (input.byte(), input.byte(), input.byte());
    let lengths = input.lengths();
    let (messages, stream) = messages(input);
    let limit = 1 << (limit % 18);
    let settings = deflate(mode, window).max_ratio(20).ratio_floor(8 * 1024);
    let protocol: WebSocket = WebSocket::accepting(AcceptAll)
        .max_message(limit)
        .deflate(settings);
    let open = |calling| open_server(&protocol, offer(mode, window), calling);
    let whole = assert_cut_alike(open, &stream, &lengths, are_alike);

    let takes_over = mode & 2 != 0 && mode & 0x20 == 0;
    let mut oracle = Oracle::default();
    for (received, sent) in whole.messages().iter().zip(&messages) {
        assert!(received.bytes.len() <= limit);
        if !sent.is_compressed {
            assert_eq!(received.bytes, sent.payload);
            continue;
        }
        if !takes_over {
            oracle = Oracle::default();
        }
        let expected = oracle.inflate(&sent.payload, received.bytes.len());
        assert_eq!(expected.as_ref(), Some(&received.bytes));
    }
    let delivered = whole.events.len();
    assert!(
        whole
            .events
            .iter()
            .all(|event| matches!(event, Event::Message(_)))
    );
    assert!(whole.failure.is_some() || delivered == messages.len());
}

/// The client's offer of extensions.
fn offer(mode: u8, window: u8) -> &'static str {
    match (mode >> 5 & 1, window >> 4 & 3) {
        (0, 0) => "permessage-deflate",
        (0, 1) => "permessage-deflate; client_max_window_bits",
        (0, 2) => "permessage-deflate; client_max_window_bits=9; server_max_window_bits=9",
        (0, _) => "permessage-deflate; server_no_context_takeover",
        (_, 0) => "permessage-deflate; client_no_context_takeover",
        (_, 1) => "permessage-deflate; client_no_context_takeover; client_max_window_bits",
        (_, _) => "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
    }
}

/// Reads messages from the rest of the input, and makes the stream of them.
fn messages(mut input: Input<'_>) -> (Vec<Sent>, Vec<u8>) {
    let (mut messages, mut stream) = (Vec::new(), Vec::new());
    let mut unfinished = None::<Sent>;
    loop {
        let (high, low) = (input.byte(), input.byte());
        let payload = input.bytes(usize::from(high & 0x3F) << 8 | usize::from(low));
        // The last fragment is final, so that the stream ends with a whole message.
        let is_final = high & 0x40 == 0 || payload.is_empty();
        let is_compressed = high & 0x80 == 0;
        let frame = match unfinished {
            Some(_) => Frame::continuation(payload),
            None if is_compressed => Frame::binary(payload).reserved(RSV1),
            None => Frame::binary(payload),
        };
        let frame = if is_final { frame } else { frame.fragment() };
        stream.extend(frame.masked(KEY).bytes());
        let message = unfinished.get_or_insert(Sent {
            is_compressed,
            payload: Vec::new(),
        });
        message.payload.extend_from_slice(payload);
        if is_final {
            messages.extend(unfinished.take());
        }
        if payload.is_empty() {
            return (messages, stream);
        }
    }
}

/// Another inflater, with everything inflated so far as its window.
#[derive(Default)]
struct Oracle {
    history: Vec<u8>,
}

impl Oracle {
    /// The inflated payload; `None` if it is not valid deflate, or does not inflate to `length` bytes.
    fn inflate(&mut self, payload: &[u8], length: usize) -> Option<Vec<u8>> {
        let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF | TINFL_FLAG_HAS_MORE_INPUT;
        let start = self.history.len();
        // One byte more, so that surplus output is noticed.
        self.history.resize(start + length + 1, 0);
        let mut position = start;
        let input = [payload, &[0, 0, 0xFF, 0xFF]].concat();
        let mut rest = &input[..];
        let mut stream = DecompressorOxide::new();
        // An empty message may have an empty payload.
        while !rest.is_empty() && !payload.is_empty() {
            let (status, consumed, written) =
                decompress(&mut stream, rest, &mut self.history, position, flags);
            rest = &rest[consumed..];
            position += written;
            match status {
                // Further blocks may follow a final one (RFC 7692, section 7.2.3.4).
                TINFLStatus::Done => stream = DecompressorOxide::new(),
                TINFLStatus::NeedsMoreInput => break,
                _ => return None,
            }
        }
        self.history.truncate(position);
        (position == start + length).then(|| self.history[start..].to_vec())
    }
}
