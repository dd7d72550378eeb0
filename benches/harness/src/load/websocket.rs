//! WebSocket as its client sees it (RFC 6455): the opening handshake, and frames.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha1::{Digest, Sha1};

use super::deflate::{OFFER, agrees};
use super::random::SplitMix;
use super::{LoadError, PATIENCE};

/// Longest head of an answer to the handshake, in bytes; a longer one is [`HandshakeError::HeadTooLong`].
pub const MAX_HEAD: usize = 8 * 1024;
/// Most fields in that head; more are [`HandshakeError::Malformed`].
const MAX_FIELDS: usize = 64;
/// What the server appends to the key before it hashes (RFC 6455, 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const EXTENSIONS: &str = "Sec-WebSocket-Extensions";
const PROTOCOL: &str = "Sec-WebSocket-Protocol";

/// FIN and the opcode of a binary frame (5.2).
pub(crate) const BINARY: u8 = 0x82;
/// FIN, the opcode of a text frame, and RSV1, which says that it is deflated (RFC 7692, 6).
pub(crate) const DEFLATED_TEXT: u8 = 0xc1;
/// FIN and the opcode of a close frame.
pub(crate) const CLOSE: u8 = 0x88;
/// The bit that says that a frame is masked.
const MASKED: u8 = 0x80;
const MASK_LENGTH: usize = 4;

