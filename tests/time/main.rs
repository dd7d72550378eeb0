//! Timers and deadlines: the timing wheel against a model, and the timers and timeouts of connections.

mod evictions;
mod own_deadlines;
mod ticks;
mod timers;
mod wheel;

// Defects that were found once, each in its smallest form.
mod timeout_regressions;
