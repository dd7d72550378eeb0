//! Commands and letters reach the loop, with the types put together as in the product.

use std::sync::Arc;
use std::time::Duration;

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
    let (shared, commands) = LoopShared::new(0, wake, (mailbox_limit, usize::MAX));
    (shared, commands, bell)
}

/// Two threads send commands, and the loop obeys them. The channel's own steps are not interleaved; the checks of the single
/// types do that.
#[test]
fn every_command_reaches_the_loop() {
    model(|| {
        let (shared, commands, bell) = shared_loop(1);
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
        let (shared, _commands, bell) = shared_loop(1);
        let (mailbox, letters) = Mailbox::<Nobody>::new(shared.clone(), 0);
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
