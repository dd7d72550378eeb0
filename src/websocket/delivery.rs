//! The ways in which messages are handed to the handler: the last type parameter of a [`WebSocket`](super::WebSocket).

use std::marker::PhantomData;

use super::message::{Message, Piece};

mod sealed {
    /// Keeps [`Delivery`](super::Delivery) to the types of this module.
    pub trait Sealed {}
}

/// A way in which messages are handed to the handler: [`Whole`], in [`Pieces`], or [`WithPongs`].
pub trait Delivery: sealed::Sealed + 'static {
    /// The message type of the handler.
    type Message<'a>;
    /// True if a message may come in pieces.
    #[doc(hidden)]
    const PIECES: bool;

    #[doc(hidden)]
    fn whole(message: Message<'_>) -> Self::Message<'_>;

    #[doc(hidden)]
    fn piece(piece: Piece<'_>) -> Self::Message<'_>;

    /// A pong for the handler; `None` if it does not get any.
    #[doc(hidden)]
    fn pong(payload: &[u8]) -> Option<Self::Message<'_>>;
}

/// The handler sees whole messages, as [`Message`]. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Whole;

/// The handler sees messages as they arrive, as [`Piece`]s: nothing is collected, so a message may be as long as
/// [`max_message`](super::WebSocket::max_message) says without costing memory.
///
/// ```
/// use ringwheel::websocket::{AcceptAll, Piece, Pieces, WebSocket};
/// use ringwheel::{Conn, Handler};
///
/// /// Counts the bytes of uploads without keeping them.
/// struct Upload;
///
/// impl Handler for Upload {
///     type Protocol = WebSocket<AcceptAll, Pieces>;
///     type Session = usize;
///     fn on_open(&mut self, _conn: &mut Conn<'_, Self::Protocol>) -> usize {
///         0
///     }
///     fn on_message(&mut self, conn: &mut Conn<'_, Self::Protocol>, bytes: &mut usize, piece: Piece<'_>) {
///         *bytes += piece.bytes.len();
///         if piece.is_last {
///             conn.send_text(&format!("{bytes} bytes"));
///             *bytes = 0;
///         }
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Pieces;

/// The handler sees pongs besides messages, as [`Event`]s; `D` says how messages come.
///
/// It sees the answers to [`Conn::ping_with`](crate::Conn), and pongs that the peer sends unasked. It does not see the answers to
/// [`Conn::ping`](crate::Conn) and to automatic pings, which tell the round-trip time instead; their payloads are 8 bytes. A
/// pong may come between the pieces of a message. In [`ConnStats::messages_in`](crate::ConnStats::messages_in) a pong counts as a
/// message, unless it comes between the fragments of one.
///
/// ```
/// use ringwheel::websocket::{AcceptAll, Event, Message, WebSocket, WithPongs};
/// use ringwheel::{Conn, Handler};
///
/// struct Prober;
///
/// impl Handler for Prober {
///     type Protocol = WebSocket<AcceptAll, WithPongs>;
///     type Session = ();
///     fn on_open(&mut self, conn: &mut Conn<'_, Self::Protocol>) {
///         conn.ping_with(b"probe 1");
///     }
///     fn on_message(&mut self, conn: &mut Conn<'_, Self::Protocol>, _: &mut (), event: Event<'_, Message<'_>>) {
///         match event {
///             Event::Message(message) => _ = conn.send(message),
///             Event::Pong(payload) => println!("{} answers {payload:?}", conn.peer_addr()),
///             _ => {}
///         }
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct WithPongs<D = Whole>(PhantomData<fn() -> D>);

/// A message or a pong, for a handler [`WithPongs`]. `M` is a [`Message`] or a [`Piece`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event<'a, M> {
    /// A message, or a piece of one.
    Message(M),
    /// A pong with this payload, at most 125 bytes.
    Pong(&'a [u8]),
}

impl sealed::Sealed for Whole {}
impl sealed::Sealed for Pieces {}
impl<D: Delivery> sealed::Sealed for WithPongs<D> {}

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

    fn pong(_: &[u8]) -> Option<Message<'_>> {
        None
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

    fn pong(_: &[u8]) -> Option<Piece<'_>> {
        None
    }
}

impl<D: Delivery> Delivery for WithPongs<D> {
    type Message<'a> = Event<'a, D::Message<'a>>;
    const PIECES: bool = D::PIECES;

    #[inline]
    fn whole(message: Message<'_>) -> Self::Message<'_> {
        Event::Message(D::whole(message))
    }

    #[inline]
    fn piece(piece: Piece<'_>) -> Self::Message<'_> {
        Event::Message(D::piece(piece))
    }

    fn pong(payload: &[u8]) -> Option<Self::Message<'_>> {
        Some(Event::Pong(payload))
    }
}
