//! The budget of a turn: the work that one connection may cause before the others have their turn.

use std::time::{Duration, Instant};

/// Calls of the protocol that are not measured, before one that is. They are so many that the two looks at the clock cost nothing
/// beside the calls.
const CALLS_PER_SAMPLE: u32 = 31;
/// Calls between two looks at the clock in a turn that is [cut](TurnBudget::cut).
const CALLS_PER_LOOK_OF_CUT: u32 = 4;
/// The time of a call from which on it is slow.
const SLOW_CALL: Duration = Duration::from_micros(10);
/// The time after a slow call during which every call is measured.
const WARY_FOR: Duration = Duration::from_secs(10);
/// Number of whole budgets that the turns of an iteration may use before the turns of the others are cut.
const LATE: usize = 2;
/// Number of whole budgets whose use makes an iteration full.
const FULL: usize = 4;
/// The divisor of a budget that is cut.
const CUT: usize = 32;
/// Number of messages with completions after which a turn ends. The time of completions is known only when they are called.
const COMPLETIONS: usize = 128;
/// Nanoseconds of a turn that count as one unit.
const NANOS_PER_UNIT: u128 = 10;

/// The work that a connection may still cause in the current turn, in bytes.
///
/// One unit is the work that a received byte causes. A protocol that does more for its input than look at each byte reports
/// the rest with [`UnpackContext::charge`](super::UnpackContext::charge): what it inflates, or looks up. So a flood of small
/// input that causes much work slows down its own connection, and not the others of its worker.
///
/// A loop also charges the bytes that a turn hands to the kernel, 1 unit each, and time, 1 unit for 10 ns: so large answers, and a
/// handler that takes long for each message, slow down their own connection, too. It measures the time of one message in 32, whichever
/// connections they come from; once one takes more than 10 µs, that of all messages for 10 s, and longer while there are such messages.
/// Completions are measured like messages, and each sent message with one counts a 128th of the budget.
///
/// A loop gives each turn [`ServerBuilder::read_budget`](crate::ServerBuilder::read_budget). Once it is spent, the turn ends
/// after the current message, and the connection goes on when the others have had their turn.
///
/// ```
/// use ringwheel::protocol::TurnBudget;
///
/// let mut budget = TurnBudget::new(1000);
/// budget.charge(400);
/// assert_eq!((budget.left(), budget.is_spent()), (600, false));
/// budget.charge(700);
/// assert_eq!((budget.left(), budget.used(), budget.is_spent()), (0, 1100, true));
/// budget.begin();
/// assert_eq!(budget.left(), 1000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnBudget {
    whole: usize,
    /// The part of it that the current turn may use.
    share: usize,
    used: usize,
    /// The part of that which is time; valid if the clock was looked at in this turn.
    timed: usize,
    /// Work of the earlier turns of this iteration.
    before: usize,
    /// The work of an iteration that makes it full.
    full: usize,
    /// Calls of the protocol since the last look at the clock, in this turn or before.
    calls: u32,
    /// Number of calls between that look and the next.
    calls_to_look: u32,
    /// True once the clock was looked at in this turn.
    has_looked: bool,
    /// The time of the last look, in this turn or before.
    looked_at: Option<Instant>,
    /// The time until which every call is measured, because one was slow.
    wary_until: Option<Instant>,
}

impl TurnBudget {
    /// A budget of `whole` units for each turn, at least 1.
    pub fn new(whole: usize) -> Self {
        TurnBudget {
            whole: whole.max(1),
            share: whole.max(1),
            used: 0,
            timed: 0,
            before: 0,
            full: whole.max(1).saturating_mul(FULL),
            calls: 0,
            calls_to_look: CALLS_PER_SAMPLE,
            has_looked: false,
            looked_at: None,
            wary_until: None,
        }
    }

    /// The whole budget of a turn.
    pub(crate) fn whole(&self) -> usize {
        self.whole
    }

    /// Begins a turn: all of the budget is left again.
    #[inline]
    pub fn begin(&mut self) {
        self.before = self.before.saturating_add(self.used);
        self.share = self.whole;
        self.used = 0;
        self.has_looked = false;
    }

    /// Begins an iteration of the loop, in which all connections may have turns.
    pub(crate) fn begin_iteration(&mut self) {
        (self.before, self.used) = (0, 0);
    }

    /// True if the earlier turns of this iteration have used more than two budgets, so that the remaining turns must be
    /// [cut](Self::cut).
    #[inline]
    pub(crate) fn is_late(&self) -> bool {
        self.before / LATE > self.whole
    }

    /// True if the turns of this iteration have used four budgets. Light connections whose events come later wait for the next iteration.
    #[inline]
    pub(crate) fn is_iteration_full(&self) -> bool {
        self.before.saturating_add(self.used) > self.full
    }

