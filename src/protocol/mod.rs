//! How bytes become messages and messages become bytes.
//!
//! A [`Protocol`] is a factory: for each connection it makes one [`Decode`] half and one [`Encode`] half. They are two
//! values, so that a message that still borrows from the input can be answered through the other half.
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

mod delimited;
mod fixed_length;
mod length_prefixed;
mod lines;
mod raw;
mod typed_frames;

pub use delimited::{Delimited, DelimitedError};
pub use fixed_length::FixedLength;
pub use length_prefixed::{LengthPrefixed, LengthPrefixedError};
pub use lines::{Lines, LinesError};
pub use raw::Raw;
pub use typed_frames::{TypedFrame, TypedFrameBuf, TypedFrames, TypedFramesError};

pub use crate::output::Output;

use std::error::Error;
use std::fmt;

/// What [`Decode::unpack`] found at the front of the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Unpacked<M> {
    /// No whole message yet; nothing is consumed. The decoder is not asked again before `at_least` further bytes have
    /// arrived (0 counts as 1), so naming the true number saves calls; naming too many stalls the connection.
    NeedMore {
        /// Bytes still missing.
        at_least: usize,
    },
    /// `consumed` bytes (at least 1) were dealt with and give no message: a blank line, a ping that was answered through
    /// `reply`.
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
}

/// The reading half of a protocol.
pub trait Decode: 'static {
    /// What the handler sees; it may borrow from the input.
    type Message<'a>;
    /// Why a peer's bytes were refused. It ends the connection, as [`CloseReason::Protocol`](crate::CloseReason).
    type Error: Error + 'static;

    /// Looks for one message at the front of `input`.
    ///
    /// `input` is never empty and begins where the last call stopped consuming. It may be changed in place (unmasking).
    /// What the protocol answers by itself (a pong, a farewell) goes into `reply`, also when it then returns an error:
    /// the reply is sent before the connection closes.
    ///
    /// # Errors
    /// Whatever makes the input unacceptable. The decoder is not called again after an error.
    fn unpack<'a>(
        &'a mut self,
        input: &'a mut [u8],
        reply: &mut Output,
    ) -> Result<Unpacked<Self::Message<'a>>, Self::Error>;
}

/// The writing half of a protocol.
pub trait Encode: 'static {
    /// What [`Conn::send`](crate::Conn::send) takes.
    type Item<'a>;
    /// An item that owns its content, for sends from other threads ([`Remote::send`](crate::Remote::send)).
    type Owned: Send + Sync + 'static;

    /// The borrowed form of an owned item.
    fn borrow(owned: &Self::Owned) -> Self::Item<'_>;

    /// Writes `item` as bytes straight into the connection's output.
    ///
    /// # Errors
    /// [`Unencodable`] when the protocol cannot express the item. What was written for it is then taken back.
    fn pack(&mut self, item: Self::Item<'_>, output: &mut Output) -> Result<(), Unencodable>;
}

/// An [`Encode`] whose items are plain payload bytes and can be given in parts, which are sent as one message.
pub trait EncodeParts: Encode {
    /// As [`Encode::pack`] with the concatenation of `parts`, without concatenating them first.
    ///
    /// # Errors
    /// As [`Encode::pack`].
    fn pack_parts(&mut self, parts: &[&[u8]], output: &mut Output) -> Result<(), Unencodable>;
}

/// A factory of the two halves, one pair per connection.
pub trait Protocol: Clone + Send + 'static {
    /// The reading half.
    type Decoder: Decode;
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
pub struct Unencodable(
    /// Why, in words.
    pub &'static str,
);

impl fmt::Display for Unencodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the protocol cannot express this item: {}", self.0)
    }
}

impl Error for Unencodable {}
