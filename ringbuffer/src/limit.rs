//! The error of a full ring.

use std::error::Error;
use std::fmt;
use std::io;

/// An append was refused because the bytes do not fit within the ring's
/// [`limit`](crate::RingBuffer::limit).
///
/// The refused operation left the ring as it was. As an [`io::Error`] it is of the kind
/// [`StorageFull`](io::ErrorKind::StorageFull).
// Carries no data, so that the result of an append is returned in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitExceeded;

impl fmt::Display for LimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes would exceed the limit of the ring buffer")
    }
}

impl Error for LimitExceeded {}

impl From<LimitExceeded> for io::Error {
    fn from(error: LimitExceeded) -> Self {
        io::Error::new(io::ErrorKind::StorageFull, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_becomes_the_io_error_storage_full() {
        let error = io::Error::from(LimitExceeded);
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.get_ref().unwrap().is::<LimitExceeded>());
        assert!(error.to_string().contains("limit"));
    }
}
