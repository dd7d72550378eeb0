//! TLS by rustls: the terms of a listener, the handshakes under them, and the seal that each leaves on its connection.

mod answers;
pub(crate) mod builder;
mod certificates;
mod client_auth;
mod client_chain;
pub(crate) mod error;
mod handshake;
pub(crate) mod pem;
mod record;
mod refusal;
mod resumption;
mod seal;
mod server_name;
pub(crate) mod session;
mod session_end;
mod signatures;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};

use self::builder::TlsBuilder;
use self::error::{TlsError, TlsErrorKind};
use self::handshake::TlsHandshake;
use self::pem::Pem;
use self::resumption::Resumption;
use self::server_name::NotesServerName;
use crate::io::wire::handshake::{Handshake, SealSource};

/// The TLS settings of a listener, which can be replaced while it serves.
///
/// It is a handle: clones share the settings, so one is kept to [`reload`](Self::reload) what a listener uses. New connections use the
/// new settings at once, and those that are open or in their handshake keep theirs.
///
/// Certificates come from PEM files, or the whole is a `rustls::ServerConfig` of yours, with any cryptography that rustls supports.
/// This library sets no default provider for the process.
///
/// ```
/// use ringwheel::{Pem, Tls};
/// # let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
/// # let folder = std::env::temp_dir().join(format!("ringwheel-tls-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # let (chain_file, key_file) = (folder.join("chain.pem"), folder.join("key.pem"));
/// # std::fs::write(&chain_file, key.cert.pem()).unwrap();
/// # std::fs::write(&key_file, key.signing_key.serialize_pem()).unwrap();
///
/// let tls = Tls::from_pem_files(&chain_file, &key_file)?;
///
/// // Later, when the files have been renewed:
/// tls.reload()?;
///
/// // A mistake changes nothing: the settings in use stay.
/// std::fs::write(&key_file, "not a key").unwrap();
/// let error = tls.reload().unwrap_err();
/// assert_eq!(error.file(), Some(key_file.as_path()));
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok::<(), ringwheel::TlsError>(())
/// ```
#[derive(Clone)]
pub struct Tls {
    shared: Arc<Shared>,
}

struct Shared {
    /// Read once by each handshake.
    config: RwLock<Arc<ServerConfig>>,
    /// Locked for the length of a reload, so that two do not mix.
    origin: Mutex<Origin>,
}

/// The place where the settings come from.
enum Origin {
    Config,
    Builder(TlsBuilder, Arc<Resumption>),
}

impl Tls {
    /// Settings that begin with a certificate and its key, and may have more.
    pub fn builder() -> TlsBuilder {
        TlsBuilder::default()
    }

