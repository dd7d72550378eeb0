//! The framing protocols at every cut of their input, against models, and against garbage.

mod cuts;
mod drive;
mod garbage;
mod models;
mod work;
