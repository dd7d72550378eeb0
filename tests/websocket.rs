//! WebSocket: the codec without sockets, against RFC 6455, random cuts and another implementation, and the server over
//! real sockets.

#![cfg(feature = "websocket")]

mod support;

#[path = "websocket/closing.rs"]
mod closing;
#[path = "websocket/codec.rs"]
mod codec;
#[path = "websocket/cuts.rs"]
mod cuts;
#[path = "websocket/differential.rs"]
mod differential;
#[path = "websocket/endpoint.rs"]
mod endpoint;
#[path = "websocket/frames.rs"]
mod frames;
#[path = "websocket/keepalive.rs"]
mod keepalive;
#[path = "websocket/opening.rs"]
mod opening;
#[path = "websocket/pieces.rs"]
mod pieces;
#[path = "websocket/properties.rs"]
mod properties;
