//! The terms on which a listener's connections open.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::io::trusted_networks::TrustedNetworks;
use crate::io::wire::handshake::SealSource;

/// The stages that the connections of a listener go through before their protocol sees them, and the time for all of them.
#[derive(Clone)]
pub(crate) struct OpeningTerms {
    /// The proxies whose connections begin with a PROXY header. `None` if the listener expects no header.
    pub(crate) proxies: Option<TrustedNetworks>,
    /// Begins the handshake of a seal, such as TLS. `None` if the streams are plain.
    pub(crate) seal: Option<Arc<dyn SealSource>>,
    pub(crate) timeout: Duration,
}

impl OpeningTerms {
    /// True if there is any stage. Otherwise the protocol sees a connection as soon as it is accepted.
    pub(crate) fn has_stages(&self) -> bool {
        self.proxies.is_some() || self.seal.is_some()
    }
}

impl Default for OpeningTerms {
    fn default() -> Self {
        OpeningTerms {
            proxies: None,
            seal: None,
            timeout: Duration::from_secs(10),
        }
    }
}

impl fmt::Debug for OpeningTerms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpeningTerms")
            .field("proxies", &self.proxies)
            .field("is_sealed", &self.seal.is_some())
            .field("timeout", &self.timeout)
            .finish()
    }
}
