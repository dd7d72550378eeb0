//! Messages that do not come from a connection's own callbacks: from other threads, and by topic.

mod addressed;
mod handler_letters;
mod other_threads;
mod room;
mod topics;

// Defects that were found once, each in its smallest form.
mod completion_regressions;
