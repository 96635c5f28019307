//! The points of one query, gathered over pages. Pure.
//!
//! Rule for duplicates: the value received last stands (a later page over an earlier one, a later entry over an earlier one of
//! the same page).

use crate::model::{Period, QueryPoints, TimeWindow, Timestamps};

/// Points of one query while its pages arrive.
#[derive(Debug)]
pub struct Merge {
    span: TimeWindow,
    period: Period,
    points: QueryPoints,
    outside: u64,
}

/// The finished points with what was noticed on the way.
#[derive(Debug, Default, PartialEq)]
pub struct Merged {
    /// Ascending, one value a timestamp, all inside the window.
    pub points: QueryPoints,
    /// Points dropped because they lie outside the window asked.
    pub outside: u64,
    /// Points dropped because another of the same timestamp arrived later.
    pub duplicates: u64,
    /// Points kept whose timestamp is not a multiple of the period.
    pub off_period: u64,
}

/// An answer that cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointsError {
    /// The two columns have different lengths: no telling which value belongs where.
    #[error("{timestamps} timestamps came with {values} values")]
    Unequal {
        /// Number of timestamps.
        timestamps: usize,
        /// Number of values.
        values: usize,
    },
    /// One page tells of it twice: no telling which of the two it is.
    #[error("a page of the answer has the query twice")]
    Repeated,
    /// More points than the window can hold several times over: pages that repeat for ever.
    #[error("more points than the window can hold")]
    TooMany,
}

impl Merge {
    /// For a query over `span` at `period`.
    pub fn new(span: TimeWindow, period: Period) -> Self {
        Self {
            span,
            period,
            points: QueryPoints::default(),
            outside: 0,
        }
    }

    /// Adds one page's columns, in any order. A first page that lies inside the window is kept as it is, without a copy.
    ///
    /// # Errors
    /// [`PointsError`]; the query's points are then not to be used.
    pub fn add(&mut self, timestamps: Timestamps, values: Vec<f64>) -> Result<(), PointsError> {
        if timestamps.len() != values.len() {
            return Err(PointsError::Unequal {
                timestamps: timestamps.len(),
                values: values.len(),
            });
        }
        let room = self.span.points(self.period) * 4 + 1_000;
        if (self.points.values.len() + values.len()) as u64 > room {
            return Err(PointsError::TooMany);
        }
        let span = self.span.start * 1_000_000..self.span.end * 1_000_000;
        let inside = |t: Option<i64>| t.is_none_or(|t| span.contains(&t));
        if self.points.values.is_empty()
            && timestamps.is_ascending()
            && inside(timestamps.first())
            && inside(timestamps.last())
        {
            self.points = QueryPoints { timestamps, values };
            return Ok(());
        }
        for (timestamp, value) in timestamps.iter().zip(values) {
            if span.contains(&timestamp) {
                self.points.timestamps.push(timestamp);
                self.points.values.push(value);
            } else {
                self.outside += 1;
            }
        }
        Ok(())
    }

    /// Sorts and removes duplicates.
    pub fn finish(self) -> Merged {
        let QueryPoints { timestamps, values } = self.points;
        let mut merged = Merged {
            outside: self.outside,
            ..Merged::default()
        };
        merged.points = if timestamps.is_ascending() {
            QueryPoints { timestamps, values }
        } else {
            let (points, duplicates) = sorted(&timestamps, &values);
            merged.duplicates = duplicates;
            points
        };
        let period = i64::from(self.period.seconds()) * 1_000_000;
        merged.off_period = match &merged.points.timestamps {
            Timestamps::Every { first, step, .. } if first % period == 0 && step % period == 0 => 0,
            others => others.iter().filter(|t| t % period != 0).count() as u64,
        };
        merged
    }
}

