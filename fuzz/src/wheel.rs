//! The timing wheel compared with a sorted map: no timer fires early or twice or is lost, and stale keys have no
//! effect.

use arbitrary::Arbitrary;
use support::wheel::CheckedWheel;

use crate::input::plan;

/// More operations than this find nothing new.
const MAX_OPERATIONS: usize = 300;

#[derive(Arbitrary, Debug)]
enum Operation {
    Insert(When),
    /// Cancels the key with this number modulo their count, live or stale.
    Cancel(u8),
    Rearm(u8, When),
    /// Moves the clock on, and pops all due timers.
    Advance(Step),
    /// Moves the clock on, and pops due timers within a budget.
    AdvanceWithin(Step, u8),
    /// Moves the clock to the wheel's next expiry.
    Sleep,
    /// Moves the clock back, which must change nothing.
    Back(u16),
}

#[derive(Arbitrary, Debug)]
enum When {
    Past(u16),
    Soon(u8),
    In(u32),
    At(u64),
    /// About 2 to this power ticks from now.
    Far(u8, i8),
    /// The deadline of an earlier timer.
    Same(u8),
}

#[derive(Arbitrary, Debug)]
enum Step {
    Short(u8),
    Long(u32),
    Bits(u8),
}

impl Step {
    fn ticks(&self) -> u64 {
        match *self {
            Step::Short(ticks) => ticks.into(),
            Step::Long(ticks) => ticks.into(),
            Step::Bits(bits) => 1 << (bits % 64),
        }
    }
}

impl When {
    fn tick(&self, wheel: &CheckedWheel) -> u64 {
        let now = wheel.now();
        match *self {
            When::Past(ticks) => now.saturating_sub(ticks.into()),
            When::Soon(ticks) => now.saturating_add(ticks.into()),
            When::In(ticks) => now.saturating_add(ticks.into()),
            When::At(tick) => tick,
            When::Far(bits, more) => {
                let far = now.saturating_add(1 << (bits % 64));
                far.saturating_add_signed(more.into())
            }
            When::Same(number) => wheel.deadline(number.into()).unwrap_or(now),
        }
    }
}

/// The fuzz target.
pub fn run(data: &[u8]) {
    let Some(operations) = plan::<Vec<Operation>>(data) else {
        return;
    };
    let mut wheel = CheckedWheel::new();
    for operation in operations.iter().take(MAX_OPERATIONS) {
        operation.apply(&mut wheel);
        wheel.compare();
        wheel.check_invariants();
    }
    wheel.finish();
}

impl Operation {
    fn apply(&self, wheel: &mut CheckedWheel) {
        match *self {
            Operation::Insert(ref when) => wheel.insert(when.tick(wheel)),
            Operation::Cancel(number) => wheel.cancel(number.into()),
            Operation::Rearm(number, ref when) => wheel.rearm(number.into(), when.tick(wheel)),
            Operation::Advance(ref step) => wheel.advance(step.ticks(), usize::MAX),
            Operation::AdvanceWithin(ref step, budget) => {
                wheel.advance(step.ticks(), budget.into());
            }
            Operation::Sleep => wheel.sleep(),
            Operation::Back(ticks) => wheel.go_back(ticks.into()),
        }
    }
}
