//! The clients' TLS 1.3, with rustls's unbuffered API: a record is decrypted in the buffer that the socket was read into,
//! and idle connections keep no buffers.
//!
//! Every client offers one cipher suite (AES-256-GCM with SHA-384) and one key exchange (X25519), so that all servers do
//! the same work.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme,
};
use serde::{Deserialize, Serialize};

use super::LoadError;
use super::tickets::Tickets;
use super::wire::SLICE;
use crate::certificates::{Key, SERVER_NAME};

/// The most bytes that one record adds to its payload, with room to spare.
const RECORD_OVERHEAD: usize = 256;
/// Largest payload of a record (RFC 8446, 5.1).
const MAX_PAYLOAD: usize = 16 * 1024;
/// The most bytes that are encrypted before they are written to the socket.
const PIECE: usize = 4 * MAX_PAYLOAD;

/// The certificate that the clients of a load trust, and no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trust {
    /// The harness's own certificate with this key.
    Own(Key),
    /// The first certificate in this PEM file.
    File(PathBuf),
}

impl Trust {
    fn certificate(&self) -> Result<CertificateDer<'static>, LoadError> {
        let path = match self {
            Self::Own(key) => {
                let files = key.files().map_err(LoadError::io("make a certificate"))?;
                files.certificate
            }
            Self::File(path) => path.clone(),
        };
        CertificateDer::from_pem_file(&path).map_err(|error| {
            LoadError::Options(format!("{} holds no certificate: {error}", path.display()))
        })
    }
}

/// What all TLS connections of one load share.
#[derive(Clone)]
pub(crate) struct Client {
    config: Arc<ClientConfig>,
    room: Rc<RefCell<Room>>,
}

