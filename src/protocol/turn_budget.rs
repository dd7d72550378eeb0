//! The budget of a turn: the work that one connection may cause before the others have their turn.

use std::time::Instant;

/// Calls of the protocol between two looks at the clock: seldom enough that a look costs nothing beside the calls.
const CALLS_PER_LOOK: u32 = 32;
/// The same in a turn that is [cut](TurnBudget::cut).
const CALLS_PER_LOOK_OF_CUT: u32 = 4;
/// Number of whole budgets that the turns of an iteration may use before the turns of the others are cut.
const LATE: usize = 2;
/// The divisor of a budget that is cut.
const CUT: usize = 32;
/// Nanoseconds of a turn that count as one unit.
const NANOS_PER_UNIT: u128 = 10;

/// The work that a connection may still cause in the current turn, in bytes.
///
/// One unit is the work that a received byte causes. A protocol that does more for its input than look at each byte reports
/// the rest with [`UnpackContext::charge`](super::UnpackContext::charge): what it inflates, or looks up. So a flood of small
/// input that causes much work slows down its own connection, and not the others of its worker.
///
/// A loop also charges the bytes that a turn hands to the kernel, 1 unit each, and the time of a long turn, 1 unit for 10 ns: so
/// large answers, and a handler that takes long for each message, slow down their own connection, too.
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
    /// Work of the earlier turns of this iteration.
    before: usize,
    /// Calls of the protocol until the clock is looked at.
    calls_to_look: u32,
    /// True once the clock was looked at in this turn.
    has_looked: bool,
    /// The time of the last look, in this turn or before.
    looked_at: Option<Instant>,
}

impl TurnBudget {
    /// A budget of `whole` units for each turn, at least 1.
    pub fn new(whole: usize) -> Self {
        TurnBudget {
            whole: whole.max(1),
            share: whole.max(1),
            used: 0,
            before: 0,
            calls_to_look: CALLS_PER_LOOK,
            has_looked: false,
            looked_at: None,
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
        self.calls_to_look = CALLS_PER_LOOK;
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

    /// Limits the turn that has just begun to a 32nd part of the budget. If its connection needs more, it is heavy, and its next
    /// turn comes behind those of the light connections. `now` as in [`look`](Self::look).
    #[cold]
    pub(crate) fn cut(&mut self, now: Option<Instant>) {
        self.share = (self.whole / CUT).max(1);
        self.look(now);
    }

    /// Takes work from the budget. The last work of a turn may be more than is left.
    #[inline]
    pub fn charge(&mut self, work: usize) {
        self.used = self.used.saturating_add(work);
    }

    /// Counts a call of the protocol. True if [`look`](Self::look) must follow, because the turn has been long.
    #[inline]
    pub(crate) fn count_call(&mut self) -> bool {
        self.calls_to_look -= 1;
        self.calls_to_look == 0
    }

    /// Charges the time since the last look in this turn; the time before the first look is not known, and charged with nothing.
    /// `now` is `None` in a loop that measures no time.
    #[cold]
    pub(crate) fn look(&mut self, now: Option<Instant>) {
        let is_cut = self.share < self.whole;
        self.calls_to_look = if is_cut {
            CALLS_PER_LOOK_OF_CUT
        } else {
            CALLS_PER_LOOK
        };
        let before = std::mem::replace(&mut self.looked_at, now);
        let is_first = !std::mem::replace(&mut self.has_looked, true);
        if let (false, Some(before), Some(now)) = (is_first, before, now) {
            let units = now.saturating_duration_since(before).as_nanos() / NANOS_PER_UNIT;
            self.charge(usize::try_from(units).unwrap_or(usize::MAX));
        }
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
        self.used > self.whole / 8 || self.used >= self.share
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Counts calls until a look is due, and returns their number.
    fn calls_to_look(budget: &mut TurnBudget) -> u32 {
        1 + (0..).take_while(|_| !budget.count_call()).count() as u32
    }

    #[test]
    fn the_time_between_two_looks_of_a_turn_is_charged() {
        let mut budget = TurnBudget::new(1_000_000);
        let start = Instant::now();
        assert_eq!(calls_to_look(&mut budget), 32);
        budget.look(Some(start));
        assert_eq!(budget.used(), 0, "nothing is known of the time before");
        assert_eq!(calls_to_look(&mut budget), 32);
        budget.look(Some(start + Duration::from_micros(3)));
        assert_eq!(budget.used(), 300);
        budget.look(Some(start + Duration::from_millis(3)));
        assert_eq!(budget.used(), 300_000);
        assert!(!budget.is_spent());
        budget.look(Some(start + Duration::from_millis(10)));
        assert!(budget.is_spent());
    }

    #[test]
    fn the_time_between_two_turns_is_not_charged() {
        let mut budget = TurnBudget::new(1_000);
        let start = Instant::now();
        budget.look(Some(start));
        assert!(!budget.count_call());
        budget.begin();
        assert_eq!(calls_to_look(&mut budget), 32);
        budget.look(Some(start + Duration::from_secs(60)));
        assert_eq!(budget.used(), 0);
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
        budget.begin_iteration();
        budget.begin();
        assert!(!budget.is_late() && budget.left() == 3_200 && !budget.is_heavy());
        assert_eq!(calls_to_look(&mut budget), 32);
    }

    #[test]
    fn a_loop_that_measures_no_time_is_charged_none() {
        let mut budget = TurnBudget::new(1_000);
        for _ in 0..3 {
            assert_eq!(calls_to_look(&mut budget), 32);
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
