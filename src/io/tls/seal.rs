//! The two directions of a TLS connection once its handshake is done.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{ProtocolVersion, server::ServerConnectionData};

use super::answers;
use super::record::Batch;
use super::refusal::refused;
use super::session::TlsSession;
use crate::io::wire::seal::{Rest, Seal, SealedPiece, Unsealed};

/// Room for a `close_notify` record: 24 bytes with TLS 1.3, 31 with AES of TLS 1.2.
const CLOSE_NOTIFY_ROOM: usize = 64;

/// See the [module](self). Beyond what rustls keeps, an idle one has no memory but this and the server name.
pub(super) struct TlsSeal {
    connection: UnbufferedServerConnection,
    /// Bytes at the front of the next input that rustls has looked at and still refers to: parts of a handshake message, such as a
    /// key update in two records.
    offered: usize,
    /// Plaintext of an opened record for which there was no room, from `taken` on.
    rest: Vec<u8>,
    taken: usize,
    incoming: Incoming,
    /// True once our own `close_notify` is sealed.
    has_said_end: bool,
    server_name: Option<Box<str>>,
}

/// The state of the peer's side.
enum Incoming {
    /// The handshake is just done: rustls may have plaintext that came with its last message.
    New,
    Open,
    /// The peer has sent `close_notify`.
    Ended,
    /// The peer's records are refused, and it has been told.
    Refused(Box<rustls::Error>),
}

impl TlsSeal {
    pub(super) fn new(
        connection: UnbufferedServerConnection,
        offered: usize,
        server_name: Option<Box<str>>,
    ) -> Self {
        TlsSeal {
            connection,
            offered,
            rest: Vec::new(),
            taken: 0,
            incoming: Incoming::New,
            has_said_end: false,
            server_name,
        }
    }

    /// Moves plaintext that had no room before. Returns the number of bytes.
    fn take_rest(&mut self, plain: &mut [u8]) -> usize {
        let rest = &self.rest[self.taken..];
        let count = rest.len().min(plain.len());
        plain[..count].copy_from_slice(&rest[..count]);
        self.taken += count;
        if self.taken == self.rest.len() {
            self.rest = Vec::new();
            self.taken = 0;
        }
        count
    }

    /// Offers rustls records, or bytes that are not a whole one, takes the plaintext and appends answers.
    fn offer(
        &mut self,
        batch: Batch,
        input: &mut [u8],
        plain: &mut [u8],
        answers: &mut Vec<u8>,
        turn: &mut Unsealed,
    ) -> Result<(), rustls::Error> {
        let mut window = self.offered + batch.length;
        loop {
            let from = turn.consumed;
            let UnbufferedStatus { discard, state } = self
                .connection
                .process_tls_records(&mut input[from..from + window]);
            let has_more = match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(opened) = traffic.next_record() {
                        let payload = opened?.payload;
                        let count = payload.len().min(plain.len() - turn.written);
                        let (fits, rest) = payload.split_at(count);
                        plain[turn.written..turn.written + count].copy_from_slice(fits);
                        turn.written += count;
                        self.rest.extend_from_slice(rest);
                    }
                    // rustls opens one record at a time, so nothing is left to be told behind the last one.
                    discard < window
                }
                ConnectionState::EncodeTlsData(record) => {
                    answers::append(record, answers);
                    true
                }
                ConnectionState::TransmitTlsData(transmission) => {
                    transmission.done();
                    true
                }
                ConnectionState::PeerClosed | ConnectionState::Closed => {
                    self.incoming = Incoming::Ended;
                    false
                }
                _ => false,
            };
            turn.consumed += discard;
            window -= discard;
            if !has_more {
                break;
            }
        }
        self.offered = match batch.records {
            0 => window - batch.length,
            _ => window,
        };
        Ok(())
    }

    /// Opens records until there is no room, no whole record, or nothing more to come.
    fn open(
        &mut self,
        input: &mut [u8],
        plain: &mut [u8],
        answers: &mut Vec<u8>,
        turn: &mut Unsealed,
    ) -> Result<(), rustls::Error> {
        let overhead = self.overhead();
        loop {
            let waiting = &input[turn.consumed + self.offered..];
            let batch = Batch::at_front_of(waiting, plain.len() - turn.written, overhead);
            if !batch.fits && turn.written > 0 {
                turn.rest = Rest::Perhaps;
                return Ok(());
            }
            if batch.length == 0 && !matches!(self.incoming, Incoming::New) {
                return Ok(());
            }
            self.offer(batch, input, plain, answers, turn)?;
            turn.records += batch.records;
            match self.incoming {
                Incoming::Ended => return Ok(()),
                _ => self.incoming = Incoming::Open,
            }
            if !self.rest.is_empty() {
                turn.rest = Rest::Perhaps;
                return Ok(());
            }
            if batch.records == 0 {
                return Ok(());
            }
        }
    }

    /// Does the same as [`open`](Self::open), after our own end.
    ///
    /// With debug assertions rustls panics if it has to answer a bad record with an alert when `close_notify` is sealed already. A
    /// peer must not cause a panic, so it is caught and counts as the error that it stands for.
    fn open_behind_end(
        &mut self,
        input: &mut [u8],
        plain: &mut [u8],
        answers: &mut Vec<u8>,
        turn: &mut Unsealed,
    ) -> Result<(), rustls::Error> {
        let open = AssertUnwindSafe(|| self.open(input, plain, answers, turn));
        let refused = "the peer's record is refused after the end of our stream";
        catch_unwind(open).unwrap_or_else(|_| Err(rustls::Error::General(refused.to_owned())))
    }

    /// Bytes that encryption adds to a record at least: the authentication tag and, from TLS 1.3 on, the type.
    fn overhead(&self) -> usize {
        match self.connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => 17,
            _ => 16,
        }
    }
}

