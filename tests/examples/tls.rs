//! The echo servers over TLS, and the renewal of their certificates.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use support::{Example, TlsClient};

/// The PEM files of a server, which are removed at the end.
struct Files {
    folder: PathBuf,
    chain: String,
    key: String,
}

impl Files {
    fn new(name: &str) -> Self {
        let name = format!("ringwheel-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a folder");
        let path = |name| folder.join(name).to_str().expect("text").to_owned();
        let (chain, key) = (path("chain.pem"), path("key.pem"));
        Files { folder, chain, key }
    }

    /// Writes a new certificate for `localhost` and its key, and returns the certificate.
    fn renew(&self) -> String {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let made = made.expect("a certificate");
        let chain = made.cert.pem();
        fs::write(&self.chain, &chain).expect("it is written");
        fs::write(&self.key, made.signing_key.serialize_pem()).expect("it is written");
        chain
    }

    fn options(&self) -> [&str; 5] {
        [
            "127.0.0.1:0",
            "--tls-cert",
            &self.chain,
            "--tls-key",
            &self.key,
        ]
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn echo_serves_tls_with_the_certificate_in_files() {
    let files = Files::new("echo-files");
    let certificate = files.renew();
    let server = Example::start("echo", &files.options());
    let addr = server.next_address();
    let mut client = TlsClient::connect(addr, &certificate);
    assert_eq!(client.ask(b"hello"), b"hello");
    let long = support::pattern(1, 100_000);
    assert_eq!(client.ask(&long), long);
    // The server ends its side, with close_notify, when the client has ended its own.
    client.finish();
    assert_eq!(client.receive_rest(), b"");

    let other = Files::new("echo-other").renew();
    let refusal = TlsClient::try_connect(addr, &other).err();
    let refusal = refusal.expect("the client does not trust the server");
    assert!(refusal.to_string().contains("certificate"), "{refusal}");
}

#[test]
fn echo_serves_tls_behind_a_proxy_header() {
    let files = Files::new("echo-proxy");
    let certificate = files.renew();
    let options = [&files.options()[..], &["--proxy-protocol"]].concat();
    let server = Example::start("echo", &options);
    let header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 1833\r\n";
    let mut client = TlsClient::connect_behind(server.next_address(), &certificate, header);
    assert_eq!(client.ask(b"hello"), b"hello");
    assert_eq!(server.next_line(), "client 192.0.2.1:1234");
}

#[test]
#[cfg(unix)]
fn hangup_renews_the_certificate_for_new_connections() {
    let files = Files::new("echo-renewed");
    let old = files.renew();
    let server = Example::start("echo", &files.options());
    let addr = server.next_address();
    let mut earlier = TlsClient::connect(addr, &old);

    let new = files.renew();
    server.signal("HUP");
    assert_eq!(
        server.next_line(),
        "new connections get the new certificate"
    );
    let mut later = TlsClient::connect(addr, &new);
    assert!(TlsClient::try_connect(addr, &old).is_err());

    // What cannot be used changes nothing.
    fs::write(&files.key, "no key").expect("it is written");
    server.signal("HUP");
    let line = server.next_error_line();
    let expected = format!(
        "the old certificate stays: {}: there is no private key",
        files.key
    );
    assert!(line.starts_with(&expected), "{line}");
    let mut latest = TlsClient::connect(addr, &new);
    fs::remove_file(&files.chain).expect("it was there");
    server.signal("HUP");
    let line = server.next_error_line();
    let expected = format!(
        "the old certificate stays: {}: the file cannot",
        files.chain
    );
    assert!(line.starts_with(&expected), "{line}");

    for client in [&mut earlier, &mut later, &mut latest] {
        assert_eq!(client.ask(b"hello"), b"hello");
    }
    let last = files.renew();
    server.signal("HUP");
    assert_eq!(
        server.next_line(),
        "new connections get the new certificate"
    );
    assert_eq!(TlsClient::connect(addr, &last).ask(b"hello"), b"hello");
}

#[test]
fn a_self_signed_certificate_is_for_nobody_in_particular() {
    let server = Example::start("echo", &["--self-signed", "127.0.0.1:0"]);
    let addr = server.next_address();
    let other = Files::new("echo-stranger").renew();
    let refusal = TlsClient::try_connect(addr, &other).err();
    let refusal = refusal.expect("the client does not trust the server");
    assert!(refusal.to_string().contains("certificate"), "{refusal}");
    #[cfg(unix)]
    {
        server.signal("HUP");
        assert_eq!(
            server.next_line(),
            "new connections get the new certificate"
        );
    }
}

#[test]
fn wrong_options_of_tls_are_errors_and_no_panics() {
    let files = Files::new("echo-wrong");
    let (chain, key) = (&files.chain[..], &files.key[..]);
    for (arguments, expected) in [
        (
            &["--tls-cert", chain][..],
            "--tls-cert, --tls-key: each option needs the other",
        ),
        (
            &["--tls-key", key],
            "--tls-cert, --tls-key: each option needs the other",
        ),
        (&["--self-signed", "--tls-cert", chain], "--self-signed: "),
        (
            &files.options(),
            &format!("TLS: {chain}: the file cannot be read"),
        ),
    ] {
        let Output { status, stderr, .. } = Example::run_to_end("echo", arguments);
        assert_eq!(status.code(), Some(2), "{arguments:?}");
        let message = String::from_utf8_lossy(&stderr).into_owned();
        assert!(message.starts_with(expected), "{arguments:?}: {message}");
    }
}

#[test]
#[cfg(feature = "websocket")]
fn websocket_echo_serves_wss() {
    let files = Files::new("websocket-echo");
    let certificate = files.renew();
    let server = Example::start("websocket_echo", &files.options());
    let addr = server.next_address();
    for alpn in [&[][..], &["http/1.1"], &["h2", "http/1.1"]] {
        let mut client = TlsClient::connect_with(addr, &certificate, alpn);
        let agreed = alpn.last().map(|name| name.as_bytes());
        assert_eq!(client.alpn(), agreed);
        let wanted = ringwheel::websocket::WebSocketClient::new(addr.to_string(), "/");
        let head = crate::websocket::echo_over(client.plain(), &wanted.expect("a target"));
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    }
}
