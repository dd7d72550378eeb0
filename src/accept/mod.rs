//! Accepting: takes connections from listening sockets, within limits, and picks the worker for each.

pub(crate) mod acceptor;
pub(crate) mod admission;
pub mod balance;
pub(crate) mod control;
pub(crate) mod handover;
pub(crate) mod listener;
pub(crate) mod listeners;
pub(crate) mod spare;
pub(crate) mod succession;
