//! The opening handshake (RFC 6455 section 4) over bytes: the server's side in [`server`], the client's in [`client`].
//!
//! It stands between the decoder, which hands it the first bytes of a connection, and [`http`](crate::http), which parses and
//! writes message heads.

mod client;
mod error;
#[cfg(test)]
mod fixtures;
mod request;
mod server;

pub use client::ClientHandshakeError;
pub(crate) use client::{ClientHandshake, ClientRequest};
pub use error::HandshakeError;
pub(crate) use server::{Handshake, Progress, Rules};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

const SUPPORTED_VERSION: &str = "13";

/// The methods that are answered, as `Allow` names them.
const ALLOWED_METHODS: &str = "GET, HEAD, OPTIONS";

/// The value by which a server proves that it has understood the key (RFC 6455 section 4.2.2 item 5.4).
fn accept_value(key: &[u8]) -> String {
    let hash = Sha1::new()
        .chain_update(key)
        .chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

/// Names of headers, in lower case, that the handshake writes automatically, so that an application cannot set them.
const RESERVED: [&str; 3] = [
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-protocol",
];
