//! WebSocket: the codec without sockets, checked with RFC 6455, random cuts and another implementation; and the server
//! over real sockets.

#![cfg(feature = "websocket")]

// Shared by the tests.
mod probe;

// Tests without sockets.
mod closing;
mod codec;
mod cuts;
mod differential;
mod frames;
mod keepalive;
mod opening;
mod pieces;
mod properties;

// Tests over sockets.
mod fragments;
mod parting;
mod pongs;
mod pressure;
mod refusals;
mod serving;
mod uncompressed;
