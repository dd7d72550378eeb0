//! Records of rustls's own: handshake messages, tickets, alerts.

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData};

/// Appends a record to `answers`.
pub(super) fn append(mut record: EncodeTlsData<'_, ServerConnectionData>, answers: &mut Vec<u8>) {
    if let Err(EncodeError::InsufficientSize(size)) = record.encode(&mut []) {
        let before = answers.len();
        answers.resize(before + size.required_size, 0);
        let written = record.encode(&mut answers[before..]).unwrap_or(0);
        answers.truncate(before + written);
    }
}

/// Appends all records that are ready, such as the alert that follows an error.
///
/// While there are any, rustls does not look at received bytes, of which none are handed in.
pub(super) fn append_all(connection: &mut UnbufferedServerConnection, answers: &mut Vec<u8>) {
    while connection.wants_write() {
        match connection.process_tls_records(&mut []).state {
            Ok(ConnectionState::EncodeTlsData(record)) => append(record, answers),
            _ => return,
        }
    }
}
