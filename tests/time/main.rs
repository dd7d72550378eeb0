//! Timers and deadlines: the timing wheel against a model, and the timers and timeouts of connections.

mod timers;
mod wheel;

// Defects that were found once, each in its smallest form.
mod timeout_regressions;
