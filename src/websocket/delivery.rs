//! How messages are handed to the handler.

use super::message::{Message, Piece};

mod sealed {
    /// Only this crate knows how messages can be delivered.
    pub trait Sealed {}
}

/// How messages are handed to the handler: [`Whole`] or in [`Pieces`].
pub trait Delivery: sealed::Sealed + 'static {
    /// What the handler sees.
    type Message<'a>;
    /// Whether a message may come in pieces.
    #[doc(hidden)]
    const PIECES: bool;

    #[doc(hidden)]
    fn whole(message: Message<'_>) -> Self::Message<'_>;

    #[doc(hidden)]
    fn piece(piece: Piece<'_>) -> Self::Message<'_>;
}

/// The handler sees whole messages, as [`Message`]. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Whole;

/// The handler sees messages as they arrive, as [`Piece`]s: nothing is collected, so a message may be as long as
/// [`max_message`](super::WebSocket::max_message) says without costing memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pieces;

impl sealed::Sealed for Whole {}
impl sealed::Sealed for Pieces {}

impl Delivery for Whole {
    type Message<'a> = Message<'a>;
    const PIECES: bool = false;

    #[inline]
    fn whole(message: Message<'_>) -> Message<'_> {
        message
    }

    fn piece(_: Piece<'_>) -> Message<'_> {
        unreachable!("messages are whole")
    }
}

impl Delivery for Pieces {
    type Message<'a> = Piece<'a>;
    const PIECES: bool = true;

    #[inline]
    fn whole(message: Message<'_>) -> Piece<'_> {
        Piece {
            kind: message.kind(),
            bytes: message.as_bytes(),
            is_first: true,
            is_last: true,
        }
    }

    #[inline]
    fn piece(piece: Piece<'_>) -> Piece<'_> {
        piece
    }
}
