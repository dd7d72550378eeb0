//! Bounds on the work that a client's chain of certificates causes, because finding a path through many takes long.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use webpki::{EndEntityCert, KeyUsage};

use super::session_end::{self, SessionEnd};
use super::signatures::{self, SIGNATURES_MAX};

/// Most certificates of a client's chain, its own among them.
pub(super) const CERTIFICATES_MAX: usize = 4;
/// Most bytes of a client's chain. The session keeps them as long as the connection is open.
pub(super) const BYTES_MAX: usize = 16 * 1024;

/// Refuses chains that are too long, and has another verifier decide on one path through each other chain.
#[derive(Debug)]
pub(super) struct BoundedChains {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    /// The roots of the verifier.
    pub(super) roots: Vec<CertificateDer<'static>>,
}

/// The bound that a chain has passed.
#[derive(Clone, Copy)]
enum Excess {
    Size,
    Signatures,
}

impl Excess {
    fn refuse(self) -> Error {
        CertificateError::Other(OtherError(Arc::new(self))).into()
    }
}

impl fmt::Debug for Excess {
    // rustls shows errors that it does not know in this form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Excess::Size => write!(
                f,
                "the client presents more than {CERTIFICATES_MAX} certificates or {BYTES_MAX} bytes of them"
            ),
            Excess::Signatures => write!(
                f,
                "more than {SIGNATURES_MAX} signatures would have to be checked for the client's chain"
            ),
        }
    }
}

impl std::error::Error for Excess {}

/// The certificates on the way from the client's own to a root, which is not among them: behind each follows the first of `others`
/// that has the name of its issuer. No name occurs twice.
///
/// So the verifier has one certificate to try for each name. Among any others it tries all orders, and an attacker chooses the names in
/// certificates that he makes himself: three with the root's name have 16 orders, each with a signature to check for each root.
fn path<'a>(
    end_entity: &CertificateDer<'_>,
    others: impl Iterator<Item = &'a CertificateDer<'a>>,
) -> Vec<CertificateDer<'a>> {
    // The verifier refuses a certificate of the client that cannot be parsed, and needs none of the others that cannot.
    let Ok(end_entity) = EndEntityCert::try_from(end_entity) else {
        return Vec::new();
    };
    let parsed = others.filter_map(|other| EndEntityCert::try_from(other).ok());
    let mut others: Vec<_> = parsed.collect();
    let mut path = Vec::new();
    let mut issuer = end_entity.issuer().to_vec();
    while let Some(index) = others.iter().position(|it| it.subject() == issuer) {
        let next = others.remove(index);
        others.retain(|other| other.subject() != issuer);
        issuer = next.issuer().to_vec();
        path.push(next.der());
    }
    path
}

/// The last second at which a certificate is good. webpki tells it only in the error for a later time, which comes before any check of a
/// signature.
fn expiry(certificate: &CertificateDer<'_>) -> Option<UnixTime> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let never = UnixTime::since_unix_epoch(Duration::MAX);
    let usage = KeyUsage::client_auth();
    match certificate.verify_for_usage(&[], &[], &[], never, usage, None, None) {
        Err(webpki::Error::CertExpired { not_after, .. }) => Some(not_after),
        _ => None,
    }
}

impl ClientCertVerifier for BoundedChains {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let bytes: usize = intermediates.iter().map(|it| it.len()).sum();
        if intermediates.len() >= CERTIFICATES_MAX || end_entity.len() + bytes > BYTES_MAX {
            return Err(Excess::Size.refuse());
        }
        // A root ends a path, and is on none.
        let others = intermediates.iter().filter(|it| !self.roots.contains(it));
        let path = path(end_entity, others);
        let verify = || self.verifier.verify_client_cert(end_entity, &path, now);
        let outcome = match signatures::count(verify) {
            (Err(_), asked) if asked > SIGNATURES_MAX => Err(Excess::Signatures.refuse()),
            (outcome, _) => outcome,
        }?;
        // A certificate without an expiry that can be told lets no session be resumed.
        let expiry = expiry(end_entity).unwrap_or(now);
        session_end::note(SessionEnd::of_client(now, expiry));
        Ok(outcome)
    }

    fn offer_client_auth(&self) -> bool {
        self.verifier.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.verifier.requires_raw_public_keys()
    }
}
