//! The opening handshake as the frame reader sees it, for either side.

use std::any::Any;
use std::sync::Arc;

use crate::Address;

use super::accept::Accept;
use super::error::WebSocketError;
use super::handshake::{Handshake, Progress, Rules};
use super::settings::Settings;
use crate::http::Response;
use crate::http::date::HttpDate;
use crate::http::response::Form;

/// One side's opening handshake.
pub(crate) trait Opening: 'static {
    /// The state that it leaves for the handler.
    type State: 'static;
    /// True if the frames behind it are a client's.
    const FROM_CLIENT: bool;

    /// Looks at all bytes of the handshake that have come so far; none are consumed before it is over.
    fn advance(&mut self, input: &[u8], peer: &Address, settings: &Settings) -> Step<Self::State>;

    /// The answer to a peer that has taken too long.
    fn timeout_answer(&self, settings: &Settings) -> Vec<u8>;

    /// Hears that the handshake was refused.
    fn refused(&self, peer: &Address, error: &WebSocketError);
}

/// The progress of an opening handshake.
pub(crate) enum Step<S> {
    NeedMore,
    Open(Opened<S>),
    /// The request was plain HTTP, and this is the answer.
    Answered {
        consumed: usize,
        answer: Vec<u8>,
    },
    Refused {
        answer: Vec<u8>,
        error: WebSocketError,
    },
    /// The application panicked, and this is the answer; the panic is to go on once that is written.
    Panicked {
        answer: Vec<u8>,
        panic: Box<dyn Any + Send>,
    },
}

/// The result of an opening handshake.
pub(crate) struct Opened<S> {
    pub(crate) consumed: usize,
    /// The bytes that tell the peer; none on the client's side.
    pub(crate) answer: Vec<u8>,
    pub(crate) state: S,
    pub(crate) subprotocol: Option<Box<str>>,
    #[cfg(feature = "deflate")]
    pub(crate) agreed: Option<super::deflate::Agreed>,
}

/// The server's side.
#[derive(Debug)]
pub(crate) struct ServerOpening<A> {
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
            hosts: &settings.hosts,
            origins: &settings.origins,
            accept: &*self.accept,
            clock: settings.clock,
        };
        let progress = self.handshake.read_request(input, peer, &rules, |request| {
            #[cfg(feature = "deflate")]
            if let Some(deflate) = &settings.deflate {
                let offers = request.extensions().filter_map(Result::ok);
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
            Progress::Panicked { response, panic } => Step::Panicked {
                answer: response,
                panic,
            },
        }
    }

    fn refused(&self, peer: &Address, error: &WebSocketError) {
        self.accept.refused(peer, error);
    }

    fn timeout_answer(&self, settings: &Settings) -> Vec<u8> {
        Response::text(408, "the request took too long\n").to_bytes(&Form {
            date: HttpDate::of((settings.clock)()),
            ..Form::default()
        })
    }
}
