//! permessage-deflate (RFC 7692) on the client's side, without context takeover in either direction: messages that are
//! deflated before the run, and the verification of the answers.
//!
//! Every answer is verified, yet almost nothing is inflated: without context takeover, a server's answer to a document
//! has the same bytes each time. The first answer to each document is inflated, compared with the document, and kept.
//! Later answers are compared with the kept one, and inflated only if they differ.

use std::cell::{OnceCell, RefCell};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::answer_error::AnswerError;
use super::documents;
use super::error::LoadError;
use super::frames::{self, DEFLATED_TEXT};
use super::random::SplitMix;

/// The generator's compression level: zlib's default, as in browsers.
const LEVEL: u32 = 6;
/// The end of each deflated message, which is not sent (7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Documents, and the answers to them.
#[derive(Debug)]
pub(crate) struct Documents {
    documents: Vec<Document>,
    inflater: RefCell<Inflater>,
}

#[derive(Debug)]
struct Document {
    text: String,
    /// The payload of the first answer, if it was right.
    answer: OnceCell<Box<[u8]>>,
}

impl Documents {
    /// Makes `count` different documents of `size` bytes.
    ///
    /// # Errors
    /// A size below 128 bytes or above 16 MiB is refused.
    pub(crate) fn new(count: usize, size: usize, random: &mut SplitMix) -> Result<Self, LoadError> {
        let documents = (0..count).map(|_| {
            Ok(Document {
                text: documents::document(size, random)?,
                answer: OnceCell::new(),
            })
        });
        Ok(Self {
            documents: documents.collect::<Result<_, LoadError>>()?,
            inflater: RefCell::default(),
        })
    }

    /// All documents deflated, in order.
    pub(crate) fn deflated(&self) -> impl Iterator<Item = Vec<u8>> {
        let mut deflater = Compress::new(Compression::new(LEVEL), false);
        self.documents.iter().map(move |document| {
            deflater.reset();
            deflate(&mut deflater, document.text.as_bytes())
        })
    }

    /// Checks that `payload` is a right answer to document number `index`.
    #[inline]
    fn check(&self, index: usize, payload: &[u8]) -> Result<(), AnswerError> {
        let document = &self.documents[index];
        match document.answer.get() {
            Some(answer) if **answer == *payload => Ok(()),
            _ => self.check_by_inflating(document, payload),
        }
    }

    #[cold]
    fn check_by_inflating(&self, document: &Document, payload: &[u8]) -> Result<(), AnswerError> {
        let expected = document.text.as_bytes();
        let mut inflater = self.inflater.borrow_mut();
        let found = inflater.inflate(payload, expected.len())?;
        if found != expected {
            let same = found.iter().zip(expected).take_while(|(a, b)| a == b);
            return Err(AnswerError::OtherText {
                offset: same.count(),
            });
        }
        document.answer.get_or_init(|| payload.into());
        Ok(())
    }
}

/// Deflates a text to a message's payload (7.2.1).
fn deflate(deflater: &mut Compress, text: &[u8]) -> Vec<u8> {
    // Stored blocks, the worst case, add 5 bytes per 64 KiB; an output that is never full needs a single call.
    let mut output = Vec::with_capacity(text.len() + text.len() / 1000 + 64);
    let status = deflater.compress_vec(text, &mut output, FlushCompress::Sync);
    debug_assert!(matches!(status, Ok(flate2::Status::Ok)));
    debug_assert_eq!(deflater.total_in(), text.len() as u64);
    debug_assert!(output.ends_with(&TAIL));
    output.truncate(output.len() - TAIL.len());
    output
}

/// Inflates messages one after the other, without context takeover.
#[derive(Debug)]
struct Inflater {
    stream: Decompress,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Default for Inflater {
    fn default() -> Self {
        Self {
            stream: Decompress::new(false),
            input: Vec::new(),
            output: Vec::new(),
        }
    }
}

impl Inflater {
    /// Inflates to at most one byte more than `length`, enough to detect a text that is too long.
    fn inflate(&mut self, payload: &[u8], length: usize) -> Result<&[u8], AnswerError> {
        self.stream.reset(false);
        self.input.clear();
        self.input.extend_from_slice(payload);
        self.input.extend_from_slice(&TAIL);
        self.output.clear();
        self.output.reserve_exact(length + 1);
        let limit = self.output.capacity();
        // A final block (7.2.3.4) ends the stream before the input ends; its remaining input is returned.
        self.stream
            .decompress_vec(&self.input, &mut self.output, FlushDecompress::Sync)
            .map_err(|_| AnswerError::Corrupt)?;
        debug_assert!(self.output.len() <= limit);
        Ok(&self.output)
    }
}

/// The position of one connection in the sequence of answers.
///
/// Invariant: `partial` is empty, or an incomplete frame.
#[derive(Debug)]
pub(crate) struct Answers {
    /// Number of the document whose answer comes next.
    document: usize,
    partial: Vec<u8>,
    /// Number of complete answers received.
    received: u64,
}

/// An error that ends the answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// This answer, counted from 0, is wrong.
    Wrong(u64, AnswerError),
    /// A close frame arrived instead, with these bytes so far.
    Close(Vec<u8>),
    /// This many bytes more than expected arrived.
    Surplus(usize),
}

