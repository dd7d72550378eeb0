//! A bound on the signatures that are checked for a client's chain, because each takes long.

use std::cell::Cell;
use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};

/// Most signatures that are checked for a client's chain, of certificates and of the revocation list. All others are taken for wrong.
///
/// A chain needs one for each certificate on its way to the root, and one for a revocation list. A root with the name that is
/// looked for but with another key costs one more, and so does each way that does not lead to a root. With a root of ECDSA P-384,
/// which is the slowest that ring has, a check takes 1.2 ms.
pub(super) const SIGNATURES_MAX: usize = 6;

thread_local! {
    /// The checks that were asked for on this thread since the last [`count`] began.
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

/// The algorithms of ring, within the bound. They live as long as the process, because rustls asks for that.
static BOUNDED: LazyLock<Vec<Bounded>> = LazyLock::new(|| {
    let all = ring::default_provider()
        .signature_verification_algorithms
        .all;
    all.iter().map(|&algorithm| Bounded(algorithm)).collect()
});
static ALL: LazyLock<Vec<&dyn SignatureVerificationAlgorithm>> = LazyLock::new(|| {
    let all = BOUNDED.iter();
    all.map(|algorithm| algorithm as &dyn SignatureVerificationAlgorithm)
        .collect()
});

/// ring's cryptography, with the bound on the signatures of a chain. A client's signature of the handshake itself is not counted.
pub(super) fn bounded_provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    provider.signature_verification_algorithms = WebPkiSupportedAlgorithms {
        all: &ALL,
        ..provider.signature_verification_algorithms
    };
    Arc::new(provider)
}

/// Lets `verify` check at most [`SIGNATURES_MAX`] signatures. Returns its outcome, and the number that it has asked for.
pub(super) fn count<T>(verify: impl FnOnce() -> T) -> (T, usize) {
    ASKED.set(0);
    let outcome = verify();
    (outcome, ASKED.get())
}

/// The number of signatures that the last [`count`] on this thread was asked for.
#[cfg(test)]
pub(super) fn asked() -> usize {
    ASKED.get()
}

/// An algorithm that checks no signature beyond the bound.
#[derive(Debug)]
struct Bounded(&'static dyn SignatureVerificationAlgorithm);

impl SignatureVerificationAlgorithm for Bounded {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let asked = ASKED.get().saturating_add(1);
        ASKED.set(asked);
        if asked > SIGNATURES_MAX {
            return Err(InvalidSignature);
        }
        self.0.verify_signature(public_key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.0.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.0.signature_alg_id()
    }
}
