//! What one query brought back.

use std::ops::Range;

use super::Cause;

/// Timestamps in microseconds since the epoch. Nearly all columns CloudWatch answers with have one every period: those take three numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Timestamps {
    /// `count` timestamps, `step` apart; `step` is 0 when there are fewer than two.
    Every {
        /// The first.
        first: i64,
        /// From one to the next.
        step: i64,
        /// How many.
        count: usize,
    },
    /// With gaps, or in no order.
    Listed(Vec<i64>),
}

impl Timestamps {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::Every { count, .. } => *count,
            Self::Listed(all) => all.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The timestamp at `index`.
    pub fn get(&self, index: usize) -> Option<i64> {
        match self {
            Self::Every { first, step, count } => {
                (index < *count).then(|| first.wrapping_add(step.wrapping_mul(number(index))))
            }
            Self::Listed(all) => all.get(index).copied(),
        }
    }

    /// The first.
    pub fn first(&self) -> Option<i64> {
        self.get(0)
    }

    /// The last.
    pub fn last(&self) -> Option<i64> {
        self.get(self.len().checked_sub(1)?)
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = i64> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Adds one behind the last.
    #[inline]
    pub fn push(&mut self, timestamp: i64) {
        match self {
            Self::Listed(all) => return all.push(timestamp),
            Self::Every { first, count, .. } if *count == 0 => {
                (*first, *count) = (timestamp, 1);
                return;
            }
            Self::Every { first, step, count } => {
                // Steps that no 64 bits hold, of instants that saturated, are listed.
                let next = match *count {
                    1 => timestamp.checked_sub(*first),
                    _ => Some(*step),
                };
                let expected = next
                    .and_then(|step| step.checked_mul(number(*count)))
                    .and_then(|way| first.checked_add(way));
                if let (Some(next), true) = (next, expected == Some(timestamp)) {
                    (*step, *count) = (next, *count + 1);
                    return;
                }
            }
        }
        let mut all: Vec<i64> = self.iter().collect();
        all.push(timestamp);
        *self = Self::Listed(all);
    }

    /// Adds `more` behind the last, each the last step after the one before it.
    pub fn go_on(&mut self, more: usize) {
        match self {
            Self::Every { count, .. } if *count > 1 => *count += more,
            _ => {
                for _ in 0..more {
                    let from = self.len();
                    let last_two = from
                        .checked_sub(2)
                        .and_then(|n| self.get(n))
                        .zip(self.last());
                    if let Some((before, last)) = last_two {
                        self.push(last.saturating_add(last.saturating_sub(before)));
                    }
                }
            }
        }
    }

    /// Those at the positions of `range`.
    ///
    /// # Panics
    /// When it ends behind the last.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        match self {
            Self::Every { .. } if range.is_empty() => Self::default(),
            Self::Every { step, count, .. } => {
                assert!(range.end <= *count, "inside");
                Self::Every {
                    first: self.get(range.start).unwrap_or(0),
                    step: if range.len() > 1 { *step } else { 0 },
                    count: range.len(),
                }
            }
            Self::Listed(all) => all[range].into(),
        }
    }

    /// How many of ascending timestamps are before `end`.
    pub fn before(&self, end: i64) -> usize {
        match self {
            Self::Every { first, step, count } if *step > 0 => {
                let periods = end.saturating_sub(*first).max(0).unsigned_abs();
                let before = usize::try_from(periods.div_ceil(step.unsigned_abs()));
                before.unwrap_or(usize::MAX).min(*count)
            }
            Self::Every { first, count, .. } => {
                if *first < end {
                    *count
                } else {
                    0
                }
            }
            Self::Listed(all) => all.partition_point(|t| *t < end),
        }
    }

    /// Whether each is later than the one before it.
    pub fn is_ascending(&self) -> bool {
        match self {
            Self::Every { step, count, .. } => *count < 2 || *step > 0,
            Self::Listed(all) => all.is_sorted_by(|a, b| a < b),
        }
    }
}

fn number(index: usize) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

impl Default for Timestamps {
    fn default() -> Self {
        Self::Every {
            first: 0,
            step: 0,
            count: 0,
        }
    }
}

impl FromIterator<i64> for Timestamps {
    fn from_iter<I: IntoIterator<Item = i64>>(timestamps: I) -> Self {
        let mut all = Self::default();
        timestamps.into_iter().for_each(|t| all.push(t));
        all
    }
}

impl From<&[i64]> for Timestamps {
    fn from(timestamps: &[i64]) -> Self {
        let step = match timestamps {
            [first, second, ..] => second.checked_sub(*first),
            _ => Some(0),
        };
        let is_step = |pair: &[i64]| pair[1].checked_sub(pair[0]) == step;
        match step {
            Some(step) if timestamps.windows(2).all(is_step) => Self::Every {
                first: timestamps.first().copied().unwrap_or(0),
                step,
                count: timestamps.len(),
            },
            _ => Self::Listed(timestamps.to_vec()),
        }
    }
}

/// The points of one query over one window, after all pages were merged.
///
/// # Shape
/// `timestamps` (start of the period) and `values` run parallel, ascending, one value a timestamp, all inside the asked window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueryPoints {
    /// Starts of the periods.
    pub timestamps: Timestamps,
    /// Bit-exact as received.
    pub values: Vec<f64>,
}

/// A `MessageData` entry that CloudWatch attached to a result, such as `MultipleUnits`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceMessage {
    /// Machine-readable code.
    pub code: String,
    /// Text as CloudWatch wrote it.
    pub text: String,
}

/// How one query ended. Nothing here stands for two things: no points is `Complete` with empty columns, not a failure.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryOutcome {
    /// Every page arrived and CloudWatch called the result complete.
    Complete {
        /// The points, possibly none.
        points: QueryPoints,
        /// What CloudWatch had to say about them.
        messages: Vec<ServiceMessage>,
    },
    /// CloudWatch refuses this query for good (`Forbidden`, or a validation error that names it alone).
    Refused(Cause),
    /// The query did not finish: asking again later may succeed.
    Failed(Cause),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_timestamps() -> impl Strategy<Value = Vec<i64>> {
        let regular = (-1_000_i64..1_000, 1_i64..400, 0_i64..40)
            .prop_map(|(first, step, count)| (0..count).map(|n| first + n * step).collect());
        let gaps = prop::collection::btree_set(-1_000_i64..1_000, 0..40)
            .prop_map(|all| all.into_iter().collect());
        prop_oneof![regular, gaps, prop::collection::vec(any::<i64>(), 0..5)]
    }

    proptest! {
        #[test]
        fn they_are_the_list_they_stand_for(all in any_timestamps(), cut in 0_usize..41, other in 0_usize..41, end in -1_100_i64..1_100) {
            let timestamps = Timestamps::from(&all[..]);
            prop_assert_eq!(timestamps.iter().collect::<Vec<_>>(), all.clone());
            prop_assert_eq!((timestamps.first(), timestamps.last()), (all.first().copied(), all.last().copied()));
            let (from, to) = (cut.min(other).min(all.len()), cut.max(other).min(all.len()));
            prop_assert_eq!(timestamps.slice(from..to), Timestamps::from(&all[from..to]), "one form for one list");
            prop_assert_eq!(timestamps.is_ascending(), all.windows(2).all(|w| w[0] < w[1]));
            if timestamps.is_ascending() {
                prop_assert_eq!(timestamps.before(end), all.iter().filter(|t| **t < end).count());
            }
        }
    }
}