impl Answers {
    /// The answers of a connection whose first document is number `first`.
    pub(crate) fn from(first: usize) -> Self {
        Self {
            document: first,
            partial: Vec::new(),
            received: 0,
        }
    }

    /// Takes the bytes that have arrived, and returns how many answers they complete, of at most `owed`.
    #[inline]
    pub(crate) fn take(
        &mut self,
        documents: &Documents,
        piece: &[u8],
        verify: bool,
        owed: usize,
    ) -> Result<usize, Stop> {
        if self.partial.is_empty() {
            let (messages, taken) = self.take_whole(documents, piece, verify, owed)?;
            self.partial.extend_from_slice(&piece[taken..]);
            return Ok(messages);
        }
        let mut bytes = std::mem::take(&mut self.partial);
        bytes.extend_from_slice(piece);
        let (messages, taken) = self.take_whole(documents, &bytes, verify, owed)?;
        bytes.drain(..taken);
        self.partial = bytes;
        Ok(messages)
    }

    /// The number of complete answers, and their bytes.
    #[inline]
    fn take_whole(
        &mut self,
        documents: &Documents,
        bytes: &[u8],
        verify: bool,
        owed: usize,
    ) -> Result<(usize, usize), Stop> {
        let (mut messages, mut taken) = (0, 0);
        while taken < bytes.len() {
            let rest = &bytes[taken..];
            if rest[0] == frames::CLOSE {
                return Err(Stop::Close(rest.to_vec()));
            }
            if messages == owed {
                return Err(Stop::Surplus(rest.len()));
            }
            let wrong = |error| Stop::Wrong(self.received, error);
            let longest = documents.documents[self.document].text.len();
            let Some((header, length)) = parse_header(rest, longest).map_err(wrong)? else {
                break;
            };
            let Some(payload) = rest.get(header..header + length) else {
                break;
            };
            if verify {
                documents.check(self.document, payload).map_err(wrong)?;
            }
            self.document = (self.document + 1) % documents.documents.len();
            self.received += 1;
            messages += 1;
            taken += header + length;
        }
        Ok((messages, taken))
    }
}

