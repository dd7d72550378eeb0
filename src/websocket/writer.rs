//! The frame writer: payloads become frames, compressed and masked as was agreed.
//!
//! The session says what may be sent; the writer knows how. A server without compression needs none: its frames are written by
//! [`put_plain`].

use super::frame::{FirstByte, FrameHeader};
use super::mask::{self, Key};
use super::masker::Masker;
use crate::protocol::Output;

#[cfg(feature = "deflate")]
use super::{compression::Compression, message::Message, message::MessageBuf};

/// Writes the frames of a connection that masks or compresses.
#[derive(Default)]
pub(crate) struct FrameWriter {
    /// The source of masking keys; only a client masks.
    masker: Option<Masker>,
    #[cfg(feature = "deflate")]
    compression: Option<Compression>,
}

impl FrameWriter {
    /// A client's writer.
    pub(crate) fn masking() -> Self {
        FrameWriter {
            masker: Some(Masker::default()),
            #[cfg(feature = "deflate")]
            compression: None,
        }
    }

    /// Appends a frame with this payload.
    pub(crate) fn put(&mut self, first: FirstByte, payload: &[u8], output: &mut Output) {
        match &mut self.masker {
            Some(masker) => put_masked(first, masker.next_key(), payload, output),
            None => put_plain(first, payload, output),
        }
    }
}

/// Appends a frame that is not masked.
pub(crate) fn put_plain(first: FirstByte, payload: &[u8], output: &mut Output) {
    let header = FrameHeader::new(first, payload.len(), None);
    output.put_pair(header.as_slice(), payload);
}

/// Appends a masked frame, by way of a buffer.
fn put_masked(first: FirstByte, key: Key, payload: &[u8], output: &mut Output) {
    let header = FrameHeader::new(first, payload.len(), Some(key));
    output.announce(header.as_slice().len().saturating_add(payload.len()));
    output.put_slice(header.as_slice());
    let mut buffer = [0; 4096];
    // The buffer's length is a multiple of the key's, so that each part begins with the key's first byte.
    for part in payload.chunks(buffer.len()) {
        let masked = &mut buffer[..part.len()];
        masked.copy_from_slice(part);
        mask::apply(masked, key, 0);
        output.put_slice(masked);
    }
}

#[cfg(feature = "deflate")]
impl FrameWriter {
    /// Compresses messages from now on, or no longer.
    pub(crate) fn set_compression(&mut self, compression: Option<Compression>) {
        self.compression = compression;
    }

    pub(crate) fn compression(&mut self) -> Option<&mut Compression> {
        self.compression.as_mut()
    }

    /// Appends a message, compressed if that is worth it.
    pub(crate) fn put_compressed(&mut self, message: Message<'_>, output: &mut Output) {
        let mut payload = super::deflate::frame_buffer();
        let compression = self.compression.as_mut();
        let is_compressed = compression
            .is_some_and(|compression| compression.deflate(message.as_bytes(), &mut payload));
        let first = FirstByte::last(message.opcode());
        if !is_compressed {
            return self.put(first, message.as_bytes(), output);
        }
        self.put(first.compressed(), &payload, output);
        if output.overfills() {
            // The message is taken back, so the next one must not refer to it.
            if let Some(compression) = &mut self.compression {
                compression.forget_context();
            }
        }
    }

    /// Appends a message of a server that others may share: it is compressed once for all of them that have a window of one size.
    pub(crate) fn put_shared(&mut self, item: &MessageBuf, output: &mut Output) {
        let compression = self.compression.as_mut();
        let shared = compression.and_then(|it| Some((it.shared_window()?, it)));
        let Some((window, compression)) = shared else {
            return self.put_compressed(item.as_message(), output);
        };
        match item.compressed_frame(window, |message| compression.shared_frame(message)) {
            Some(frame) => {
                output.put_slice(frame);
                compression.forget_context();
            }
            None => output.put_pair(item.header(), item.as_message().as_bytes()),
        }
    }
}
