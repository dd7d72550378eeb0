//! The life of a connection and of a server: how each opens and ends, and what is still delivered then.

mod closing;
mod half_close;
mod refusals;
mod shutdown;

// Defects that were found once, each in its smallest form.
mod connection_regressions;
mod shutdown_regressions;
