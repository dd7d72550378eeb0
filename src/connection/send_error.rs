//! The error of a send from another thread.

use std::fmt;

/// A send that was not taken. It gives back the value that was to be sent.
///
/// ```
/// use ringwheel::{ConnHandle, SendError, protocol::Lines};
///
/// fn push(client: &ConnHandle<Lines>, line: &str) {
///     match client.send(line) {
///         Ok(()) => {}
///         Err(SendError::Closed(_)) => println!("{} has gone", client.id()),
///         Err(SendError::Full(line)) => println!("try again later: {line}"),
///         Err(other) => println!("{other}"),
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError<T> {
    /// The connection, or its worker, has ended.
    Closed(T),
    /// The worker's mailboxes have no place for the letter, or the thread has its share of them: by
    /// [`ServerBuilder::mailbox_limit`](crate::ServerBuilder::mailbox_limit) or
    /// [`ServerBuilder::mailbox_bytes`](crate::ServerBuilder::mailbox_bytes).
    Full(T),
}

impl<T> SendError<T> {
    /// The value that was to be sent.
    pub fn into_inner(self) -> T {
        match self {
            SendError::Closed(value) | SendError::Full(value) => value,
        }
    }

    /// The same error with another value.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> SendError<U> {
        match self {
            SendError::Closed(value) => SendError::Closed(change(value)),
            SendError::Full(value) => SendError::Full(change(value)),
        }
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::Closed(_) => "the connection, or a worker, has ended",
            SendError::Full(_) => "the worker's mailbox is full",
        })
    }
}

impl<T: fmt::Debug> std::error::Error for SendError<T> {}