/// Why the server's answer to the handshake was refused.
#[derive(Debug)]
pub enum HandshakeError {
    /// It is not an HTTP answer.
    Malformed(httparse::Error),
    /// Its status is not 101.
    Status {
        /// The status.
        code: u16,
        /// The words behind it.
        reason: String,
    },
    /// This field is missing, or does not say what it must (4.1).
    Field(&'static str),
    /// `Sec-WebSocket-Accept` is not what follows from the key.
    WrongAccept {
        /// What follows from the key.
        expected: String,
        /// What the server said; empty when it said nothing.
        found: String,
    },
    /// An extension or a subprotocol that was not asked for.
    NotAskedFor(&'static str),
    /// It does not agree to permessage-deflate without context takeover.
    NoDeflate {
        /// The extensions that it agrees to; may be empty.
        found: String,
    },
    /// The head does not end within [`MAX_HEAD`] bytes.
    HeadTooLong,
    /// The head does not end within [`PATIENCE`].
    TimedOut,
    /// The server closed the connection before the head's end.
    Closed,
    /// Any other failure.
    Io(io::Error),
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "its answer is not HTTP: {error}"),
            Self::Status { code, reason } => write!(f, "it answered {code} {reason}"),
            Self::Field(name) => write!(f, "{name} is missing in its answer, or wrong"),
            Self::WrongAccept { expected, found } => {
                write!(f, "Sec-WebSocket-Accept is {found:?} and not {expected:?}")
            }
            Self::NotAskedFor(name) => write!(f, "{name} was not asked for"),
            Self::NoDeflate { found } => write!(
                f,
                "it agreed to the extensions {found:?} and not to permessage-deflate without context takeover"
            ),
            Self::HeadTooLong => write!(f, "the head of its answer is over {MAX_HEAD} bytes"),
            Self::TimedOut => write!(
                f,
                "the head of its answer did not end within {} s",
                PATIENCE.as_secs()
            ),
            Self::Closed => write!(f, "it closed the connection"),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for HandshakeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Malformed(error) => Some(error),
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // A read that times out is one or the other, by the system.
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::TimedOut,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

/// Turns a fresh connection into a WebSocket, within [`PATIENCE`]. The socket is blocking; nothing that follows the head
/// of the answer is taken from it, so that frames which come with it are not lost. Leaves [`PATIENCE`] as its read
/// timeout. With `deflate`, messages are then deflated by both sides, without context takeover.
///
/// # Errors
/// [`LoadError::Handshake`], whatever the reason.
pub(crate) fn upgrade(
    socket: &mut TcpStream,
    connection: usize,
    deflate: bool,
) -> Result<(), LoadError> {
    exchange_heads(socket, connection, deflate)
        .map_err(|cause| LoadError::Handshake { connection, cause })
}

fn exchange_heads(
    socket: &mut TcpStream,
    connection: usize,
    deflate: bool,
) -> Result<(), HandshakeError> {
    let key = key(connection);
    let request = request(socket.peer_addr()?, &key, deflate);
    socket.write_all(request.as_bytes())?;
    let head = read_head(socket)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    check_head(&head, &accept(&key), deflate)
}

/// 16 bytes, other ones for each connection and the same ones in each run.
fn key(connection: usize) -> String {
    let mut nonce = [0; 16];
    SplitMix::new(connection as u64).fill(&mut nonce);
    BASE64.encode(nonce)
}

fn request(address: SocketAddr, key: &str, deflate: bool) -> String {
    let extensions = if deflate {
        format!("{EXTENSIONS}: {OFFER}\r\n")
    } else {
        String::new()
    };
    format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{extensions}\r\n"
    )
}

/// What a right server answers to `key`.
fn accept(key: &str) -> String {
    let hash = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    BASE64.encode(hash)
}

/// Reads to the end of the head and no further.
fn read_head(socket: &mut TcpStream) -> Result<Vec<u8>, HandshakeError> {
    let deadline = Instant::now() + PATIENCE;
    let mut head = Head::default();
    let mut buffer = [0; 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(HandshakeError::TimedOut);
        }
        socket.set_read_timeout(Some(left))?;
        let length = match socket.peek(&mut buffer) {
            Ok(0) => return Err(HandshakeError::Closed),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        let taken = head.take(&buffer[..length])?;
        socket.read_exact(&mut buffer[..taken])?;
        if head.complete {
            return Ok(head.bytes);
        }
    }
}

/// The head of an answer, as far as it has come.
#[derive(Default)]
struct Head {
    bytes: Vec<u8>,
    complete: bool,
}

impl Head {
    /// Takes what belongs to the head from the front of `input`, and answers how many bytes that is.
    fn take(&mut self, input: &[u8]) -> Result<usize, HandshakeError> {
        debug_assert!(!self.complete);
        let before = self.bytes.len();
        self.bytes.extend_from_slice(input);
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let parsed = httparse::Response::new(&mut fields).parse(&self.bytes);
        if let httparse::Status::Complete(length) = parsed.map_err(HandshakeError::Malformed)? {
            self.complete = true;
            self.bytes.truncate(length);
        }
        if self.bytes.len() > MAX_HEAD {
            return Err(HandshakeError::HeadTooLong);
        }
        // Bytes that were incomplete before cannot hold the end.
        Ok(self.bytes.len() - before)
    }
}

/// What RFC 6455, 4.1, has a client check. Of what a server may choose, at most `deflate` was asked for.
fn check_head(head: &[u8], accept: &str, deflate: bool) -> Result<(), HandshakeError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    response.parse(head).map_err(HandshakeError::Malformed)?;
    let code = response.code.unwrap_or_default();
    if code != 101 {
        let reason = response.reason.unwrap_or_default().to_owned();
        return Err(HandshakeError::Status { code, reason });
    }
    let fields = &*response.headers;
    for (name, token) in [("Upgrade", "websocket"), ("Connection", "upgrade")] {
        if !lists(fields, name, token) {
            return Err(HandshakeError::Field(name));
        }
    }
    let found: Vec<_> = values(fields, "Sec-WebSocket-Accept").collect();
    if found != [accept.as_bytes()] {
        return Err(HandshakeError::WrongAccept {
            expected: accept.to_owned(),
            found: String::from_utf8_lossy(&found.join(&b", "[..])).into_owned(),
        });
    }
    let extensions: Vec<_> = values(fields, EXTENSIONS).collect();
    if deflate && !matches!(extensions[..], [answer] if agrees(answer)) {
        let found = String::from_utf8_lossy(&extensions.join(&b", "[..])).into_owned();
        return Err(HandshakeError::NoDeflate { found });
    }
    if !deflate && !extensions.is_empty() {
        return Err(HandshakeError::NotAskedFor(EXTENSIONS));
    }
    match values(fields, PROTOCOL).next() {
        Some(_) => Err(HandshakeError::NotAskedFor(PROTOCOL)),
        None => Ok(()),
    }
}

/// The values of the fields of this name, without space around them.
fn values<'a>(fields: &'a [httparse::Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name))
        .map(|field| field.value.trim_ascii())
}

