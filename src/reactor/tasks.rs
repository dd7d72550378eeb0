//! Tasks: closures of the program that run on a worker at a given time, once or again and again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::connection::due::Due;
use crate::panics::{contain_drop, panic_text};
use crate::shared::task::Task;
use crate::wheel::TimerKey;

use super::Reactor;

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
        self.tasks[index].timer = Some(self.state.wheel.insert(deadline, Due::Task(index)));
    }

    pub(super) fn run_task(&mut self, index: usize) {
        let Some(scheduled) = self.tasks.get_mut(index) else {
            return;
        };
        scheduled.timer = None;
        if !scheduled.task.is_cancelled() {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (scheduled.task.run)())) {
                log::error!("a scheduled task panicked: {}", panic_text(&*panic));
                contain_drop(panic);
            }
        }
        match scheduled.task.every {
            Some(every) if !scheduled.task.is_cancelled() => {
                scheduled.task.due = next_round(scheduled.task.due, every, self.state.now);
                let deadline = self.state.clock.deadline(scheduled.task.due);
                scheduled.timer = Some(self.state.wheel.insert(deadline, Due::Task(index)));
            }
            _ => contain_drop(self.tasks.remove(index)),
        }
    }

    /// Forgets the tasks that were cancelled.
    pub(crate) fn sweep_tasks(&mut self) {
        let cancelled: Vec<usize> = self
            .tasks
            .iter()
            .filter(|(_, scheduled)| scheduled.task.is_cancelled())
            .map(|(index, _)| index)
            .collect();
        for index in cancelled {
            let scheduled = self.tasks.remove(index);
            if let Some(timer) = scheduled.timer {
                self.state.wheel.cancel(timer);
            }
            contain_drop(scheduled);
        }
    }
}

/// When a task is due again: a whole number of periods after it was due, so that it does not drift, and not before `now`,
/// so that rounds which were missed are not made up for.
fn next_round(due: Duration, every: Duration, now: Duration) -> Duration {
    let period = every.as_nanos().max(1);
    let missed = now.saturating_sub(due).as_nanos() / period;
    let ahead = (missed + 1).saturating_mul(period);
    due.saturating_add(Duration::from_nanos(
        u64::try_from(ahead).unwrap_or(u64::MAX),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_keep_their_beat_and_are_not_made_up_for() {
        let ms = Duration::from_millis;
        assert_eq!(next_round(ms(10), ms(10), ms(10)), ms(20));
        assert_eq!(next_round(ms(10), ms(10), ms(19)), ms(20));
        assert_eq!(next_round(ms(10), ms(10), ms(57)), ms(60));
        assert_eq!(
            next_round(ms(10), Duration::ZERO, ms(57)),
            ms(57) + Duration::from_nanos(1)
        );
        assert_eq!(
            next_round(ms(10), Duration::MAX, ms(57)),
            ms(10) + Duration::from_nanos(u64::MAX)
        );
    }
}
