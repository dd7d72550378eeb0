//! Messages that do not come from a connection's own callbacks: sends from other threads, and publications to topics.

mod addressed;
mod current_worker;
mod handler_letters;
mod order;
mod other_threads;
mod pacing;
mod requests;
mod room;
mod timed_publications;
mod topics;
mod unsent;

// Defects found earlier, each reduced to its smallest form.
mod completion_regressions;
