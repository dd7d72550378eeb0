//! The writing half, with the state that both halves share.

use std::time::Duration;

use ringwheel::protocol::{Encode, EncodeParts, LengthPrefixed, Output, PackError};

use crate::frame::{self, Kind};

/// The writing half of [`CheckedFrames`](crate::CheckedFrames).
#[derive(Debug)]
pub struct CheckedEncoder {
    /// The writing half of the protocol below.
    pub(crate) inner: LengthPrefixed,
    /// The sequence number of the next frame.
    sequence: u32,
    /// The time of the last ping that has no answer.
    pinged: Option<Duration>,
    round_trip_time: Option<Duration>,
}

impl CheckedEncoder {
    pub(crate) fn new(inner: LengthPrefixed) -> Self {
        CheckedEncoder {
            inner,
            sequence: 0,
            pinged: None,
            round_trip_time: None,
        }
    }

    pub(crate) fn ping(&mut self, now: Duration, output: &mut Output) -> Result<(), PackError> {
        self.put(Kind::Ping, b"", output)?;
        self.pinged = Some(now);
        Ok(())
    }

    pub(crate) fn answer_ping(&mut self, output: &mut Output) -> Result<(), PackError> {
        self.put(Kind::Pong, b"", output)
    }

    pub(crate) fn take_pong(&mut self, now: Duration) {
        if let Some(pinged) = self.pinged.take() {
            self.round_trip_time = Some(now.saturating_sub(pinged));
        }
    }

    pub(crate) fn round_trip_time(&self) -> Option<Duration> {
        self.round_trip_time
    }

    pub(crate) fn frames_sent(&self) -> u32 {
        self.sequence
    }

    fn put(&mut self, kind: Kind, payload: &[u8], output: &mut Output) -> Result<(), PackError> {
        let header = frame::header(kind, self.sequence, payload);
        self.inner.pack_parts(&[&header, payload], output)?;
        // A frame that does not fit below the limit is taken back, and the next one gets its number.
        if !output.overfills() {
            self.sequence = self.sequence.wrapping_add(1);
        }
        Ok(())
    }
}

impl Encode for CheckedEncoder {
    type Item<'a> = &'a [u8];
    type Owned = Vec<u8>;

    fn borrow(owned: &Vec<u8>) -> &[u8] {
        owned
    }

    fn owned_size(owned: &Vec<u8>) -> usize {
        owned.len()
    }

    fn pack(&mut self, item: &[u8], output: &mut Output) -> Result<(), PackError> {
        self.put(Kind::Message, item, output)
    }
}