/// The lengths of an answer's header and payload, which must be shorter than `document`; `None` if too few bytes are
/// there.
#[inline]
fn parse_header(bytes: &[u8], document: usize) -> Result<Option<(usize, usize)>, AnswerError> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    if *first != DEFLATED_TEXT {
        return Err(AnswerError::FirstByte(*first));
    }
    let (extended, length) = match second {
        0x80.. => return Err(AnswerError::Masked),
        126 => (
            rest.first_chunk()
                .map(|it| u64::from(u16::from_be_bytes(*it))),
            2,
        ),
        127 => (rest.first_chunk().map(|it| u64::from_be_bytes(*it)), 8),
        length => (Some(u64::from(*length)), 0),
    };
    match extended {
        None => Ok(None),
        Some(found) if found >= document as u64 => Err(AnswerError::NotShorter { length: found }),
        // Below the length of a document, so the cast is exact.
        Some(found) => Ok(Some((2 + length, found as usize))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 1024;

    fn documents() -> Documents {
        Documents::new(3, SIZE, &mut SplitMix::new(5)).unwrap()
    }

    /// A right answer, deflated at `level`.
    fn answer(documents: &Documents, index: usize, level: u32) -> Vec<u8> {
        let mut deflater = Compress::new(Compression::new(level), false);
        let text = documents.documents[index].text.as_bytes();
        frame(&deflate(&mut deflater, text))
    }

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        frames::append_server_frame(&mut frame, DEFLATED_TEXT, payload);
        frame
    }

    #[test]
    fn documents_are_distinct_and_deflate_well() {
        let documents = documents();
        let deflated: Vec<_> = documents.deflated().collect();
        for (index, payload) in deflated.iter().enumerate() {
            assert!(
                (SIZE / 5..SIZE * 2 / 3).contains(&payload.len()),
                "{}",
                payload.len()
            );
            documents.check(index, payload).unwrap();
            assert!(documents.check((index + 1) % 3, payload).is_err());
        }
    }

    #[test]
    fn answers_cut_anywhere_are_counted_whatever_they_were_deflated_by() {
        let documents = documents();
        let stream: Vec<u8> = [(0, 1), (1, 9), (2, 1), (0, 6), (1, 9)]
            .iter()
            .flat_map(|&(index, level)| answer(&documents, index, level))
            .collect();
        for cut in 0..=stream.len() {
            let mut answers = Answers::from(0);
            let mut messages = 0;
            for piece in [&stream[..cut], &stream[cut..]] {
                messages += answers.take(&documents, piece, true, 5 - messages).unwrap();
            }
            assert_eq!((messages, answers.document, answers.received), (5, 2, 5));
            assert!(answers.partial.is_empty());
        }
    }

    #[test]
    fn a_byte_at_a_time_is_enough() {
        let documents = documents();
        let stream = [answer(&documents, 2, 1), answer(&documents, 0, 1)].concat();
        let mut answers = Answers::from(2);
        let messages: usize = stream
            .chunks(1)
            .map(|byte| answers.take(&documents, byte, true, 2).unwrap())
            .sum();
        assert_eq!(messages, 2);
    }

    #[test]
    fn wrong_answers_are_named_also_after_right_ones() {
        let documents = documents();
        let right = answer(&documents, 0, 1);
        let with = |at: usize, byte: u8| {
            let mut bytes = right.clone();
            bytes[at] = byte;
            bytes
        };
        let text = documents.documents[0].text.as_bytes().to_vec();
        let mut stored = Compress::new(Compression::none(), false);
        let cases = [
            (with(0, 0x81), AnswerError::FirstByte(0x81)),
            (with(0, 0xc2), AnswerError::FirstByte(0xc2)),
            (with(1, right[1] | 0x80), AnswerError::Masked),
            (frame(&text), AnswerError::NotShorter { length: 1024 }),
            (
                frame(&deflate(&mut stored, &text)),
                AnswerError::NotShorter { length: 1024 + 6 },
            ),
            (frame(&[0xff; 100]), AnswerError::Corrupt),
            (frame(&[]), AnswerError::OtherText { offset: 0 }),
        ];
        for (bytes, expected) in cases {
            let mut answers = Answers::from(0);
            for number in 0..2 {
                answers.document = 0;
                let error = answers.take(&documents, &bytes, true, 1).unwrap_err();
                assert_eq!(error, Stop::Wrong(number, expected.clone()));
                // The same once a right answer is known.
                answers = Answers::from(0);
                assert_eq!(answers.take(&documents, &right, true, 1), Ok(1));
            }
        }
    }

    #[test]
    fn a_text_with_one_letter_changed_is_found() {
        let documents = documents();
        let mut text = documents.documents[0].text.clone().into_bytes();
        text[500] ^= 1;
        let payload = deflate(&mut Compress::new(Compression::new(1), false), &text);
        let error = Answers::from(0).take(&documents, &frame(&payload), true, 1);
        assert_eq!(
            error,
            Err(Stop::Wrong(0, AnswerError::OtherText { offset: 500 }))
        );
        // Without verification it passes.
        assert_eq!(
            Answers::from(0).take(&documents, &frame(&payload), false, 1),
            Ok(1)
        );
        // A text that is changed at a later byte is wrong, too.
        text[500] ^= 1;
        text.push(b' ');
        let payload = deflate(&mut Compress::new(Compression::new(1), false), &text);
        let error = Answers::from(0).take(&documents, &frame(&payload), true, 1);
        assert_eq!(
            error,
            Err(Stop::Wrong(0, AnswerError::OtherText { offset: SIZE }))
        );
    }

    #[test]
    fn surplus_bytes_and_close_frames_are_distinguished() {
        let documents = documents();
        let two = [answer(&documents, 0, 1), answer(&documents, 1, 1)].concat();
        let second = two.len() - answer(&documents, 0, 1).len();
        let error = Answers::from(0).take(&documents, &two, true, 1);
        assert_eq!(error, Err(Stop::Surplus(second)));
        let close = [frames::CLOSE, 2, 3, 232];
        let error = Answers::from(0).take(&documents, &close, true, 1);
        assert_eq!(error, Err(Stop::Close(close.into())));
    }
}
