//! Protocols: the traits that turn bytes into messages and messages into bytes, and the framings that come with the
//! crate.
//!
//! A [`Protocol`] is a factory: for each connection it makes one [`Decode`] half and one [`Encode`] half. They are two
//! values, so that a message that still borrows from the input can be answered through the other half. State that both need
//! lives with the encoder: the decoder reaches it through [`UnpackContext::encoder`], and the handler through
//! [`Conn::encoder`](crate::Conn::encoder).
//!
//! A protocol can be layered on another one: its decoder calls the other decoder with [`UnpackContext::with_encoder`]
//! and converts the result with [`Unpacked::map`], and its encoder writes with the other encoder.
//!
//! Both halves are sans-io: they see bytes, never a socket or a clock. A protocol can therefore be tested with its
//! input cut at every position, with nothing but [`Output::detached`].
//!
//! | protocol | a message is | limit and default |
//! | --- | --- | --- |
//! | [`Raw`] | whatever has arrived | none needed: one read |
//! | [`Lines`] | a line ended by LF or CRLF | line length, 64 KiB |
//! | [`Delimited`] | bytes up to a delimiter of your own | message length, 64 KiB |
//! | [`FixedLength`] | exactly n bytes | n itself |
//! | [`LengthPrefixed`] | a body after a length field of 1 to 8 bytes | body length, 1 MiB |
//! | [`TypedFrames`] | a type name and a body, framed as gev's protobuf plugin does | frame length, 1 MiB |
//!
//! The halves of each protocol are public types, so that a protocol layered on it can store them. A half that needs
//! nothing but the settings is the protocol's own type: [`Lines`] is its own encoder, and [`LinesDecoder`] is its
//! decoder.

mod delimited;
mod fixed_length;
mod length_prefixed;
mod lines;
mod raw;
mod turn_budget;
mod typed_frames;
mod unpack_context;

pub use delimited::{Delimited, DelimitedDecoder, DelimitedError};
pub use fixed_length::FixedLength;
pub use length_prefixed::{LengthPrefixed, LengthPrefixedError};
pub use lines::{Lines, LinesDecoder, LinesError};
pub use raw::Raw;
pub use turn_budget::TurnBudget;
pub use typed_frames::{TypedFrame, TypedFrameBuf, TypedFrames, TypedFramesError};
pub use unpack_context::UnpackContext;

pub use crate::io::output::Output;

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// The result of [`Decode::unpack`]: what stands at the front of the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Unpacked<M> {
    /// No whole message yet; nothing is consumed. The decoder is called again only after `at_least` further bytes have
    /// arrived (0 counts as 1). The exact number saves calls; a number that is too high stalls the connection.
    NeedMore {
        /// Bytes still missing.
        at_least: usize,
    },
    /// `consumed` bytes (at least 1) were handled and yield no message: a blank line, or a ping that was answered.
    Skip {
        /// Bytes to drop from the front of the input.
        consumed: usize,
    },
    /// A message, which may borrow from the input and from the decoder.
    Message {
        /// The message, valid during [`Handler::on_message`](crate::Handler::on_message).
        message: M,
        /// Bytes that the message occupies at the front of the input (at least 1).
        consumed: usize,
    },
    /// The opening handshake is complete: [`Handler::on_open`](crate::Handler::on_open) is called now. Returned once,
    /// before the first message, and only by a protocol that does not [open at once](Protocol::OPENS_AT_ONCE).
    Opened {
        /// Bytes to drop from the front of the input (at least 1).
        consumed: usize,
    },
    /// The protocol has ended the conversation: the connection is flushed and closed in order. Any input that follows
    /// is discarded.
    End {
        /// Bytes to drop from the front of the input (at least 1).
        consumed: usize,
    },
}

impl<M> Unpacked<M> {
    /// The bytes to drop from the front of the input; `None` if more are needed first.
    #[inline]
    pub fn consumed(&self) -> Option<usize> {
        match *self {
            Unpacked::NeedMore { .. } => None,
            Unpacked::Skip { consumed }
            | Unpacked::Message { consumed, .. }
            | Unpacked::Opened { consumed }
            | Unpacked::End { consumed } => Some(consumed),
        }
    }

    /// Converts the message and keeps everything else, for a protocol that is layered on another one.
    ///
    /// ```
    /// use ringwheel::protocol::Unpacked;
    ///
    /// let line = Unpacked::Message { message: "seven", consumed: 7 };
    /// assert_eq!(line.map(str::len), Unpacked::Message { message: 5, consumed: 7 });
    /// ```
    #[inline]
    pub fn map<N>(self, change: impl FnOnce(M) -> N) -> Unpacked<N> {
        match self {
            Unpacked::NeedMore { at_least } => Unpacked::NeedMore { at_least },
            Unpacked::Skip { consumed } => Unpacked::Skip { consumed },
            Unpacked::Message { message, consumed } => Unpacked::Message {
                message: change(message),
                consumed,
            },
            Unpacked::Opened { consumed } => Unpacked::Opened { consumed },
            Unpacked::End { consumed } => Unpacked::End { consumed },
        }
    }

