//! TLS on listeners: set before the server is built, and renewed while it serves.

use std::sync::Arc;

use crate::io::tls::Tls;
use crate::io::tls::error::{TlsError, TlsErrorKind};
use crate::server::handle::ServerHandle;
use crate::server::listen::Listen;

impl<P> Listen<P> {
    /// Serves the listener over TLS, whatever its protocol: framings, WebSocket (`wss`), the application's own.
    ///
    /// The handler meets a connection once its handshake is done, behind its PROXY header if there is one;
    /// [`Conn::tls`](crate::Conn::tls) tells what was agreed on. A handshake has the time of
    /// [`opening_timeout`](Self::opening_timeout), 10 s by default. One that fails, also because the peer does not speak TLS, ends the
    /// connection with an alert that says why; the handler does not hear of it, [`ServerStats`](crate::ServerStats) counts it, and
    /// the log has the reason at the level of debug.
    ///
    /// **Limits.** A worker begins no step of a handshake after 2 ms of an iteration, so that a flood of handshakes
    /// does not hold up open connections for long; a signature takes some 0.2 ms with a key of ECDSA P-256 and over 1 ms with one of RSA.
    /// The addresses of the peers take turns at each listener, so a client waits for at most one step of each other address, and for
    /// those of its own.
    /// [`ServerBuilder::opening_limit`](crate::ServerBuilder::opening_limit) bounds those that are under way, and 64 KiB the bytes that
    /// each sends before it is done. A handshake that needs more ends without an alert.
    ///
    /// **Sent** means, here too, with the kernel: a message is written once the records that contain it are. What is sent in one
    /// turn becomes one record, or several of 16 KiB.
    ///
    /// **The end.** An orderly close says `close_notify` before the end of the stream. A peer that ends its stream without it has
    /// perhaps not ended it at all: the reason of the close is [`CloseReason::Truncated`](crate::CloseReason::Truncated). Records
    /// that are refused are an error of the connection, [`CloseReason::Io`](crate::CloseReason::Io) of kind `InvalidData`, and the
    /// peer gets an alert.
    ///
    /// A clone of `tls` renews its certificates while the server serves, and so does [`ServerHandle::reload_tls`].
    ///
    /// ```
    /// use ringwheel::{Listen, Tls, protocol::Lines};
    ///
    /// fn listen() -> Result<Listen<Lines>, ringwheel::TlsError> {
    ///     let tls = Tls::from_pem_files("chain.pem", "key.pem")?;
    ///     Ok(Listen::on("127.0.0.1:8883").tls(tls))
    /// }
    /// # assert!(listen().is_err());
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.opening.seal = Some(Arc::new(tls));
        self
    }
}

impl ServerHandle {
    /// Reads the certificates, keys, roots and revocation lists of all listeners anew from their files, as
    /// [`Tls::reload`] does. Connections that are open keep what they have.
    ///
    /// It reads files, and so takes a moment: call it from a thread of its own, or a task, rather than from a callback.
    ///
    /// A listener with a `rustls::ServerConfig` of your own is passed over: renew it by
    /// [`Tls::reload_config`](crate::Tls::reload_config).
    ///
    /// # Errors
    /// The first error of a listener. That listener goes on with what it had; the others are renewed all the same.
    /// [`NotReloadable`](crate::TlsErrorKind::NotReloadable) if all listeners with TLS were passed over.
    ///
    /// ```
    /// use ringwheel::ServerHandle;
    ///
    /// /// Called when the certificates have been renewed.
    /// fn renew(server: &ServerHandle) {
    ///     if let Err(error) = server.reload_tls() {
    ///         eprintln!("the old certificates stay: {error}");
    ///     }
    /// }
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn reload_tls(&self) -> Result<(), TlsError> {
        let sources = self.listening().seal_sources();
        let outcomes = sources.iter().map(|source| source.reload());
        let (passed_over, others): (Vec<_>, Vec<_>) = outcomes.partition(
            |outcome| matches!(outcome, Err(error) if error.kind() == TlsErrorKind::NotReloadable),
        );
        let decisive = if others.is_empty() {
            passed_over
        } else {
            others
        };
        decisive.into_iter().collect()
    }
}