    /// Sets the work after which an iteration is full. The few connections of the simulation do not fill one otherwise.
    #[cfg(test)]
    pub(crate) fn set_full(&mut self, work: usize) {
        self.full = work;
    }

    /// Limits the turn that has just begun to a 32nd part of the budget. If its connection needs more, it is heavy, and its next
    /// turn comes behind those of the light connections. `now` as in [`look`](Self::look).
    #[cold]
    pub(crate) fn cut(&mut self, now: Option<Instant>) {
        self.share = (self.whole / CUT).max(1);
        self.begin_measuring(now);
    }

    /// True if the next call is to be measured, so that [`begin_measuring`](Self::begin_measuring) must follow the begin of the turn.
    #[inline]
    pub(crate) fn measures_next_call(&self) -> bool {
        self.calls_to_look == 1
    }

    /// Looks at the clock at the begin of a turn. `now` as in [`look`](Self::look).
    #[cold]
    pub(crate) fn begin_measuring(&mut self, now: Option<Instant>) {
        self.looked_at = now;
        self.has_looked = true;
        self.timed = 0;
        self.calls = 0;
        if self.is_cut() && !self.measures_next_call() {
            self.calls_to_look = CALLS_PER_LOOK_OF_CUT;
        }
    }

    fn is_cut(&self) -> bool {
        self.share < self.whole
    }

    /// Takes work from the budget. The last work of a turn may be more than is left.
    #[inline]
    pub fn charge(&mut self, work: usize) {
        self.used = self.used.saturating_add(work);
    }

    /// Counts a call of the protocol. True if [`look`](Self::look) must follow.
    #[inline]
    pub(crate) fn count_call(&mut self) -> bool {
        self.calls += 1;
        self.calls >= self.calls_to_look
    }

    /// Charges the time since the last look in this turn; the time before the first look is not known, and charged with nothing.
    /// `now` is `None` in a loop that measures no time.
    #[cold]
    pub(crate) fn look(&mut self, now: Option<Instant>) {
        let calls = std::mem::take(&mut self.calls);
        let before = std::mem::replace(&mut self.looked_at, now);
        let is_first = !std::mem::replace(&mut self.has_looked, true);
        if is_first {
            self.timed = 0;
        }
        if let (false, Some(before), Some(now)) = (is_first, before, now) {
            let time = now.saturating_duration_since(before);
            let units = units_of(time);
            self.charge(units);
            self.timed = self.timed.saturating_add(units);
            if time > SLOW_CALL * calls {
                self.wary_until = now.checked_add(WARY_FOR);
            }
        }
        let is_wary = match (self.wary_until, now) {
            (Some(until), Some(now)) => now < until,
            _ => false,
        };
        self.calls_to_look = match self.calls_to_look {
            _ if is_wary => 1,
            _ if self.is_cut() => CALLS_PER_LOOK_OF_CUT,
            1 => CALLS_PER_SAMPLE,
            _ => 1,
        };
    }

    /// The work of this turn, which may be more than the whole budget.
    #[inline]
    pub fn used(&self) -> usize {
        self.used
    }

    /// The work that is left to this turn.
    #[inline]
    pub fn left(&self) -> usize {
        self.share.saturating_sub(self.used)
    }

    /// True if nothing is left to this turn.
    #[inline]
    pub fn is_spent(&self) -> bool {
        self.used >= self.share
    }

    /// True if this turn has used so much that the next turn of its connection must wait for others: an eighth of the budget,
    /// or all that it had.
    #[inline]
    pub(crate) fn is_heavy(&self) -> bool {
        self.is_much(self.used) || self.used >= self.share
    }

    /// As [`is_heavy`](Self::is_heavy), of the work that is no time: the clock also counts the time in which other programs have the
    /// processor.
    pub(crate) fn is_heavy_by_work(&self) -> bool {
        let timed = if self.has_looked { self.timed } else { 0 };
        let work = self.used - timed.min(self.used);
        self.is_much(work) || work >= self.share
    }

    /// True if this work is more than an eighth of the whole budget.
    #[inline]
    pub(crate) fn is_much(&self, work: usize) -> bool {
        work > self.light()
    }

    /// The most work that is not [much](Self::is_much).
    #[inline]
    pub(crate) fn light(&self) -> usize {
        self.whole / 8
    }

    /// Charges a message with a completion.
    pub(crate) fn charge_completion(&mut self) {
        self.charge(self.whole.div_ceil(COMPLETIONS));
    }

    /// Charges the time of callbacks that the turn has led to and that are no messages. True if it is much.
    pub(crate) fn charge_callbacks(&mut self, time: Duration) -> bool {
        let units = units_of(time);
        self.charge(units);
        self.is_much(units)
    }
}

