//! WebSocket: the codec without sockets, against RFC 6455, random cuts and another implementation; and the server over real
//! sockets.

#![cfg(feature = "websocket")]

mod support;

// What the tests share.
#[path = "websocket/endpoint.rs"]
mod endpoint;
#[path = "websocket/frames.rs"]
mod frames;
#[path = "websocket/peer.rs"]
mod peer;
#[path = "websocket/probe.rs"]
mod probe;

// Without sockets.
#[path = "websocket/closing.rs"]
mod closing;
#[path = "websocket/codec.rs"]
mod codec;
#[path = "websocket/cuts.rs"]
mod cuts;
#[path = "websocket/differential.rs"]
mod differential;
#[path = "websocket/keepalive.rs"]
mod keepalive;
#[path = "websocket/opening.rs"]
mod opening;
#[path = "websocket/pieces.rs"]
mod pieces;
#[path = "websocket/properties.rs"]
mod properties;

// Over sockets.
#[path = "websocket/fragments.rs"]
mod fragments;
#[path = "websocket/parting.rs"]
mod parting;
#[path = "websocket/pongs.rs"]
mod pongs;
#[path = "websocket/pressure.rs"]
mod pressure;
#[path = "websocket/refusals.rs"]
mod refusals;
#[path = "websocket/serving.rs"]
mod serving;
#[path = "websocket/uncompressed.rs"]
mod uncompressed;
