//! The certificates that servers show when they are measured with TLS.
//!
//! They are self-signed, made when they are first needed, and kept in the target folder as PEM files, so that servers
//! in any language can read them. Nobody else trusts them: the load's clients know them by their bytes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use serde::{Deserialize, Serialize};

use crate::peers::{quoted, target_folder};

/// The name in the certificates, which the clients ask for.
pub(crate) const SERVER_NAME: &str = "localhost";

/// The key of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Key {
    /// ECDSA on the curve P-256.
    Ecdsa,
    /// RSA with 2048 bits. The program `openssl` must be installed to make it.
    Rsa,
}

/// A certificate and its private key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate.
    pub certificate: PathBuf,
    /// The private key (PKCS #8).
    pub key: PathBuf,
}

impl Key {
    /// Every kind of key.
    pub const ALL: [Self; 2] = [Self::Ecdsa, Self::Rsa];

    /// The words in a server's command that stand for the two files: first the certificate, then the private key.
    pub fn placeholders(self) -> [&'static str; 2] {
        match self {
            Self::Ecdsa => ["{cert}", "{key}"],
            Self::Rsa => ["{rsa-cert}", "{rsa-key}"],
        }
    }

    /// The files in the target folder. They are made if they do not exist yet.
    ///
    /// # Errors
    /// Fails if the files cannot be written, and for RSA also if `openssl` is not installed.
    pub fn files(self) -> io::Result<Files> {
        self.files_in(&target_folder()?.join("harness/certificates"))
    }

    fn files_in(self, parent: &Path) -> io::Result<Files> {
        let folder = parent.join(match self {
            Self::Ecdsa => "ecdsa",
            Self::Rsa => "rsa",
        });
        let files = Files {
            certificate: folder.join("cert.pem"),
            key: folder.join("key.pem"),
        };
        if folder.is_dir() {
            return Ok(files);
        }
        let key = self.generate()?;
        let certificate = self_signed(&key).map_err(io::Error::other)?;
        fs::create_dir_all(parent)?;
        // The folder gets its name with both files in it, so that another process never finds one without the other.
        let fresh = tempfile::tempdir_in(parent)?;
        fs::write(fresh.path().join("cert.pem"), certificate)?;
        fs::write(fresh.path().join("key.pem"), key.serialize_pem())?;
        match fs::rename(fresh.path(), &folder) {
            // Another process was faster.
            Err(_) if folder.is_dir() => Ok(files),
            renamed => renamed.map(|()| files),
        }
    }

    fn generate(self) -> io::Result<KeyPair> {
        match self {
            Self::Ecdsa => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(io::Error::other),
            Self::Rsa => {
                let pem = rsa_key()?;
                KeyPair::from_pem_and_sign_algo(&pem, &PKCS_RSA_SHA256).map_err(io::Error::other)
            }
        }
    }
}

fn self_signed(key: &KeyPair) -> Result<String, rcgen::Error> {
    let params = CertificateParams::new([SERVER_NAME.to_owned()])?;
    Ok(params.self_signed(key)?.pem())
}

/// An RSA key as PEM, made by `openssl`: rcgen with ring can use one, but not make one.
fn rsa_key() -> io::Result<String> {
    let arguments = [
        "genpkey",
        "-algorithm",
        "RSA",
        "-pkeyopt",
        "rsa_keygen_bits:2048",
    ];
    let output = Command::new("openssl")
        .args(arguments)
        .output()
        .map_err(|error| {
            let problem = format!(
                "openssl, which makes the RSA key, does not run (Debian: openssl): {error}"
            );
            io::Error::new(error.kind(), problem)
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!(
            "openssl makes no RSA key: {said}"
        )));
    }
    String::from_utf8(output.stdout).map_err(io::Error::other)
}

/// Puts the paths of the certificates in place of their [placeholders](Key::placeholders) in a command for the shell.
///
/// # Errors
/// Fails if a certificate is needed and cannot be made.
pub(crate) fn fill_in(command: &str) -> io::Result<String> {
    let mut filled = command.to_owned();
    for key in Key::ALL {
        let placeholders = key.placeholders();
        if !placeholders.iter().any(|word| filled.contains(word)) {
            continue;
        }
        let files = key.files()?;
        for (placeholder, path) in placeholders.iter().zip([files.certificate, files.key]) {
            let path = path
                .to_str()
                .ok_or_else(|| io::Error::other("the target folder's path is not UTF-8"))?;
            filled = filled.replace(placeholder, &quoted(path));
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    use super::*;

    #[test]
    fn certificates_are_made_once_and_fit_their_keys() {
        let folder = tempfile::tempdir().unwrap();
        for key in Key::ALL {
            let files = match key.files_in(folder.path()) {
                Err(error) if key == Key::Rsa && error.kind() == io::ErrorKind::NotFound => {
                    println!("skipped: {error}");
                    continue;
                }
                files => files.unwrap(),
            };
            let certificate = CertificateDer::from_pem_file(&files.certificate).unwrap();
            let private = PrivateKeyDer::from_pem_file(&files.key).unwrap();
            let provider = rustls::crypto::ring::default_provider();
            rustls::sign::CertifiedKey::from_der(vec![certificate.clone()], private, &provider)
                .unwrap();
            assert_eq!(key.files_in(folder.path()).unwrap(), files);
            let again = CertificateDer::from_pem_file(&files.certificate).unwrap();
            assert_eq!(certificate, again, "{key:?}");
        }
    }

    #[test]
    fn a_command_without_placeholders_stays_as_it_is() {
        assert_eq!(fill_in("./echo {addr}").unwrap(), "./echo {addr}");
        let filled = fill_in("./echo {addr} {cert} {key}").unwrap();
        assert!(filled.starts_with("./echo {addr} "), "{filled}");
        assert!(filled.ends_with("/ecdsa/key.pem"), "{filled}");
    }
}
