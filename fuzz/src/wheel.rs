//! The timing wheel against a sorted map: no timer early, lost, or twice, and no stale key that does anything.

use arbitrary::Arbitrary;
use support::wheel::CheckedWheel;

use crate::input::plan;

/// More operations than this teach the fuzzer nothing.
const MAX_OPERATIONS: usize = 300;

#[derive(Arbitrary, Debug)]
enum Operation {
    Insert(When),
    /// Of the key with this number, modulo how many there are: live or stale.
    Cancel(u8),
    Rearm(u8, When),
    /// The clock goes on, and all that is due is popped.
    Advance(Step),
    /// The clock goes on, and what is due is popped as far as a budget goes.
    AdvanceWithin(Step, u8),
    /// The clock goes to where the wheel says that something is to be done.
    Sleep,
    /// The clock goes back, which must change nothing.
    Back(u16),
}

#[derive(Arbitrary, Debug)]
enum When {
    Past(u16),
    Soon(u8),
    In(u32),
    At(u64),
    /// So many bits from now, and a little more or less.
    Far(u8, i8),
    /// That of an earlier timer.
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

/// The target.
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
