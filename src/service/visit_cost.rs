//! The cost of a visit to a connection: what it sends, and the work of encoding it.

use crate::connection::Connection;

/// Cost of a visit itself, of which a write is the greatest part. A message costs 1 besides.
pub(super) const VISIT_COST: usize = 32;
/// Bytes that cost 1: the kernel copies them, and takes memory for them, in about the time that 1 stands for.
const BYTES_OF_COST: u64 = 256;
/// Work of the encoder that costs 1, in the unit of a received byte.
const WORK_OF_COST: usize = 256;

/// The output of a connection before a visit, to be compared with that after it.
pub(super) struct VisitCost {
    messages: u64,
    bytes: u64,
}

impl VisitCost {
    pub(super) fn begin(connection: &Connection) -> Self {
        let output = &connection.output;
        VisitCost {
            messages: connection.messages_out,
            bytes: output.written() + output.len() as u64,
        }
    }

    /// The cost of the visit, with the work of the encoder in it.
    pub(super) fn end(self, connection: &Connection, work: usize) -> usize {
        let after = VisitCost::begin(connection);
        let messages = after.messages - self.messages;
        let bytes = after.bytes.saturating_sub(self.bytes);
        let sent = messages + bytes / BYTES_OF_COST;
        VISIT_COST + sent as usize + work / WORK_OF_COST
    }

    /// The same as a number of letters, at least 1.
    pub(super) fn end_letter(self, connection: &Connection, work: usize) -> usize {
        self.end(connection, work) / VISIT_COST
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::id::ConnId;
    use crate::io::address::Address;
    use crate::io::stream::Stream;

    #[test]
    fn what_is_sent_and_what_it_takes_to_encode_count() {
        let id = ConnId::in_slot(0);
        let connection = Connection::new(id, 0, Stream::Detached.into(), Address::Unix(None), 0);
        let none = || VisitCost::begin(&connection);
        assert_eq!(none().end(&connection, 0), VISIT_COST);
        assert_eq!(none().end_letter(&connection, 0), 1);
        // Compressing 250 KB at level 1 counts as much as 977 letters.
        assert_eq!(none().end_letter(&connection, 250_000 * 32), 977);
        let earlier = VisitCost {
            messages: 0,
            bytes: 0,
        };
        let mut connection = connection;
        connection.messages_out = 64;
        assert_eq!(earlier.end(&connection, 256), VISIT_COST + 64 + 1);
    }
}
