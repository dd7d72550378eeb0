//! The peers of the WebSocket tests, from the smallest to the largest: frames made by hand, one end of a connection
//! without sockets, and clients over sockets.

mod endpoint;
mod frames;
mod peer;

pub use endpoint::{ANSWER, Endpoint, Found, REQUEST, Subject, connect, open_server, plain_client};
pub use frames::{BINARY, CLOSE, Frame, KEY, PING, PONG, RSV1, from_client};
pub use peer::{CodecPeer, Peer};
