//! A TLS record as its header tells it (RFC 8446, section 5.1). rustls is handed whole records of known number, so that the work of
//! each call, and the bytes that rustls still refers to, are known.

/// Bytes of a record's header: type, version and length.
const HEADER: usize = 5;
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;

/// The front of what was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Whole {
        /// Bytes with the header.
        length: usize,
        kind: u8,
    },
    /// Bytes that are not a whole record, or none.
    Partial { length: usize },
}

impl Record {
    pub(super) fn at_front_of(bytes: &[u8]) -> Self {
        if let &[kind, _, _, high, low, ..] = bytes {
            let length = HEADER + usize::from(u16::from_be_bytes([high, low]));
            if length <= bytes.len() {
                return Record::Whole { length, kind };
            }
        }
        Record::Partial {
            length: bytes.len(),
        }
    }

    pub(super) fn length(self) -> usize {
        match self {
            Record::Whole { length, .. } | Record::Partial { length } => length,
        }
    }

    pub(super) fn is_whole(self) -> bool {
        matches!(self, Record::Whole { .. })
    }

    /// True if the record can carry a handshake message, whose handling may be expensive. Under encryption each record may.
    pub(super) fn may_be_expensive(self) -> bool {
        matches!(self, Record::Whole { kind, .. } if kind != CHANGE_CIPHER_SPEC && kind != ALERT)
    }

    /// Upper bound of the plaintext, if encryption adds at least `overhead` bytes to it.
    pub(super) fn plaintext_max(self, overhead: usize) -> usize {
        self.length().saturating_sub(HEADER + overhead)
    }
}

/// Records that are opened in one go: whole ones, or else the bytes at hand that are not a whole one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// Bytes with the headers.
    pub(super) length: usize,
    /// The number of whole records; 0 for a part of one, or for no bytes.
    pub(super) records: usize,
    /// True if the plaintext fits for sure.
    pub(super) fits: bool,
}

impl Batch {
    /// All records at the front of `bytes` whose plaintext fits into `room` for sure, but at least the first.
    pub(super) fn at_front_of(bytes: &[u8], room: usize, overhead: usize) -> Self {
        let mut batch = Batch {
            length: 0,
            records: 0,
            fits: true,
        };
        let mut room = room;
        loop {
            let record = Record::at_front_of(&bytes[batch.length..]);
            let plaintext = record.plaintext_max(overhead);
            let is_first = batch.records == 0;
            if !record.is_whole() {
                batch.length += if is_first { record.length() } else { 0 };
                return batch;
            }
            if plaintext > room && !is_first {
                return batch;
            }
            batch.fits = plaintext <= room;
            batch.length += record.length();
            batch.records += 1;
            room = room.saturating_sub(plaintext);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(payload: usize) -> Vec<u8> {
        let length = u16::try_from(payload).expect("the test's records are short");
        let mut record = vec![23, 3, 3];
        record.extend_from_slice(&length.to_be_bytes());
        record.resize(HEADER + payload, 0);
        record
    }

    #[test]
    fn a_batch_ends_before_the_record_that_might_not_fit() {
        let bytes = [record(117), record(57), record(18), record(17)].concat();
        let batch = |room| {
            let batch = Batch::at_front_of(&bytes, room, 17);
            (batch.records, batch.length, batch.fits)
        };
        assert_eq!(batch(141), (4, bytes.len(), true));
        assert_eq!(batch(140), (2, 184, true));
        assert_eq!(batch(139), (1, 122, true));
        assert_eq!(batch(100), (1, 122, true));
        assert_eq!(batch(99), (1, 122, false));
    }

    #[test]
    fn a_part_of_a_record_is_a_batch_of_its_own() {
        let mut bytes = [record(20), record(30)].concat();
        bytes.pop();
        let batch = Batch::at_front_of(&bytes, 1000, 17);
        assert_eq!((batch.records, batch.length), (1, 25));
        let batch = Batch::at_front_of(&bytes[25..], 1000, 17);
        assert_eq!((batch.records, batch.length), (0, 34));
        let batch = Batch::at_front_of(&[], 1000, 17);
        assert_eq!((batch.records, batch.length), (0, 0));
    }
}
