//! The reading halves: one opaque type for each side, around the frame reader that they share.

use std::fmt;
use std::time::Duration;

use super::accept::{Accept, AcceptAll};
use super::client::ClientOpening;
use super::delivery::{Delivery, Whole};
use super::encoder::WebSocketEncoder;
use super::error::WebSocketError;
use super::opening::ServerOpening;
use super::reader::FrameReader;
use crate::protocol::{Decode, UnpackContext, Unpacked};

/// The reading half of a [`WebSocket`](super::WebSocket).
pub struct WebSocketDecoder<A: Accept = AcceptAll, D: Delivery = Whole>(
    pub(crate) FrameReader<ServerOpening<A>, D>,
);

/// The reading half of a [`WebSocketClient`](super::WebSocketClient).
pub struct WebSocketClientDecoder(pub(crate) FrameReader<ClientOpening, Whole>);

/// Decodes by the frame reader in field 0.
macro_rules! decode_by_reader {
    ($state:ty, $delivery:ty) => {
        type Encoder = WebSocketEncoder<$state>;
        type Message<'a> = <$delivery as Delivery>::Message<'a>;
        type Error = WebSocketError;
        const HAS_DEADLINES: bool = true;

        #[inline(always)]
        fn unpack<'a>(
            &'a mut self,
            input: &'a mut [u8],
            context: &mut UnpackContext<'_, Self::Encoder>,
        ) -> Result<Unpacked<Self::Message<'a>>, WebSocketError> {
            self.0.unpack(input, context)
        }

        #[inline]
        fn end_turn(&mut self) {
            self.0.drop_delivered();
        }

        fn is_within_message(&self) -> bool {
            self.0.is_within_message()
        }

        #[inline]
        fn held(&self) -> usize {
            self.0.held()
        }

        #[inline]
        fn has_new_deadline(&self, encoder: &Self::Encoder) -> bool {
            self.0.has_new_deadline(encoder)
        }

        #[inline]
        fn next_deadline(
            &mut self,
            encoder: &mut Self::Encoder,
            now: Duration,
        ) -> Option<Duration> {
            self.0.next_deadline(encoder, now)
        }

        fn on_deadline(
            &mut self,
            context: &mut UnpackContext<'_, Self::Encoder>,
        ) -> Result<(), WebSocketError> {
            self.0.on_deadline(context)
        }
    };
}

impl<A: Accept, D: Delivery> Decode for WebSocketDecoder<A, D> {
    decode_by_reader!(A::State, D);
}

impl Decode for WebSocketClientDecoder {
    decode_by_reader!((), Whole);
}

impl<A: Accept, D: Delivery> fmt::Debug for WebSocketDecoder<A, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WebSocketDecoder").field(&self.0).finish()
    }
}

impl fmt::Debug for WebSocketClientDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WebSocketClientDecoder")
            .field(&self.0)
            .finish()
    }
}
