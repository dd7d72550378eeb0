//! HTTP/1.1 message heads: reading requests, writing responses.
//!
//! A pure layer over bytes, with no socket and no protocol of its own: WebSocket's opening handshake stands on it. A head is
//! awaited by a search that looks at every byte once, then parsed into a [`Request`]; an answer is a [`Response`].
//! Parsing is strict where receivers differ, since requests are smuggled through such differences.

pub(crate) mod authority;
pub(crate) mod date;
pub(crate) mod fields;
pub(crate) mod head;
pub(crate) mod request;
pub(crate) mod response;

pub use request::Request;
pub use response::Response;
