//! The framing protocols: cut at every position, compared with models, and fed with garbage.

mod cuts;
mod drive;
mod garbage;
mod models;
mod work;
