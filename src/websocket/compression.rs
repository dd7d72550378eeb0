//! permessage-deflate of one connection: both engines, and when they let go of memory.

use std::time::Duration;

use bytes::Bytes;

use super::assembly::Assembly;
use super::deflate::{Agreed, Deflate, Deflater, InflateError, Inflater};
use super::error::WebSocketError;
use super::frame::Written;
use super::message::Message;

/// Window bits of a peer that has not asked for fewer.
const LARGEST_WINDOW: u8 = 15;

/// Compresses and inflates messages as was agreed.
#[derive(Debug)]
pub(crate) struct Compression {
    deflater: Deflater,
    inflater: Inflater,
    settings: Deflate,
    agreed: Agreed,
    /// When the compressor is looked at next; set when it is used first.
    next_release: Option<Duration>,
}

impl Compression {
    pub(crate) fn new(agreed: Agreed, settings: &Deflate) -> Self {
        Compression {
            deflater: Deflater::new(agreed, settings),
            inflater: Inflater::new(agreed, settings),
            settings: *settings,
            agreed,
            next_release: None,
        }
    }

    /// Inflates a part of a message into `assembly`, which is not to hold more than `limit` bytes.
    pub(crate) fn inflate(
        &mut self,
        bytes: &[u8],
        is_last: bool,
        assembly: &mut Assembly,
        limit: usize,
    ) -> Result<(), WebSocketError> {
        let room = limit.saturating_sub(assembly.inflated);
        self.inflater
            .inflate(bytes, is_last, room, &mut |chunk| {
                assembly.inflated += chunk.len();
                assembly.append(chunk)
            })
            .map_err(|error| match error {
                InflateError::Corrupt => WebSocketError::InvalidCompression,
                InflateError::TooLong => WebSocketError::MessageTooBig,
                InflateError::Ratio => WebSocketError::CompressionRatio,
                InflateError::Sink(error) => error,
            })
    }

    /// Appends the compressed payload to `out`, if it is to be compressed.
    pub(crate) fn deflate(&mut self, payload: &[u8], out: &mut Vec<u8>) -> bool {
        self.deflater.deflate(payload, out)
    }

    /// The peer was sent what the compressor has not seen, or not what it has.
    pub(crate) fn forget_context(&mut self) {
        self.deflater.reset_context();
    }

    /// Whether what is compressed with the largest window may be sent.
    pub(crate) fn can_share(&self) -> bool {
        self.agreed.ours.window_bits == LARGEST_WINDOW
    }

    /// A whole frame with a message that is compressed by itself, if that makes it shorter.
    pub(crate) fn shared_frame(&self, message: Message<'_>) -> Option<Bytes> {
        let mut payload = super::deflate::frame_buffer();
        let mut alone = self.agreed;
        alone.ours.context_takeover = false;
        if !Deflater::new(alone, &self.settings).deflate(message.as_bytes(), &mut payload) {
            return None;
        }
        let header = Written::new(message.opcode(), true, payload.len(), None);
        Some([header.as_slice(), &payload].concat().into())
    }

    /// When [`release_if_idle`](Self::release_if_idle) is to be called.
    pub(crate) fn next_release(&mut self, now: Duration) -> Option<Duration> {
        if self.deflater.has_context() {
            let period = self.settings.idle_release_period();
            self.next_release.get_or_insert(now.saturating_add(period));
        }
        self.next_release
    }

    pub(crate) fn release_if_idle(&mut self, now: Duration) {
        if self.next_release.is_some_and(|due| due <= now) {
            let period = self.settings.idle_release_period();
            let again = self.deflater.release_if_idle();
            self.next_release = again.then(|| now.saturating_add(period));
        }
    }
}
