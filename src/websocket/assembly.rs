//! A message that comes in parts: in fragments, compressed, or too large for one read.

use std::cell::RefCell;

use super::error::{Violation, WebSocketError};
use super::frame::{Header, Opcode};
use super::mask::{self, Key};
use super::message::{Kind, Message};
use super::settings::Settings;
use super::text::Cut;

/// A message on its way: what has come of it, and where in a frame the input is.
///
/// Fragments are merged as they come, so what it holds is at most twice its payload (a buffer grows by doubling), however
/// small they are.
#[derive(Debug)]
pub(crate) struct Assembly {
    content: Content,
    /// The longest that it may become.
    max_message: usize,
    pub(crate) is_compressed: bool,
    /// The frame at hand ends the message.
    is_final: bool,
    key: Option<Key>,
    /// Payload bytes of the frame at hand that were taken, modulo 4.
    phase: usize,
    /// Payload bytes of the frame at hand that are still to come.
    rest: u64,
    /// Payload bytes of all frames so far, as they came.
    received: u64,
    /// Bytes that were inflated.
    #[cfg(feature = "deflate")]
    pub(crate) inflated: usize,
    /// Header bytes of all frames so far.
    overhead: usize,
    /// Nothing of it was handed out yet; only of pieces.
    pub(crate) is_untouched: bool,
}

/// What has come.
#[derive(Debug)]
enum Content {
    /// Whole characters, and the beginning of one.
    Text(String, Cut),
    Binary(Vec<u8>),
}

impl Assembly {
    /// For the message that begins with this frame.
    pub(crate) fn new(header: &Header) -> Self {
        let buffer = spare_buffer();
        let content = match header.opcode {
            Opcode::Text => Content::Text(
                String::from_utf8(buffer).expect("a spare buffer is empty"),
                Cut::default(),
            ),
            _ => Content::Binary(buffer),
        };
        Assembly {
            content,
            max_message: usize::MAX,
            is_compressed: header.is_compressed,
            is_final: false,
            key: None,
            phase: 0,
            rest: 0,
            received: 0,
            #[cfg(feature = "deflate")]
            inflated: 0,
            overhead: 0,
            is_untouched: true,
        }
    }

    /// Begins a frame of it, within the limits.
    pub(crate) fn begin_frame(
        &mut self,
        header: &Header,
        settings: &Settings,
    ) -> Result<(), WebSocketError> {
        debug_assert!(self.rest == 0 && !self.is_final);
        let received = self.received.saturating_add(header.length);
        if received > settings.max_message as u64 {
            return Err(WebSocketError::MessageTooBig);
        }
        // The first header is no overhead: every message has one.
        if self.received > 0 || header.opcode == Opcode::Continuation {
            self.overhead += header.size;
        }
        if self.overhead > settings.fragment_overhead {
            return Err(WebSocketError::TooManyFragments);
        }
        self.max_message = settings.max_message;
        self.received = received;
        self.is_final = header.is_final;
        self.key = header.key;
        self.phase = 0;
        self.rest = header.length;
        Ok(())
    }

    /// Whether the input is within a frame of it.
    pub(crate) fn is_within_frame(&self) -> bool {
        self.rest > 0
    }

