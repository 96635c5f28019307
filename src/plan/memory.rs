//! What a lane holds in memory while its days are filled.

use super::batches::LanePlan;
use super::mode::DayMode;
use crate::model::Day;

/// Files that are open for hours, over all lanes: of days that are added to, and of days with more than a row group.
pub const OPEN_FILES: u32 = 512;

/// A day's books, and its share of a lane's.
const DAY_KIB: u64 = 16;

/// A day that is added to is read beside the new rows.
const ADDED_KIB: u64 = 512;

/// What a run of points holds beside its values: whose it is, and when.
const RUN_BYTES: u64 = 56;

/// What the days of a lane hold while they are filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Rows that wait, KiB.
    pub kib: u32,
    /// Open files.
    pub files: u32,
    /// Its rows come unsorted, and wait in memory to be sorted.
    pub sorts: bool,
}

impl Holding {
    /// A row group of `group_rows` rows at eight bytes each, or all rows if they are fewer, and their runs.
    pub fn of(plan: &LanePlan, days: &[(Day, DayMode)], group_rows: u64) -> Self {
        let count = days.len().max(1) as u64;
        let rows = plan.batches.iter().map(|batch| batch.points).sum::<u64>() / count;
        let runs: u64 = plan.series.iter().map(|s| s.asks.len() as u64).sum();
        // Of the runs as many wait as of the rows.
        let waiting_runs = if rows > group_rows {
            runs * group_rows / rows
        } else {
            runs
        };
        let waiting = (rows.min(group_rows) * 8 + waiting_runs * RUN_BYTES) / 1_024;
        let added = days.iter().filter(|(_, m)| m.adds()).count() as u64;
        let kib = count * (waiting + DAY_KIB) + added * ADDED_KIB;
        let files = added + if rows > group_rows { count } else { added };
        Self {
            kib: u32::try_from(kib).unwrap_or(u32::MAX),
            files: u32::try_from(files).unwrap_or(OPEN_FILES).min(OPEN_FILES),
            sorts: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PeriodChoice;
    use crate::model::{Lane, MetricId, Series, Statistic, TimeWindow};
    use crate::plan::batches::{Ask, Batch, PlannedSeries};
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn plan() -> LanePlan {
        LanePlan {
            lane: Lane::example(),
            series: Vec::new(),
            overruled: 0,
            groups: Vec::new(),
            batches: Vec::new(),
            covered: BTreeMap::new(),
        }
    }

    #[test]
    fn days_that_are_added_to_hold_a_file_and_what_is_read_of_it() {
        let plan = plan();
        let day = Day::parse("2026-11-20").expect("a day");
        for (modes, kib, files) in [
            (vec![DayMode::Replace], 16, 0),
            (vec![DayMode::Merge], 16 + 512, 2),
            (vec![DayMode::Held, DayMode::Merge], 2 * 16 + 512, 2),
            (vec![], 16, 0),
        ] {
            let days: Vec<_> = modes.into_iter().map(|m| (day, m)).collect();
            assert_eq!(
                Holding::of(&plan, &days, 131_072),
                Holding {
                    kib,
                    files,
                    sorts: false
                },
                "{days:?}"
            );
        }
        let many = vec![(day, DayMode::Merge); 1_000];
        assert_eq!(Holding::of(&plan, &many, 131_072).files, OPEN_FILES);
    }

    #[test]
    fn rows_wait_until_a_row_group_is_full() {
        let plan = plan();
        let metric = |n: usize| MetricId::new("App", format!("m{n}"), Vec::new());
        let ask = Ask {
            statistic: Statistic::parse("Sum").expect("a statistic"),
            period: PeriodChoice::Auto,
            unit: None,
        };
        let asks: Arc<[Ask]> = vec![ask; 3].into();
        let series = |n| PlannedSeries {
            series: Series::new(&plan.lane, metric(n)),
            asks: Arc::clone(&asks),
        };
        let batch = |points| Batch {
            span: TimeWindow { start: 0, end: 0 },
            queries: Vec::new(),
            billed_metrics: 0,
            points,
        };
        let plan = LanePlan {
            series: (0..100).map(series).collect(),
            batches: vec![batch(1_500_000), batch(2_500_000)],
            ..plan
        };
        let day = Day::parse("2026-11-20").expect("a day");
        let days = [(day, DayMode::Replace), (day.plus(1), DayMode::Replace)];
        let holds = |group_rows| {
            let held = Holding::of(&plan, &days, group_rows);
            (held.kib, held.files)
        };
        // Two million rows a day: half of them wait, and half of the 300 runs, and the files are open meanwhile.
        let waiting = (1_000_000 * 8 + 150 * 56) / 1_024;
        assert_eq!(holds(1_000_000), (2 * (waiting + 16), 2));
        let whole = (2_000_000 * 8 + 300 * 56) / 1_024;
        assert_eq!(holds(2_000_000), (2 * (whole + 16), 0));
        assert_eq!(holds(9_000_000), (2 * (whole + 16), 0));
        let added = [days[0], (day.plus(1), DayMode::Merge)];
        assert_eq!(Holding::of(&plan, &added, 1_000_000).files, 3);
    }
}
