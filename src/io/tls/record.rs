//! A TLS record as its header tells it (RFC 8446, section 5.1). rustls is handed one record at a time, so that the work of each call,
//! and the bytes that rustls still refers to, are known.

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
