//! The assembly of a message that comes in parts: in fragments, compressed, or too large for one read.
//!
//! The reader begins one with the first frame of such a message and lets go of it once the message was delivered.

use std::cell::RefCell;

use super::delivery::Delivery;
use super::error::{Violation, WebSocketError};
use super::frame::{Header, Opcode};
use super::mask::{self, Key};
use super::message::{Kind, Message, Piece};
use super::session::{Inflated, Session};
use super::settings::Settings;
use super::text::Cut;
use crate::protocol::UnpackContext;

/// A message that is arriving: the payload so far, and the position of the input in the current frame.
///
/// Fragments are merged as they come, so the assembly holds at most twice the payload (a buffer grows by doubling), however
/// small the fragments are.
#[derive(Debug)]
pub(crate) struct Assembly {
    content: Content,
    /// The most bytes that the message may have, inflated.
    max_message: usize,
    is_compressed: bool,
    /// The current frame ends the message.
    is_final: bool,
    key: Option<Key>,
    /// The offset into the key for the next byte of the current frame.
    mask_offset: usize,
    /// Payload bytes of the current frame that are still to come.
    rest: u64,
    /// Payload bytes of all frames so far, with the whole current one; not inflated.
    received: u64,
    /// Bytes that were inflated.
    inflated: usize,
    /// Header bytes of all frames so far, without the first.
    overhead: usize,
    /// No piece of the message was handed out yet.
    is_untouched: bool,
}

/// The result of [`Assembly::collect`].
pub(crate) enum Collected {
    /// There is nothing to hand out yet.
    Nothing { consumed: usize },
    /// The message, or its next piece, is in the assembly.
    Here { consumed: usize },
    /// The next piece is these bytes of the input.
    InInput { from: usize, to: usize },
}

/// Compressed bytes that are inflated at a time where a message is handed out in pieces: each of them inflates to at most
/// 1,032 bytes.
const INFLATED_AT_ONCE: usize = 256;

/// Compressed bytes that are unmasked at a time. Bytes for which the budget of the turn does not last are masked again.
const UNMASKED_AT_ONCE: usize = 1024;

/// The payload so far.
#[derive(Debug)]
enum Content {
    /// Whole characters, and the beginning of the next one.
    Text(String, Cut),
    Binary(Vec<u8>),
}

