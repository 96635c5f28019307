//! Two sets of points of one series and statistic made one: what a unit that grows through the day is built by.

use std::collections::BTreeMap;

use super::decode::DecodedRun;

/// The points of `old` and `new`, which are runs of one series and statistic.
///
/// # Shape
/// Runs ascending in time, each of one period, no timestamp twice. Where both have a point of one timestamp and period, the new one
/// counts. Where periods differ over the same time, the finer points stay and the coarser ones, which say less, go.
pub fn overlay(old: Vec<DecodedRun>, new: Vec<DecodedRun>) -> Vec<DecodedRun> {
    if old.is_empty() {
        return new;
    }
    if new.is_empty() {
        return old;
    }
    // The newest identity of each period names its runs.
    let mut identities = BTreeMap::new();
    let mut points: BTreeMap<i64, (u32, f64)> = BTreeMap::new();
    for run in old.into_iter().chain(new) {
        let period = run.identity.period.seconds();
        for (ts, value) in run.timestamps.iter().zip(&run.values) {
            match points.get(ts) {
                Some((there, _)) if *there < period => {}
                _ => {
                    points.insert(*ts, (period, *value));
                }
            }
        }
        identities.insert(period, run.identity);
    }
    if identities.len() > 1 {
        drop_covered(&mut points);
    }
    let mut runs: Vec<DecodedRun> = Vec::new();
    for (ts, (period, value)) in points {
        let same = |run: &&mut DecodedRun| run.identity.period.seconds() == period;
        match runs.last_mut().filter(same) {
            Some(run) => {
                run.timestamps.push(ts);
                run.values.push(value);
            }
            None => runs.push(DecodedRun {
                identity: identities[&period].clone(),
                timestamps: vec![ts],
                values: vec![value],
            }),
        }
    }
    runs
}

/// Removes points in whose period a finer point lies.
fn drop_covered(points: &mut BTreeMap<i64, (u32, f64)>) {
    let covered: Vec<i64> = points
        .iter()
        .filter(|(ts, (period, _))| {
            let end = **ts + i64::from(*period) * 1_000_000;
            points
                .range(**ts..end)
                .any(|(_, (finer, _))| finer < period)
        })
        .map(|(ts, _)| *ts)
        .collect();
    for ts in covered {
        points.remove(&ts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Lane, MetricId, Period, Series, Statistic};
    use crate::normalize::RunIdentity;
    use proptest::prelude::*;

    fn run(period: u32, points: &[(i64, f64)]) -> DecodedRun {
        let lane = Lane::example();
        DecodedRun {
            identity: RunIdentity {
                series: Series::new(&lane, MetricId::new("N", "m", Vec::new())),
                statistic: Statistic::parse("Sum").expect("statistic"),
                period: Period::new(period).expect("period"),
                unit: None,
            },
            timestamps: points.iter().map(|p| p.0 * 1_000_000).collect(),
            values: points.iter().map(|p| p.1).collect(),
        }
    }

    fn flat(runs: &[DecodedRun]) -> Vec<(i64, u32, f64)> {
        let points = |r: &DecodedRun| {
            let period = r.identity.period.seconds();
            r.timestamps
                .iter()
                .zip(&r.values)
                .map(|(t, v)| (t / 1_000_000, period, *v))
                .collect::<Vec<_>>()
        };
        runs.iter().flat_map(points).collect()
    }

    #[test]
    fn the_new_value_counts_and_nothing_is_lost() {
        let merged = overlay(
            vec![run(60, &[(0, 1.0), (60, 2.0), (180, 4.0)])],
            vec![run(60, &[(60, 20.0), (120, 30.0)])],
        );
        assert_eq!(merged.len(), 1, "one run");
        assert_eq!(
            flat(&merged),
            [
                (0, 60, 1.0),
                (60, 60, 20.0),
                (120, 60, 30.0),
                (180, 60, 4.0)
            ]
        );
    }

    #[test]
    fn finer_points_stay_whichever_side_they_are_on() {
        let fine = || vec![run(60, &[(0, 1.0), (60, 2.0), (120, 3.0)])];
        let coarse = || vec![run(300, &[(0, 9.0), (300, 8.0)])];
        let expected = [(0, 60, 1.0), (60, 60, 2.0), (120, 60, 3.0), (300, 300, 8.0)];
        assert_eq!(flat(&overlay(fine(), coarse())), expected);
        assert_eq!(flat(&overlay(coarse(), fine())), expected);
        let gap = vec![run(60, &[(120, 3.0)])];
        assert_eq!(
            flat(&overlay(coarse(), gap)),
            [(120, 60, 3.0), (300, 300, 8.0)]
        );
    }

    #[test]
    fn a_coarse_point_goes_for_a_finer_one_inside_its_period_alone() {
        let coarse = || vec![run(300, &[(0, 9.0), (300, 8.0), (600, 7.0)])];
        let at = |second: i64| flat(&overlay(coarse(), vec![run(60, &[(second, 1.0)])]));
        let starts = |points: Vec<(i64, u32, f64)>| -> Vec<(i64, u32)> {
            points
                .iter()
                .map(|(ts, period, _)| (*ts, *period))
                .collect()
        };
        assert_eq!(starts(at(540)), [(0, 300), (540, 60), (600, 300)]);
        assert_eq!(starts(at(600)), [(0, 300), (300, 300), (600, 60)]);
        assert_eq!(starts(at(840)), [(0, 300), (300, 300), (840, 60)]);
        assert_eq!(
            starts(at(900)),
            [(0, 300), (300, 300), (600, 300), (900, 60)]
        );
        // Of one period none covers another.
        let beside = vec![run(60, &[(60, 1.0)]), run(300, &[(900, 1.0), (1_200, 2.0)])];
        assert_eq!(
            flat(&overlay(beside, vec![run(300, &[(600, 3.0)])])).len(),
            4
        );
    }

    proptest! {
        #[test]
        fn a_day_in_pieces_is_the_day(cuts in prop::collection::vec(0_usize..200, 0..6), overlap in 0_usize..20) {
            let all: Vec<(i64, f64)> = (0..200_i32).map(|i| (i64::from(i) * 60, f64::from(i))).collect();
            let mut merged = Vec::new();
            let mut cuts = cuts;
            cuts.push(200);
            cuts.sort_unstable();
            let mut from = 0_usize;
            for cut in cuts {
                merged = overlay(merged, vec![run(60, &all[from.saturating_sub(overlap)..cut.max(from)])]);
                from = cut.max(from);
            }
            merged.retain(|r| !r.timestamps.is_empty());
            prop_assert_eq!(flat(&merged), flat(&[run(60, &all)]));
        }
    }
}
