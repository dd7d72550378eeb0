//! How bytes become messages and messages become bytes.
//!
//! A [`Protocol`] is a factory: for each connection it makes one [`Decode`] half and one [`Encode`] half. They are two
//! values, so that a message that still borrows from the input can be answered through the other half. State that both need
//! lives with the encoder: the decoder reaches it through [`UnpackContext::encoder`], and the handler through
//! [`Conn::encoder`](crate::Conn::encoder).
//!
//! A protocol may stand on another one: its decoder calls the other decoder with
//! [`UnpackContext::with_encoder`] and gives the result a meaning with [`Unpacked::map`], and its encoder writes with the
//! other encoder.
//!
//! Both halves are sans-io: they see bytes and know no socket and no clock, so a protocol can be tested at every cut of
//! its input with nothing but [`Output::detached`].
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
//! The halves of each are public types, to be held by the halves of a protocol above. Where a half needs nothing but the
//! settings it is the protocol's own type: [`Lines`] is its own encoder, and [`LinesDecoder`] its decoder.

mod delimited;
mod fixed_length;
mod length_prefixed;
mod lines;
mod raw;
mod typed_frames;

pub use delimited::{Delimited, DelimitedDecoder, DelimitedError};
pub use fixed_length::FixedLength;
pub use length_prefixed::{LengthPrefixed, LengthPrefixedError};
pub use lines::{Lines, LinesDecoder, LinesError};
pub use raw::Raw;
pub use typed_frames::{TypedFrame, TypedFrameBuf, TypedFrames, TypedFramesError};

pub use crate::io::output::Output;

use std::error::Error;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use crate::io::address::Address;

/// What [`Decode::unpack`] found at the front of the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Unpacked<M> {
    /// No whole message yet; nothing is consumed. The decoder is not asked again before `at_least` further bytes have
    /// arrived (0 counts as 1), so naming the true number saves calls; naming too many stalls the connection.
    NeedMore {
        /// Bytes still missing.
        at_least: usize,
    },
    /// `consumed` bytes (at least 1) were dealt with and give no message: a blank line, a ping that was answered.
    Skip {
        /// Bytes to drop from the front of the input.
        consumed: usize,
    },
    /// A message, which may borrow from the input and from the decoder.
    Message {
        /// The message, valid during [`Handler::on_message`](crate::Handler::on_message).
        message: M,
        /// Bytes that it took from the front of the input (at least 1).
        consumed: usize,
    },
    /// The opening handshake is over: [`Handler::on_open`](crate::Handler::on_open) is called now. Only of a protocol that
    /// does not [open at once](Protocol::OPENS_AT_ONCE), once, and before the first message.
    Opened {
        /// Bytes that it took from the front of the input (at least 1).
        consumed: usize,
    },
    /// The conversation has ended as the protocol has it: the connection is flushed and closed in order. What lies behind
    /// is discarded.
    End {
        /// Bytes that it took from the front of the input (at least 1).
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

    /// The same with another message, for a protocol that gives a layer below it a meaning.
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

    /// As [`map`](Self::map) with a change that can find the message wrong.
    ///
    /// ```
    /// use ringwheel::protocol::Unpacked;
    ///
    /// let line = Unpacked::Message { message: "seven", consumed: 7 };
    /// assert!(line.try_map(str::parse::<u32>).is_err());
    /// ```
    ///
    /// # Errors
    /// What `change` returns.
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

/// Everything besides the input that a decoder works with, for the length of a call.
#[derive(Debug)]
#[non_exhaustive]
pub struct UnpackContext<'a, E> {
    /// The connection's output, for what the protocol answers by itself: a pong, a farewell. What is put here before an
    /// error is returned is sent before the connection closes.
    pub output: &'a mut Output,
    /// The connection's writing half, in which everything lives that both halves need: a close that was begun, the state of
    /// a compressor, times of pings.
    pub encoder: &'a mut E,
    /// The time since the loop started, as of its current iteration.
    pub now: Duration,
    /// The peer's address.
    pub peer: &'a Address,
    /// True if silence must not be held against the peer now: something that it has sent is unread, because the handler has
    /// paused reading or the output is above the high-water mark, or output is pending, behind which it has not seen what it
    /// would answer. Postpone timeouts instead of firing them. (For a peer that takes none of the output there is
    /// [`Listen::write_stall_timeout`](crate::Listen::write_stall_timeout).)
    pub peer_is_held_back: bool,
}

