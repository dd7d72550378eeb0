//! Timers and deadlines: the timing wheel compared with a model, and the timers and timeouts of connections.

mod evictions;
mod own_deadlines;
mod pace;
mod ticks;
mod timers;
mod wheel;

// Defects found earlier, each reduced to its smallest form.
mod timeout_regressions;
