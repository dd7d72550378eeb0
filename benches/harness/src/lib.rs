//! The benchmark harness of ringwheel: measures ringwheel and its peers side by side in one run, and draws charts.
//!
//! ```text
//!   plans: quick, full ─► scenarios ─► campaign: A B C, A B C ... ─► journal ─► results ─► report: tables, JSON, HTML
//!     ▲                                   │
//!   peers: catalogue,                     ├─ measure: spawn pinned ─► load (pinned) ─► CPU time, latency, memory
//!   built by their toolchains             ├─ trace: system calls, by tracepoints
//!                                         └─ instructions, by callgrind
//! ```
//!
//! On loopback both ends pay about the same for TCP, which makes the rates of all servers similar. The figure to
//! compare is therefore the **server's CPU time per message**; the load generator's CPU share is always printed beside
//! it.

pub mod campaign;
pub mod certificates;
pub mod cli;
pub mod disturbance;
pub mod instructions;
pub mod journal;
pub mod load;
pub mod machine;
pub mod measure;
pub mod peers;
pub mod plans;
mod port;
pub mod proc_fs;
pub mod process;
pub mod progress;
pub mod report;
pub mod results;
pub mod scenario;
pub mod soak;
pub mod stats;
pub mod trace;
