//! The server's certificates, one of which a handshake picks by the server name that the client asks for.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{DnsName, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use super::error::{TlsError, TlsErrorKind};
use super::pem::Pem;

/// A chain of certificates and the private key of its first.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) chain: Pem,
    pub(super) key: Pem,
}

impl Identity {
    /// Reads the chain and the key, and checks them against each other.
    fn load(&self, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
        let chain = self.chain.certificates()?;
        for certificate in &chain {
            if let Err(error) = ParsedCertificate::try_from(certificate) {
                return Err(self.chain.error(TlsErrorKind::Certificate).because(error));
            }
        }
        let key = self.key.key()?;
        match CertifiedKey::from_der(chain, key, provider) {
            Ok(key) => Ok(Arc::new(key)),
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err(self.key.error(TlsErrorKind::KeyMismatch))
            }
            Err(error) => Err(self.key.error(TlsErrorKind::Key).because(error)),
        }
    }
}

/// The certificates by server name. An exact name goes before a wildcard, and a wildcard before the default.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// The key is the name behind `*.`, which stands for one label.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    default: Option<Arc<CertifiedKey>>,
}

impl Certificates {
    pub(super) fn load(
        default: Option<&Identity>,
        named: &[(String, Identity)],
        provider: &CryptoProvider,
    ) -> Result<Self, TlsError> {
        if default.is_none() && named.is_empty() {
            return Err(TlsError::new(TlsErrorKind::NoServerCertificate));
        }
        let mut certificates = Certificates::default();
        if let Some(identity) = default {
            certificates.default = Some(identity.load(provider)?);
        }
        for (name, identity) in named {
            certificates.add(name, identity, provider)?;
        }
        Ok(certificates)
    }

    fn add(
        &mut self,
        name: &str,
        identity: &Identity,
        provider: &CryptoProvider,
    ) -> Result<(), TlsError> {
        let wrong = |kind| TlsError::new(kind).about(name);
        let normal = name.trim_end_matches('.').to_ascii_lowercase();
        let (names, normal, example) = match normal.strip_prefix("*.") {
            // A wildcard is checked with a name that it stands for.
            Some(parent) => (&mut self.wildcard, parent, format!("any.{parent}")),
            None => (&mut self.exact, normal.as_str(), normal.clone()),
        };
        let example = DnsName::try_from(example).map_err(|_| wrong(TlsErrorKind::Name))?;
        let key = identity.load(provider)?;
        let is_valid = key
            .end_entity_cert()
            .and_then(ParsedCertificate::try_from)
            .and_then(|certificate| {
                verify_server_name(&certificate, &ServerName::DnsName(example))
            });
        if let Err(error) = is_valid {
            let wrong = identity.chain.error(TlsErrorKind::NameMismatch);
            return Err(wrong.about(name).because(error));
        }
        match names.insert(normal.to_owned(), key) {
            Some(_) => Err(wrong(TlsErrorKind::DuplicateName)),
            None => Ok(()),
        }
    }

    /// The certificate for a server name in lower case.
    fn pick(&self, name: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        let named = name.and_then(|name| {
            let name = name.trim_end_matches('.');
            let parent = name.split_once('.').map(|(_, parent)| parent);
            self.exact.get(name).or_else(|| self.wildcard.get(parent?))
        });
        named.or(self.default.as_ref())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.pick(hello.server_name()).cloned()
    }
}
