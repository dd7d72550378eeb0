//! Servers and rustls's own clients in one process, without a socket.

mod client_certificates;
mod forged;
mod handshakes;
mod names;
mod reloads;
mod resumption;
mod settings;
mod support;
mod traffic;
mod wires;
