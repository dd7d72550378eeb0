//! The acceptor's loop: accepts for all workers and hands each connection to the worker that the balancer picks.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll};

use crate::accept::admission::Admission;
use crate::accept::balance::{Balance, Workers};
use crate::accept::control::{AcceptorControl, Course};
use crate::accept::listener::Listener;
use crate::accept::listeners::Listeners;
use crate::panics::{contain_drop, panic_text};
use crate::shared::LoopShared;
use crate::shared::arrival::Arrival;
use crate::shared::command::Command;
use crate::shared::token::Token;
use crate::shared::waker::waker;

/// Events taken from the kernel at a time.
const EVENTS: usize = 64;

/// The loop that accepts and hands over.
pub(crate) struct Acceptor {
    poll: Poll,
    control: Arc<AcceptorControl>,
    listeners: Listeners,
    admission: Arc<Admission>,
    balance: Box<dyn Balance>,
    workers: Vec<Arc<LoopShared>>,
}

impl Acceptor {
    pub(crate) fn new(
        listeners: Vec<Listener>,
        admission: Arc<Admission>,
        balance: Box<dyn Balance>,
        workers: Vec<Arc<LoopShared>>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        Ok(Acceptor {
            control: Arc::new(AcceptorControl::new(waker(poll.registry())?)),
            listeners: Listeners::register(listeners, poll.registry())?,
            poll,
            admission,
            balance,
            workers,
        })
    }

    /// Tells the acceptor from any thread to drain or to stop.
    pub(crate) fn control(&self) -> Arc<AcceptorControl> {
        self.control.clone()
    }

    /// Accepts until the server ends.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            // Read before the poll, not after: where mio emulates edges, accepting can swallow the wake-up that came with
            // the change.
            match self.control.course() {
                Course::Accept => {}
                Course::Drain(deadline) => {
                    self.drain(deadline);
                    return Ok(());
                }
                Course::Stop => return Ok(()),
            }
            match self.poll.poll(&mut events, self.listeners.timeout()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome?,
            }
            for event in &events {
                if let Token::Listener(index) = Token::decode(event.token()) {
                    self.listeners.on_event(index);
                }
            }
            self.accept(Listeners::accept_ready);
        }
    }

    /// Accepts the connections that wait already, closes the listeners, and passes the drain on to the workers.
    fn drain(&mut self, deadline: Duration) {
        self.accept(Listeners::drain);
        LoopShared::drain_all(&self.workers, deadline);
    }

    /// Accepts in the given manner, and hands over what comes.
    fn accept(&mut self, manner: fn(&mut Listeners, &Admission, &mut dyn FnMut(Arrival))) {
        let Acceptor {
            listeners,
            admission,
            balance,
            workers,
            ..
        } = self;
        manner(listeners, admission, &mut |arrival| {
            hand_over(arrival, &mut **balance, workers, admission);
        });
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.control.release_waker();
    }
}

/// Gives a connection to the worker that the balancer picks.
fn hand_over(
    arrival: Arrival,
    balance: &mut dyn Balance,
    workers: &[Arc<LoopShared>],
    admission: &Admission,
) {
    let pick = || balance.pick(&arrival.peer, Workers::new(workers));
    let picked = catch_unwind(AssertUnwindSafe(pick)).unwrap_or_else(|panic| {
        log::error!("the balancer panicked: {}", panic_text(&*panic));
        contain_drop(panic);
        0
    });
    let worker = &workers[picked % workers.len()];
    worker.count_connection();
    if let Err(Command::Adopt(lost)) = worker.command(Command::Adopt(arrival)) {
        worker.uncount_connection();
        admission.release(lost.peer.ip());
    }
}