fn units_of(time: Duration) -> usize {
    usize::try_from(time.as_nanos() / NANOS_PER_UNIT).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Counts calls until a look is due, and returns their number.
    fn calls_to_look(budget: &mut TurnBudget) -> u32 {
        1 + (0..).take_while(|_| !budget.count_call()).count() as u32
    }

    const FAST: Duration = Duration::from_nanos(500);

    #[test]
    fn the_time_between_two_looks_of_a_turn_is_charged() {
        let mut budget = TurnBudget::new(1_000_000);
        let start = Instant::now();
        assert_eq!(calls_to_look(&mut budget), 31);
        budget.look(Some(start));
        assert_eq!(budget.used(), 0, "nothing is known of the time before");
        assert_eq!(calls_to_look(&mut budget), 1);
        budget.look(Some(start + Duration::from_micros(3)));
        assert_eq!(budget.used(), 300);
        assert_eq!(calls_to_look(&mut budget), 31);
        budget.look(Some(start + Duration::from_micros(103)));
        assert_eq!(budget.used(), 10_300);
        assert!(!budget.is_spent());
        assert_eq!(calls_to_look(&mut budget), 1);
        budget.look(Some(start + Duration::from_millis(10)));
        assert!(budget.is_spent());
    }

    #[test]
    fn the_time_between_two_turns_is_not_charged() {
        let mut budget = TurnBudget::new(1_000);
        let start = Instant::now();
        budget.look(Some(start));
        budget.begin();
        budget.look(Some(start + Duration::from_secs(60)));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn one_call_in_32_is_measured_in_turns_of_one_call() {
        let mut budget = TurnBudget::new(1_000);
        let start = Instant::now();
        for call in 1..=96 {
            budget.begin();
            assert_eq!(budget.measures_next_call(), call % 32 == 0, "{call}");
            if budget.measures_next_call() {
                budget.begin_measuring(Some(start));
            }
            if budget.count_call() {
                budget.look(Some(start + FAST));
            }
            assert_eq!(budget.used(), if call % 32 == 0 { 50 } else { 0 });
        }
    }

    #[test]
    fn after_a_slow_call_each_is_measured_for_10_seconds() {
        let mut budget = TurnBudget::new(1_000_000);
        let start = Instant::now();
        let slow = start + Duration::from_millis(1);
        assert_eq!(calls_to_look(&mut budget), 31);
        budget.look(Some(start));
        assert_eq!(calls_to_look(&mut budget), 1);
        budget.look(Some(slow));
        assert_eq!(budget.used(), 100_000);
        let mut turn = |begin: Instant| {
            budget.begin();
            assert!(budget.measures_next_call());
            budget.begin_measuring(Some(begin));
            assert_eq!(calls_to_look(&mut budget), 1);
            budget.look(Some(begin + FAST));
            assert_eq!(budget.used(), 50);
            budget.measures_next_call()
        };
        assert!(turn(slow));
        assert!(turn(slow + WARY_FOR - 2 * FAST));
        assert!(!turn(slow + WARY_FOR));
    }

    #[test]
    fn turns_are_cut_once_others_have_done_much() {
        let mut budget = TurnBudget::new(3_200);
        for turn in 0..3 {
            budget.begin();
            assert!(!budget.is_late(), "turn {turn}");
            budget.charge(3_200);
        }
        budget.begin();
        assert!(budget.is_late() && budget.left() == 3_200);
        let start = Instant::now();
        budget.cut(Some(start));
        assert_eq!((budget.left(), budget.is_heavy()), (100, false));
        assert_eq!(calls_to_look(&mut budget), 4);
        budget.look(Some(start + Duration::from_micros(1)));
        assert!(budget.is_spent() && budget.is_heavy());
        assert_eq!(calls_to_look(&mut budget), 4);
        budget.begin_iteration();
        budget.begin();
        assert!(!budget.is_late() && budget.left() == 3_200 && !budget.is_heavy());
    }

    #[test]
    fn an_iteration_is_full_after_four_budgets_and_empty_at_its_begin() {
        let mut budget = TurnBudget::new(1_000);
        for turn in 0..5 {
            assert!(!budget.is_iteration_full(), "turn {turn}");
            budget.begin();
            budget.charge(1_000);
        }
        assert!(budget.is_iteration_full());
        budget.begin_iteration();
        assert!(!budget.is_iteration_full());
    }

    #[test]
    fn a_loop_that_measures_no_time_is_charged_none() {
        let mut budget = TurnBudget::new(1_000);
        for calls in [31, 1, 31] {
            assert_eq!(calls_to_look(&mut budget), calls);
            budget.look(None);
        }
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_clock_that_goes_back_charges_nothing() {
        let mut budget = TurnBudget::new(1_000);
        let start = Instant::now() + Duration::from_secs(1);
        budget.look(Some(start));
        budget.look(Some(start - Duration::from_secs(1)));
        assert_eq!(budget.used(), 0);
    }
}