impl<'a, E> UnpackContext<'a, E> {
    #[inline]
    pub(crate) fn new(
        output: &'a mut Output,
        encoder: &'a mut E,
        now: Duration,
        peer: &'a Address,
    ) -> Self {
        UnpackContext {
            output,
            encoder,
            now,
            peer,
            peer_is_held_back: false,
        }
    }

    /// A context without a connection, at time zero and with an unspecified peer, to try a decoder with
    /// [`Output::detached`].
    pub fn detached(output: &'a mut Output, encoder: &'a mut E) -> Self {
        UnpackContext::new(output, encoder, Duration::ZERO, &NOBODY)
    }

    /// The same context at another time.
    #[must_use]
    pub fn at(self, now: Duration) -> Self {
        UnpackContext { now, ..self }
    }

    /// The same context with another encoder: what a protocol hands to the decoder of the protocol below it. `inner` finds
    /// that one's encoder in ours.
    ///
    /// ```
    /// use ringwheel::protocol::{Decode, Lines, Output, Protocol, UnpackContext, Unpacked};
    ///
    /// /// An encoder around that of `Lines`.
    /// struct Outer {
    ///     lines: Lines,
    /// }
    ///
    /// let (mut decoder, lines) = Lines::default().open();
    /// let (mut outer, mut output) = (Outer { lines }, Output::detached());
    /// let mut context = UnpackContext::detached(&mut output, &mut outer);
    ///
    /// let mut input = *b"seven\n";
    /// let line = decoder.unpack(&mut input, &mut context.with_encoder(|outer| &mut outer.lines))?;
    /// assert_eq!(line.map(str::len), Unpacked::Message { message: 5, consumed: 6 });
    /// # Ok::<(), ringwheel::protocol::LinesError>(())
    /// ```
    #[inline]
    pub fn with_encoder<F>(
        &mut self,
        inner: impl FnOnce(&mut E) -> &mut F,
    ) -> UnpackContext<'_, F> {
        UnpackContext {
            output: self.output,
            encoder: inner(self.encoder),
            now: self.now,
            peer: self.peer,
            peer_is_held_back: self.peer_is_held_back,
        }
    }
}

