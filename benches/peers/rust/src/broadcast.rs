//! The members of a broadcast: the connections of a WebSocket peer, each with a bounded queue.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::stream::AbortHandle;
use slab::Slab;
use tokio::sync::mpsc;

/// The most messages that may wait for one member; a member that falls further behind is disconnected.
const QUEUE: usize = 16 * 1024;

/// All members, with their queues. Messages are cloned for each member, so cloning should be cheap.
#[derive(Debug)]
pub struct Room<M> {
    members: Mutex<Slab<Member<M>>>,
}

#[derive(Debug)]
struct Member<M> {
    queue: mpsc::Sender<M>,
    task: AbortHandle,
}

/// A membership in the room, which ends when dropped.
#[derive(Debug)]
pub struct Membership<M> {
    room: Arc<Room<M>>,
    key: usize,
    queue: mpsc::Receiver<M>,
    own_end: mpsc::Sender<M>,
}

impl<M> Default for Room<M> {
    fn default() -> Self {
        Self {
            members: Mutex::default(),
        }
    }
}

impl<M: Clone> Room<M> {
    /// Adds a member whose connection ends when `task` is aborted.
    pub fn join(self: &Arc<Self>, task: AbortHandle) -> Membership<M> {
        let (sender, queue) = mpsc::channel(QUEUE);
        let member = Member {
            queue: sender.clone(),
            task,
        };
        Membership {
            key: self.members().insert(member),
            room: self.clone(),
            queue,
            own_end: sender,
        }
    }

    /// Queues `message` for every member.
    pub fn send(&self, message: &M) {
        for (_, member) in self.members().iter() {
            if member.queue.try_send(message.clone()).is_err() {
                member.task.abort();
            }
        }
    }
}

impl<M> Room<M> {
    fn members(&self) -> MutexGuard<'_, Slab<Member<M>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M> Membership<M> {
    /// The sending end of this member's own queue.
    pub fn sender(&self) -> mpsc::Sender<M> {
        self.own_end.clone()
    }

    /// Waits for the next message.
    pub async fn next(&mut self) -> Option<M> {
        self.queue.recv().await
    }

    /// The next message, if one is already waiting.
    pub fn try_next(&mut self) -> Option<M> {
        self.queue.try_recv().ok()
    }
}

impl<M> Drop for Membership<M> {
    fn drop(&mut self) {
        self.room.members().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_falls_too_far_behind_is_aborted_and_the_others_go_on() {
        let room = Arc::new(Room::default());
        let (slow_task, _) = AbortHandle::new_pair();
        let (quick_task, _) = AbortHandle::new_pair();
        let mut slow = room.join(slow_task.clone());
        let mut quick = room.join(quick_task.clone());
        for number in 0..=QUEUE {
            assert!(!slow_task.is_aborted());
            room.send(&number);
            assert_eq!(quick.try_next(), Some(number));
        }
        assert!(slow_task.is_aborted());
        assert!(!quick_task.is_aborted());
        // The queued messages are still in order.
        assert_eq!(slow.try_next(), Some(0));
        drop(slow);
        assert_eq!(room.members().len(), 1);
    }
}
