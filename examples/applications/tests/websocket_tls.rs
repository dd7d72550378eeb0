//! The chat over TLS: its page by https, its WebSocket by wss.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use support::websocket::{Frame, KEY};
use support::{Example, TlsClient};

const CHAT: &str = env!("CARGO_BIN_EXE_websocket_chat");

/// A folder for the PEM files of a server, which is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("ringwheel-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a folder");
        Folder(folder)
    }

    /// Writes a new certificate for `localhost` and its key, and returns the certificate.
    fn renew(&self) -> String {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let made = made.expect("a certificate");
        let chain = made.cert.pem();
        fs::write(self.0.join("chain.pem"), &chain).expect("it is written");
        let key = made.signing_key.serialize_pem();
        fs::write(self.0.join("key.pem"), key).expect("it is written");
        chain
    }

    fn serve(&self) -> (Example, SocketAddr) {
        let option = |name: &str, file: &Path| format!("--{name}={}", file.display());
        let chain = option("tls-cert", &self.0.join("chain.pem"));
        let key = option("tls-key", &self.0.join("key.pem"));
        Example::serve(CHAT, &["--workers=2", &chain, &key])
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The answer to a request for a page, and the end of the connection with `close_notify`.
fn get(addr: SocketAddr, certificate: &str, target: &str) -> String {
    let mut client = TlsClient::connect_with(addr, certificate, &["h2", "http/1.1"]);
    assert_eq!(client.alpn(), Some(&b"http/1.1"[..]));
    client.send(format!("GET {target} HTTP/1.1\r\nHost: {addr}\r\n\r\n").as_bytes());
    String::from_utf8(client.receive_rest()).expect("text")
}

/// Opens a WebSocket as the chat's own page does.
fn enter(addr: SocketAddr, certificate: &str, name: &str, origin: &str) -> (TlsClient, String) {
    let mut client = TlsClient::connect(addr, certificate);
    let request = format!(
        "GET /chat?name={name} HTTP/1.1\r\nHost: {addr}\r\nOrigin: {origin}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    client.send(request.as_bytes());
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend_from_slice(&client.receive(1));
    }
    (client, String::from_utf8(head).expect("text"))
}

/// Waits for a message of the server. The news of who has come are passed over.
#[track_caller]
fn await_message(client: &mut TlsClient, awaited: &str) {
    loop {
        // A text of at most 125 bytes in one frame.
        let header = client.receive(2);
        assert!(header[0] == 0x81 && header[1] < 126, "{header:?}");
        let message = String::from_utf8(client.receive(header[1].into())).expect("text");
        if message == awaited {
            return;
        }
        assert!(message.starts_with(r#"{"type":"joined","#), "{message}");
    }
}

#[test]
fn chat_comes_by_https_and_talks_by_wss() {
    let folder = Folder::new("chat");
    let certificate = folder.renew();
    let (_chat, addr) = folder.serve();
    let page = get(addr, &certificate, "/");
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    let script = get(addr, &certificate, "/chat.js");
    assert!(script.contains("location.protocol === 'https:' ? 'wss:' : 'ws:'"));

    let own_page = format!("https://{addr}");
    let (mut ada, head) = enter(addr, &certificate, "ada", &own_page);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    await_message(&mut ada, r#"{"type":"welcome","people":["ada"]}"#);
    let (mut bob, _) = enter(addr, &certificate, "bob", &own_page);
    await_message(&mut bob, r#"{"type":"welcome","people":["ada","bob"]}"#);
    ada.send(&Frame::text(r#"{"say":"hello"}"#).masked(KEY).bytes());
    for client in [&mut ada, &mut bob] {
        await_message(client, r#"{"type":"said","name":"ada","text":"hello"}"#);
    }
    let (_, refused) = enter(addr, &certificate, "eve", "https://evil.example");
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
}

#[test]
#[cfg(unix)]
fn chat_renews_its_certificate_on_hangup() {
    let folder = Folder::new("chat-renewed");
    let old = folder.renew();
    let (chat, addr) = folder.serve();
    let own_page = format!("https://{addr}");
    let (mut ada, _) = enter(addr, &old, "ada", &own_page);
    await_message(&mut ada, r#"{"type":"welcome","people":["ada"]}"#);
    let new = folder.renew();
    chat.signal("HUP");
    assert_eq!(chat.next_line(), "new connections get the new certificate");
    let (mut bob, _) = enter(addr, &new, "bob", &own_page);
    await_message(&mut bob, r#"{"type":"welcome","people":["ada","bob"]}"#);
    await_message(&mut ada, r#"{"type":"joined","name":"bob"}"#);
    fs::write(folder.0.join("chain.pem"), "nothing").expect("it is written");
    chat.signal("HUP");
    let line = chat.next_error_line();
    assert!(line.starts_with("the old certificate stays: "), "{line}");
    assert!(get(addr, &new, "/health").ends_with("\r\n\r\nok\n"));
}

#[test]
fn chat_makes_a_certificate_for_trying() {
    let (_chat, addr) = Example::serve(CHAT, &["--self-signed"]);
    let stranger = Folder::new("chat-stranger").renew();
    let refusal = TlsClient::try_connect(addr, &stranger).err();
    let refusal = refusal.expect("the client does not trust the server");
    assert!(refusal.to_string().contains("certificate"), "{refusal}");
}

#[test]
fn wrong_options_of_tls_are_errors_and_no_panics() {
    for options in [
        &["--tls-cert=chain.pem"][..],
        &["--tls-key=key.pem"],
        &["--self-signed", "--tls-cert=chain.pem", "--tls-key=key.pem"],
        &[
            "--tls-cert=/nowhere/chain.pem",
            "--tls-key=/nowhere/key.pem",
        ],
    ] {
        let output = Example::run_to_end(CHAT, options);
        assert_eq!(output.status.code(), Some(2), "{options:?}");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(message.starts_with("error: "), "{options:?}: {message}");
    }
}
