//! What other threads see of a worker's loop: commands, a count of its connections, and one coalesced wake-up.

pub(crate) mod places;
pub(crate) mod sweep_flag;
pub(crate) mod sync;
pub(crate) mod task;
pub(crate) mod wake_flag;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use mio::Waker;
use mio::net::TcpStream;

use crate::io::address::Address;
use crate::shared::places::Places;
use crate::shared::sweep_flag::SweepFlag;
use crate::shared::sync::atomic::{AtomicUsize, Ordering};
use crate::shared::task::Task;
use crate::shared::wake_flag::WakeFlag;

/// A socket that was admitted, on its way to a worker.
pub(crate) struct Handover {
    pub(crate) stream: TcpStream,
    pub(crate) peer: Address,
    /// Index of the listener, which is that of the service.
    pub(crate) listener: u16,
}

/// A command to a worker's loop.
pub(crate) enum Command {
    Adopt(Handover),
    Schedule(Task),
    /// A task was cancelled: forget it now rather than when it is due.
    Sweep,
    /// Answer what has arrived, flush, close; what is left after the deadline is dropped.
    Drain(Duration),
    /// Drop everything.
    Stop,
}

/// What other threads see of a worker.
pub(crate) struct LoopShared {
    pub(crate) worker: usize,
    /// When the loop's time began.
    epoch: Instant,
    commands: Sender<Command>,
    /// Interrupts the loop's sleep.
    wake: Box<Wake>,
    wake_flag: WakeFlag,
    /// Letters that wait.
    letters: Places,
    /// Commands that wait.
    waiting_commands: Places,
    /// For the tasks that were cancelled.
    sweep: SweepFlag,
    /// Connections that were handed over and have not ended.
    connections: AtomicUsize,
}

impl LoopShared {
    pub(crate) fn new(
        worker: usize,
        wake: Box<Wake>,
        mailbox_limit: usize,
    ) -> (Arc<Self>, Receiver<Command>) {
        let (commands, receiver) = unbounded();
        let shared = LoopShared {
            worker,
            epoch: Instant::now(),
            commands,
            wake,
            wake_flag: WakeFlag::new(),
            letters: Places::new(mailbox_limit),
            waiting_commands: Places::new(usize::MAX),
            sweep: SweepFlag::new(),
            connections: AtomicUsize::new(0),
        };
        (Arc::new(shared), receiver)
    }

    /// Sends a command. Commands are the program's own and never refused for lack of room; it comes back if the worker has
    /// ended.
    pub(crate) fn command(&self, command: Command) -> Result<(), Command> {
        self.waiting_commands.reserve();
        self.commands.send(command).map_err(|returned| {
            self.command_taken();
            returned.0
        })?;
        self.notify();
        Ok(())
    }

    /// A command was taken.
    pub(crate) fn command_taken(&self) {
        self.waiting_commands.release(1);
    }

    pub(crate) fn has_commands(&self) -> bool {
        self.waiting_commands.taken() > 0
    }

    /// Has cancelled tasks forgotten; many cancellations are one sweep.
    pub(crate) fn sweep(&self) {
        if self.sweep.ask() {
            // A worker that has ended has no tasks left to forget.
            let _ = self.command(Command::Sweep);
        }
    }

    /// A sweep begins: what is cancelled from now on needs another.
    pub(crate) fn sweep_begins(&self) {
        self.sweep.begin();
    }

    /// The loop's time, by the clock.
    pub(crate) fn clock(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Letters that wait.
    pub(crate) fn letters(&self) -> usize {
        self.letters.taken()
    }

    /// Counts a letter in, if there is room.
    pub(crate) fn reserve_place(&self) -> bool {
        self.letters.reserve()
    }

    /// Letters were taken.
    pub(crate) fn release_places(&self, letters: usize) {
        self.letters.release(letters);
    }

    pub(crate) fn has_mail(&self) -> bool {
        self.letters() > 0
    }

    /// Wakes the loop unless it is awake, or being woken, already.
    pub(crate) fn notify(&self) {
        self.wake_flag.notify(|| {
            if let Err(error) = (self.wake)() {
                log::error!("worker {} could not be woken: {error}", self.worker);
            }
        });
    }

    /// From here on a notification wakes the loop. Returns whether there is mail already, so that it must not sleep.
    pub(crate) fn prepare_to_sleep(&self) -> bool {
        self.wake_flag
            .prepare_to_sleep(|| self.has_mail() || self.has_commands())
    }

    /// The loop runs again.
    pub(crate) fn woke_up(&self) {
        self.wake_flag.woke_up();
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn count_connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn uncount_connection(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Has workers drain. One that has ended has nothing to drain.
pub(crate) fn drain(workers: &[Arc<LoopShared>], deadline: Duration) {
    for worker in workers {
        let _ = worker.command(Command::Drain(deadline));
    }
}

/// Interrupts a poll from any thread.
pub(crate) type Wake = dyn Fn() -> io::Result<()> + Send + Sync;

/// What interrupts the poll of a registry.
pub(crate) fn waker(registry: &mio::Registry) -> io::Result<Box<Wake>> {
    let waker = Waker::new(registry, WAKE_TOKEN)?;
    Ok(Box::new(move || waker.wake()))
}

/// The token of the waker; no slot reaches it.
pub(crate) const WAKE_TOKEN: mio::Token = mio::Token(usize::MAX);
