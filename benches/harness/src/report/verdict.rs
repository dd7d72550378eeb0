//! The standing of ringwheel in a scenario, in one sentence.

use super::summary::{Standing, Summary};
use crate::stats::Spread;

/// A difference by less than this share counts as level.
const LEVEL: f64 = 0.01;

/// The result of a comparison with another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// We need less in every round.
    Ahead,
    /// Rounds disagree, or the difference is negligible.
    Level,
    /// We need more in every round.
    Behind,
}

impl Outcome {
    /// Compares by the other server's figure divided by ours, round by round.
    fn of(theirs_to_ours: &Spread) -> Self {
        if (theirs_to_ours.median - 1.0).abs() < LEVEL {
            Self::Level
        } else if theirs_to_ours.min > 1.0 {
            Self::Ahead
        } else if theirs_to_ours.max < 1.0 {
            Self::Behind
        } else {
            Self::Level
        }
    }
}

/// The standing of ringwheel in a scenario.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    /// Our figure divided by the floor's.
    pub(super) to_floor: Option<Spread>,
    /// The framework that needs least, except ourselves, and its figure divided by ours.
    pub(super) best: Option<(String, Spread)>,
    /// The comparison with that one.
    pub(super) outcome: Option<Outcome>,
    /// The frameworks that need less than we in every round, the best first, with their figures divided by ours.
    pub(super) ahead_of_us: Vec<(String, Spread)>,
}

/// The compared figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// [`Summary::cost`].
    Cost,
    /// The 99th percentile of latency.
    P99,
}

impl Verdict {
    /// Makes the verdict from the summaries of a scenario; `None` while there are no results of ours.
    pub(super) fn of(summaries: &[Summary], measure: Measure) -> Option<Self> {
        let ratios = |summary: &Summary| match measure {
            Measure::Cost => (summary.ratio_to_floor, summary.ratio_to_ours),
            Measure::P99 => (summary.p99_to_floor, summary.p99_to_ours),
        };
        let ours = summaries
            .iter()
            .find(|summary| summary.standing == Standing::Ours)?;
        ours.figures.as_ref()?;
        let mut others: Vec<(String, Spread)> = summaries
            .iter()
            .filter(|summary| summary.standing == Standing::Framework)
            .filter_map(|summary| Some((summary.server.clone(), ratios(summary).1?)))
            .collect();
        others.sort_by(|(_, a), (_, b)| a.median.total_cmp(&b.median));
        let best = others.first().cloned();
        Some(Self {
            to_floor: ratios(ours).0,
            outcome: best.as_ref().map(|(_, ratio)| Outcome::of(ratio)),
            best,
            ahead_of_us: others
                .into_iter()
                .filter(|(_, ratio)| Outcome::of(ratio) == Outcome::Behind)
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_have_to_agree() {
        let cases = [
            ([1.2, 1.1, 1.3], Outcome::Ahead),
            ([1.2, 0.99, 1.3], Outcome::Level),
            ([1.005, 1.001, 1.02], Outcome::Level),
            ([0.9, 0.8, 1.01], Outcome::Level),
            ([0.9, 0.8, 0.99], Outcome::Behind),
        ];
        for ([median, min, max], outcome) in cases {
            assert_eq!(Outcome::of(&Spread { median, min, max }), outcome);
        }
    }
}
