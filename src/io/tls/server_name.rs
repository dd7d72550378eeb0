//! The server name that a client asks for (SNI). rustls's unbuffered connections tell it only to the resolver of the certificate, so
//! it is noted on its way there.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

thread_local! {
    /// The name in the client's hello that this thread has handled last.
    static NOTED: RefCell<Option<Box<str>>> = const { RefCell::new(None) };
}

/// A resolver in front of another one, which notes the server name for [`take`].
#[derive(Debug)]
pub(super) struct NotesServerName(pub(super) Arc<dyn ResolvesServerCert>);

impl ResolvesServerCert for NotesServerName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(Box::from);
        NOTED.with_borrow_mut(|noted| *noted = name);
        self.0.resolve(hello)
    }

    fn only_raw_public_keys(&self) -> bool {
        self.0.only_raw_public_keys()
    }
}

/// The name that was noted since the last call, on this thread.
pub(super) fn take() -> Option<Box<str>> {
    NOTED.with_borrow_mut(Option::take)
}