impl Seal for TlsSeal {
    fn unseal(
        &mut self,
        input: &mut [u8],
        plain: &mut [u8],
        answers: &mut Vec<u8>,
    ) -> io::Result<Unsealed> {
        let mut turn = Unsealed {
            consumed: 0,
            written: self.take_rest(plain),
            records: 0,
            rest: Rest::Nothing,
        };
        if !self.rest.is_empty() {
            turn.rest = Rest::Perhaps;
            return Ok(turn);
        }
        if matches!(self.incoming, Incoming::New | Incoming::Open) {
            let opened = match self.has_said_end {
                true => self.open_behind_end(input, plain, answers, &mut turn),
                false => self.open(input, plain, answers, &mut turn),
            };
            if let Err(error) = opened {
                answers::append_all(&mut self.connection, answers);
                self.incoming = Incoming::Refused(Box::new(error));
            }
            if !self.rest.is_empty() {
                turn.rest = Rest::Perhaps;
                return Ok(turn);
            }
        }
        match &self.incoming {
            Incoming::New | Incoming::Open => {}
            Incoming::Ended => turn.rest = Rest::Ended,
            // The plaintext before the refused record is delivered first.
            Incoming::Refused(_) if turn.written > 0 => turn.rest = Rest::Perhaps,
            Incoming::Refused(error) => return Err(refused((**error).clone())),
        }
        Ok(turn)
    }

    fn seal(&mut self, plain: &[u8], sealed: &mut [u8]) -> io::Result<SealedPiece> {
        if let Incoming::Refused(error) = &self.incoming {
            return Err(refused((**error).clone()));
        }
        let mut written = 0;
        // Stands for the bytes that rustls still refers to: it skips them, and finds no others.
        let mut skipped = vec![0; self.offered];
        loop {
            match self.connection.process_tls_records(&mut skipped).state {
                Ok(ConnectionState::EncodeTlsData(mut record)) => {
                    match record.encode(&mut sealed[written..]) {
                        Ok(count) => written += count,
                        Err(error) => return Err(no_room(&error)),
                    }
                }
                Ok(ConnectionState::TransmitTlsData(transmission)) => transmission.done(),
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    return encrypt(&mut traffic, plain, sealed, written);
                }
                Ok(ConnectionState::PeerClosed) => self.incoming = Incoming::Ended,
                Ok(_) => return Err(io::ErrorKind::BrokenPipe.into()),
                Err(error) => return Err(refused(error)),
            }
        }
    }

    fn end(&mut self, answers: &mut Vec<u8>) {
        if matches!(self.incoming, Incoming::Refused(_)) {
            return;
        }
        self.has_said_end = true;
        answers::append_all(&mut self.connection, answers);
        let mut skipped = vec![0; self.offered];
        loop {
            match self.connection.process_tls_records(&mut skipped).state {
                Ok(ConnectionState::TransmitTlsData(transmission)) => transmission.done(),
                Ok(ConnectionState::PeerClosed) => self.incoming = Incoming::Ended,
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let mut record = [0; CLOSE_NOTIFY_ROOM];
                    if let Ok(count) = traffic.queue_close_notify(&mut record) {
                        answers.extend_from_slice(&record[..count]);
                    }
                    break;
                }
                _ => break,
            }
        }
        // The record is queued if it is larger than expected, as with a user's own cipher.
        answers::append_all(&mut self.connection, answers);
    }

    fn held(&self) -> usize {
        self.rest.capacity()
    }

    fn tls(&self) -> Option<TlsSession<'_>> {
        let name = self.server_name.as_deref();
        Some(TlsSession::new(&self.connection, name))
    }
}

/// Encrypts the front of `plain` behind what is written already: as much as fits.
fn encrypt(
    traffic: &mut WriteTraffic<'_, ServerConnectionData>,
    plain: &[u8],
    sealed: &mut [u8],
    written: usize,
) -> io::Result<SealedPiece> {
    let mut taken = plain.len();
    loop {
        match traffic.encrypt(&plain[..taken], &mut sealed[written..]) {
            Ok(count) => {
                return Ok(SealedPiece {
                    taken,
                    written: written + count,
                });
            }
            // A user's limit for the size of records can make their headers larger than the room that is left for them.
            Err(EncryptError::InsufficientSize(_)) if taken > 1 => taken /= 2,
            Err(EncryptError::InsufficientSize(_)) if written > 0 => {
                return Ok(SealedPiece { taken: 0, written });
            }
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

fn no_room(error: &EncodeError) -> io::Error {
    io::Error::other(error.to_string())
}
