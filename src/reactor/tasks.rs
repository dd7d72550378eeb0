//! Tasks: closures of the program that run on a worker at a given time, once or again and again.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::connection::due::Due;
use crate::panics::{contain_drop, panic_text};
use crate::shared::task::Task;
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

    /// Removes cancelled tasks.
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
