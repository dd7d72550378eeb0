//! The budget of a turn: the work that one connection may cause before the others have their turn.

/// The work that a connection may still cause in the current turn, in bytes.
///
/// One unit is the work that a received byte causes. A protocol that does more for its input than look at each byte reports
/// the rest with [`UnpackContext::charge`](super::UnpackContext::charge): what it inflates, or looks up. So a flood of small
/// input that causes much work slows down its own connection, and not the others of its worker.
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
    used: usize,
}

impl TurnBudget {
    /// A budget of `whole` units for each turn, at least 1.
    pub fn new(whole: usize) -> Self {
        TurnBudget {
            whole: whole.max(1),
            used: 0,
        }
    }

    /// The whole budget of a turn.
    pub(crate) fn whole(&self) -> usize {
        self.whole
    }

    /// Begins a turn: all of the budget is left again.
    #[inline]
    pub fn begin(&mut self) {
        self.used = 0;
    }

    /// Takes work from the budget. The last work of a turn may be more than is left.
    #[inline]
    pub fn charge(&mut self, work: usize) {
        self.used = self.used.saturating_add(work);
    }

    /// The work of this turn, which may be more than the whole budget.
    #[inline]
    pub fn used(&self) -> usize {
        self.used
    }

    /// The work that is left to this turn.
    #[inline]
    pub fn left(&self) -> usize {
        self.whole.saturating_sub(self.used)
    }

    /// True if nothing is left to this turn.
    #[inline]
    pub fn is_spent(&self) -> bool {
        self.used >= self.whole
    }

    /// True if this turn has used so much that the next turn of its connection must wait for others: an eighth of the budget.
    #[inline]
    pub(crate) fn is_heavy(&self) -> bool {
        self.used > self.whole / 8
    }
}
