//! The client's side of the WebSocket opening handshake (RFC 6455), with an offer of permessage-deflate (RFC 7692).

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha1::{Digest, Sha1};

use super::PATIENCE;
use super::error::LoadError;
use super::handshake_error::{HandshakeError, MAX_HEAD};
use super::random::SplitMix;
use super::stream::Stream;

/// Most header fields of an answer; more are [`HandshakeError::Malformed`].
const MAX_FIELDS: usize = 64;
/// The string that the server appends to the key before hashing (RFC 6455, 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const EXTENSIONS: &str = "Sec-WebSocket-Extensions";
const PROTOCOL: &str = "Sec-WebSocket-Protocol";
/// The extension offered (RFC 7692, 7.1).
const OFFER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// Turns a fresh connection into a WebSocket, within [`PATIENCE`]. The socket is blocking. No byte behind the head of
/// the answer is read, so that frames that arrive with it are not lost. Leaves [`PATIENCE`] as the read timeout. With
/// `deflate`, both sides then deflate messages, without context takeover.
///
/// # Errors
/// [`LoadError::Handshake`], for every reason.
pub(crate) fn upgrade(
    stream: &mut Stream,
    connection: usize,
    deflate: bool,
) -> Result<(), LoadError> {
    exchange_heads(stream, connection, deflate)
        .map_err(|cause| LoadError::Handshake { connection, cause })
}

fn exchange_heads(
    stream: &mut Stream,
    connection: usize,
    deflate: bool,
) -> Result<(), HandshakeError> {
    let key = key(connection);
    let request = request(stream.socket().peer_addr()?, &key, deflate);
    stream.write_all(request.as_bytes())?;
    let head = read_head(stream)?;
    stream.socket().set_read_timeout(Some(PATIENCE))?;
    check_head(&head, &accept(&key), deflate)
}

/// A key of 16 bytes, different for each connection and the same in each run.
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

/// The value of `Sec-WebSocket-Accept` for `key`.
fn accept(key: &str) -> String {
    let hash = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    BASE64.encode(hash)
}

/// Reads exactly to the end of the head.
fn read_head(stream: &mut Stream) -> Result<Vec<u8>, HandshakeError> {
    let deadline = Instant::now() + PATIENCE;
    let mut head = Head::default();
    let mut buffer = [0; 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(HandshakeError::TimedOut);
        }
        stream.socket().set_read_timeout(Some(left))?;
        let length = match stream.peek(&mut buffer) {
            Ok(0) => return Err(HandshakeError::Closed),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        let taken = head.take(&buffer[..length])?;
        stream.read_exact(&mut buffer[..taken])?;
        if head.complete {
            return Ok(head.bytes);
        }
    }
}

/// The head of an answer, as far as it has arrived.
#[derive(Default)]
struct Head {
    bytes: Vec<u8>,
    complete: bool,
}

impl Head {
    /// Takes the bytes of the head from the front of `input`, and returns their number.
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
        // The bytes before were incomplete, so they do not contain the end.
        Ok(self.bytes.len() - before)
    }
}

/// Checks the answer as RFC 6455, 4.1, requires of a client. The only extension allowed is `deflate`, if requested.
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

/// True if `answer`, the value of the header field, accepts [`OFFER`]: without the server's context takeover, and
/// without parameters that were not offered, except a smaller window of the server, which it may choose by itself (RFC
/// 7692, 7.1.2.1).
fn agrees(answer: &[u8]) -> bool {
    let Ok(answer) = std::str::from_utf8(answer) else {
        return false;
    };
    let mut parts = answer.split(';').map(str::trim);
    if parts.next() != Some("permessage-deflate") {
        return false;
    }
    let mut without_takeover = false;
    for parameter in parts {
        match parameter.split_once('=') {
            None if parameter == "server_no_context_takeover" => without_takeover = true,
            None if parameter == "client_no_context_takeover" => {}
            Some(("server_max_window_bits", bits)) => {
                let bits = bits.trim_matches('"').parse::<u8>();
                if !bits.is_ok_and(|bits| (8..=15).contains(&bits)) {
                    return false;
                }
            }
            _ => return false,
        }
    }
    without_takeover
}

/// The values of the fields with this name, without surrounding spaces.
fn values<'a>(fields: &'a [httparse::Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name))
        .map(|field| field.value.trim_ascii())
}

/// True if `token`, in any case, is among the comma-separated values of the fields with this name.
fn lists(fields: &[httparse::Header<'_>], name: &str, token: &str) -> bool {
    values(fields, name)
        .flat_map(|value| value.split(|&byte| byte == b','))
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::super::frames::BINARY;
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
    fn answers_that_are_not_http_are_refused() {
        for answer in [&b"GET / HTTP/1.1\r\n"[..], b"\x82\x01x", b"HTTP/2 101\r\n"] {
            let error = Head::default().take(answer).unwrap_err();
            assert!(matches!(error, HandshakeError::Malformed(_)), "{error}");
        }
    }

    #[test]
    fn correct_answers_in_other_forms_pass() {
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
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut client = Stream::Plain(client);
        let (mut server, _) = listener.accept().unwrap();
        // The answer comes before the request, which is accepted too.
        let head = ANSWER.replace(ACCEPT, &accept(&key(7)));
        let frame = [BINARY, 1, b'x'];
        server
            .write_all(&[head.as_bytes(), &frame].concat())
            .unwrap();
        upgrade(&mut client, 7, false).unwrap();
        assert_eq!(client.socket().read_timeout().unwrap(), Some(PATIENCE));
        let mut rest = [0; 3];
        client.read_exact(&mut rest).unwrap();
        assert_eq!(rest, frame);
    }

    #[test]
    fn an_agreement_to_no_context_takeover_is_understood() {
        for right in [
            OFFER,
            "permessage-deflate; server_no_context_takeover",
            "permessage-deflate;client_no_context_takeover;server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=\"10\"",
        ] {
            assert!(agrees(right.as_bytes()), "{right}");
        }
        for wrong in [
            "",
            "permessage-deflate",
            "permessage-deflate; client_no_context_takeover",
            "x-webkit-deflate-frame",
            "permessage-deflate; server_no_context_takeover; client_max_window_bits=10",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=7",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits",
            "permessage-deflate; server_no_context_takeover, permessage-deflate",
        ] {
            assert!(!agrees(wrong.as_bytes()), "{wrong}");
        }
    }
}