    /// As [`map`](Self::map), with a conversion that can fail.
    ///
    /// ```
    /// use ringwheel::protocol::Unpacked;
    ///
    /// let line = Unpacked::Message { message: "seven", consumed: 7 };
    /// assert!(line.try_map(str::parse::<u32>).is_err());
    /// ```
    ///
    /// # Errors
    /// The error that `change` returns.
    #[inline]
    pub fn try_map<N, E>(self, change: impl FnOnce(M) -> Result<N, E>) -> Result<Unpacked<N>, E> {
        Ok(match self.map(change) {
            Unpacked::Message { message, consumed } => Unpacked::Message {
                message: message?,
                consumed,
            },
            Unpacked::NeedMore { at_least } => Unpacked::NeedMore { at_least },
            Unpacked::Skip { consumed } => Unpacked::Skip { consumed },
            Unpacked::Opened { consumed } => Unpacked::Opened { consumed },
            Unpacked::End { consumed } => Unpacked::End { consumed },
        })
    }
}

/// The reading half of a protocol.
///
/// Each message of this protocol is one byte for the length and as many bytes:
///
/// ```
/// use ringwheel::protocol::{Decode, Lines, Output, UnpackContext, Unpacked};
/// use std::convert::Infallible;
///
/// struct ShortBytes;
///
/// impl Decode for ShortBytes {
///     type Encoder = Lines; // It answers with lines.
///     type Message<'a> = &'a [u8];
///     type Error = Infallible; // Every input is acceptable.
///
///     fn unpack<'a>(
///         &'a mut self,
///         input: &'a mut [u8],
///         _context: &mut UnpackContext<'_, Lines>,
///     ) -> Result<Unpacked<&'a [u8]>, Infallible> {
///         let consumed = 1 + usize::from(input[0]);
///         Ok(match input.get(1..consumed) {
///             Some(message) => Unpacked::Message { message, consumed },
///             None => Unpacked::NeedMore { at_least: consumed - input.len() },
///         })
///     }
/// }
///
/// let (mut output, mut encoder) = (Output::detached(), Lines::default());
/// let mut context = UnpackContext::detached(&mut output, &mut encoder);
/// let mut input = *b"\x02hi";
/// let mut decoder = ShortBytes;
/// let found = decoder.unpack(&mut input, &mut context)?;
/// assert_eq!(found, Unpacked::Message { message: &b"hi"[..], consumed: 3 });
/// # Ok::<(), Infallible>(())
/// ```
pub trait Decode: 'static {
    /// The writing half that belongs to this reading half.
    type Encoder: Encode;
    /// The message that the handler gets; it may borrow from the input.
    type Message<'a>;
    /// The reason why a peer's bytes were refused. It ends the connection with
    /// [`CloseReason::Protocol`](crate::CloseReason).
    type Error: Error + 'static;

    /// Looks for one message at the front of `input`.
    ///
    /// `input` is never empty and begins after the last consumed byte. It may be changed in place (unmasking).
    /// `context` holds the output and the writing half, for replies that the protocol sends by itself.
    ///
    /// # Errors
    /// Any reason to refuse the input. The decoder is not called again after an error.
    fn unpack<'a>(
        &'a mut self,
        input: &'a mut [u8],
        context: &mut UnpackContext<'_, Self::Encoder>,
    ) -> Result<Unpacked<Self::Message<'a>>, Self::Error>;

    /// Ends a turn: all input so far has been unpacked, and no message borrows from the decoder any more. Memory that
    /// was kept only for those messages can be freed here. Does nothing by default.
    #[inline]
    fn end_turn(&mut self) {}

    /// True if part of a message was consumed and the rest has not arrived. If the peer ends its stream now, the
    /// connection ends with [`CloseReason::Truncated`](crate::CloseReason::Truncated), as it does when input is left
    /// over, and [`Listen::message_timeout`](crate::Listen::message_timeout) is running. Called after each message and
    /// each turn. False by default.
    fn is_within_message(&self) -> bool {
        false
    }

    /// Bytes allocated for input that was consumed and is not delivered; [`ServerBuilder::worker_memory`](crate::ServerBuilder::worker_memory)
    /// limits them. Called after each turn; a protocol layered on another one passes the call on. 0 by default.
    fn held(&self) -> usize {
        0
    }

    /// True if the protocol has deadlines of its own; if false, the three methods below are not called.
    const HAS_DEADLINES: bool = false;

    /// True if [`next_deadline`](Self::next_deadline) may be earlier than it was at its last call. Asked before it, so that a
    /// deadline which stays costs next to nothing. True by default, which is always right.
    #[inline]
    fn has_new_deadline(&self, encoder: &Self::Encoder) -> bool {
        let _ = encoder;
        true
    }

    /// The time at which to call [`on_deadline`](Self::on_deadline), measured from the loop's start; `None` for never. It is a point in time that the
    /// protocol keeps, and not `now` with something added: whenever it is asked, the deadline would be put off.
    ///
    /// Called when the connection opens, after each turn in which a message was unpacked or packed, unless
    /// [`has_new_deadline`](Self::has_new_deadline) says no, and after each deadline. It is also called when the time comes that it has answered: if
    /// the deadline has moved back in the meantime, `on_deadline` is not called before the new one. A deadline also fires after
    /// [`Conn::shutdown_write`](crate::Conn::shutdown_write), of which [`Encode::end_stream`] tells, but not while the
    /// connection closes.
    fn next_deadline(&mut self, encoder: &mut Self::Encoder, now: Duration) -> Option<Duration> {
        let _ = (encoder, now);
        None
    }

    /// Called when the time returned by [`next_deadline`](Self::next_deadline) has come or passed. Input that has arrived by
    /// then was unpacked before.
    ///
    /// # Errors
    /// Any reason to end the connection, as in [`unpack`](Self::unpack); bytes put into the output are sent before.
    fn on_deadline(
        &mut self,
        context: &mut UnpackContext<'_, Self::Encoder>,
    ) -> Result<(), Self::Error> {
        let _ = context;
        Ok(())
    }
}

