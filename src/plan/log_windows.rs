//! In which stretches and windows the events of log groups are read.

use std::sync::Arc;

use crate::model::{DAY_SECONDS, Day, TimeWindow};

/// Bytes that one request chain is meant to read: larger windows are cut, so that some can be read side by side and all of their events can wait
/// in memory.
const WINDOW_BYTES: u64 = 4 << 20;

/// No window is cut shorter.
const SHORTEST_WINDOW: i64 = 60;

/// Bytes of several days that are read together: many small groups wait for one another, at most on disk.
const ROUND_BYTES: u64 = 256 << 20;

/// Days that are read and written together, at most.
const MOST_DAYS: u64 = 31;

/// A group with what is asked of it; `Q` is a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedGroup<Q> {
    /// Its name.
    pub name: Arc<str>,
    /// What is asked of it.
    pub queries: Vec<Q>,
    /// Bytes it takes in a day, about.
    pub bytes_a_day: u64,
    /// Events before this second are no longer kept; with the days they are kept for.
    pub kept_since: Option<(i64, u32)>,
}

/// One chain of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task<Q> {
    /// The group.
    pub group: Arc<str>,
    /// What is asked of it.
    pub query: Q,
    /// For which time.
    pub window: TimeWindow,
}

/// Bytes a group takes in a day: what it stores over the days it has stored for.
///
/// # Examples
/// ```
/// use cwlake::plan::bytes_a_day;
/// let (created, now) = (0, 100 * 86_400);
/// assert_eq!(bytes_a_day(1_000_000, created, None, now), 10_000);
/// // What is kept for ten days came in ten days.
/// assert_eq!(bytes_a_day(1_000_000, created, Some(10), now), 100_000);
/// ```
pub fn bytes_a_day(stored: u64, created: i64, retention_days: Option<u32>, now: i64) -> u64 {
    let age = ((now - created) / DAY_SECONDS).max(1);
    let kept = retention_days.map_or(age, |days| age.min(i64::from(days)));
    stored / u64::try_from(kept).unwrap_or(1).max(1)
}

/// Stretches of days that are read and written together, one after the other: consecutive days of `days`, as far as they lie in `window`.
///
/// # Examples
/// ```
/// use cwlake::model::{Day, TimeWindow};
/// use cwlake::plan::rounds;
/// let days: Vec<Day> = (0..3).map(|n| Day::containing(0).plus(n)).collect();
/// let all = TimeWindow::days(days[0], days[2].plus(1));
/// // Small days are read together, large ones alone.
/// assert_eq!(rounds(&days, all, 1_000).len(), 1);
/// assert_eq!(rounds(&days, all, 1 << 40).len(), 3);
/// ```
pub fn rounds(days: &[Day], window: TimeWindow, bytes_a_day: u64) -> Vec<TimeWindow> {
    let most_days = (ROUND_BYTES / bytes_a_day.max(1)).clamp(1, MOST_DAYS);
    let mut rounds: Vec<(TimeWindow, u64)> = Vec::new();
    for day in days {
        let part = day.window().intersection(window);
        match rounds.last_mut() {
            Some((round, days)) if *days < most_days && round.end == part.start => {
                round.end = part.end;
                *days += 1;
            }
            _ if part.is_empty() => {}
            _ => rounds.push((part, 1)),
        }
    }
    rounds.into_iter().map(|(round, _)| round).collect()
}

/// What is read of a round: every group in as many windows as its size asks for. Together they hold every second of it once.
pub fn tasks<Q: Clone>(groups: &[PlannedGroup<Q>], round: TimeWindow) -> Vec<Task<Q>> {
    let mut tasks = Vec::new();
    for group in groups {
        let seconds = round.seconds();
        let expected = group.bytes_a_day * u64::try_from(seconds).unwrap_or(0) / 86_400;
        let most = u64::try_from(seconds / SHORTEST_WINDOW).unwrap_or(1).max(1);
        let pieces = (expected / WINDOW_BYTES + 1).clamp(1, most);
        let pieces = i64::try_from(pieces).unwrap_or(1);
        for query in &group.queries {
            tasks.extend((0..pieces).map(|n| Task {
                group: Arc::clone(&group.name),
                query: query.clone(),
                window: TimeWindow {
                    start: round.start + seconds * n / pieces,
                    end: round.start + seconds * (n + 1) / pieces,
                },
            }));
        }
    }
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn day(n: i64) -> Day {
        Day::parse("2026-11-01").expect("a day").plus(n)
    }

    #[test]
    fn large_groups_are_read_day_by_day_and_small_ones_a_month_at_once() {
        let days: Vec<Day> = (0..40).map(day).collect();
        let all = TimeWindow::days(day(0), day(40));
        assert_eq!(rounds(&days, all, 1_000).len(), 2);
        assert_eq!(rounds(&days, all, 3 << 30).len(), 40);
        let apart = [day(0), day(1), day(5)];
        assert_eq!(rounds(&apart, all, 0).len(), 2);
        assert!(rounds(&apart, TimeWindow { start: 0, end: 0 }, 0).is_empty());
    }

    #[test]
    fn a_groups_size_is_that_of_the_days_it_keeps() {
        let now = 100 * DAY_SECONDS;
        assert_eq!(bytes_a_day(1_000, 0, None, now), 10);
        assert_eq!(bytes_a_day(1_000, 0, Some(10), now), 100);
        assert_eq!(bytes_a_day(1_000, now, Some(10), now), 1_000);
    }

    #[test]
    fn a_group_is_read_in_as_many_windows_as_its_size_asks_for() {
        let windows = |bytes_a_day, seconds| {
            let group = PlannedGroup {
                name: Arc::from("/g"),
                queries: vec![()],
                bytes_a_day,
                kept_since: None,
            };
            let start = day(0).start();
            let end = start + seconds;
            let tasks = tasks(&[group], TimeWindow { start, end });
            let ends: Vec<i64> = tasks.iter().map(|t| t.window.end - start).collect();
            ends
        };
        let day = DAY_SECONDS;
        assert_eq!(windows(WINDOW_BYTES - 1, day), [day]);
        assert_eq!(windows(WINDOW_BYTES, day), [day / 2, day]);
        assert_eq!(
            windows(WINDOW_BYTES, 2 * day),
            [2 * day / 3, 4 * day / 3, 2 * day]
        );
        // None is shorter than it is worth to ask for.
        assert_eq!(windows(u64::MAX / 86_400, 2 * SHORTEST_WINDOW).len(), 2);
        assert_eq!(windows(u64::MAX / 86_400, 1), [1]);
    }

    proptest! {
        #[test]
        fn the_windows_of_a_group_hold_every_second_once(bytes in 0_u64..1 << 34, seconds in 1_i64..31 * DAY_SECONDS) {
            let group = PlannedGroup { name: Arc::from("/g"), queries: vec![()], bytes_a_day: bytes, kept_since: None };
            let round = TimeWindow { start: 7, end: 7 + seconds };
            let tasks = tasks(&[group], round);
            prop_assert_eq!(tasks[0].window.start, round.start);
            prop_assert_eq!(tasks[tasks.len() - 1].window.end, round.end);
            for pair in tasks.windows(2) {
                prop_assert_eq!(pair[0].window.end, pair[1].window.start);
            }
        }
    }
}
