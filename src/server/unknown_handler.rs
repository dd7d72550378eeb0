//! The error of asking for the connections of a handler that no listener has.

use std::any::type_name;
use std::error::Error;
use std::fmt;
use std::io;

/// No listener of the server has a handler of the type whose connections were asked for, by
/// [`ServerHandle::connections_of`](crate::ServerHandle::connections_of).
///
/// It converts into an [`io::Error`] of kind [`io::ErrorKind::NotFound`], so that `?` works where servers are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownHandlerError {
    handler: &'static str,
}

impl UnknownHandlerError {
    pub(super) fn new<H>() -> Self {
        UnknownHandlerError {
            handler: type_name::<H>(),
        }
    }
}

impl fmt::Display for UnknownHandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no listener has a handler of the type {}", self.handler)
    }
}

impl Error for UnknownHandlerError {}

impl From<UnknownHandlerError> for io::Error {
    fn from(error: UnknownHandlerError) -> Self {
        io::Error::new(io::ErrorKind::NotFound, error)
    }
}