/// The writing half of a protocol.
///
/// ```
/// use ringwheel::protocol::{Encode, Output, PackError};
///
/// /// Writes one byte for the length and as many bytes.
/// struct ShortBytes;
///
/// impl Encode for ShortBytes {
///     type Item<'a> = &'a [u8];
///     type Owned = Vec<u8>;
///
///     fn owned_size(owned: &Vec<u8>) -> usize {
///         owned.len()
///     }
///
///     fn borrow(owned: &Vec<u8>) -> &[u8] {
///         owned
///     }
///
///     fn pack(&mut self, item: &[u8], output: &mut Output) -> Result<(), PackError> {
///         let length = u8::try_from(item.len()).map_err(|_| PackError("over 255 bytes"))?;
///         output.put_pair(&[length], item);
///         Ok(())
///     }
/// }
///
/// let mut output = Output::detached();
/// ShortBytes.pack(b"hi", &mut output)?;
/// assert_eq!(output.take(), b"\x02hi");
/// assert!(ShortBytes.pack(&[0; 256], &mut output).is_err());
/// # Ok::<(), PackError>(())
/// ```
pub trait Encode: 'static {
    /// The item that [`Conn::send`](crate::Conn::send) takes.
    type Item<'a>;
    /// An item that owns its content, for sends from other threads ([`ConnHandle::send`](crate::ConnHandle::send)).
    type Owned: Send + Sync + 'static;

    /// The borrowed form of an owned item.
    fn borrow(owned: &Self::Owned) -> Self::Item<'_>;

    /// Bytes of memory that an owned item occupies, about, even if it shares them with other items. They count against
    /// [`ServerBuilder::mailbox_bytes`](crate::ServerBuilder::mailbox_bytes) while the item waits for a worker.
    fn owned_size(owned: &Self::Owned) -> usize;

    /// Writes `item` as bytes straight into the connection's output.
    ///
    /// # Errors
    /// [`PackError`] when the protocol cannot express the item. Bytes already written for it are then removed.
    fn pack(&mut self, item: Self::Item<'_>, output: &mut Output) -> Result<(), PackError>;

    /// As [`pack`](Self::pack), with an item that several connections may share, so that a costly encoding can be
    /// cached in the item.
    ///
    /// # Errors
    /// As [`pack`](Self::pack).
    #[inline]
    fn pack_owned(&mut self, owned: &Self::Owned, output: &mut Output) -> Result<(), PackError> {
        self.pack(Self::borrow(owned), output)
    }

    /// Takes the work that packing has caused since the last call, besides writing bytes, in the unit of a received byte: the
    /// compression of items, for example. None by default.
    ///
    /// Work for the answers to a peer's messages is charged to the [budget](TurnBudget) of its turn, so that a flood of short
    /// requests with costly answers slows down its own connection. Work for mail and timers is not.
    #[inline]
    fn take_work(&mut self) -> usize {
        0
    }

    /// Writes the bytes that open the conversation, before anything is received. Writes nothing by default.
    fn greet(&mut self, output: &mut Output) {
        let _ = output;
    }

    /// Hears that the handler ends our side of the stream with [`Conn::shutdown_write`](crate::Conn::shutdown_write), while
    /// the peer's side stays open: nothing more is packed, and whatever a decoder puts into the output may not leave. `now` is
    /// the time since the loop started. Called at most once. Does nothing by default.
    ///
    /// A protocol that recognizes a dead peer by its answers gets none from now on, and can set a
    /// [deadline](Decode::next_deadline) for its end of the stream instead.
    fn end_stream(&mut self, now: Duration) {
        let _ = now;
    }

    /// Writes the last bytes before our end of the stream closes. Called once, when the connection is about to close in
    /// order, for whatever reason; everything sent before is already in the output. Writes nothing by default.
    fn farewell(&mut self, why: Farewell, output: &mut Output) -> Parting {
        let _ = (why, output);
        Parting::AtOnce
    }
}

