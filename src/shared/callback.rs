//! Calls the program's callbacks so that one which leads to another does not nest.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::panics::{contain_call, contain_drop};

/// Number of callbacks in a row that may each lead to another because something has ended or is full. A callback that only
/// tries again would go on for ever.
const FUTILE_IN_A_ROW: usize = 1_000;

/// The news that a callback tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Something was done, or can be done now.
    Progress,
    /// Something cannot be done.
    Refusal,
}

type Callback = Box<dyn FnOnce()>;

/// The callbacks of one thread that wait for the one which runs.
#[derive(Default)]
struct Running {
    waiting: VecDeque<(News, Callback)>,
    /// Number of refusals in a row that the callbacks have told.
    futile: usize,
}

thread_local! {
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

/// Calls a callback; a panic in it is logged. If another callback runs on this thread already, it is called as soon as that has
/// returned: a chain of callbacks needs no stack.
///
/// A callback that leads to a refusal, whose callback leads to another, a thousand times in a row, is called no more.
pub(crate) fn call_back(news: News, callback: impl FnOnce() + 'static) {
    let is_outermost = RUNNING.with_borrow_mut(|running| {
        let is_outermost = running.is_none();
        running
            .get_or_insert_default()
            .waiting
            .push_back((news, Box::new(callback)));
        is_outermost
    });
    if is_outermost {
        while let Some(callback) = next() {
            contain_call(callback);
        }
    }
}

/// The next callback to call; after the last, none is running any more.
fn next() -> Option<Callback> {
    loop {
        let (callback, is_futile) = RUNNING.with_borrow_mut(|running| {
            let state = running.as_mut()?;
            let Some((news, callback)) = state.waiting.pop_front() else {
                *running = None;
                return None;
            };
            state.futile = match news {
                News::Progress => 0,
                News::Refusal => state.futile + 1,
            };
            Some((callback, state.futile > FUTILE_IN_A_ROW))
        })?;
        if !is_futile {
            return Some(callback);
        }
        log::error!(
            "a callback is not called: {FUTILE_IN_A_ROW} before it have each tried again what is refused"
        );
        contain_drop(callback);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    fn chain(left: usize, news: News, calls: Rc<Cell<usize>>) {
        calls.set(calls.get() + 1);
        if left > 0 {
            call_back(news, move || chain(left - 1, news, calls));
        }
    }

    #[test]
    fn a_long_chain_needs_no_stack() {
        let calls = Rc::new(Cell::new(0));
        let counted = calls.clone();
        call_back(News::Progress, move || {
            chain(1_000_000, News::Progress, counted)
        });
        assert_eq!(calls.get(), 1_000_001);
    }

    #[test]
    fn an_endless_chain_of_refusals_ends() {
        let calls = Rc::new(Cell::new(0));
        let counted = calls.clone();
        call_back(News::Refusal, move || {
            chain(usize::MAX, News::Refusal, counted)
        });
        assert_eq!(calls.get(), FUTILE_IN_A_ROW);
        call_back(News::Refusal, move || calls.set(0));
    }

    #[test]
    fn callbacks_run_in_order_and_a_panic_stops_none() {
        let order = Rc::new(RefCell::new(Vec::new()));
        let noted = order.clone();
        call_back(News::Progress, move || {
            let (first, second) = (noted.clone(), noted.clone());
            call_back(News::Progress, move || {
                first.borrow_mut().push(2);
                std::panic::resume_unwind(Box::new(()));
            });
            call_back(News::Progress, move || second.borrow_mut().push(3));
            noted.borrow_mut().push(1);
        });
        assert_eq!(*order.borrow(), [1, 2, 3]);
    }
}
