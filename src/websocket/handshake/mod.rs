//! The opening handshake (RFC 6455 section 4), from both sides, over bytes. The server's side is in [`server`], the
//! client's in [`client`].

mod client;
mod error;
#[cfg(test)]
mod fixtures;
mod head;
mod server;

pub use client::ClientHandshakeError;
pub(crate) use client::{ClientHandshake, ClientRequest};
pub use error::HandshakeError;
pub(crate) use head::HandshakeLimits;
pub(crate) use server::{Handshake, Progress, Rules};

use std::str;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use super::request::FieldSection;

const SUPPORTED_VERSION: &str = "13";

/// What proves that a server has understood the key (RFC 6455 section 4.2.2 item 5.4).
fn accept_value(key: &[u8]) -> String {
    let hash = Sha1::new()
        .chain_update(key)
        .chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

/// The value of a header that is there once, if it is text.
fn sole_text<'a>(fields: &FieldSection<'a>, name: &str) -> Option<&'a str> {
    str::from_utf8(fields.sole(name)?).ok()
}