impl Assembly {
    /// An assembly for the message that begins with this frame.
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
            mask_offset: 0,
            rest: 0,
            received: 0,
            inflated: 0,
            overhead: 0,
            is_untouched: true,
        }
    }

    /// Begins the next frame of the message, within the limits.
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
        // The first header is not counted: every message has one.
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
        self.mask_offset = 0;
        self.rest = header.length;
        Ok(())
    }

    /// Bytes that the message has taken so far: the assembly, and the decompressor that it keeps until its end.
    pub(crate) fn held(&self) -> usize {
        #[cfg(feature = "deflate")]
        let decompressor = usize::from(self.is_compressed) * super::deflate::DECOMPRESSOR_BYTES;
        #[cfg(not(feature = "deflate"))]
        let decompressor = 0;
        size_of::<Self>() + self.capacity() + decompressor
    }

    fn capacity(&self) -> usize {
        match &self.content {
            Content::Text(text, _) => text.capacity(),
            Content::Binary(bytes) => bytes.capacity(),
        }
    }

    /// True if the next bytes of the input are payload of the message.
    pub(crate) fn is_within_frame(&self) -> bool {
        self.rest > 0
    }

    /// True if all of the message has come.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_final && self.rest == 0
    }

    /// Takes the payload of the current frame from the input, which begins with a header of `header` bytes, or with none.
    pub(crate) fn collect<D: Delivery, S>(
        &mut self,
        input: &mut [u8],
        header: usize,
        context: &mut UnpackContext<'_, Session<S>>,
    ) -> Result<Collected, WebSocketError> {
        if D::PIECES {
            self.clear();
        }
        let payload = &mut input[header..];
        let count = match self.is_compressed {
            true if D::PIECES => self.inflate(payload, INFLATED_AT_ONCE, context)?,
            true => self.inflate_while_budget_lasts(payload, context)?,
            false => {
                let count = self.unmask(payload, usize::MAX);
                match D::PIECES {
                    true => self.check(&payload[..count])?,
                    false => self.append(&payload[..count])?,
                }
                count
            }
        };
        let consumed = header + count;
        let is_complete = self.is_complete();
        if is_complete {
            self.check_end()?;
        }
        Ok(match D::PIECES {
            true if count == 0 && !is_complete => Collected::Nothing { consumed },
            true if self.is_compressed => Collected::Here { consumed },
            true => Collected::InInput {
                from: header,
                to: consumed,
            },
            false if is_complete => Collected::Here { consumed },
            false => Collected::Nothing { consumed },
        })
    }

    /// Unmasks the payload of the current frame at the front of `input` in place, at most `most` bytes. Returns the number of
    /// bytes.
    fn unmask(&mut self, input: &mut [u8], most: usize) -> usize {
        let count = usize::try_from(self.rest)
            .unwrap_or(usize::MAX)
            .min(input.len())
            .min(most);
        if let Some(key) = self.key {
            mask::apply(&mut input[..count], key, self.mask_offset);
        }
        self.mask_offset = (self.mask_offset + count) % 4;
        self.rest -= count as u64;
        count
    }

    /// Masks the last bytes again that [`unmask`](Self::unmask) has unmasked, and leaves them to a later call.
    fn put_back(&mut self, bytes: &mut [u8]) {
        self.mask_offset = self.mask_offset.wrapping_sub(bytes.len()) % 4;
        self.rest += bytes.len() as u64;
        if let Some(key) = self.key {
            mask::apply(bytes, key, self.mask_offset);
        }
    }

    /// Inflates the payload of the current frame at the front of `input`, until the budget of the turn is spent. Returns the
    /// number of bytes that were taken.
    fn inflate_while_budget_lasts<S>(
        &mut self,
        input: &mut [u8],
        context: &mut UnpackContext<'_, Session<S>>,
    ) -> Result<usize, WebSocketError> {
        let mut taken = 0;
        loop {
            taken += self.inflate(&mut input[taken..], UNMASKED_AT_ONCE, context)?;
            if taken == input.len() || self.rest == 0 || context.work_left() == 0 {
                return Ok(taken);
            }
        }
    }

    /// Inflates at most `most` bytes of the payload of the current frame at the front of `input`, within the limit, and charges
    /// the turn. Returns the number of bytes that were taken.
    fn inflate<S>(
        &mut self,
        input: &mut [u8],
        most: usize,
        context: &mut UnpackContext<'_, Session<S>>,
    ) -> Result<usize, WebSocketError> {
        let count = self.unmask(input, most);
        let bytes = &mut input[..count];
        let room = self.max_message.saturating_sub(self.inflated);
        let (is_last, most) = (self.is_complete(), context.work_left());
        let mut sink = |chunk: &[u8]| {
            self.inflated += chunk.len();
            self.append(chunk)
        };
        let session = &mut *context.encoder;
        let Inflated { consumed, work } = session.inflate(bytes, is_last, room, most, &mut sink)?;
        context.charge(work);
        self.put_back(&mut bytes[consumed..]);
        Ok(consumed)
    }

    /// Appends to the message; text is checked.
    fn append(&mut self, bytes: &[u8]) -> Result<(), WebSocketError> {
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

    /// Makes room for `more` bytes. A large buffer grows by half, and from half of the limit on to the limit; and at once to the
    /// announced length, as far as a multiple of what has come. A buffer that a message of this size has left is used again.
    ///
    /// Without this a buffer doubles, and the buffers that it leaves behind are together never enough for the next one: for a
    /// message at the limit the process would grow by two to three times the limit. Now it grows by less than two.
    fn make_room(&mut self, more: usize) {
        let (length, capacity) = match &self.content {
            Content::Text(text, _) => (text.len(), text.capacity()),
            Content::Binary(bytes) => (bytes.len(), bytes.capacity()),
        };
        let needed = length.saturating_add(more);
        let announced = self.announced().min(needed.saturating_mul(ANNOUNCED_MAX));
        if needed <= capacity || capacity.max(announced) < DOUBLED_TO {
            return;
        }
        let grown = match () {
            () if capacity < DOUBLED_TO => announced,
            () if capacity > self.max_message / 2 => self.max_message,
            () => announced.max(capacity + capacity / 2),
        };
        let grown = grown.max(needed);
        if let Some(buffer) = large_buffer(grown) {
            return self.move_to(buffer);
        }
        let additional = grown - length;
        match &mut self.content {
            Content::Text(text, _) => text.reserve_exact(additional),
            Content::Binary(bytes) => bytes.reserve_exact(additional),
        }
    }

    /// The length of the message as far as it is announced: with the whole current frame, which may be inflated to more.
    fn announced(&self) -> usize {
        usize::try_from(self.received).unwrap_or(usize::MAX)
    }

    /// Moves the payload so far to another buffer, which is empty.
    fn move_to(&mut self, mut buffer: Vec<u8>) {
        match &mut self.content {
            Content::Text(text, _) => {
                let mut moved = String::from_utf8(buffer).expect("a spare buffer is empty");
                moved.push_str(text);
                *text = moved;
            }
            Content::Binary(bytes) => {
                buffer.extend_from_slice(bytes);
                *bytes = buffer;
            }
        }
    }

    /// Checks bytes that are handed out from the input and not kept.
    fn check(&mut self, bytes: &[u8]) -> Result<(), WebSocketError> {
        match &mut self.content {
            Content::Text(_, cut) => cut
                .check(bytes, |_| {})
                .map_err(|_| WebSocketError::InvalidUtf8),
            Content::Binary(_) => Ok(()),
        }
    }

    /// Checks that the message may end here: a text not within a character.
    fn check_end(&self) -> Result<(), WebSocketError> {
        match &self.content {
            Content::Text(_, cut) if !cut.is_between_characters() => {
                Err(WebSocketError::InvalidUtf8)
            }
            _ => Ok(()),
        }
    }

    fn kind(&self) -> Kind {
        match self.content {
            Content::Text(..) => Kind::Text,
            Content::Binary(_) => Kind::Binary,
        }
    }

    /// The next piece of the message, with these bytes or with those that were appended.
    pub(crate) fn piece<'a>(&'a mut self, in_input: Option<&'a [u8]>) -> Piece<'a> {
        let is_first = std::mem::take(&mut self.is_untouched);
        Piece {
            kind: self.kind(),
            bytes: in_input.unwrap_or(self.message().as_bytes()),
            is_first,
            is_last: self.is_complete(),
        }
    }

    /// The bytes that were appended so far; of a text the whole characters.
    pub(crate) fn message(&self) -> Message<'_> {
        match &self.content {
            Content::Text(text, _) => Message::Text(text),
            Content::Binary(bytes) => Message::Binary(bytes),
        }
    }

    /// Removes the bytes that were appended.
    fn clear(&mut self) {
        match &mut self.content {
            Content::Text(text, _) => text.clear(),
            Content::Binary(bytes) => bytes.clear(),
        }
    }

    /// Gives the buffer back to the thread's spare ones. Large ones are kept only where the peer has sent as many bytes: to
    /// inflate costs more than to allocate.
    pub(crate) fn recycle(self) {
        let buffer = match self.content {
            Content::Text(text, _) => text.into_bytes(),
            Content::Binary(bytes) => bytes,
        };
        if buffer.capacity() <= SPARE_CAPACITY {
            keep_spare(buffer);
        } else if !self.is_compressed {
            keep_large(buffer);
        }
    }
}