/// Whether `token`, in whatever case, is among the comma-separated values of this name.
fn lists(fields: &[httparse::Header<'_>], name: &str, token: &str) -> bool {
    values(fields, name)
        .flat_map(|value| value.split(|&byte| byte == b','))
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Appends a masked frame that begins with the byte `first`.
pub(crate) fn append_client_frame(
    output: &mut Vec<u8>,
    first: u8,
    payload: &[u8],
    mask: [u8; MASK_LENGTH],
) {
    append_header(output, first, MASKED, payload.len());
    output.extend_from_slice(&mask);
    let masked = payload
        .iter()
        .zip(mask.iter().cycle())
        .map(|(byte, mask)| byte ^ mask);
    output.extend(masked);
}

/// Appends an unmasked frame that begins with the byte `first`.
pub(crate) fn append_server_frame(output: &mut Vec<u8>, first: u8, payload: &[u8]) {
    append_header(output, first, 0, payload.len());
    output.extend_from_slice(payload);
}

/// The length has the shortest of its three forms, the only one that RFC 6455, 5.2, permits.
fn append_header(output: &mut Vec<u8>, first: u8, masked: u8, length: usize) {
    output.push(first);
    match length {
        0..=125 => output.push(masked | length as u8),
        126..=0xffff => {
            output.push(masked | 126);
            output.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            output.push(masked | 127);
            output.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Bytes in front of the payload of a masked frame.
pub(crate) fn client_header_length(payload: usize) -> usize {
    let length = match payload {
        0..=125 => 1,
        126..=0xffff => 3,
        _ => 9,
    };
    1 + length + MASK_LENGTH
}

/// The status code, if any, and the reason of an unmasked close frame (5.5.1), as far as `frame` goes.
pub(crate) fn close_reason(frame: &[u8]) -> (Option<u16>, String) {
    debug_assert_eq!(frame.first(), Some(&CLOSE));
    let body = match frame {
        // Control frames have at most 125 bytes.
        [_, length @ 0..=125, body @ ..] => &body[..body.len().min(usize::from(*length))],
        _ => &[],
    };
    match body {
        [high, low, reason @ ..] => {
            let reason = String::from_utf8_lossy(reason).into_owned();
            (Some(u16::from_be_bytes([*high, *low])), reason)
        }
        _ => (None, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    /// The example of RFC 6455, 1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    /// The answer with one part replaced.
    fn check(from: &str, to: &str) -> Result<(), HandshakeError> {
        assert!(ANSWER.contains(from));
        check_head(ANSWER.replace(from, to).as_bytes(), ACCEPT, false)
    }

    #[test]
    fn the_accept_of_the_rfcs_key() {
        assert_eq!(accept(KEY), ACCEPT);
    }

    #[test]
    fn each_connection_has_a_key_of_sixteen_bytes_of_its_own() {
        assert_eq!(BASE64.decode(key(0)).unwrap().len(), 16);
        assert_ne!(key(0), key(1));
        assert_eq!(key(1), key(1));
    }

    #[test]
    fn an_answer_cut_anywhere_is_taken_to_its_end_and_no_further() {
        let input = [ANSWER.as_bytes(), &[BINARY, 1, b'x']].concat();
        for cut in 0..=input.len() {
            let mut head = Head::default();
            let mut taken = 0;
            for piece in [&input[..cut], &input[cut..]] {
                if !head.complete {
                    taken += head.take(piece).unwrap();
                }
            }
            assert!(head.complete);
            assert_eq!((taken, &head.bytes[..]), (ANSWER.len(), ANSWER.as_bytes()));
        }
    }

    #[test]
    fn a_head_without_end_is_refused_at_its_limit() {
        let mut head = Head::default();
        head.take(b"HTTP/1.1 101 Switching Protocols\r\nX: ")
            .unwrap();
        let mut length = head.bytes.len();
        let error = loop {
            match head.take(&[b'x'; 1000]) {
                Ok(taken) => length += taken,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, HandshakeError::HeadTooLong), "{error}");
        assert!((MAX_HEAD - 1000..=MAX_HEAD).contains(&length), "{length}");
    }

    #[test]
    fn what_is_not_http_is_refused() {
        for answer in [&b"GET / HTTP/1.1\r\n"[..], b"\x82\x01x", b"HTTP/2 101\r\n"] {
            let error = Head::default().take(answer).unwrap_err();
            assert!(matches!(error, HandshakeError::Malformed(_)), "{error}");
        }
    }

    #[test]
    fn right_answers_in_other_words_pass() {
        for (from, to) in [
            ("Upgrade: websocket", "upgrade:WebSocket"),
            ("Connection: Upgrade", "Connection: keep-alive, UPGRADE"),
            (
                "Connection: Upgrade",
                "Connection: x\r\nconnection: upgrade ",
            ),
            ("Switching Protocols", ""),
            ("Accept", "accept"),
        ] {
            check(from, to).unwrap_or_else(|error| panic!("{to}: {error}"));
        }
    }

    #[test]
    fn an_answer_that_is_not_101_is_refused() {
        let error = check("101 Switching Protocols", "200 OK").unwrap_err();
        assert_eq!(error.to_string(), "it answered 200 OK");
    }

    #[test]
    fn fields_that_are_missing_or_wrong_are_refused() {
        for (from, to, name) in [
            ("Upgrade: websocket\r\n", "", "Upgrade"),
            ("websocket", "websockets", "Upgrade"),
            ("Connection: Upgrade", "Connection: close", "Connection"),
        ] {
            let error = check(from, to).unwrap_err();
            assert!(
                matches!(error, HandshakeError::Field(found) if found == name),
                "{error}"
            );
        }
    }

    #[test]
    fn a_wrong_missing_or_second_accept_is_refused() {
        let line = format!("Sec-WebSocket-Accept: {ACCEPT}\r\n");
        for to in [line.repeat(2), String::new(), line.to_ascii_lowercase()] {
            let error = check(&line, &to).unwrap_err();
            assert!(
                matches!(error, HandshakeError::WrongAccept { .. }),
                "{error}"
            );
        }
    }

    #[test]
    fn extensions_and_protocols_that_were_not_asked_for_are_refused() {
        for name in ["Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"] {
            let error = check("\r\n\r\n", &format!("\r\n{name}: x\r\n\r\n")).unwrap_err();
            assert!(matches!(error, HandshakeError::NotAskedFor(found) if found == name));
        }
    }

    #[test]
    fn deflate_that_was_asked_for_must_be_agreed_to_once() {
        let check = |extensions: &str| {
            let head = ANSWER.replace("\r\n\r\n", &format!("\r\n{extensions}\r\n"));
            check_head(head.as_bytes(), ACCEPT, true)
        };
        let agreed = format!("{EXTENSIONS}: {OFFER}\r\n");
        check(&agreed).unwrap();
        for refused in [
            String::new(),
            agreed.repeat(2),
            format!("{EXTENSIONS}: x\r\n"),
        ] {
            let error = check(&refused).unwrap_err();
            assert!(matches!(error, HandshakeError::NoDeflate { .. }), "{error}");
        }
        let request = request("127.0.0.1:1".parse().unwrap(), KEY, true);
        assert!(
            request.contains(&format!("\r\n{EXTENSIONS}: {OFFER}\r\n\r\n")),
            "{request}"
        );
    }

    #[test]
    fn a_frame_that_comes_with_the_head_stays_in_the_socket() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        // It answers before it is asked, which is as good.
        let head = ANSWER.replace(ACCEPT, &accept(&key(7)));
        let frame = [BINARY, 1, b'x'];
        server
            .write_all(&[head.as_bytes(), &frame].concat())
            .unwrap();
        upgrade(&mut client, 7, false).unwrap();
        assert_eq!(client.read_timeout().unwrap(), Some(PATIENCE));
        let mut rest = [0; 3];
        client.read_exact(&mut rest).unwrap();
        assert_eq!(rest, frame);
    }

    #[test]
    fn close_frames_are_read_as_far_as_they_go() {
        let whole = [CLOSE, 6, 0x03, 0xe9, b'g', b'o', b'n', b'e', BINARY];
        assert_eq!(close_reason(&whole), (Some(1001), "gone".into()));
        assert_eq!(close_reason(&whole[..6]), (Some(1001), "go".into()));
        assert_eq!(close_reason(&whole[..3]), (None, String::new()));
        assert_eq!(close_reason(&[CLOSE]), (None, String::new()));
        assert_eq!(close_reason(&[CLOSE, 0, BINARY]), (None, String::new()));
    }
}
