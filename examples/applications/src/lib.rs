//! Parts that the applications share: their command lines, and the messages that server and client of the typed frames
//! exchange.

pub mod arguments;
pub mod messages;