fn sorted(timestamps: &Timestamps, values: &[f64]) -> (QueryPoints, u64) {
    let timestamps: Vec<i64> = timestamps.iter().collect();
    let mut order: Vec<usize> = (0..timestamps.len()).collect();
    // Stable, so that of equal timestamps the one received last comes last.
    order.sort_by_key(|&i| timestamps[i]);
    let mut points = QueryPoints::default();
    let mut duplicates = 0;
    for i in order {
        if points.timestamps.last() == Some(timestamps[i]) {
            duplicates += 1;
            if let Some(last) = points.values.last_mut() {
                *last = values[i];
            }
        } else {
            points.timestamps.push(timestamps[i]);
            points.values.push(values[i]);
        }
    }
    (points, duplicates)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    const SPAN: TimeWindow = TimeWindow {
        start: 0,
        end: 3_600,
    };

    fn merge(pages: &[(&[i64], &[f64])]) -> Merged {
        let mut merge = Merge::new(SPAN, Period::MINUTE);
        for (seconds, values) in pages {
            merge
                .add(
                    seconds.iter().map(|s| s * 1_000_000).collect(),
                    values.to_vec(),
                )
                .expect("equal columns");
        }
        merge.finish()
    }

    fn seconds(merged: &Merged) -> Vec<i64> {
        merged
            .points
            .timestamps
            .iter()
            .map(|t| t / 1_000_000)
            .collect()
    }

    #[test]
    fn pages_and_descending_points_come_out_ascending() {
        let merged = merge(&[(&[120, 60], &[2.0, 1.0]), (&[0, 180], &[0.0, 3.0])]);
        assert_eq!(
            (seconds(&merged), merged.points.values),
            (vec![0, 60, 120, 180], vec![0.0, 1.0, 2.0, 3.0])
        );
    }

    #[test]
    fn the_value_received_last_stands_and_the_other_is_counted() {
        let merged = merge(&[(&[0, 60], &[1.0, 2.0]), (&[60], &[9.0])]);
        assert_eq!(
            (merged.points.values, merged.duplicates),
            (vec![1.0, 9.0], 1)
        );
    }

    #[test]
    fn points_outside_are_dropped_and_counted() {
        let merged = merge(&[(&[-60, 0, 3_600, 9_000_000_000], &[1.0, 2.0, 3.0, 4.0])]);
        assert_eq!((seconds(&merged), merged.outside), (vec![0], 3));
    }

    #[test]
    fn values_keep_every_bit() {
        let odd = [
            f64::from_bits(0x7ff8_0000_0000_0001),
            f64::INFINITY,
            -0.0,
            f64::from_bits(1),
            1e308,
        ];
        let merged = merge(&[(&[240, 180, 120, 60, 0], &odd)]);
        let bits: Vec<u64> = merged
            .points
            .values
            .iter()
            .rev()
            .map(|v| v.to_bits())
            .collect();
        assert_eq!(bits, odd.map(f64::to_bits));
    }

    #[test]
    fn unequal_columns_and_endless_pages_are_refused() {
        let mut merge = Merge::new(SPAN, Period::MINUTE);
        assert_eq!(
            merge.add([0].into_iter().collect(), Vec::new()),
            Err(PointsError::Unequal {
                timestamps: 1,
                values: 0
            })
        );
        let endless = (0..100).find_map(|_| {
            merge
                .add(vec![0; 60].into_iter().collect(), vec![0.0; 60])
                .err()
        });
        assert_eq!(endless, Some(PointsError::TooMany));
    }

    proptest! {
        #[test]
        fn any_pages_give_the_sorted_set(pages in prop::collection::vec(prop::collection::vec((-5_i64..70, 0_u32..1_000), 0..40), 0..5)) {
            let mut merge = Merge::new(SPAN, Period::MINUTE);
            let mut model = BTreeMap::new();
            let (mut outside, mut kept) = (0, 0);
            for page in &pages {
                let values: Vec<f64> = page.iter().map(|(_, v)| f64::from(*v)).collect();
                merge.add(page.iter().map(|(minute, _)| minute * 60_000_000).collect(), values).expect("equal");
                for (minute, value) in page {
                    if (0..60).contains(minute) {
                        model.insert(minute * 60_000_000, f64::from(*value));
                        kept += 1;
                    } else {
                        outside += 1;
                    }
                }
            }
            let merged = merge.finish();
            prop_assert_eq!(merged.duplicates, kept - model.len() as u64);
            prop_assert_eq!(merged.outside, outside);
            let (timestamps, values): (Vec<i64>, Vec<f64>) = model.into_iter().unzip();
            prop_assert_eq!(merged.points, QueryPoints { timestamps: Timestamps::from(&timestamps[..]), values });
        }
    }
}
