//! WebSocket: the codec without sockets, against RFC 6455, random cuts and another implementation; and the server over real
//! sockets.

#![cfg(feature = "websocket")]

// What the tests share.
mod probe;

// Without sockets.
mod closing;
mod codec;
mod cuts;
mod differential;
mod frames;
mod keepalive;
mod opening;
mod pieces;
mod properties;

// Over sockets.
mod admission;
mod fragments;
mod parting;
mod pongs;
mod pressure;
mod refusals;
mod serving;
mod uncompressed;
