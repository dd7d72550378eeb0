//! TLS settings before they are checked and put to use.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use super::Tls;
use super::certificates::{Certificates, Identity};
use super::client_auth::{ClientAuth, Demand};
use super::error::{TlsError, TlsErrorKind};
use super::pem::Pem;
use super::resumption::Resumption;

static ONLY_TLS13: [&SupportedProtocolVersion; 1] = [&TLS13];
static BOTH_VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// TLS settings before they are checked and put to use: [`Tls::builder`].
///
/// A certificate of the server is needed. The defaults of the rest:
///
/// | setting | default |
/// | --- | --- |
/// | versions | TLS 1.2 and 1.3 |
/// | certificates of clients | not asked for; a client presents at most 4, its own among them, of at most 16 KiB together, and at most 6 signatures are checked for them |
/// | ALPN | none |
/// | resumption | by tickets, and by 256 remembered sessions for clients of TLS 1.2 without tickets; for at most 12 hours after the full handshake, however often it was resumed in between, and not beyond the expiry of the client's certificate |
/// | early data (0-RTT) | refused, because an attacker can send it again |
/// | cryptography | ring |
///
/// The cost of a full handshake is mostly the signature: some 0.2 ms with an ECDSA key, 1 ms and more with RSA of 2048 bits.
///
/// ```no_run
/// use ringwheel::{Pem, Tls};
///
/// let tls = Tls::builder()
///     .certificate(Pem::file("chain.pem"), Pem::file("key.pem"))
///     .named_certificate("*.example.org", Pem::file("org/chain.pem"), Pem::file("org/key.pem"))
///     .alpn(["http/1.1"])
///     .request_client_certificates(Pem::file("client-roots.pem"))
///     .revocation_list(Pem::file("revoked.pem"))
///     .build()?;
/// # Ok::<(), ringwheel::TlsError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct TlsBuilder {
    default: Option<Identity>,
    named: Vec<(String, Identity)>,
    alpn: Vec<Vec<u8>>,
    clients: ClientAuth,
    only_tls13: bool,
}

impl TlsBuilder {
    /// Sets the certificate for clients that ask for a name without a certificate of its own, or for none. The chain begins with the
    /// server's certificate, behind which those follow that it was issued by. Without this, such clients are refused.
    pub fn certificate(mut self, chain: Pem, key: Pem) -> Self {
        self.default = Some(Identity { chain, key });
        self
    }

    /// Adds a certificate for clients that ask for `name` (SNI), such as `example.org` or `*.example.org`. The asterisk stands for
    /// exactly one label. An exact name goes before a wildcard. Upper and lower case are the same, and international names are
    /// written in their ASCII form.
    pub fn named_certificate(mut self, name: impl Into<String>, chain: Pem, key: Pem) -> Self {
        self.named.push((name.into(), Identity { chain, key }));
        self
    }

    /// Sets the protocols that the server speaks (ALPN), the preferred first, such as `http/1.1`. With them a client whose own list has
    /// none in common is refused; a client without a list is served.
    pub fn alpn<T: AsRef<[u8]>>(mut self, protocols: impl IntoIterator<Item = T>) -> Self {
        let protocols = protocols.into_iter();
        self.alpn = protocols.map(|name| name.as_ref().to_vec()).collect();
        self
    }

    /// Asks clients for certificates, and refuses those without one that leads to one of `roots`. The roots of several calls add up.
    ///
    /// To find a path through certificates that an attacker has made takes long, and the session keeps them. So a client is refused that
    ///
    /// - presents more than 4 certificates, its own among them, or more than 16 KiB of them;
    /// - needs more than 6 signatures checked. Each certificate on its way to the root is one, a revocation list is one, and each root
    ///   with the name that is looked for and another key is one more: an authority may have changed its key four times for clients
    ///   whose certificates its root has issued.
    ///
    /// Certificates may come in any order, and those that do not belong to the chain are passed over. Of several with the same name only
    /// the first is looked at.
    ///
    /// A client that resumes a session is not verified again. Its session ends 12 hours after the full handshake, and at the latest when
    /// its certificate expires; a [`reload`](Tls::reload) with other roots or revocation lists ends all.
    pub fn require_client_certificates(mut self, roots: Pem) -> Self {
        self.clients.demand = Demand::Required;
        self.clients.roots.push(roots);
        self
    }

    /// Asks clients for certificates, and also serves clients that have none; a certificate that does not lead to one of `roots` is
    /// refused. The roots of several calls add up. See [`TlsSession::peer_certificates`](crate::TlsSession::peer_certificates).
    pub fn request_client_certificates(mut self, roots: Pem) -> Self {
        if self.clients.demand == Demand::None {
            self.clients.demand = Demand::Optional;
        }
        self.clients.roots.push(roots);
        self
    }

    /// Adds lists of revoked certificates (CRLs), for the verification of clients. With any, each client's own certificate must be on
    /// no list, and its issuer must have a list here. A list's date of expiry is not looked at.
    pub fn revocation_list(mut self, lists: Pem) -> Self {
        self.clients.revocation_lists.push(lists);
        self
    }

    /// Refuses clients that do not speak TLS 1.3.
    pub fn only_tls13(mut self) -> Self {
        self.only_tls13 = true;
        self
    }

    /// Reads all files, checks everything, and puts the settings to use.
    ///
    /// # Errors
    /// A [`TlsError`] says which file or setting cannot be used.
    pub fn build(self) -> Result<Tls, TlsError> {
        Tls::from_builder(self, super::system_clock())
    }

    /// The settings for rustls. Sessions of `earlier` settings are resumed if they were made under the same terms.
    pub(super) fn load(
        &self,
        clock: Arc<dyn TimeProvider>,
        earlier: Option<&Arc<Resumption>>,
    ) -> Result<(ServerConfig, Arc<Resumption>), TlsError> {
        let provider = Arc::new(ring::default_provider());
        if self
            .alpn
            .iter()
            .any(|name| !(1..=255).contains(&name.len()))
        {
            return Err(TlsError::new(TlsErrorKind::Alpn));
        }
        let certificates = Certificates::load(self.default.as_ref(), &self.named, &provider)?;
        let clients = self.clients.load(&provider)?;
        let verifier = clients.verifier()?;
        let resumption = match earlier {
            Some(earlier) if earlier.suits(&clients) => earlier.clone(),
            _ => Arc::new(Resumption::new(clients, clock).map_err(refused)?),
        };
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions())
            .map_err(refused)?;
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(certificates));
        config.alpn_protocols.clone_from(&self.alpn);
        config.time_provider = resumption.clock.clone();
        config.ticketer = resumption.ticketer.clone();
        config.session_storage = resumption.sessions.clone();
        Ok((config, resumption))
    }

    fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        match self.only_tls13 {
            true => &ONLY_TLS13,
            false => &BOTH_VERSIONS,
        }
    }
}

fn refused(error: rustls::Error) -> TlsError {
    TlsError::new(TlsErrorKind::Refused).because(error)
}
