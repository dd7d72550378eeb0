//! A server for clients that others wrote: an echo over TLS, with and without certificates of clients, and one of WebSocket.
//!
//! It writes the certificates that its clients need into the folder that is its argument, prints its addresses, and ends when its
//! standard input does.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::{env, fs};

use ringwheel::protocol::{Lines, LinesError};
use ringwheel::websocket::{Deflate, Message, WebSocket};
use ringwheel::{CloseReason, Conn, Handler, Limits, Listen, Pem, Server, Tls};
use ringwheel_test_support::LOCAL;
use ringwheel_test_support::tls::{Authority, Issued};

const MAX_MESSAGE: usize = 64 << 20;

/// Sends back each line, and answers the line `session` with what TLS tells of the client.
#[derive(Clone)]
struct Echo;

impl Handler for Echo {
    type Protocol = Lines;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) {}

    fn on_message(&mut self, conn: &mut Conn<'_, Lines>, _session: &mut (), line: &str) {
        match line {
            "session" => {
                let session = describe(conn);
                conn.send(&session);
            }
            "bye" => {
                conn.send("bye");
                conn.close();
            }
            line => _ = conn.send(line),
        }
    }

    fn on_close(&mut self, _: &Conn<'_, Lines>, _session: (), reason: CloseReason<LinesError>) {
        eprintln!("{reason:?}");
    }
}

/// Version, server name, ALPN, number of certificates, and if the session is resumed.
fn describe(conn: &Conn<'_, Lines>) -> String {
    let Some(tls) = conn.tls() else {
        return "none".to_owned();
    };
    let alpn = tls.alpn().map(String::from_utf8_lossy);
    format!(
        "version={:?} name={} alpn={} certificates={} resumed={}",
        tls.version(),
        tls.server_name().unwrap_or("-"),
        alpn.as_deref().unwrap_or("-"),
        tls.peer_certificates().len(),
        tls.is_resumed()
    )
}

#[derive(Clone)]
struct WebSocketEcho;

impl Handler for WebSocketEcho {
    type Protocol = WebSocket;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, WebSocket>) {}

    fn on_message(&mut self, conn: &mut Conn<'_, WebSocket>, _: &mut (), message: Message<'_>) {
        conn.send(message);
    }
}

fn save(folder: &Path, name: &str, issued: &Issued) -> io::Result<(PathBuf, PathBuf)> {
    let chain = folder.join(format!("{name}.pem"));
    let key = folder.join(format!("{name}-key.pem"));
    fs::write(&chain, &issued.chain)?;
    fs::write(&key, &issued.key)?;
    Ok((chain, key))
}

fn main() -> io::Result<()> {
    let folder = env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.expect("the folder for the certificates is the argument");
    let authority = Authority::shared();
    let root = folder.join("root.pem");
    fs::write(&root, authority.pem())?;
    let names = ["localhost", "127.0.0.1", "ringwheel.test"];
    let (chain, key) = save(&folder, "server", &authority.issue(&names))?;
    let (other, other_key) = save(&folder, "other", &authority.issue(&["other.test"]))?;
    save(&folder, "client", &authority.issue(&["client.test"]))?;
    let stranger = Authority::new("a stranger").issue(&["stranger.test"]);
    save(&folder, "stranger", &stranger)?;

    let certificates = || {
        Tls::builder()
            .certificate(Pem::file(&chain), Pem::file(&key))
            .named_certificate("other.test", Pem::file(&other), Pem::file(&other_key))
    };
    let settings = [
        certificates().alpn(["echo/1"]),
        certificates().require_client_certificates(Pem::file(&root)),
    ];
    let mut builder = Server::builder().workers(2);
    for settings in settings {
        let tls = settings.build().map_err(io::Error::other)?;
        builder = builder.listen_with(Listen::on(LOCAL).tls(tls), Echo)?;
    }
    let tls = certificates().build().map_err(io::Error::other)?;
    let websocket = WebSocket::new().max_message(MAX_MESSAGE);
    let listen = Listen::with(websocket.deflate(Deflate::new()), LOCAL).tls(tls);
    let listen = listen.limits(Limits::default().output(2 * MAX_MESSAGE));
    let server = builder.listen_with(listen, WebSocketEcho)?.spawn()?;
    let addresses = server.local_addrs();
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    println!("listening on {}", addresses.join(" "));
    io::stdin().read_to_end(&mut Vec::new())?;
    server.shutdown(ringwheel_test_support::DEADLINE)
}