    /// Whether its last frame is at hand and nothing of that is missing.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_final && self.rest == 0
    }

    /// Takes the payload of the frame at hand from the front of `input`, at most `most` bytes, and unmasks it in place.
    /// Returns how much it is.
    pub(crate) fn unmask(&mut self, input: &mut [u8], most: usize) -> usize {
        let count = usize::try_from(self.rest)
            .unwrap_or(usize::MAX)
            .min(input.len())
            .min(most);
        if let Some(key) = self.key {
            mask::apply(&mut input[..count], key, self.phase);
        }
        self.phase = (self.phase + count) % 4;
        self.rest -= count as u64;
        count
    }

    /// Appends to the message; text is checked.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), WebSocketError> {
        self.make_room(bytes.len());
        match &mut self.content {
            Content::Text(text, cut) => cut
                .check(bytes, |whole| text.push_str(whole))
                .map_err(|_| WebSocketError::InvalidUtf8),
            Content::Binary(buffer) => {
                buffer.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Sees that a large buffer which is full grows by half, and to the limit from half of that on.
    ///
    /// A buffer that grows by itself doubles, and what it leaves behind is together never enough for the next: for a message
    /// at the limit the process would grow by two to three times that. So it is less than two.
    fn make_room(&mut self, more: usize) {
        let (length, capacity) = match &self.content {
            Content::Text(text, _) => (text.len(), text.capacity()),
            Content::Binary(bytes) => (bytes.len(), bytes.capacity()),
        };
        let needed = length.saturating_add(more);
        if needed <= capacity || capacity < DOUBLED_TO {
            return;
        }
        let grown = match capacity > self.max_message / 2 {
            true => self.max_message,
            false => capacity + capacity / 2,
        };
        let additional = grown.max(needed) - length;
        match &mut self.content {
            Content::Text(text, _) => text.reserve_exact(additional),
            Content::Binary(bytes) => bytes.reserve_exact(additional),
        }
    }

    /// Checks bytes that are handed out and not kept.
    pub(crate) fn check(&mut self, bytes: &[u8]) -> Result<(), WebSocketError> {
        match &mut self.content {
            Content::Text(_, cut) => cut
                .check(bytes, |_| {})
                .map_err(|_| WebSocketError::InvalidUtf8),
            Content::Binary(_) => Ok(()),
        }
    }

    /// Sees that the message may end here.
    pub(crate) fn check_end(&self) -> Result<(), WebSocketError> {
        match &self.content {
            Content::Text(_, cut) if !cut.is_between_characters() => {
                Err(WebSocketError::InvalidUtf8)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.content {
            Content::Text(..) => Kind::Text,
            Content::Binary(_) => Kind::Binary,
        }
    }

    /// What was appended so far; of a text the whole characters.
    pub(crate) fn message(&self) -> Message<'_> {
        match &self.content {
            Content::Text(text, _) => Message::Text(text),
            Content::Binary(bytes) => Message::Binary(bytes),
        }
    }

    /// Forgets what was appended.
    pub(crate) fn clear(&mut self) {
        match &mut self.content {
            Content::Text(text, _) => text.clear(),
            Content::Binary(bytes) => bytes.clear(),
        }
    }

    /// Gives the buffer back.
    pub(crate) fn recycle(self) {
        keep_spare(match self.content {
            Content::Text(text, _) => text.into_bytes(),
            Content::Binary(bytes) => bytes,
        });
    }
}

/// Which frames may come, with or without a message on its way (section 5.4).
pub(crate) fn check_order(header: &Header, is_unfinished: bool) -> Result<(), Violation> {
    match header.opcode {
        Opcode::Continuation if !is_unfinished => Err(Violation::StrayContinuation),
        Opcode::Text | Opcode::Binary if is_unfinished => Err(Violation::UnfinishedMessage),
        _ => Ok(()),
    }
}

/// Below this a buffer doubles when it grows: there it is the calls that cost.
const DOUBLED_TO: usize = 128 * 1024;

/// Buffers that a thread keeps for the next messages, and the most that one of them may hold.
const SPARE_BUFFERS: usize = 4;
const SPARE_CAPACITY: usize = 64 * 1024;

thread_local! {
    /// Empty buffers with some capacity.
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer.
pub(crate) fn spare_buffer() -> Vec<u8> {
    SPARE
        .with_borrow_mut(|spare| spare.pop())
        .unwrap_or_default()
}

/// Keeps a buffer for later, if it is worth it.
pub(crate) fn keep_spare(mut buffer: Vec<u8>) {
    if (1..=SPARE_CAPACITY).contains(&buffer.capacity()) {
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < SPARE_BUFFERS {
                buffer.clear();
                spare.push(buffer);
            }
        });
    }
}