/// The peer of a [detached](UnpackContext::detached) context.
static NOBODY: Address = Address::Ip(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)));

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
    /// The writing half that it is paired with.
    type Encoder: Encode;
    /// What the handler sees; it may borrow from the input.
    type Message<'a>;
    /// Why a peer's bytes were refused. It ends the connection, as [`CloseReason::Protocol`](crate::CloseReason).
    type Error: Error + 'static;

    /// Looks for one message at the front of `input`.
    ///
    /// `input` is never empty and begins where the last call stopped consuming. It may be changed in place (unmasking).
    /// `context` has the output and the other half, for what the protocol answers by itself.
    ///
    /// # Errors
    /// Whatever makes the input unacceptable. The decoder is not called again after an error.
    fn unpack<'a>(
        &'a mut self,
        input: &'a mut [u8],
        context: &mut UnpackContext<'_, Self::Encoder>,
    ) -> Result<Unpacked<Self::Message<'a>>, Self::Error>;

    /// What has arrived is dealt with, for now, and no message borrows from the decoder any more: what was only kept for
    /// that can go. By default nothing is.
    #[inline]
    fn end_turn(&mut self) {}

    /// Whether part of a message was consumed whose rest has not come: if the peer ends its stream now, the connection ends
    /// with [`CloseReason::Truncated`](crate::CloseReason::Truncated), as it does when input is left, and the time of
    /// [`Listen::message_timeout`](crate::Listen::message_timeout) runs. Asked after each message and each turn. By default
    /// it is not.
    fn is_within_message(&self) -> bool {
        false
    }

    /// Whether the protocol has deadlines of its own; if not, the two methods below are not called.
    const HAS_DEADLINES: bool = false;

    /// When [`on_deadline`](Self::on_deadline) is to be called, as time since the loop started; `None` for never.
    ///
    /// It is asked when the connection opens, after each turn in which it unpacked or was packed for, and after each deadline.
    /// A deadline that moves back in the meantime costs nothing: `on_deadline` is then called early, does nothing, and names
    /// the new one. None is met once our end of the stream is closed.
    fn next_deadline(&mut self, encoder: &mut Self::Encoder, now: Duration) -> Option<Duration> {
        let _ = (encoder, now);
        None
    }

    /// The time named by [`next_deadline`](Self::next_deadline) has come, or passed.
    ///
    /// # Errors
    /// What ends the connection, as in [`unpack`](Self::unpack); farewell bytes are sent before.
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
///     fn borrow(owned: &Vec<u8>) -> &[u8] {
///         owned
///     }
///
///     fn pack(&mut self, item: &[u8], output: &mut Output) -> Result<(), PackError> {
///         let length = u8::try_from(item.len()).map_err(|_| PackError("longer than 255 bytes"))?;
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
    /// What [`Conn::send`](crate::Conn::send) takes.
    type Item<'a>;
    /// An item that owns its content, for sends from other threads ([`ConnHandle::send`](crate::ConnHandle::send)).
    type Owned: Send + Sync + 'static;

    /// The borrowed form of an owned item.
    fn borrow(owned: &Self::Owned) -> Self::Item<'_>;

    /// Writes `item` as bytes straight into the connection's output.
    ///
    /// # Errors
    /// [`PackError`] when the protocol cannot express the item. What was written for it is then taken back.
    fn pack(&mut self, item: Self::Item<'_>, output: &mut Output) -> Result<(), PackError>;

    /// As [`pack`](Self::pack) with an item that several connections may share, so that a costly encoding can be kept with
    /// it.
    ///
    /// # Errors
    /// As [`pack`](Self::pack).
    #[inline]
    fn pack_owned(&mut self, owned: &Self::Owned, output: &mut Output) -> Result<(), PackError> {
        self.pack(Self::borrow(owned), output)
    }

    /// Says what is to be said before anything is heard. By default nothing.
    fn greet(&mut self, output: &mut Output) {
        let _ = output;
    }

    /// Says the last words before our end of the stream, once: called when the connection is about to close in order, for
    /// whatever reason, with everything that was sent before in the output. By default there are none.
    fn farewell(&mut self, why: Farewell, output: &mut Output) -> Parting {
        let _ = (why, output);
        Parting::AtOnce
    }
}

/// Why [`Encode::farewell`] is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Farewell {
    /// The handler, or another thread, closes the connection.
    Closed,
    /// The server shuts down.
    Shutdown,
    /// The peer has ended its stream, or the protocol has come to its own end.
    PeerEnded,
    /// The decoder refused the peer's bytes.
    Refused,
    /// A message does not fit below [`Limits::input`](crate::Limits::input).
    InputLimit,
    /// A callback panicked.
    Panic,
}

/// What follows a farewell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Parting {
    /// Our end of the stream, once everything has left.
    AtOnce,
    /// The peer's answer: the decoder goes on unpacking until it returns [`Unpacked::End`], the peer ends its stream, or
    /// [`Listen::close_timeout`](crate::Listen::close_timeout) has passed. Messages that it still finds are not delivered.
    AwaitAnswer,
}

/// An [`Encode`] whose items are plain payload bytes and can be given in parts, which are sent as one message.
///
/// ```
/// use ringwheel::{Conn, protocol::LengthPrefixed};
///
/// /// Sends one frame without joining its parts first.
/// fn send_record(conn: &mut Conn<'_, LengthPrefixed>, header: &[u8], body: &[u8]) {
///     conn.send_vectored(&[header, body]);
/// }
/// ```
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
    /// Whether a connection is open for the handler as soon as it is accepted. If not,
    /// [`Handler::on_open`](crate::Handler::on_open) waits for [`Unpacked::Opened`], and a connection that ends before has
    /// no callback at all.
    const OPENS_AT_ONCE: bool = true;
    /// The reading half.
    type Decoder: Decode<Encoder = Self::Encoder>;
    /// The writing half.
    type Encoder: Encode;

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
    /// Why, in words.
    pub &'static str,
);

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the protocol cannot express this item: {}", self.0)
    }
}

impl Error for PackError {}
