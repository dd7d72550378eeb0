//! Bytes in and out: the streams that carry a connection's bytes, and the output that collects what is sent.

pub(crate) mod address;
pub(crate) mod output;
pub(crate) mod socket_options;
pub(crate) mod stream;
