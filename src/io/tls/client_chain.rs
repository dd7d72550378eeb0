//! A bound on the certificates that a client presents, because finding a path through many takes long.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};

/// Most certificates of a client's chain, its own among them.
///
/// An attacker chooses the names in certificates that he makes himself, so that the verifier has to try all orders of all or some of
/// them: three beside the client's own have 16 orders, eight have 109,601.
pub(super) const CERTIFICATES_MAX: usize = 4;
/// Most bytes of a client's chain. The session keeps them as long as the connection is open.
pub(super) const BYTES_MAX: usize = 16 * 1024;

/// Refuses chains that are too long, and has another verifier decide on all others.
#[derive(Debug)]
pub(super) struct BoundedChains(pub(super) Arc<dyn ClientCertVerifier>);

struct ChainTooLong;

impl fmt::Debug for ChainTooLong {
    // rustls shows errors that it does not know in this form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ChainTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the client presents more than {CERTIFICATES_MAX} certificates or {BYTES_MAX} bytes of them"
        )
    }
}

impl std::error::Error for ChainTooLong {}

impl ClientCertVerifier for BoundedChains {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let bytes: usize = intermediates.iter().map(|it| it.len()).sum();
        if intermediates.len() >= CERTIFICATES_MAX || end_entity.len() + bytes > BYTES_MAX {
            let reason = OtherError(Arc::new(ChainTooLong));
            return Err(CertificateError::Other(reason).into());
        }
        self.0.verify_client_cert(end_entity, intermediates, now)
    }

    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.0.requires_raw_public_keys()
    }
}
