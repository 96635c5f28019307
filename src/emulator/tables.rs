//! Generated values made once and served by copying, so that the emulator is not the limit when a client is measured.
//!
//! A table holds days of one shape, statistic and period, each of a resource of its own; a series runs through them from a place of its
//! own, a day after the other. So every series and every day differs, as in the computed fleet, and a million values serve all of them.

use std::collections::HashMap;

use super::faults::mix;
use std::sync::{Arc, Mutex, PoisonError};

use super::aggregate::{Bin, Stat};
use super::fleet::{Generated, Shape, raw};

const DAY: i64 = 86_400;

/// Values of a table, about: more than a day of a thousand series at one a minute before two of them meet.
const VALUES: i64 = 1 << 20;

/// Raw minutes a table may take to make.
const MINUTES: i64 = 1 << 23;

/// Shape, minutes between raw values, statistic, period.
type Key = (Shape, i64, String, i64);

/// The tables made so far.
#[derive(Debug, Default)]
pub(super) struct Tables {
    made: Mutex<HashMap<Key, Arc<Vec<f64>>>>,
}

impl Tables {
    /// The points of a series in `[start, end)`, seconds; none when a day is no multiple of the period.
    pub(super) fn points(
        &self,
        generated: Generated,
        (stat, text): (Stat, &str),
        period: i64,
        (start, end): (i64, i64),
    ) -> Option<(Vec<i64>, Vec<f64>)> {
        let is_drawn = !matches!(generated.shape, Shape::Charges(_));
        if DAY % period != 0 || period < 60 || !is_drawn {
            return None;
        }
        let table = {
            let Generated { shape, every, .. } = generated;
            let key = (shape, every, text.to_owned(), period);
            let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            let make = || Arc::new(table(shape, every, stat, period));
            Arc::clone(made.entry(key).or_insert_with(make))
        };
        let bins = DAY / period;
        let days = table.len() as u64 / bins.cast_unsigned();
        let room = usize::try_from((end - start) / period + 1).unwrap_or(0);
        let (mut times, mut values) = (Vec::with_capacity(room), Vec::with_capacity(room));
        let mut at = start;
        while at < end {
            let day = at.div_euclid(DAY);
            let from = at.rem_euclid(DAY) / period;
            let to = bins.min(from + (end - at + period - 1) / period);
            let place = mix(generated.seed).wrapping_add(day.cast_unsigned()) % days;
            let row = usize::try_from(place * bins.cast_unsigned()).unwrap_or(0);
            for bin in from..to {
                let value = table[row + usize::try_from(bin).unwrap_or(0)];
                // A gap.
                if !value.is_nan() {
                    times.push(day * DAY + bin * period);
                    values.push(value);
                }
            }
            at = day * DAY + to * period;
        }
        Some((times, values))
    }
}

fn table(shape: Shape, every: i64, stat: Stat, period: i64) -> Vec<f64> {
    let bins = DAY / period;
    let days = (VALUES / bins).clamp(1, MINUTES / 1_440);
    let keep = stat.needs_values();
    let mut table = Vec::new();
    for day in 0..days {
        let seed = mix(day.cast_unsigned());
        for bin in 0..bins {
            let first = (day * DAY + bin * period) / 60;
            let mut content = Bin::default();
            let mut any = false;
            for value in (first..first + period / 60).filter_map(|m| raw(shape, every, seed, m)) {
                content.add_value(value, 1.0, keep);
                any = true;
            }
            let value = any.then(|| content.statistic(stat)).flatten();
            table.push(value.unwrap_or(f64::NAN));
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_in_pieces_is_the_window_and_series_differ() {
        let tables = Tables::default();
        let stat = Stat::parse("Average").expect("a statistic");
        let generated = |seed| Generated {
            shape: Shape::Requests,
            seed,
            unit: "Count",
            every: 1,
        };
        let of = |seed, window| {
            tables
                .points(generated(seed), (stat, "Average"), 300, window)
                .expect("points")
        };
        let (times, values) = of(7, (100 * DAY, 103 * DAY));
        assert!(times.len() < 3 * 288 && times.windows(2).all(|w| w[0] < w[1]));
        let mut pieces = (Vec::new(), Vec::new());
        for window in [
            (100 * DAY, 100 * DAY + 4_500),
            (100 * DAY + 4_500, 102 * DAY),
            (102 * DAY, 103 * DAY),
        ] {
            let (t, v) = of(7, window);
            pieces.0.extend(t);
            pieces.1.extend(v);
        }
        assert_eq!(pieces, (times, values.clone()));
        assert_ne!(of(8, (100 * DAY, 103 * DAY)).1, values);
        let odd = tables.points(generated(1), (stat, "Average"), 420, (0, DAY));
        assert_eq!(odd, None);
    }
}