/// Buffers that a connection uses only within one call.
struct Room {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Client {
    /// With `resumption`, connections use the tickets that others have received, each ticket once.
    pub(crate) fn new(trust: &Trust, resumption: bool) -> Result<Self, LoadError> {
        let provider = Arc::new(CryptoProvider {
            cipher_suites: vec![ring::cipher_suite::TLS13_AES_256_GCM_SHA384],
            kx_groups: vec![ring::kx_group::X25519],
            ..ring::default_provider()
        });
        let verifier = OneCertificate {
            trusted: trust.certificate()?,
            provider: provider.clone(),
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| LoadError::io("set up TLS")(invalid(error)))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.resumption = match resumption {
            true => Resumption::store(Arc::new(Tickets::default())),
            false => Resumption::disabled(),
        };
        Ok(Self {
            config: Arc::new(config),
            room: Rc::new(RefCell::new(Room {
                input: vec![0; SLICE],
                output: vec![0; PIECE + PIECE / MAX_PAYLOAD * RECORD_OVERHEAD],
            })),
        })
    }
}

/// Accepts one certificate, by its bytes: a chain would cost the generator time and prove no more. The server's
/// signature, which proves that it has the key, is verified.
#[derive(Debug)]
struct OneCertificate {
    trusted: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for OneCertificate {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match *shown == self.trusted {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, shown, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, shown, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// A TLS connection over a socket that may be blocking or not.
///
/// Invariant: outside of a call, `incoming` holds less than one record.
pub(crate) struct TlsStream {
    socket: TcpStream,
    session: UnbufferedClientConnection,
    /// True when the handshake is complete.
    open: bool,
    /// The beginning of a record whose end has not arrived.
    incoming: Vec<u8>,
    /// Decrypted bytes that the reader had no room for.
    ready: Vec<u8>,
    /// Encrypted bytes that the socket had no room for.
    outgoing: Vec<u8>,
    room: Rc<RefCell<Room>>,
}

impl TlsStream {
    /// Begins the handshake on `socket`, as far as the socket takes it; it may still be connecting.
    pub(crate) fn begin(socket: TcpStream, client: &Client) -> io::Result<Self> {
        let name = ServerName::try_from(SERVER_NAME).map_err(io::Error::other)?;
        let session =
            UnbufferedClientConnection::new(client.config.clone(), name).map_err(invalid)?;
        let mut stream = Self {
            socket,
            session,
            open: false,
            incoming: Vec::new(),
            ready: Vec::new(),
            outgoing: Vec::new(),
            room: client.room.clone(),
        };
        stream.open = process(
            &mut stream.session,
            &mut [],
            &mut stream.outgoing,
            &mut |_| {},
        )?
        .open;
        stream.flush()?;
        Ok(stream)
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(crate) fn into_socket(self) -> TcpStream {
        self.socket
    }

    pub(crate) fn is_resumed(&self) -> bool {
        self.session.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Completes the handshake.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] while the server's part is missing, [`ErrorKind::UnexpectedEof`] if it has ended.
    pub(crate) fn shake_hands(&mut self) -> io::Result<()> {
        while !self.open {
            if self.fetch(&mut [])?.is_none() {
                let problem = "the server ended the connection within the TLS handshake";
                return Err(io::Error::new(ErrorKind::UnexpectedEof, problem));
            }
        }
        Ok(())
    }

    /// The next bytes of plaintext, which remain to be read.
    pub(crate) fn peek(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.ready.is_empty() {
            if self.fetch(&mut [])?.is_none() {
                return Ok(0);
            }
        }
        let length = buffer.len().min(self.ready.len());
        buffer[..length].copy_from_slice(&self.ready[..length]);
        Ok(length)
    }

    /// Sends a close_notify, as far as the socket takes it.
    pub(crate) fn close_notify(&mut self) -> io::Result<()> {
        let UnbufferedStatus { state, .. } = self.session.process_tls_records(&mut []);
        if let ConnectionState::WriteTraffic(mut traffic) = state.map_err(invalid)? {
            let outgoing = &mut self.outgoing;
            append(outgoing, |room| traffic.queue_close_notify(room))?;
        }
        self.flush()
    }

    /// Reads once from the socket, decrypts everything that is complete, and puts it into `buffer`, or into `ready` when
    /// that is full. `None` at the end of the stream.
    fn fetch(&mut self, buffer: &mut [u8]) -> io::Result<Option<Fetched>> {
        let room = &mut *self.room.borrow_mut();
        let kept = self.incoming.len();
        room.input[..kept].copy_from_slice(&self.incoming);
        let length = match self.socket.read(&mut room.input[kept..]) {
            Ok(0) => return Ok(None),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::NotConnected => {
                return Err(ErrorKind::WouldBlock.into());
            }
            Err(error) => return Err(error),
        };
        let mut filled = 0;
        let ready = &mut self.ready;
        let mut keep = |plain: &[u8]| {
            let fits = plain.len().min(buffer.len() - filled);
            buffer[filled..filled + fits].copy_from_slice(&plain[..fits]);
            filled += fits;
            ready.extend_from_slice(&plain[fits..]);
        };
        let end = kept + length;
        let drained = end < room.input.len();
        let input = &mut room.input[..end];
        let processed = process(&mut self.session, input, &mut self.outgoing, &mut keep)?;
        self.open |= processed.open;
        keep_rest(&mut self.incoming, &input[processed.taken..]);
        push(&self.socket, &mut self.outgoing)?;
        Ok(Some(Fetched { filled, drained }))
    }
}

/// The result of one read from the socket.
struct Fetched {
    /// Bytes of plaintext that were put into the reader's buffer.
    filled: usize,
    /// True if the socket had no more bytes.
    drained: bool,
}

impl Read for TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = buffer.len().min(self.ready.len());
        if filled > 0 {
            buffer[..filled].copy_from_slice(&self.ready[..filled]);
            self.ready.drain(..filled);
        }
        while filled < buffer.len() {
            match self.fetch(&mut buffer[filled..]) {
                Ok(None) => break,
                Ok(Some(fetched)) => {
                    filled += fetched.filled;
                    if fetched.drained && filled > 0 {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && filled > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.shake_hands()?;
        self.flush()?;
        let mut written = 0;
        while written < bytes.len() && self.outgoing.is_empty() {
            let piece = &bytes[written..bytes.len().min(written + PIECE)];
            let output = &mut self.room.borrow_mut().output;
            let UnbufferedStatus { state, .. } = self.session.process_tls_records(&mut []);
            let ConnectionState::WriteTraffic(mut traffic) = state.map_err(invalid)? else {
                return Err(ErrorKind::BrokenPipe.into());
            };
            let length = traffic.encrypt(piece, output).map_err(invalid)?;
            written += piece.len();
            let sent = send(&self.socket, &output[..length])?;
            self.outgoing.extend_from_slice(&output[sent..length]);
        }
        match written {
            0 if !bytes.is_empty() => Err(ErrorKind::WouldBlock.into()),
            _ => Ok(written),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        push(&self.socket, &mut self.outgoing)
    }
}

/// Sends kept bytes as far as the socket takes them, and frees their memory with the last one.
#[inline]
fn push(socket: &TcpStream, outgoing: &mut Vec<u8>) -> io::Result<()> {
    if outgoing.is_empty() {
        return Ok(());
    }
    let sent = send(socket, outgoing)?;
    if sent == outgoing.len() {
        *outgoing = Vec::new();
    } else {
        outgoing.drain(..sent);
    }
    Ok(())
}

/// Writes until everything is written or the socket is full; returns the number of bytes written.
fn send(mut socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match socket.write(&bytes[sent..]) {
            Ok(length) => sent += length,
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock | ErrorKind::NotConnected => break,
                _ => return Err(error),
            },
        }
    }
    Ok(sent)
}

/// Replaces `kept` by `rest`, which is usually empty; then no memory is kept.
fn keep_rest(kept: &mut Vec<u8>, rest: &[u8]) {
    kept.clear();
    if rest.is_empty() {
        kept.shrink_to_fit();
    } else {
        kept.extend_from_slice(rest);
    }
}

/// The result of [`process`].
struct Processed {
    /// Bytes of the input that belong to complete records.
    taken: usize,
    /// True if the handshake is complete.
    open: bool,
}

/// Processes every complete record of `input`: passes plaintext to `keep`, and appends what is to be sent to `outgoing`.
fn process(
    session: &mut UnbufferedClientConnection,
    input: &mut [u8],
    outgoing: &mut Vec<u8>,
    keep: &mut dyn FnMut(&[u8]),
) -> io::Result<Processed> {
    let mut taken = 0;
    loop {
        let UnbufferedStatus { mut discard, state } =
            session.process_tls_records(&mut input[taken..]);
        let open = match state.map_err(invalid)? {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record.map_err(invalid)?;
                    discard += record.discard;
                    keep(record.payload);
                }
                None
            }
            ConnectionState::EncodeTlsData(mut data) => {
                append(outgoing, |room| data.encode(room))?;
                None
            }
            ConnectionState::TransmitTlsData(data) => {
                data.done();
                None
            }
            ConnectionState::PeerClosed => None,
            ConnectionState::BlockedHandshake => Some(false),
            _ => Some(true),
        };
        taken += discard;
        if let Some(open) = open {
            return Ok(Processed { taken, open });
        }
    }
}

/// Appends one record to `outgoing`, which `encode` writes.
fn append<E: fmt::Display>(
    outgoing: &mut Vec<u8>,
    encode: impl FnOnce(&mut [u8]) -> Result<usize, E>,
) -> io::Result<()> {
    let before = outgoing.len();
    outgoing.resize(before + MAX_PAYLOAD + RECORD_OVERHEAD, 0);
    let length = encode(&mut outgoing[before..]).map_err(invalid)?;
    outgoing.truncate(before + length);
    Ok(())
}

/// The error for a TLS stream that does not hold to the protocol.
fn invalid(error: impl fmt::Display) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("TLS: {error}"))
}
