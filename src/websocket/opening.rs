//! The opening handshake as the decoder sees it, from either side.

use std::sync::Arc;

use super::accept::Accept;
use super::error::WebSocketError;
use super::handshake::{Handshake, Progress, Rules};
use super::settings::Settings;
use crate::Address;
use crate::http::Response;
use crate::http::response::Form;

/// One side's opening handshake.
pub trait Opening: 'static {
    /// What it leaves for the handler.
    type State: 'static;
    /// Whether what is read afterwards are a client's frames.
    const FROM_CLIENT: bool;

    /// Looks at all that has come so far.
    #[doc(hidden)]
    fn advance(&mut self, input: &[u8], peer: &Address, settings: &Settings) -> Step<Self::State>;

    /// What is said when it has taken too long.
    #[doc(hidden)]
    fn timeout_answer(&self) -> Vec<u8>;
}

/// How far an opening handshake has come.
#[doc(hidden)]
pub enum Step<S> {
    NeedMore,
    Open(Opened<S>),
    /// It was plain HTTP, and this is the answer.
    Answered {
        consumed: usize,
        answer: Vec<u8>,
    },
    Refused {
        answer: Vec<u8>,
        error: WebSocketError,
    },
}

/// What an opening handshake has agreed on.
#[doc(hidden)]
pub struct Opened<S> {
    pub(crate) consumed: usize,
    pub(crate) answer: Vec<u8>,
    pub(crate) state: S,
    pub(crate) subprotocol: Option<Box<str>>,
    #[cfg(feature = "deflate")]
    pub(crate) agreed: Option<super::deflate::Agreed>,
}

/// The server's side.
#[derive(Debug)]
pub struct ServerOpening<A> {
    accept: Arc<A>,
    handshake: Handshake,
}

impl<A: Accept> ServerOpening<A> {
    pub(crate) fn new(accept: Arc<A>) -> Self {
        ServerOpening {
            accept,
            handshake: Handshake::new(),
        }
    }
}

impl<A: Accept> Opening for ServerOpening<A> {
    type State = A::State;
    const FROM_CLIENT: bool = true;

    fn advance(&mut self, input: &[u8], peer: &Address, settings: &Settings) -> Step<A::State> {
        #[cfg(feature = "deflate")]
        let mut agreed = None;
        let rules = Rules {
            limits: settings.head,
            origins: &settings.origins,
            accept: &*self.accept,
        };
        let progress = self.handshake.read_request(input, peer, &rules, |request| {
            #[cfg(feature = "deflate")]
            if let Some(deflate) = &settings.deflate {
                let offers = request.extensions();
                let (terms, answer) = super::deflate::negotiate(offers, deflate)?;
                agreed = Some(terms);
                return Some(answer);
            }
            let _ = request;
            None
        });
        match progress {
            Progress::NeedMore => Step::NeedMore,
            Progress::Upgraded {
                consumed,
                response,
                state,
                subprotocol,
            } => Step::Open(Opened {
                consumed,
                answer: response,
                state,
                subprotocol,
                #[cfg(feature = "deflate")]
                agreed,
            }),
            Progress::Answered { consumed, response } => Step::Answered {
                consumed,
                answer: response,
            },
            Progress::Refused { response, error } => Step::Refused {
                answer: response,
                error: WebSocketError::Handshake(error),
            },
        }
    }

    fn timeout_answer(&self) -> Vec<u8> {
        Response::text(408, "The request took too long.\n").to_bytes(&Form::default())
    }
}
