//! The place of a PEM text: a file or the memory.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::error::{TlsError, TlsErrorKind};

/// A PEM text with certificates, a private key or revocation lists, in a file or in memory.
///
/// A file is read when a [`Tls`](crate::Tls) is built, and again by each [`Tls::reload`](crate::Tls::reload). Other
/// sections of the text are skipped, so one file may hold a chain and its key.
///
/// ```
/// use ringwheel::Pem;
///
/// let chain = Pem::file("/etc/ssl/example.org/chain.pem");
/// let key = Pem::bytes("-----BEGIN PRIVATE KEY-----\n...");
/// assert_eq!(format!("{chain:?}, {key:?}"), r#"File("/etc/ssl/example.org/chain.pem"), Bytes(31)"#);
/// ```
#[derive(Clone)]
pub struct Pem(Place);

#[derive(Clone)]
enum Place {
    File(PathBuf),
    Bytes(Arc<[u8]>),
}

impl Pem {
    /// The text in a file. A relative path counts from the working directory at the time of reading.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Pem(Place::File(path.into()))
    }

    /// A text in memory.
    pub fn bytes(text: impl AsRef<[u8]>) -> Self {
        Pem(Place::Bytes(text.as_ref().into()))
    }

    pub(super) fn path(&self) -> Option<&Path> {
        match &self.0 {
            Place::File(path) => Some(path),
            Place::Bytes(_) => None,
        }
    }

    pub(super) fn error(&self, kind: TlsErrorKind) -> TlsError {
        TlsError::new(kind).in_file(self.path())
    }

    /// The certificates, of which there is at least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        self.sections(TlsErrorKind::NoCertificate)
    }

    /// The revocation lists, of which there is at least one.
    pub(super) fn revocation_lists(
        &self,
    ) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
        self.sections(TlsErrorKind::NoRevocationList)
    }

    /// The first private key.
    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let text = self.read()?;
        PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
            pem::Error::NoItemsFound if is_encrypted(&text) => {
                self.error(TlsErrorKind::EncryptedKey)
            }
            pem::Error::NoItemsFound => self.error(TlsErrorKind::NoKey),
            error => self.error(TlsErrorKind::Malformed).because(error),
        })
    }

    fn sections<T: PemObject>(&self, none: TlsErrorKind) -> Result<Vec<T>, TlsError> {
        let text = self.read()?;
        let sections: Result<Vec<T>, pem::Error> = T::pem_slice_iter(&text).collect();
        match sections {
            Ok(sections) if sections.is_empty() => Err(self.error(none)),
            Ok(sections) => Ok(sections),
            Err(error) => Err(self.error(TlsErrorKind::Malformed).because(error)),
        }
    }

    fn read(&self) -> Result<Arc<[u8]>, TlsError> {
        match &self.0 {
            Place::Bytes(text) => Ok(text.clone()),
            Place::File(path) => match fs::read(path) {
                Ok(text) => Ok(text.into()),
                Err(error) => Err(self.error(TlsErrorKind::Unreadable).because(error)),
            },
        }
    }
}

/// True if the text has a section for a key that a passphrase protects.
fn is_encrypted(text: &[u8]) -> bool {
    let title = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
    text.windows(title.len()).any(|window| window == title)
}

/// Shows the path or the length of the text, never the text, which may be a private key.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::File(path) => f.debug_tuple("File").field(path).finish(),
            Place::Bytes(text) => f.debug_tuple("Bytes").field(&text.len()).finish(),
        }
    }
}
