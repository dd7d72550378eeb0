#![doc = include_str!("../README.md")]
#![cfg_attr(not(feature = "bytes"), forbid(unsafe_code))]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod cursor;
mod integers;
mod io;
mod limit;
mod patch;
mod pool;
mod ring;
mod shelf;

#[cfg(feature = "bytes")]
mod buf;

pub use cursor::Cursor;
pub use limit::LimitExceeded;
pub use patch::Patch;
pub use pool::{PoolConfig, RingPool};
pub use ring::RingBuffer;
