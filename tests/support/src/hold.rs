//! Holds a worker up in a callback, until the test releases it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use ringwheel::{Connections, Handler};

use crate::{DEADLINE, take};

/// The worker's side: a callback that blocks its worker until the test releases it.
#[derive(Clone)]
pub struct Hold {
    entered: Sender<()>,
    released: Arc<Mutex<Receiver<()>>>,
}

/// The test's side of a [`Hold`].
pub struct Grip {
    is_entered: Receiver<()>,
    release: Sender<()>,
}

impl Hold {
    pub fn new() -> (Self, Grip) {
        let (entered, is_entered) = channel();
        let (release, released) = channel();
        (
            Hold {
                entered,
                released: Arc::new(Mutex::new(released)),
            },
            Grip {
                is_entered,
                release,
            },
        )
    }

    /// Holds up the worker of this index. Returns once it is held.
    pub fn worker<H: Handler>(all: &Connections<H>, worker: usize) -> Grip {
        let (hold, grip) = Self::new();
        all.on_worker(worker, move |_, _| hold.enter()).unwrap();
        grip.wait();
        grip
    }

    pub fn enter(&self) {
        self.entered.send(()).unwrap();
        self.released
            .lock()
            .unwrap()
            .recv_timeout(DEADLINE)
            .unwrap();
    }
}

impl Grip {
    pub fn wait(&self) {
        take(&self.is_entered);
    }

    pub fn release(&self) {
        self.release.send(()).unwrap();
    }
}
