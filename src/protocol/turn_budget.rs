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
/// assert_eq!((budget.left(), budget.is_spent()), (0, true));
/// budget.begin();
/// assert_eq!(budget.left(), 1000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnBudget {
    whole: usize,
    left: usize,
}

impl TurnBudget {
    /// A budget of `whole` units for each turn, at least 1.
    pub fn new(whole: usize) -> Self {
        let whole = whole.max(1);
        TurnBudget { whole, left: whole }
    }

    /// Begins a turn: all of the budget is left again.
    #[inline]
    pub fn begin(&mut self) {
        self.left = self.whole;
    }

    /// Takes work from the budget, at most all that is left.
    #[inline]
    pub fn charge(&mut self, work: usize) {
        self.left = self.left.saturating_sub(work);
    }

    /// The work that is left to this turn.
    #[inline]
    pub fn left(&self) -> usize {
        self.left
    }

    /// True if nothing is left to this turn.
    #[inline]
    pub fn is_spent(&self) -> bool {
        self.left == 0
    }
}
