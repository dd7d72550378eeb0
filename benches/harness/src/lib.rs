//! The throughput harness of ringwheel: a load generator, the floor peers it is compared with, and the interleaved
//! measuring run.
//!
//! ```text
//!   compare ── rounds ──► measure one server: spawn pinned ─► load (this thread, pinned) ─► sample ─► kill
//!      │                                          │                 │
//!      ▼                                          ▼                 ▼
//!   report (table, JSON)                  process, proc_fs      load::{echo, open, churn, idle}
//! ```
//!
//! On loopback both ends pay about the same for TCP, which compresses the rates. The figure to compare is therefore the
//! **server's CPU time per message**; the generator's own CPU share is always printed beside it.

pub mod cli;
pub mod disturbance;
pub mod listen;
pub mod load;
pub mod machine;
pub mod measure;
pub mod peers;
pub mod proc_fs;
pub mod process;
pub mod report;
pub mod round;
pub mod stats;
pub mod trace;
