//! A sum over all workers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::shared::callback::{News, call_back};

/// Called with the sum.
type SumCallback = dyn FnOnce(usize) + Send;

/// Adds up the workers' numbers. When the last worker lets go of it, the sum is told.
pub(crate) struct Count {
    sum: AtomicUsize,
    done: Mutex<Option<Box<SumCallback>>>,
}

impl Count {
    pub(crate) fn new(done: impl FnOnce(usize) + Send + 'static) -> Self {
        Count {
            sum: AtomicUsize::new(0),
            done: Mutex::new(Some(Box::new(done))),
        }
    }

    pub(crate) fn add(&self, number: usize) {
        self.sum.fetch_add(number, Ordering::Relaxed);
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        let done = self.done.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(done) = done.take() {
            let sum = *self.sum.get_mut();
            // It may be dropped because something else panics; a second panic would end the process.
            call_back(News::Refusal, move || done(sum));
        }
    }
}
