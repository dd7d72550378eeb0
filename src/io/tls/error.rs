//! The error of TLS settings that cannot be used.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

/// Settings for TLS that cannot be used: it tells which file is at fault and why.
///
/// ```
/// use ringwheel::{Pem, Tls, TlsErrorKind};
///
/// let error = Tls::from_pem_files("/nowhere/chain.pem", "/nowhere/key.pem").unwrap_err();
/// assert_eq!(error.kind(), TlsErrorKind::Unreadable);
/// assert!(error.to_string().starts_with("/nowhere/chain.pem: the file cannot be read"));
///
/// let error = Tls::builder().certificate(Pem::bytes("no PEM"), Pem::bytes("none")).build().unwrap_err();
/// assert_eq!(error.kind(), TlsErrorKind::NoCertificate);
/// ```
#[derive(Debug)]
pub struct TlsError {
    kind: TlsErrorKind,
    file: Option<PathBuf>,
    /// The name or the protocol that is at fault.
    subject: Option<String>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

/// The reasons for which TLS settings cannot be used: [`TlsError::kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TlsErrorKind {
    /// A file cannot be read. The [source](Error::source) is the system's error.
    Unreadable,
    /// The text is not valid PEM.
    Malformed,
    /// There is no certificate in the PEM text.
    NoCertificate,
    /// A server certificate cannot be parsed.
    Certificate,
    /// There is no private key in the PEM text.
    NoKey,
    /// The private key is encrypted with a passphrase, which is not supported.
    EncryptedKey,
    /// The private key cannot be parsed, or its algorithm is not supported.
    Key,
    /// The private key belongs to another certificate.
    KeyMismatch,
    /// A server name is neither a DNS name nor `*.` and a DNS name.
    Name,
    /// Two certificates were set for one server name.
    DuplicateName,
    /// The certificate that was set for a server name is not valid for it.
    NameMismatch,
    /// No certificate of the server was set.
    NoServerCertificate,
    /// The name of an ALPN protocol is empty or has more than 255 bytes.
    Alpn,
    /// A root for the verification of clients cannot be used.
    Root,
    /// There is no certificate revocation list in the PEM text.
    NoRevocationList,
    /// A certificate revocation list cannot be parsed.
    RevocationList,
    /// Certificate revocation lists were set, but clients are not asked for certificates.
    UnusedRevocationList,
    /// There is nothing to read again, because the settings are the user's own `rustls::ServerConfig`.
    NotReloadable,
    /// rustls refuses the settings as a whole.
    Refused,
}

impl TlsError {
    pub(super) fn new(kind: TlsErrorKind) -> Self {
        TlsError {
            kind,
            file: None,
            subject: None,
            cause: None,
        }
    }

    pub(super) fn in_file(mut self, file: Option<&Path>) -> Self {
        self.file = file.map(Path::to_owned);
        self
    }

    pub(super) fn about(mut self, subject: &str) -> Self {
        self.subject = Some(subject.to_owned());
        self
    }

    pub(super) fn because(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The reason.
    #[must_use]
    pub fn kind(&self) -> TlsErrorKind {
        self.kind
    }

    /// The file at fault; `None` if the fault is not in a file.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

impl fmt::Display for TlsErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TlsErrorKind::Unreadable => "the file cannot be read",
            TlsErrorKind::Malformed => "the text is not valid PEM",
            TlsErrorKind::NoCertificate => "there is no certificate in the PEM text",
            TlsErrorKind::Certificate => "the certificate cannot be parsed",
            TlsErrorKind::NoKey => "there is no private key in the PEM text",
            TlsErrorKind::EncryptedKey => {
                "the private key is encrypted with a passphrase, which is not supported"
            }
            TlsErrorKind::Key => "the private key cannot be used",
            TlsErrorKind::KeyMismatch => "the private key belongs to another certificate",
            TlsErrorKind::Name => "the server name is no DNS name",
            TlsErrorKind::DuplicateName => "the server name has two certificates",
            TlsErrorKind::NameMismatch => "the certificate is not valid for the server name",
            TlsErrorKind::NoServerCertificate => "no server certificate was set",
            TlsErrorKind::Alpn => "the name of an ALPN protocol must have 1 to 255 bytes",
            TlsErrorKind::Root => "the root certificate cannot be used",
            TlsErrorKind::NoRevocationList => {
                "there is no certificate revocation list in the PEM text"
            }
            TlsErrorKind::RevocationList => "the certificate revocation list cannot be parsed",
            TlsErrorKind::UnusedRevocationList => {
                "a certificate revocation list is set, but clients are not asked for certificates"
            }
            TlsErrorKind::NotReloadable => {
                "there is nothing to read again, because the TLS settings are a rustls::ServerConfig"
            }
            TlsErrorKind::Refused => "rustls refuses the TLS settings",
        })
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}: ", file.display())?;
        }
        self.kind.fmt(f)?;
        if let Some(subject) = &self.subject {
            write!(f, " ({subject:?})")?;
        }
        match &self.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl Error for TlsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let cause = self.cause.as_deref()?;
        Some(cause)
    }
}
