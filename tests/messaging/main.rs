//! Messages that do not come from a connection's own callbacks: from other threads, and by topic.

mod other_threads;
mod topics;

// Defects that were found once, each in its smallest form.
mod completion_regressions;