/// Checks that a frame of this kind may come now, within an unfinished message or not (section 5.4).
pub(crate) fn check_order(header: &Header, is_unfinished: bool) -> Result<(), Violation> {
    match header.opcode {
        Opcode::Continuation if !is_unfinished => Err(Violation::StrayContinuation),
        Opcode::Text | Opcode::Binary if is_unfinished => Err(Violation::UnfinishedMessage),
        _ => Ok(()),
    }
}

/// The capacity below which a buffer doubles when it grows: small buffers cost by the calls, not by the bytes.
const DOUBLED_TO: usize = 128 * 1024;

/// The multiple of the payload that has come up to which the announced length is believed.
const ANNOUNCED_MAX: usize = 4;

/// The most buffers that a thread keeps for the next messages.
const SPARE_BUFFERS: usize = 4;
/// The largest capacity of a buffer that is kept among those.
const SPARE_CAPACITY: usize = 64 * 1024;
/// The most large buffers that a thread keeps besides, and their bytes together: those of messages whose buffers cost more to
/// allocate than to fill.
const LARGE_BUFFERS: usize = 4;
const LARGE_BYTES: usize = 4 * 1024 * 1024;

thread_local! {
    /// Empty buffers with a capacity.
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    /// Empty buffers with a large capacity, the oldest first.
    static LARGE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer.
fn spare_buffer() -> Vec<u8> {
    SPARE
        .with_borrow_mut(|spare| spare.pop())
        .unwrap_or_default()
}

/// The smallest large buffer of at least this capacity, unless it has more than twice as much.
fn large_buffer(capacity: usize) -> Option<Vec<u8>> {
    let most = capacity.saturating_mul(2);
    LARGE.with_borrow_mut(|large| {
        let fitting = large.iter().enumerate();
        let fitting = fitting.filter(|(_, it)| (capacity..=most).contains(&it.capacity()));
        let (index, _) = fitting.min_by_key(|(_, it)| it.capacity())?;
        Some(large.remove(index))
    })
}

/// Keeps a large buffer for later, in place of older ones if there is no room.
fn keep_large(mut buffer: Vec<u8>) {
    if buffer.capacity() > LARGE_BYTES {
        return;
    }
    buffer.clear();
    LARGE.with_borrow_mut(|large| {
        large.push(buffer);
        let bytes = |large: &[Vec<u8>]| large.iter().map(Vec::capacity).sum::<usize>();
        while large.len() > LARGE_BUFFERS || bytes(large) > LARGE_BYTES {
            large.remove(0);
        }
    });
}

/// Keeps a small buffer for later, if it has a capacity.
fn keep_spare(mut buffer: Vec<u8>) {
    if buffer.capacity() > 0 {
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < SPARE_BUFFERS {
                buffer.clear();
                spare.push(buffer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The large buffers of this test's thread are its own.
    #[test]
    fn large_buffers_are_kept_within_bounds_and_lent_by_size() {
        let kept =
            || LARGE.with_borrow(|large| large.iter().map(Vec::capacity).collect::<Vec<_>>());
        for kibibytes in [100, 200, 300, 400, 500] {
            keep_large(vec![7; kibibytes << 10]);
        }
        assert_eq!(kept(), [200 << 10, 300 << 10, 400 << 10, 500 << 10]);
        let lent = large_buffer(250 << 10).unwrap();
        assert!(lent.is_empty() && lent.capacity() == 300 << 10);
        // More than twice as large as needed, or too small.
        assert!(large_buffer(90 << 10).is_none() && large_buffer(501 << 10).is_none());
        keep_large(Vec::with_capacity(LARGE_BYTES - (500 << 10)));
        assert_eq!(kept(), [500 << 10, LARGE_BYTES - (500 << 10)]);
        keep_large(Vec::with_capacity(LARGE_BYTES + 1));
        assert_eq!(kept().len(), 2);
    }

    #[test]
    fn a_buffer_grows_at_once_to_what_is_announced_and_partly_there() {
        let mut assembly = Assembly {
            content: Content::Binary(Vec::new()),
            max_message: 64 << 20,
            is_compressed: false,
            is_final: true,
            key: None,
            mask_offset: 0,
            rest: 0,
            received: 1 << 20,
            inflated: 0,
            overhead: 0,
            is_untouched: true,
        };
        assembly.append(&[0; 64 << 10]).unwrap();
        let capacity = |assembly: &Assembly| match &assembly.content {
            Content::Binary(bytes) => bytes.capacity(),
            Content::Text(text, _) => text.capacity(),
        };
        assert_eq!(capacity(&assembly), 256 << 10);
        assembly.append(&[0; 200 << 10]).unwrap();
        assert_eq!(capacity(&assembly), 1 << 20);
    }
}
