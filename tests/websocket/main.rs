//! WebSocket: the codec without sockets, against RFC 6455 and random cuts; and the server over real sockets. (Against another
//! implementation it is tested in `tests/differential`.)

#![cfg(feature = "websocket")]

// Shared by the tests.
mod probe;

// Tests without sockets.
mod answers;
#[cfg(feature = "deflate")]
mod budget;
mod closing;
mod codec;
mod cuts;
mod frames;
mod keepalive;
mod opening;
mod pieces;
mod properties;

// Over sockets.
mod admission;
mod after_close;
mod dead_peers;
mod fragments;
mod half_close;
mod memory;
mod panics;
mod parting;
mod plain_http;
mod pongs;
mod pressure;
mod refusals;
mod serving;
mod shutdown;
mod uncompressed;
mod violations;