/// The reason why [`Encode::farewell`] is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Farewell {
    /// The handler or another thread closes the connection.
    Closed,
    /// The server shuts down.
    Shutdown,
    /// The peer has ended its stream, or the decoder has returned [`Unpacked::End`].
    PeerEnded,
    /// The decoder refused the peer's bytes.
    Refused,
    /// A message does not fit within [`Limits::input`](crate::Limits::input).
    InputLimit,
    /// A callback panicked.
    Panic,
}

/// The next step after a farewell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Parting {
    /// Close our end of the stream as soon as everything has been sent.
    AtOnce,
    /// Wait for the peer's answer: the decoder goes on unpacking until it returns [`Unpacked::End`], the peer ends its
    /// stream, or [`Listen::close_timeout`](crate::Listen::close_timeout) has passed, and then as it says. Messages found meanwhile are not
    /// delivered.
    AwaitAnswer,
}

/// An [`Encode`] whose items are plain payload bytes and can be given in parts, which are sent as one message.
pub trait EncodeParts: Encode {
    /// As [`Encode::pack`] with the concatenation of `parts`, without concatenating them first.
    ///
    /// # Errors
    /// As [`Encode::pack`].
    fn pack_parts(&mut self, parts: &[&[u8]], output: &mut Output) -> Result<(), PackError>;
}

/// A factory of the two halves, one pair per connection.
///
/// [`guide::own_protocol`](crate::guide::own_protocol) has a whole one. A protocol that gives an existing framing other
/// limits needs only this trait:
///
/// ```
/// use ringwheel::protocol::{LengthPrefixed, Protocol};
///
/// /// Frames of at most 4 KiB with a length of two bytes.
/// #[derive(Clone, Default)]
/// struct SmallFrames;
///
/// impl Protocol for SmallFrames {
///     type Decoder = <LengthPrefixed as Protocol>::Decoder;
///     type Encoder = <LengthPrefixed as Protocol>::Encoder;
///     fn open(&self) -> (Self::Decoder, Self::Encoder) {
///         LengthPrefixed::u16_be().max_length(4096).open()
///     }
/// }
/// ```
pub trait Protocol: Clone + Send + 'static {
    /// True if a connection is open for the handler as soon as it is accepted. If false,
    /// [`Handler::on_open`](crate::Handler::on_open) is called only at [`Unpacked::Opened`], and a connection that ends
    /// before that causes no callback at all.
    const OPENS_AT_ONCE: bool = true;
    /// The reading half.
    type Decoder: Decode<Encoder = Self::Encoder>;
    /// The writing half.
    type Encoder: Encode;

    /// The time that a message of a peer may take unless [`Listen::message_timeout`](crate::Listen::message_timeout) sets
    /// another; `None`, the default, for as long as it likes. For a protocol whose unfinished messages are worth little to
    /// the peer and cost much memory, such as one that inflates them.
    fn message_timeout(&self) -> Option<Duration> {
        None
    }

    /// The halves for a new connection.
    fn open(&self) -> (Self::Decoder, Self::Encoder);
}

/// The message type of protocol `P`.
pub type MessageOf<'a, P> = <<P as Protocol>::Decoder as Decode>::Message<'a>;
/// The decoder's error type of protocol `P`.
pub type ErrorOf<P> = <<P as Protocol>::Decoder as Decode>::Error;
/// The borrowed item type of protocol `P`.
pub type ItemOf<'a, P> = <<P as Protocol>::Encoder as Encode>::Item<'a>;
/// The owned item type of protocol `P`.
pub type OwnedOf<P> = <<P as Protocol>::Encoder as Encode>::Owned;

/// An item that a protocol cannot express, such as a line that contains a line break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PackError(
    /// The reason, in words.
    pub &'static str,
);

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the protocol cannot express this item: {}", self.0)
    }
}

impl Error for PackError {}
