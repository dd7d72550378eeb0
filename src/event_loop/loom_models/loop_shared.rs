//! Commands and letters reach the loop, with the types put together as in the product.

use std::sync::Arc;
use std::time::Duration;

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use super::{Bell, model};
use crate::connection::send_error::SendError;
use crate::handler::Handler;
use crate::handler::conn::Conn;
use crate::handler::letter::{Mail, Visit};
use crate::handler::mailbox::Mailbox;
use crate::protocol::Raw;
use crate::shared::LoopShared;
use crate::shared::command::Command;

/// The shared part of a loop, with a bell for its poll.
fn shared_loop(
    worker: usize,
    mailbox_limit: usize,
) -> (
    Arc<LoopShared>,
    crossbeam_channel::Receiver<Command>,
    Arc<Bell>,
) {
    let bell = Arc::new(Bell::default());
    let wake = bell.clone();
    let wake = Box::new(move || {
        wake.ring();
        Ok(())
    });
    let (shared, commands) = LoopShared::new(worker, wake, (mailbox_limit, usize::MAX));
    (shared, commands, bell)
}

/// Two threads send commands, and the loop obeys them. The channel's own steps are not interleaved; the checks of the single
/// types do that.
#[test]
fn every_command_reaches_the_loop() {
    model(|| {
        let (shared, commands, bell) = shared_loop(0, 1);
        let threads =
            [Command::Drain(Duration::ZERO, Arc::new([])), Command::Stop].map(|command| {
                let shared = shared.clone();
                thread::spawn(move || assert!(shared.command(command).is_ok()))
            });
        let mut obeyed = 0;
        while obeyed < threads.len() {
            bell.poll(shared.prepare_to_sleep());
            shared.woke_up();
            while shared.has_commands() && commands.try_recv().is_ok() {
                shared.command_taken();
                obeyed += 1;
            }
        }
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(!shared.has_commands());
    });
}

/// Two workers come to a round of a drain and wait for each other: no wake-up is lost, and each finds what the other has posted.
/// The lock stands for the order of the channel, of which loom does not know: a command is received after it was sent.
#[test]
fn workers_that_drain_meet() {
    model(|| {
        let loops = [shared_loop(0, 1), shared_loop(1, 1)];
        let workers: Arc<[Arc<LoopShared>]> = loops.iter().map(|it| it.0.clone()).collect();
        let posts = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let channel = Arc::new(Mutex::new(()));
        let threads = loops.map(|(shared, commands, bell)| {
            let (workers, posts, channel) = (workers.clone(), posts.clone(), channel.clone());
            thread::spawn(move || {
                posts[shared.worker].store(true, Ordering::Relaxed);
                {
                    let _sending = channel.lock().unwrap();
                    shared.come_to(1, &workers);
                }
                while !workers.iter().all(|worker| worker.has_come_to(1)) {
                    bell.poll(shared.prepare_to_sleep());
                    shared.woke_up();
                    let _receiving = channel.lock().unwrap();
                    while shared.has_commands() && commands.try_recv().is_ok() {
                        shared.command_taken();
                    }
                }
                assert!(posts.iter().all(|post| post.load(Ordering::Relaxed)));
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

struct Nobody;

impl Handler for Nobody {
    type Protocol = Raw;
    type Session = ();
    fn on_open(&mut self, _: &mut Conn<'_, Raw>) {}
    fn on_message(&mut self, _: &mut Conn<'_, Raw>, _: &mut (), _: &[u8]) {}
}

/// Two threads put a letter into a mailbox that holds one. What is taken is read, what is refused comes back, and the
/// mailbox is empty in the end.
#[test]
fn every_letter_is_read_or_comes_back() {
    model(|| {
        let (shared, _commands, bell) = shared_loop(0, 1);
        let (mailbox, [_callbacks, letters]) = Mailbox::<Nobody>::new(shared.clone(), 0);
        let mailbox = Arc::new(mailbox);
        let threads = [(), ()].map(|()| {
            let mailbox = mailbox.clone();
            thread::spawn(move || {
                match mailbox.put(Mail::Each(Visit {
                    visitor: Arc::new(|_, _| {}),
                    size: 0,
                })) {
                    Ok(()) => 1,
                    Err(error) => {
                        assert!(matches!(error, SendError::Full(_)));
                        0
                    }
                }
            })
        });
        // One of them finds room, and without its wake-up this does not end.
        let mut read = 0;
        while read == 0 {
            bell.poll(shared.prepare_to_sleep());
            shared.woke_up();
            while let Ok(posted) = letters.try_recv() {
                shared.release_places(posted.charge);
                read += 1;
            }
        }
        let put: usize = threads.map(|thread| thread.join().unwrap()).iter().sum();
        while let Ok(posted) = letters.try_recv() {
            shared.release_places(posted.charge);
            read += 1;
        }
        assert_eq!(read, put);
        assert_eq!(shared.letters(), 0);
    });
}
