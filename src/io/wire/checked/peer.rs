//! The peer's side of a check: the records that it makes, and how much of them has arrived.

use std::collections::VecDeque;

use super::super::double::{BAD, CLOSE, DATA, HEADER, HIDDEN, Sender, UPDATE};
use super::MAX_BYTES;
use super::plan::Spoil;

/// The longest payload that the peer gives a record: the largest of TLS, and for [`Wire::receive_capacity`] a piece is an upper
/// bound of the plaintext in one.
///
/// [`Wire::receive_capacity`]: super::super::Wire::receive_capacity
const RECORD_MAX: usize = 16 * 1024;

/// A place between two records in the peer's stream.
#[derive(Clone, Copy, Default)]
pub(super) struct Mark {
    /// Bytes of all records before this place.
    pub(super) end: usize,
    /// Bytes of plaintext in them.
    pub(super) plain: usize,
    /// The answers for which they ask.
    pub(super) answers: u64,
}

/// See the [module](self).
#[derive(Default)]
pub(super) struct Peer {
    sender: Sender,
    /// Bytes that have not arrived.
    on_the_way: VecDeque<u8>,
    made: usize,
    arrived: usize,
    last: Mark,
    /// The ends of the records that count, in order.
    marks: Vec<Mark>,
    /// The end of the record that says the peer's end, in bytes of the stream. Nothing behind it counts.
    closed_at: Option<usize>,
    /// The end of the record for which the peer is refused. Nothing behind it counts either.
    spoiled_at: Option<usize>,
    /// The peer has ended its stream: it makes no more bytes.
    pub(super) has_ended: bool,
}

impl Peer {
    /// Makes a record of the next `length` bytes of `plain`.
    pub(super) fn send(&mut self, plain: &[u8], length: usize) {
        let begin = self.last.plain;
        let length = length.min(RECORD_MAX).min(plain.len() - begin);
        self.make(DATA, &plain[begin..begin + length]);
    }

    pub(super) fn hide(&mut self, length: usize) {
        self.make(HIDDEN, &vec![0; length.min(RECORD_MAX)]);
    }

    pub(super) fn ask(&mut self) {
        self.make(UPDATE, &[]);
    }

    pub(super) fn close(&mut self) {
        self.make(CLOSE, &[]);
    }

    fn make(&mut self, kind: u8, payload: &[u8]) {
        if self.has_ended || self.made > 2 * MAX_BYTES {
            return;
        }
        let record = self.sender.record(kind, payload);
        self.put(&record);
        if self.closed_at.is_some() || self.spoiled_at.is_some() {
            return;
        }
        self.last.end = self.made;
        match kind {
            DATA => self.last.plain += payload.len(),
            UPDATE => self.last.answers += 1,
            CLOSE => self.closed_at = Some(self.made),
            _ => {}
        }
        self.marks.push(self.last);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.on_the_way.extend(bytes);
        self.made += bytes.len();
    }

    pub(super) fn spoil(&mut self, spoil: Spoil) {
        if self.has_ended || self.closed_at.is_some() || self.spoiled_at.is_some() {
            return;
        }
        let payload = |length: usize| vec![1; length.min(RECORD_MAX)];
        let (bytes, length) = match spoil {
            Spoil::Bad(size) => {
                let record = self.sender.record(BAD, &payload(size.get()));
                let length = record.len();
                (record, length)
            }
            Spoil::Lost(size) => {
                let _lost = self.sender.record(DATA, b"lost");
                let record = self.sender.record(DATA, &payload(size.get()));
                let length = record.len();
                (record, length)
            }
            Spoil::Garbage { claimed, sent } => {
                let mut record = vec![0, 0];
                record.extend(claimed.to_be_bytes());
                let length = HEADER + usize::from(claimed);
                record.resize(length.min(HEADER + sent.get()), 0);
                (record, length)
            }
        };
        self.spoiled_at = Some(self.made + length);
        self.put(&bytes);
    }

    /// Takes bytes that arrive now, at most so many.
    pub(super) fn arrive(&mut self, most: usize) -> Vec<u8> {
        let count = most.min(self.on_the_way.len());
        self.arrived += count;
        self.on_the_way.drain(..count).collect()
    }

    /// Lets bytes that were the last to arrive be on their way again.
    pub(super) fn take_back(&mut self, bytes: &[u8]) {
        self.arrived -= bytes.len();
        bytes
            .iter()
            .rev()
            .for_each(|&byte| self.on_the_way.push_front(byte));
    }

    pub(super) fn has_all_arrived(&self) -> bool {
        self.on_the_way.is_empty()
    }

    /// The place behind the last record that has arrived whole.
    pub(super) fn arrived(&self) -> Mark {
        let whole = self.marks.partition_point(|mark| mark.end <= self.arrived);
        let last = whole.checked_sub(1);
        last.map_or_else(Mark::default, |index| self.marks[index])
    }

    /// True if a part of a record has arrived behind the last whole one.
    pub(super) fn is_within_record(&self) -> bool {
        self.arrived > self.arrived().end
    }

    pub(super) fn has_close_arrived(&self) -> bool {
        self.closed_at.is_some_and(|end| end <= self.arrived)
    }

    pub(super) fn has_spoil_arrived(&self) -> bool {
        self.spoiled_at.is_some_and(|end| end <= self.arrived)
    }
}
