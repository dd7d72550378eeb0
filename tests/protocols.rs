//! The framing protocols at every cut of their input, against models, and against garbage.

#[path = "protocols/cuts.rs"]
mod cuts;
#[path = "protocols/drive.rs"]
mod drive;
#[path = "protocols/garbage.rs"]
mod garbage;
#[path = "protocols/models.rs"]
mod models;
#[path = "protocols/work.rs"]
mod work;
