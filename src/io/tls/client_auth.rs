//! The certificates of clients: if they are asked for, and how they are verified.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::client_chain::BoundedChains;
use super::error::{TlsError, TlsErrorKind};
use super::pem::Pem;
use super::signatures::bounded_provider;

/// The settings as the user has made them.
#[derive(Clone, Debug, Default)]
pub(super) struct ClientAuth {
    pub(super) demand: Demand,
    pub(super) roots: Vec<Pem>,
    pub(super) revocation_lists: Vec<Pem>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Demand {
    /// Clients are not asked.
    #[default]
    None,
    /// A client without a certificate is served, too.
    Optional,
    Required,
}

/// The settings with the files' content. A session may be resumed only under those that it began with.
#[derive(PartialEq, Eq)]
pub(super) struct LoadedClientAuth {
    demand: Demand,
    roots: Vec<CertificateDer<'static>>,
    revocation_lists: Vec<CertificateRevocationListDer<'static>>,
}

impl ClientAuth {
    /// Reads the files and checks each of them.
    pub(super) fn load(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<LoadedClientAuth, TlsError> {
        let mut loaded = LoadedClientAuth {
            demand: self.demand,
            roots: Vec::new(),
            revocation_lists: Vec::new(),
        };
        if self.demand == Demand::None {
            return match self.revocation_lists.first() {
                Some(list) => Err(list.error(TlsErrorKind::UnusedRevocationList)),
                None => Ok(loaded),
            };
        }
        for pem in &self.roots {
            let roots = pem.certificates()?;
            store(&roots).map_err(|error| pem.error(TlsErrorKind::Root).because(error))?;
            loaded.roots.extend(roots);
        }
        let roots = Arc::new(loaded.store()?);
        for pem in &self.revocation_lists {
            let lists = pem.revocation_lists()?;
            WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
                .with_crls(lists.clone())
                .build()
                .map_err(|error| pem.error(TlsErrorKind::RevocationList).because(error))?;
            loaded.revocation_lists.extend(lists);
        }
        Ok(loaded)
    }
}

impl LoadedClientAuth {
    /// The verifier; `None` if clients are not asked for certificates.
    pub(super) fn verifier(&self) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        if self.demand == Demand::None {
            return Ok(None);
        }
        let roots = Arc::new(self.store()?);
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots, bounded_provider())
            .with_crls(self.revocation_lists.iter().cloned())
            .only_check_end_entity_revocation();
        if self.demand == Demand::Optional {
            builder = builder.allow_unauthenticated();
        }
        match builder.build() {
            Ok(verifier) => Ok(Some(Arc::new(BoundedChains {
                verifier,
                roots: self.roots.clone(),
            }))),
            Err(error) => Err(TlsError::new(TlsErrorKind::Refused).because(error)),
        }
    }

    fn store(&self) -> Result<RootCertStore, TlsError> {
        store(&self.roots).map_err(|error| TlsError::new(TlsErrorKind::Root).because(error))
    }
}

/// The roots, each once. Of two with the same name and key one is enough, and a failed check by both would take twice as long.
fn store(roots: &[CertificateDer<'static>]) -> Result<RootCertStore, rustls::Error> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone())?;
    }
    let mut known = Vec::new();
    for root in store.roots {
        if !known.contains(&root) {
            known.push(root);
        }
    }
    Ok(RootCertStore { roots: known })
}