    /// The certificate chain and the private key in PEM files, and the defaults of [`TlsBuilder`].
    ///
    /// # Errors
    /// A file cannot be read or used, or the key belongs to another certificate: see [`TlsErrorKind`].
    pub fn from_pem_files(
        chain: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<Self, TlsError> {
        let builder = Tls::builder().certificate(Pem::file(chain), Pem::file(key));
        builder.build()
    }

    /// The certificate chain and the private key as PEM texts, and the defaults of [`TlsBuilder`].
    ///
    /// # Errors
    /// As [`from_pem_files`](Self::from_pem_files).
    pub fn from_pem(chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<Self, TlsError> {
        let builder = Tls::builder().certificate(Pem::bytes(chain), Pem::bytes(key));
        builder.build()
    }

    /// Your own settings. They are used as they are, except that early data (0-RTT) is refused: an attacker can send it again, and a
    /// handler could not tell.
    ///
    /// So the bounds of [`TlsBuilder`] do not hold for them. A verifier of clients of your own, also `WebPkiClientVerifier`, looks at as
    /// many certificates as a client presents and checks up to 100 signatures for them, in one step of the worker: 0.1 s and
    /// more with some roots. With the ticketers of rustls a session has no end: each resumption gives a new ticket, and a ticket is good as
    /// long as its key, which changes only when a client comes. A client's certificate is not looked at again meanwhile.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use ringwheel::Tls;
    /// # let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    /// # let chain = vec![key.cert.der().clone()];
    /// # let key = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    ///
    /// let provider = Arc::new(rustls::crypto::ring::default_provider());
    /// let config = rustls::ServerConfig::builder_with_provider(provider)
    ///     .with_safe_default_protocol_versions()?
    ///     .with_no_client_auth()
    ///     .with_single_cert(chain, key)?;
    /// let tls = Tls::from_config(Arc::new(config));
    /// # Ok::<(), rustls::Error>(())
    /// ```
    #[must_use]
    pub fn from_config(config: Arc<ServerConfig>) -> Self {
        let config = Arc::unwrap_or_clone(config);
        Tls::with(config, Origin::Config)
    }

    fn from_builder(builder: TlsBuilder, clock: Arc<dyn TimeProvider>) -> Result<Self, TlsError> {
        let (config, resumption) = builder.load(clock, None)?;
        Ok(Tls::with(config, Origin::Builder(builder, resumption)))
    }

    fn with(config: ServerConfig, origin: Origin) -> Self {
        let shared = Shared {
            config: RwLock::new(prepare(config)),
            origin: Mutex::new(origin),
        };
        Tls {
            shared: Arc::new(shared),
        }
    }

    /// Reads all files again, checks everything, and then replaces the settings at once.
    ///
    /// Tickets of earlier sessions stay good, unless the verification of clients has changed: a resumed session is not verified again,
    /// so a change of roots or revocation lists makes all clients begin anew.
    ///
    /// It reads files, so a handler, which must not block, leaves it to another thread.
    ///
    /// # Errors
    /// Something cannot be used, and the settings in use stay. [`TlsErrorKind::NotReloadable`] after
    /// [`from_config`](Self::from_config) and [`reload_config`](Self::reload_config).
    pub fn reload(&self) -> Result<(), TlsError> {
        let mut origin = self.lock_origin();
        match &*origin {
            Origin::Builder(builder, _) => {
                let builder = builder.clone();
                self.install(&mut origin, builder)
            }
            Origin::Config => Err(TlsError::new(TlsErrorKind::NotReloadable)),
        }
    }

    /// Replaces the settings by others, for example with certificates that have come over the network. Apart from that it is
    /// [`reload`](Self::reload), and later reloads read the files of the new settings.
    ///
    /// ```
    /// use ringwheel::{Pem, Tls, TlsError};
    ///
    /// fn renew(tls: &Tls, chain: &str, key: &str) -> Result<(), TlsError> {
    ///     let settings = Tls::builder().certificate(Pem::bytes(chain), Pem::bytes(key));
    ///     tls.reload_with(settings.alpn(["http/1.1"]))
    /// }
    /// ```
    ///
    /// # Errors
    /// Something cannot be used, and the settings in use stay.
    pub fn reload_with(&self, settings: TlsBuilder) -> Result<(), TlsError> {
        self.install(&mut self.lock_origin(), settings)
    }

    /// Replaces the settings by your own, as [`from_config`](Self::from_config) takes them, and without the bounds too. Tickets of
    /// earlier sessions stay good if the new settings have the same `ticketer`.
    pub fn reload_config(&self, config: Arc<ServerConfig>) {
        let mut origin = self.lock_origin();
        self.replace(prepare(Arc::unwrap_or_clone(config)));
        *origin = Origin::Config;
    }

    fn install(&self, origin: &mut Origin, builder: TlsBuilder) -> Result<(), TlsError> {
        let earlier = match &*origin {
            Origin::Builder(_, resumption) => Some(resumption),
            Origin::Config => None,
        };
        let clock = earlier.map_or_else(system_clock, |earlier| earlier.clock.clone());
        let (config, resumption) = builder.load(clock, earlier)?;
        self.replace(prepare(config));
        *origin = Origin::Builder(builder, resumption);
        Ok(())
    }

    fn replace(&self, config: Arc<ServerConfig>) {
        let shared = self.shared.config.write();
        *shared.unwrap_or_else(PoisonError::into_inner) = config;
    }

    fn lock_origin(&self) -> MutexGuard<'_, Origin> {
        let origin = self.shared.origin.lock();
        origin.unwrap_or_else(PoisonError::into_inner)
    }
}

fn system_clock() -> Arc<dyn TimeProvider> {
    Arc::new(DefaultTimeProvider)
}

/// Makes the settings refuse early data, and has them note the server name that a client asks for.
fn prepare(mut config: ServerConfig) -> Arc<ServerConfig> {
    config.max_early_data_size = 0;
    config.cert_resolver = Arc::new(NotesServerName(config.cert_resolver));
    Arc::new(config)
}

impl SealSource for Tls {
    fn begin(&self) -> io::Result<Box<dyn Handshake>> {
        let config = self.shared.config.read();
        let config = config.unwrap_or_else(PoisonError::into_inner).clone();
        let handshake = TlsHandshake::new(config).map_err(io::Error::other)?;
        Ok(Box::new(handshake))
    }

    fn reload(&self) -> Result<(), TlsError> {
        Tls::reload(self)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.lock_origin() {
            Origin::Config => f.write_str("Tls(ServerConfig)"),
            Origin::Builder(builder, _) => f.debug_tuple("Tls").field(builder).finish(),
        }
    }
}
