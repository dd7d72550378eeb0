//! The server's side of a TLS handshake.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};

use super::answers;
use super::record::Record;
use super::refusal::{refused, refused_from_the_start};
use super::seal::TlsSeal;
use super::server_name;
use super::session_end::{self, Known};
use crate::io::wire::handshake::{Handshake, Progress};
use crate::io::wire::seal::Seal;

/// See the [module](self).
pub(super) struct TlsHandshake {
    connection: UnbufferedServerConnection,
    /// Bytes at the front of what was received that rustls has looked at and still refers to: parts of a handshake message.
    offered: usize,
    /// True once a whole record was accepted.
    has_begun: bool,
    server_name: Option<Box<str>>,
    session_end: Known,
}

impl TlsHandshake {
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(TlsHandshake {
            connection: UnbufferedServerConnection::new(config)?,
            offered: 0,
            has_begun: false,
            server_name: None,
            session_end: Known::New,
        })
    }

    /// Offers rustls one record, or bytes that are not a whole one, and appends its answers.
    fn offer(
        &mut self,
        record: Record,
        received: &mut Vec<u8>,
        answers: &mut Vec<u8>,
    ) -> Result<(), rustls::Error> {
        let mut window = self.offered + record.length();
        loop {
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut received[..window]);
            let has_more = match state? {
                ConnectionState::EncodeTlsData(record) => {
                    answers::append(record, answers);
                    true
                }
                ConnectionState::TransmitTlsData(transmission) => {
                    transmission.done();
                    true
                }
                // Plaintext behind the handshake stays within rustls until the seal asks for it.
                _ => false,
            };
            received.drain(..discard);
            window -= discard;
            if !has_more {
                break;
            }
        }
        self.offered = match record {
            Record::Whole { .. } => window,
            Record::Partial { length } => window - length,
        };
        Ok(())
    }
}

impl Handshake for TlsHandshake {
    fn advance(&mut self, received: &mut Vec<u8>, answers: &mut Vec<u8>) -> io::Result<Progress> {
        loop {
            let record = Record::at_front_of(&received[self.offered..]);
            let mut session_end = self.session_end;
            let offer = || self.offer(record, received, answers);
            let outcome = session_end::during(&mut session_end, offer);
            self.session_end = session_end;
            if let Some(name) = server_name::take() {
                self.server_name = Some(name);
            }
            if let Err(error) = outcome {
                answers::append_all(&mut self.connection, answers);
                return Err(match self.has_begun {
                    true => refused(error),
                    false => refused_from_the_start(error, received),
                });
            }
            if !self.connection.is_handshaking() {
                return Ok(Progress::Done);
            }
            if !record.is_whole() {
                return Ok(Progress::AwaitsInput);
            }
            self.has_begun = true;
            let next = Record::at_front_of(&received[self.offered..]);
            if record.may_be_expensive() && next.is_whole() {
                return Ok(Progress::GoesOn);
            }
        }
    }

    fn finish(self: Box<Self>) -> Box<dyn Seal> {
        let Self {
            connection,
            offered,
            server_name,
            ..
        } = *self;
        Box::new(TlsSeal::new(connection, offered, server_name))
    }
}
