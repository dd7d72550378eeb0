//! The part of a worker's loop that other threads reach: its commands, the count of its letters and connections, and one
//! coalesced wake-up.

pub(crate) mod arrival;
pub(crate) mod backlog;
pub(crate) mod batch;
pub(crate) mod callback;
pub(crate) mod command;
pub(crate) mod control;
pub(crate) mod current;
pub(crate) mod lane;
pub(crate) mod places;
pub(crate) mod room;
pub(crate) mod sync;
pub(crate) mod task;
pub(crate) mod token;
pub(crate) mod wake_flag;
pub(crate) mod waker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::shared::backlog::Backlog;
use crate::shared::command::Command;
use crate::shared::lane::Lane;
use crate::shared::places::{Charge, Places};
use crate::shared::room::{Room, RoomCallback};
use crate::shared::sync::atomic::{AtomicUsize, Ordering};
use crate::shared::wake_flag::WakeFlag;
use crate::shared::waker::{Wake, Waker};

/// One worker, as all other threads see it.
pub(crate) struct LoopShared {
    /// The index of the worker.
    pub(crate) worker: usize,
    /// The start of the loop's time.
    epoch: Instant,
    commands: Sender<Command>,
    /// Interrupts the loop's sleep.
    wake: Waker,
    wake_flag: WakeFlag,
    /// Letters that wait in the worker's mailboxes.
    letters: Places,
    /// The publications among them that are to be delivered, or wait for slow subscribers.
    pub(crate) backlog: Arc<Backlog>,
    /// Senders that wait until the mailboxes have room.
    room: Room,
    /// Connections that wait until the worker has read mail, because it has refused theirs.
    next_round: Room,
    /// Commands that wait.
    waiting_commands: AtomicUsize,
    /// Slots of the connections that have requests waiting in their control.
    requested: (Sender<u32>, Receiver<u32>),
    /// Number of those slots.
    waiting_requests: AtomicUsize,
    /// Connections that were given to the worker and have not ended.
    connections: AtomicUsize,
    /// The round of the drain to which the worker has come; `usize::MAX` once it has ended.
    drain_round: AtomicUsize,
    /// Bytes that the worker's connections hold.
    pub(crate) held: AtomicUsize,
    /// Number of times that subscribers were waited for no longer because the mailboxes fill up, since the simulation has looked.
    #[cfg(test)]
    pub(crate) given_up: AtomicUsize,
}

impl LoopShared {
    /// `letters` and `bytes` are the limits of the worker's mailboxes together.
    pub(crate) fn new(
        worker: usize,
        wake: Box<Wake>,
        (letters, bytes): (usize, usize),
    ) -> (Arc<Self>, Receiver<Command>) {
        let (commands, receiver) = unbounded();
        let shared = LoopShared {
            worker,
            epoch: Instant::now(),
            commands,
            wake: Waker::new(wake),
            wake_flag: WakeFlag::new(),
            letters: Places::new(letters, bytes),
            backlog: Arc::new(Backlog::new()),
            room: Room::new(),
            next_round: Room::new(),
            waiting_commands: AtomicUsize::new(0),
            requested: unbounded(),
            waiting_requests: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            drain_round: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            #[cfg(test)]
            given_up: AtomicUsize::new(0),
        };
        (Arc::new(shared), receiver)
    }

    /// Sends a command, without a limit: commands are the program's own. The command comes back if the worker has ended.
    pub(crate) fn command(&self, command: Command) -> Result<(), Command> {
        self.waiting_commands.fetch_add(1, Ordering::Relaxed);
        self.commands.send(command).map_err(|returned| {
            self.command_taken();
            returned.0
        })?;
        self.notify();
        Ok(())
    }

