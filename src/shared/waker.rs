//! Interrupts the sleep of a loop from any thread.

use std::io;

use mio::{Registry, Waker};

use crate::shared::token::Token;

/// Interrupts a poll. It is a closure so that simulation and model checks can watch it.
pub(crate) type Wake = dyn Fn() -> io::Result<()> + Send + Sync;

/// Makes the closure that interrupts the poll of a registry.
pub(crate) fn waker(registry: &Registry) -> io::Result<Box<Wake>> {
    let waker = Waker::new(registry, Token::Waker.encode())?;
    Ok(Box::new(move || waker.wake()))
}
