//! What the applications have in common: their command lines, and the messages that server and client of the typed frames
//! exchange.

pub mod arguments;
pub mod messages;