    /// Counts out a command that the loop has taken.
    pub(crate) fn command_taken(&self) {
        self.waiting_commands.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn has_commands(&self) -> bool {
        self.waiting_commands.load(Ordering::Relaxed) > 0
    }

    /// Tells the loop that the connection in a slot has requests waiting in its control.
    pub(crate) fn announce_request(&self, slot: u32) {
        self.waiting_requests.fetch_add(1, Ordering::Relaxed);
        // It cannot fail: the receiver lies beside the sender.
        let _ = self.requested.0.send(slot);
        self.notify();
    }

    pub(crate) fn has_requests(&self) -> bool {
        self.waiting_requests.load(Ordering::Relaxed) > 0
    }

    /// Takes the slot of a connection that has requests waiting.
    pub(crate) fn take_request(&self) -> Option<u32> {
        let slot = self.requested.1.try_recv().ok()?;
        self.waiting_requests.fetch_sub(1, Ordering::Relaxed);
        Some(slot)
    }

    /// The time since the loop began, by the clock.
    pub(crate) fn clock(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Letters that wait for the worker, or that it is not done with.
    pub(crate) fn letters(&self) -> usize {
        self.letters.letters()
    }

    /// Bytes of those letters.
    #[cfg(test)]
    pub(crate) fn letter_bytes(&self) -> usize {
        self.letters.bytes()
    }

    /// Counts in a letter of the current thread that reaches so many connections. `None` if a limit of the mailboxes, or the
    /// thread's share, forbids it.
    pub(crate) fn reserve_places(&self, reach: usize, bytes: usize) -> Option<Charge> {
        let source = current::source();
        match Lane::of_current_thread() {
            Lane::Callbacks => self.letters.reserve(reach, bytes, source),
            Lane::Threads => self.letters.reserve_for_thread(reach, bytes, source),
        }
    }

    /// Counts in a publication of a connection, which is held back by other means. If it is beyond its limits all the same, it has
    /// a share, of which it holds so many letters and bytes. `None` if a limit of the mailboxes, or the share, forbids it.
    pub(crate) fn reserve_for_publisher(
        &self,
        bytes: usize,
        held: (usize, usize),
    ) -> Option<Charge> {
        self.letters.reserve_beside(1, bytes, held)
    }

    /// Counts out a letter that the worker is done with.
    pub(crate) fn release_places(&self, charge: Charge) {
        self.letters.release(charge);
    }

    /// True if the mailboxes are more than a quarter full.
    pub(crate) fn is_filling_up(&self) -> bool {
        self.letters.is_filling_up()
    }

    /// True if no more than an eighth of the mailboxes is taken.
    pub(crate) fn has_plenty_of_room(&self) -> bool {
        self.letters.has_plenty_of_room()
    }

    /// The part of the mailboxes that so many letters with so many bytes take, in [`Places::WHOLE`] of the whole.
    pub(crate) fn part_of_mailboxes(&self, letters: usize, bytes: usize) -> u64 {
        self.letters.part(letters, bytes)
    }

    /// True if the mailboxes are more than half full.
    pub(crate) fn is_congested(&self) -> bool {
        self.letters.is_congested()
    }

    /// True if senders that can be slowed should be: they have more than half of the places in the mailboxes that threads leave, or so
    /// many deliveries of publications wait that others are late.
    pub(crate) fn is_crowded(&self) -> bool {
        self.letters.is_crowded() || self.backlog.is_late()
    }

    /// Calls back once the mailboxes are no more than a quarter full, or the worker has ended: at once if that is so already.
    pub(crate) fn when_room(&self, callback: RoomCallback) {
        self.room.wait(callback, || self.letters.has_room());
    }

    /// Calls back senders that wait for room, if there is some. The loop does so whenever it has carried out mail.
    pub(crate) fn tell_of_room(&self) {
        self.room.tell(|| self.letters.has_room());
        self.next_round.tell(|| self.letters() == 0);
    }

    /// Calls back once the worker has read mail, or has ended: at once if no mail waits. Unlike the wait for room it ends
    /// however fast others fill the mailboxes. Where all mail waits for slow subscribers, it ends when some of that is done.
    pub(crate) fn when_mail_was_read(&self, callback: RoomCallback) {
        self.next_round.wait(callback, || self.letters() == 0);
    }

    /// Calls back the connections that wait until mail was read. The loop does so after each round.
    pub(crate) fn tell_of_round(&self) {
        self.next_round.tell(|| true);
    }

    /// Calls back senders that wait, and lets no drain wait for it: the worker has ended, or will never run.
    pub(crate) fn end_mail(&self) {
        // The others are not told: a worker that ends without a drain stops the server.
        self.drain_round.store(usize::MAX, Ordering::Release);
        self.room.end();
        self.next_round.end();
    }

    /// True once [`end_mail`](Self::end_mail) was called. It takes a lock, and is for senders that are refused.
    pub(crate) fn has_mail_ended(&self) -> bool {
        self.room.has_ended()
    }

    /// True if letters wait that the worker can do something about.
    pub(crate) fn has_mail(&self) -> bool {
        let letters = self.letters();
        letters > 0 && letters > self.backlog.resting.load(Ordering::Relaxed)
    }

    /// Wakes the loop, unless it is awake or being woken already.
    pub(crate) fn notify(&self) {
        self.wake_flag.notify(|| {
            if let Err(error) = self.wake.wake() {
                log::error!("worker {} could not be woken: {error}", self.worker);
            }
        });
    }

    /// Closes the descriptor that wakes the loop: the loop has ended, or will never run.
    pub(crate) fn release_waker(&self) {
        self.wake.release();
    }

    /// Announces that the loop is about to sleep: from here on a notification wakes it. True if letters, commands or requests
    /// wait already, so that it must not sleep.
    pub(crate) fn prepare_to_sleep(&self) -> bool {
        self.wake_flag
            .prepare_to_sleep(|| self.has_mail() || self.has_commands() || self.has_requests())
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
        let all: Arc<[Arc<LoopShared>]> = workers.into();
        for worker in workers {
            let _ = worker.command(Command::Drain(deadline, all.clone()));
        }
    }

    /// Notes that this worker has come to a round of the drain, and has the others look. All that its callbacks have posted
    /// before is in the mailboxes.
    pub(crate) fn come_to(&self, round: usize, workers: &[Arc<LoopShared>]) {
        if self.has_come_to(round) {
            return;
        }
        self.drain_round.store(round, Ordering::Release);
        for worker in workers.iter().filter(|it| it.worker != self.worker) {
            // One that has ended waits for nobody.
            let _ = worker.command(Command::LookAtDrain);
        }
    }

    /// True if this worker has come to a round of the drain, or has ended.
    pub(crate) fn has_come_to(&self, round: usize) -> bool {
        self.drain_round.load(Ordering::Acquire) >= round
    }
}
