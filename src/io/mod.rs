//! Bytes in and out: the streams that carry a connection's bytes, the wire that may seal them, the output that collects what is sent, and the header by which a
//! proxy tells whose bytes they are.

pub(crate) mod accepted_socket;
pub(crate) mod address;
#[cfg(unix)]
pub(crate) mod adopt_error;
#[cfg(unix)]
pub(crate) mod adopted_listener;
pub(crate) mod listening_socket;
pub(crate) mod output;
pub(crate) mod proxy_header;
#[cfg(unix)]
pub(crate) mod socket_file;
pub(crate) mod socket_options;
pub(crate) mod stream;
#[cfg(feature = "tls")]
pub(crate) mod tls;
pub(crate) mod trusted_networks;
#[cfg(unix)]
pub(crate) mod unix_listener;
#[cfg(unix)]
mod unix_stream;
pub(crate) mod wire;
