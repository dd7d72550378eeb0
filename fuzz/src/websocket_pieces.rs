//! Compares delivery in pieces with delivery of whole messages: the pieces must make up the messages.
//!
//! Input: the same as for `websocket_frames`.

use ringwheel::websocket::{Pieces, WebSocket, Whole};

use crate::endpoint::Calling;
use crate::input::{Input, cut};
use crate::websocket::{Kept, KeptPiece, are_alike, open_server};
use crate::websocket_frames::Settings;

/// The fuzz target.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let settings = Settings::read(&mut input);
    let lengths = input.lengths();
    let stream = input.rest();

    let protocol: WebSocket<_, Whole> = settings.protocol();
    let mut whole = open_server(&protocol, settings.offer(), Calling::Always);
    if !stream.is_empty() {
        whole.receive(stream);
    }
    for lengths in [&lengths[..], &[usize::MAX]] {
        let protocol: WebSocket<_, Pieces> = settings.protocol();
        let mut pieces = open_server(&protocol, settings.offer(), Calling::WhenComplete);
        cut(stream, lengths).for_each(|piece| pieces.receive(piece));

        let (messages, unfinished) = join(pieces.messages());
        assert_eq!(whole.messages(), messages);
        if let Some(Kept { is_text, bytes }) = unfinished {
            assert!(bytes.len() <= settings.max_message);
            let error = std::str::from_utf8(&bytes).err();
            let is_invalid = error.is_some_and(|error| error.error_len().is_some());
            assert!(
                !is_text || !is_invalid,
                "text is valid as far as it has arrived"
            );
        }
        match (whole.failure, pieces.failure) {
            (Some(a), Some(b)) if settings.is_compressed() && are_alike(&a, &b) => {}
            // A decoder that is called only when enough has arrived may report an error later.
            (Some(_), None) => assert!(pieces.missing > 0),
            (a, b) => assert_eq!(a, b),
        }
    }
}

/// Joins pieces into messages, and returns the unfinished last one separately.
fn join(pieces: Vec<KeptPiece>) -> (Vec<Kept>, Option<Kept>) {
    let (mut messages, mut unfinished) = (Vec::new(), None::<Kept>);
    for KeptPiece {
        content,
        is_first,
        is_last,
    } in pieces
    {
        assert_eq!(is_first, unfinished.is_none(), "{content:?}");
        let message = match unfinished.take() {
            Some(mut message) => {
                assert_eq!(message.is_text, content.is_text);
                message.bytes.extend(content.bytes);
                message
            }
            None => content,
        };
        match is_last {
            true => messages.push(message),
            false => unfinished = Some(message),
        }
    }
    (messages, unfinished)
}
