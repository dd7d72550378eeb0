//! One end of a connection without sockets: a protocol that is fed as the loop feeds it.

use std::fmt::Debug;
use std::time::Duration;

use ringwheel::protocol::{
    Decode, Encode, ErrorOf, Farewell, MessageOf, Output, Parting, Protocol, UnpackContext,
    Unpacked,
};

use crate::input::cut;

/// A protocol whose messages can be stored.
pub(crate) trait Subject: Protocol<Decoder: Decode<Error: PartialEq>> {
    type Kept: Clone + Debug + PartialEq;
    fn keep(message: MessageOf<'_, Self>) -> Self::Kept;
}

/// A result of a decoder.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event<M> {
    Opened,
    Message(M),
    End,
}

/// The rule by which an endpoint calls its decoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Calling {
    /// Only after the bytes have arrived that the decoder declared missing, as the contract promises.
    WhenComplete,
    /// Whenever bytes have arrived.
    Always,
}

/// One end of a connection.
pub(crate) struct Endpoint<P: Subject> {
    decoder: P::Decoder,
    pub(crate) encoder: P::Encoder,
    pub(crate) output: Output,
    calling: Calling,
    /// Input that is not consumed yet.
    pub(crate) input: Vec<u8>,
    /// Bytes that the decoder declared missing.
    pub(crate) missing: usize,
    pub(crate) events: Vec<Event<P::Kept>>,
    pub(crate) failure: Option<ErrorOf<P>>,
    /// True after an error, and after the protocol's own end.
    pub(crate) is_over: bool,
    pub(crate) now: Duration,
}

impl<P: Subject> Endpoint<P> {
    pub(crate) fn new(protocol: &P, calling: Calling) -> Self {
        let (decoder, encoder) = protocol.open();
        Endpoint {
            decoder,
            encoder,
            output: Output::detached(),
            calling,
            input: Vec::new(),
            missing: 0,
            events: Vec::new(),
            failure: None,
            is_over: false,
            now: Duration::ZERO,
        }
    }

    /// Takes the bytes that arrive in one turn of the loop, and unpacks all that they complete.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        // The allocation is exactly as large as its content, so that the address sanitizer notices an access behind it.
        self.input = [&self.input, bytes].concat();
        self.missing = match self.calling {
            Calling::WhenComplete => self.missing.saturating_sub(bytes.len()),
            Calling::Always => 0,
        };
        let mut taken = 0;
        while taken < self.input.len() && self.missing == 0 && !self.is_over {
            taken += self.unpack_one(taken);
        }
        self.input.drain(..taken);
        self.decoder.end_turn();
    }

    /// Calls the decoder once, and returns the number of bytes consumed.
    fn unpack_one(&mut self, taken: usize) -> usize {
        let rest = &mut self.input[taken..];
        let available = rest.len();
        let mut turn = UnpackContext::detached(&mut self.output, &mut self.encoder).at(self.now);
        let (event, consumed) = match self.decoder.unpack(rest, &mut turn) {
            Ok(Unpacked::NeedMore { at_least }) => {
                self.missing = at_least.max(1);
                return 0;
            }
            Ok(Unpacked::Skip { consumed }) => (None, consumed),
            Ok(Unpacked::Opened { consumed }) => (Some(Event::Opened), consumed),
            Ok(Unpacked::End { consumed }) => (Some(Event::End), consumed),
            Ok(Unpacked::Message { message, consumed }) => {
                (Some(Event::Message(P::keep(message))), consumed)
            }
            Err(error) => {
                self.failure = Some(error);
                self.is_over = true;
                return 0;
            }
        };
        assert!(
            (1..=available).contains(&consumed),
            "{consumed} consumed of {available}"
        );
        self.is_over = event == Some(Event::End);
        self.events.extend(event);
        consumed
    }

    /// All messages so far.
    pub(crate) fn messages(&self) -> Vec<P::Kept> {
        let message = |event: &Event<P::Kept>| match event {
            Event::Message(message) => Some(message.clone()),
            _ => None,
        };
        self.events.iter().filter_map(message).collect()
    }

    /// Takes the output since the last call.
    pub(crate) fn take_said(&mut self) -> Vec<u8> {
        self.output.take()
    }

    pub(crate) fn greet(&mut self) -> Vec<u8> {
        self.encoder.greet(&mut self.output);
        self.take_said()
    }

    pub(crate) fn farewell(&mut self, why: Farewell) -> Parting {
        self.encoder.farewell(why, &mut self.output)
    }

    /// Calls the decoder if its deadline has come. Afterwards no deadline may be due, or the loop would spin.
    pub(crate) fn meet_deadline(&mut self) {
        let due =
            |deadline: Option<Duration>, now| deadline.is_some_and(|deadline| deadline <= now);
        if self.is_over
            || !due(
                self.decoder.next_deadline(&mut self.encoder, self.now),
                self.now,
            )
        {
            return;
        }
        let mut turn = UnpackContext::detached(&mut self.output, &mut self.encoder).at(self.now);
        match self.decoder.on_deadline(&mut turn) {
            Ok(()) => {
                let next = self.decoder.next_deadline(&mut self.encoder, self.now);
                assert!(!due(next, self.now), "{next:?} was met at {:?}", self.now);
            }
            Err(error) => {
                self.failure = Some(error);
                self.is_over = true;
            }
        }
    }
}

/// Receives `stream` whole and in pieces, and asserts that both give the same events, output and error. Two errors
/// count as the same if `alike` returns true; the output may then differ if the errors do.
///
/// Returns the end that has received the whole stream.
pub(crate) fn assert_cut_alike<P: Subject>(
    mut open: impl FnMut(Calling) -> Endpoint<P>,
    stream: &[u8],
    lengths: &[usize],
    alike: impl Fn(&ErrorOf<P>, &ErrorOf<P>) -> bool,
) -> Endpoint<P> {
    let mut whole = open(Calling::Always);
    if !stream.is_empty() {
        whole.receive(stream);
    }
    assert_at_rest(&whole);
    let words = undated(whole.take_said());
    for calling in [Calling::Always, Calling::WhenComplete] {
        let mut pieces = open(calling);
        cut(stream, lengths).for_each(|piece| pieces.receive(piece));
        assert_at_rest(&pieces);
        let said = undated(pieces.take_said());
        assert_eq!(whole.events, pieces.events, "{calling:?}");
        match (&whole.failure, &pieces.failure) {
            (Some(a), Some(b)) if a != b => assert!(alike(a, b), "{calling:?}: {a:?} and {b:?}"),
            // A decoder that is called only when enough has arrived may report an error later.
            (Some(_), None) if calling == Calling::WhenComplete && pieces.missing > 0 => {
                assert!(words.starts_with(&said));
            }
            (a, b) => {
                assert_eq!(a, b, "{calling:?}");
                assert_eq!(words, said, "{calling:?}");
            }
        }
    }
    whole
}

/// An answer in HTTP without its date, since the next second may begin between two of them. Other output stays as it is.
fn undated(mut said: Vec<u8>) -> Vec<u8> {
    const NAME: &[u8] = b"\r\nDate: ";
    let line = NAME.len() + "Sun, 06 Nov 1994 08:49:37 GMT".len();
    if said.starts_with(b"HTTP/1.1 ") {
        if let Some(at) = said.windows(NAME.len()).position(|window| window == NAME) {
            said.drain(at..at + line);
        }
    }
    said
}

fn assert_at_rest<P: Subject>(end: &Endpoint<P>) {
    assert!(
        end.input.is_empty() || end.missing > 0 || end.is_over,
        "{} bytes are left unread",
        end.input.len()
    );
}
