//! The part of a worker's loop that other threads reach: its commands, the count of its letters and connections, and one
//! coalesced wake-up.

pub(crate) mod arrival;
pub(crate) mod command;
pub(crate) mod current;
pub(crate) mod places;
pub(crate) mod room;
pub(crate) mod sweep_flag;
pub(crate) mod sync;
pub(crate) mod task;
pub(crate) mod token;
pub(crate) mod wake_flag;
pub(crate) mod waker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::shared::command::Command;
use crate::shared::places::Places;
use crate::shared::room::{Room, RoomCallback};
use crate::shared::sweep_flag::SweepFlag;
use crate::shared::sync::atomic::{AtomicUsize, Ordering};
use crate::shared::wake_flag::WakeFlag;
use crate::shared::waker::Wake;

/// One worker, as all other threads see it.
pub(crate) struct LoopShared {
    /// The index of the worker.
    pub(crate) worker: usize,
    /// The start of the loop's time.
    epoch: Instant,
    commands: Sender<Command>,
    /// Interrupts the loop's sleep.
    wake: Box<Wake>,
    wake_flag: WakeFlag,
    /// Letters that wait in the worker's mailboxes.
    letters: Places,
    /// Senders that wait until the mailboxes have room.
    room: Room,
    /// Commands that wait.
    waiting_commands: Places,
    /// Coalesces requests to forget cancelled tasks.
    sweep: SweepFlag,
    /// Connections that were given to the worker and have not ended.
    connections: AtomicUsize,
    /// Bytes that the worker's connections hold.
    pub(crate) held: AtomicUsize,
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
            room: Room::new(),
            waiting_commands: Places::new(usize::MAX),
            sweep: SweepFlag::new(),
            connections: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
        };
        (Arc::new(shared), receiver)
    }

    /// Sends a command, without a limit: commands are the program's own. The command comes back if the worker has ended.
    pub(crate) fn command(&self, command: Command) -> Result<(), Command> {
        self.waiting_commands.reserve();
        self.commands.send(command).map_err(|returned| {
            self.command_taken();
            returned.0
        })?;
        self.notify();
        Ok(())
    }

    /// Counts out a command that the loop has taken.
    pub(crate) fn command_taken(&self) {
        self.waiting_commands.release(1);
    }

    pub(crate) fn has_commands(&self) -> bool {
        self.waiting_commands.taken() > 0
    }

    /// Asks the loop to forget cancelled tasks. Many cancellations share one sweep.
    pub(crate) fn sweep(&self) {
        if self.sweep.ask() {
            // A worker that has ended has no tasks left to forget.
            let _ = self.command(Command::Sweep);
        }
    }

    /// Notes that a sweep begins: tasks that are cancelled from now on need another.
    pub(crate) fn sweep_begins(&self) {
        self.sweep.begin();
    }

    /// The time since the loop began, by the clock.
    pub(crate) fn clock(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// The letters that wait in the worker's mailboxes.
    pub(crate) fn letters(&self) -> usize {
        self.letters.taken()
    }

    /// Counts a letter in. False if the mailbox limit is reached.
    pub(crate) fn reserve_place(&self) -> bool {
        self.letters.reserve()
    }

    /// Counts out letters that were taken.
    pub(crate) fn release_places(&self, letters: usize) {
        self.letters.release(letters);
    }

    /// Calls back once the mailboxes are no more than half full, or the worker has ended: at once if that is so already.
    pub(crate) fn when_room(&self, callback: RoomCallback) {
        self.room.wait(callback, || self.letters.is_half_free());
    }

    /// Calls back senders that wait for room, if there is some. The loop does so after it has read mail.
    pub(crate) fn tell_of_room(&self) {
        self.room.tell(|| self.letters.is_half_free());
    }

    /// Calls back senders that wait for room: the worker has ended, or will never run.
    pub(crate) fn end_mail(&self) {
        self.room.end();
    }

    /// True once [`end_mail`](Self::end_mail) was called. It takes a lock, and is for senders that are refused.
    pub(crate) fn has_mail_ended(&self) -> bool {
        self.room.has_ended()
    }

    pub(crate) fn has_mail(&self) -> bool {
        self.letters() > 0
    }

    /// Wakes the loop, unless it is awake or being woken already.
    pub(crate) fn notify(&self) {
        self.wake_flag.notify(|| {
            if let Err(error) = (self.wake)() {
                log::error!("worker {} could not be woken: {error}", self.worker);
            }
        });
    }

    /// Announces that the loop is about to sleep: from here on a notification wakes it. True if letters or commands wait
    /// already, so that it must not sleep.
    pub(crate) fn prepare_to_sleep(&self) -> bool {
        self.wake_flag
            .prepare_to_sleep(|| self.has_mail() || self.has_commands())
    }

    /// Announces that the loop runs again.
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

    /// Sends workers the command to drain. A worker that has ended has nothing to drain.
    pub(crate) fn drain_all(workers: &[Arc<LoopShared>], deadline: Duration) {
        for worker in workers {
            let _ = worker.command(Command::Drain(deadline));
        }
    }
}
