//! Tasks: closures of the program that run on a worker at a given time, once or again and again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::connection::due::Due;
use crate::panics::{contain_drop, panic_text};
use crate::shared::task::{Task, Ticket};
use crate::wheel::TimerKey;

use super::Reactor;
use super::beat::next_round;

/// A task that waits on the wheel.
pub(super) struct ScheduledTask {
    task: Task,
    timer: Option<TimerKey>,
}

impl Reactor {
    /// Takes a task that another thread has scheduled.
    pub(crate) fn schedule_task(&mut self, task: Task) {
        let deadline = self.state.clock.deadline(task.due);
        let timer = None;
        let index = self.tasks.insert(ScheduledTask { task, timer });
        let scheduled = &mut self.tasks[index];
        scheduled.task.ticket.set_index(index);
        scheduled.timer = Some(self.state.wheel.insert(deadline, Due::Task(index)));
    }

    pub(super) fn run_task(&mut self, index: usize) {
        let Some(scheduled) = self.tasks.get_mut(index) else {
            return;
        };
        scheduled.timer = None;
        let mut has_panicked = false;
        if !scheduled.task.ticket.is_cancelled() {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (scheduled.task.run)())) {
                has_panicked = true;
                log::error!("a scheduled task panicked: {}", panic_text(&*panic));
                contain_drop(panic);
            }
        }
        match scheduled.task.every {
            Some(every) if !scheduled.task.ticket.is_cancelled() && !has_panicked => {
                scheduled.task.due = next_round(scheduled.task.due, every, self.state.now);
                let deadline = self.state.clock.deadline(scheduled.task.due);
                scheduled.timer = Some(self.state.wheel.insert(deadline, Due::Task(index)));
            }
            _ => contain_drop(self.tasks.remove(index)),
        }
    }

    /// Removes the task of this ticket, unless it has ended: then another task may be in its place.
    pub(crate) fn cancel_task(&mut self, ticket: &Arc<Ticket>) {
        let index = ticket.index();
        let in_place = self.tasks.get(index);
        if in_place.is_some_and(|scheduled| Arc::ptr_eq(&scheduled.task.ticket, ticket)) {
            let scheduled = self.tasks.remove(index);
            if let Some(timer) = scheduled.timer {
                self.state.wheel.cancel(timer);
            }
            contain_drop(scheduled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::ReactorConfig;
    use crate::shared::LoopShared;
    use crate::wheel::TickClock;
    use ringwheel_ringbuffer::PoolConfig;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    const PERIOD: Duration = Duration::from_millis(1);

    fn reactor() -> Reactor {
        let (shared, _) = LoopShared::new(0, Box::new(|| Ok(())), (1, 1));
        let config = ReactorConfig {
            clock: TickClock::default(),
            pool: PoolConfig::default(),
            receive_buffer: 4096,
            read_budget: 4096,
            mail: crate::reactor::MailBudget::default(),
            callback_limit: usize::MAX,
            memory: crate::connection::memory::Bounds::default(),
        };
        Reactor::new(&config, shared, Vec::new(), Duration::ZERO)
    }

    fn schedule(reactor: &mut Reactor, run: impl FnMut() + Send + 'static) -> Arc<Ticket> {
        let ticket = Ticket::new();
        reactor.schedule_task(Task {
            due: PERIOD,
            every: Some(PERIOD),
            run: Box::new(run),
            ticket: ticket.clone(),
        });
        ticket
    }

    /// Each cancellation is charged for its own task: it does not look at the others, of which there may be a million.
    #[test]
    fn a_cancellation_concerns_one_task() {
        let mut reactor = reactor();
        let [first, second] = [(), ()].map(|()| schedule(&mut reactor, || {}));
        assert!(first.cancel() && second.cancel());
        reactor.cancel_task(&first);
        assert_eq!(reactor.tasks.len(), 1);
        reactor.cancel_task(&second);
        assert_eq!((reactor.tasks.len(), reactor.state.wheel.len()), (0, 0));
    }

    #[test]
    fn a_cancellation_that_comes_late_spares_the_next_task_in_its_place() {
        let mut reactor = reactor();
        let ended = schedule(&mut reactor, || {});
        assert!(ended.cancel());
        reactor.cancel_task(&ended);
        let next = schedule(&mut reactor, || {});
        assert_eq!(next.index(), ended.index());
        reactor.cancel_task(&ended);
        assert_eq!(reactor.tasks.len(), 1);
    }

    #[test]
    fn a_task_that_panics_does_not_run_again() {
        let mut reactor = reactor();
        let runs = Arc::new(AtomicUsize::new(0));
        let count = runs.clone();
        schedule(&mut reactor, move || {
            count.fetch_add(1, Ordering::Relaxed);
            std::panic::resume_unwind(Box::new("deliberate"));
        });
        for millis in 1..5 {
            reactor.set_now(Duration::from_millis(millis));
            reactor.finish_iteration();
        }
        assert_eq!(runs.load(Ordering::Relaxed), 1);
        // The closure is dropped.
        assert_eq!(Arc::strong_count(&runs), 1);
    }
}
