//! Which time windows one billing unit is asked over, and at which period.
//!
//! # Source
//! botocore `GetMetricData`: the legal period by age of `StartTime`, and what is kept for how long. An illegal period gives
//! no data **and no error**, so windows are cut where legality changes.

use crate::config::{MAX_POINTS_PER_REQUEST, OLDEST_SECONDS, PeriodChoice, RECENT_SECONDS};
use crate::model::{DAY_SECONDS, Period, TimeWindow};

/// A span asked in one request, with the period that is legal for all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Window {
    /// Aligned to the period at both ends.
    pub span: TimeWindow,
    /// The finest legal period not finer than asked.
    pub period: Period,
}

/// What is old at the plan is older when the last request leaves: day edges are taken this much younger, longer than a lane may
/// take by default.
const DAY_EDGE_MARGIN: i64 = 8 * 3_600;

/// The same for the three-hour edge.
const RECENT_EDGE_MARGIN: i64 = 15 * 60;

/// Names the cuts that windows of `now` have by age: two times of the same name cut alike whatever ended before them.
pub fn edges(now: i64) -> i64 {
    ceil_to(now + DAY_EDGE_MARGIN, DAY_SECONDS)
}

/// The part of `range` that CloudWatch still has: whole days, not older than 455 days and not about to be.
///
/// # Examples
/// ```
/// use cwlake::model::{DAY_SECONDS, TimeWindow};
/// let now = 1_795_226_400;
/// let years = TimeWindow { start: now - 1_000 * DAY_SECONDS, end: now };
/// let kept = cwlake::plan::kept(years, now);
/// // Whole days, none of which ends to exist while a run takes hours.
/// assert_eq!(kept.start % DAY_SECONDS, 0);
/// assert_eq!((now - kept.start) / DAY_SECONDS, 454);
/// ```
pub fn kept(range: TimeWindow, now: i64) -> TimeWindow {
    let oldest = ceil_to(now - OLDEST_SECONDS + DAY_EDGE_MARGIN, DAY_SECONDS);
    TimeWindow {
        start: range.start.max(oldest),
        end: range.end,
    }
}

/// Whether CloudWatch answers a request that starts at `start` with points of this period, asked at `now`. It answers with silence
/// where it does not.
///
/// # Examples
/// ```
/// use cwlake::model::{DAY_SECONDS, Period};
/// use cwlake::plan::is_legal;
/// let now = 1_795_226_400;
/// assert!(is_legal(Period::MINUTE, now - 10 * DAY_SECONDS, now));
/// assert!(!is_legal(Period::MINUTE, now - 20 * DAY_SECONDS, now));
/// ```
pub fn is_legal(period: Period, start: i64, now: i64) -> bool {
    let age = now - start;
    let step = match age {
        _ if age <= RECENT_SECONDS => 1,
        _ if age <= 15 * DAY_SECONDS => 60,
        _ if age <= 63 * DAY_SECONDS => 300,
        _ if age <= OLDEST_SECONDS => 3_600,
        _ => return false,
    };
    period.seconds().is_multiple_of(step)
}

/// The windows for `statistics` statistics of one metric over `range`, oldest first.
///
/// # Shape
/// Together they cover, exactly once, every whole period of the kept part of `range` that ended by `now`. Each is as long
/// as one page of 100,800 points allows and its period is legal for its start at `now` and for hours after. The edges at 15 and
/// 63 days fall on UTC midnights, so a day has one period; only the three-hour edge can lie inside a day.
pub fn windows(
    range: TimeWindow,
    choice: PeriodChoice,
    statistics: usize,
    now: i64,
) -> Vec<Window> {
    let range = kept(range, now);
    let day = |age_days: i64| ceil_to(now - age_days * DAY_SECONDS + DAY_EDGE_MARGIN, DAY_SECONDS);
    let recent = ceil_to(now - RECENT_SECONDS + RECENT_EDGE_MARGIN, 60);
    let edges = [
        (i64::MIN, day(63), 3_600),
        (day(63), day(15), 300),
        (day(15), recent, 60),
        (recent, i64::MAX, 1),
    ];

    let mut segments: Vec<Window> = Vec::new();
    for (from, to, finest) in edges {
        let period = finest_legal(choice, finest);
        let span = TimeWindow {
            start: range.start.max(from),
            end: range.end.min(to),
        };
        if span.is_empty() {
            continue;
        }
        match segments.last_mut() {
            Some(last) if last.period == period => last.span.end = span.end,
            _ => segments.push(Window { span, period }),
        }
    }
    segments
        .iter()
        .flat_map(|segment| pages(*segment, statistics, now))
        .collect()
}

/// The smallest period that is asked for or longer, a multiple of `finest`, and divides a day.
fn finest_legal(choice: PeriodChoice, finest: u32) -> Period {
    let asked = match choice {
        PeriodChoice::AtLeast(period) => period.seconds(),
        PeriodChoice::Auto => Period::MINUTE.seconds(),
    };
    let step = finest.max(1);
    let mut candidate = asked.div_ceil(step) * step;
    loop {
        match Period::new(candidate) {
            Some(period) => return period,
            // A day is a multiple of every step, so the search ends there.
            None => candidate += step,
        }
    }
}

/// Cuts a segment into near-equal windows of one page each, at midnights where a page holds a day.
fn pages(segment: Window, statistics: usize, now: i64) -> Vec<Window> {
    let Window { span, period } = segment;
    let seconds = i64::from(period.seconds());
    // A window that begins or ends inside a period has all of that period: half a point is worth nothing.
    let span = TimeWindow {
        start: period.floor(span.start),
        end: period.ceil(span.end).min(period.floor(now)),
    };
    if span.is_empty() {
        return Vec::new();
    }
    let page_points = MAX_POINTS_PER_REQUEST / u64::try_from(statistics.max(1)).unwrap_or(1);
    let page_seconds = i64::try_from(page_points).expect("a page is no larger") * seconds;
    let unit = if page_seconds >= DAY_SECONDS {
        DAY_SECONDS
    } else {
        seconds
    };
    let first = span.start.div_euclid(unit) * unit;
    let units = ceil_to(span.end - first, unit) / unit;
    let most = page_seconds / unit;
    let count = (units + most - 1) / most;
    let step = (units + count - 1) / count * unit;
    (0..count)
        .map(|n| TimeWindow {
            start: span.start.max(first + n * step),
            end: span.end.min(first + (n + 1) * step),
        })
        .filter(|w| !w.is_empty())
        .map(|span| Window { span, period })
        .collect()
}

fn ceil_to(value: i64, step: i64) -> i64 {
    -(-value).div_euclid(step) * step
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Day;
    use proptest::prelude::*;

    const NOW: i64 = 1_795_226_400; // 2026-11-21T02:00:00Z

    fn day(n: i64) -> Day {
        Day::containing(NOW).plus(n)
    }

    fn ask(from: i64, to: i64, choice: PeriodChoice, statistics: usize) -> Vec<(i64, i64, u32)> {
        let at = |seconds: i64| (seconds - day(0).start()) / DAY_SECONDS;
        windows(
            TimeWindow::days(day(from), day(to)),
            choice,
            statistics,
            NOW,
        )
        .into_iter()
        .map(|w| (at(w.span.start), at(w.span.end), w.period.seconds()))
        .collect()
    }

    fn seconds(n: u32) -> PeriodChoice {
        PeriodChoice::AtLeast(Period::new(n).expect("legal"))
    }

    #[test]
    fn one_night_is_one_window() {
        assert_eq!(ask(-3, 0, seconds(300), 3), [(-3, 0, 300)]);
    }

    #[test]
    fn the_finest_legal_period_follows_the_age() {
        assert_eq!(
            ask(-100, 0, seconds(60), 1),
            [(-100, -62, 3600), (-62, -14, 300), (-14, 0, 60)]
        );
        assert_eq!(
            ask(-100, 0, PeriodChoice::Auto, 1),
            [(-100, -62, 3600), (-62, -14, 300), (-14, 0, 60)]
        );
        assert_eq!(ask(-100, 0, seconds(3600), 1), [(-100, 0, 3600)]);
        assert_eq!(
            ask(-100, 0, seconds(1800), 1),
            [(-100, -62, 3600), (-62, 0, 1800)]
        );
        assert_eq!(
            ask(-100, 0, seconds(5400), 1),
            [(-100, -62, 7200), (-62, 0, 5400)]
        );
        // The next multiple of an hour is five, which is no part of a day.
        assert_eq!(
            ask(-100, 0, seconds(17_280), 1),
            [(-100, -14, 21_600), (-14, 0, 17_280)]
        );
    }

    #[test]
    fn a_page_too_small_for_the_segment_is_cut_at_midnight() {
        // 5 statistics x 14 days x 1,440 points = 100,800: exactly one page; 15 days would not fit.
        assert_eq!(ask(-14, 0, seconds(60), 5), [(-14, 0, 60)]);
        // 455 days of hours are 10,920 points a statistic: one page for five, and the 455th day is already cut at its hour.
        assert_eq!(ask(-454, 0, seconds(3600), 5), [(-454, 0, 3600)]);
    }

    #[test]
    fn nothing_older_than_455_days_is_asked() {
        let all = windows(TimeWindow::days(day(-500), day(0)), seconds(3600), 1, NOW);
        assert_eq!(all[0].span.start, day(-454).start(), "whole days only");
        assert_eq!(
            windows(
                TimeWindow::days(day(-600), day(-500)),
                seconds(3600),
                1,
                NOW
            ),
            []
        );
    }

    #[test]
    fn today_ends_with_the_last_whole_period_and_may_be_finer_near_now() {
        let today = windows(
            TimeWindow::days(day(0), day(1)),
            seconds(3600),
            1,
            NOW + 100,
        );
        assert_eq!(
            today
                .iter()
                .map(|w| (w.span.start, w.span.end))
                .collect::<Vec<_>>(),
            [(day(0).start(), NOW)]
        );
        let now = day(0).start() + 10 * 3_600;
        let fine = windows(TimeWindow::days(day(0), day(1)), seconds(10), 1, now);
        assert_eq!(
            fine.iter().map(|w| w.period.seconds()).collect::<Vec<_>>(),
            [60, 10]
        );
        assert_eq!(
            fine[1].span,
            TimeWindow {
                start: now - RECENT_SECONDS + RECENT_EDGE_MARGIN,
                end: now
            }
        );
    }

    #[test]
    fn a_period_becomes_illegal_as_its_start_grows_old() {
        let period = |seconds| Period::new(seconds).expect("legal");
        for (seconds, age, legal) in [
            (10, 3 * 3_600, true),
            (10, 3 * 3_600 + 1, false),
            (60, 15 * DAY_SECONDS, true),
            (60, 15 * DAY_SECONDS + 1, false),
            (300, 63 * DAY_SECONDS, true),
            (300, 63 * DAY_SECONDS + 1, false),
            (60, 16 * DAY_SECONDS, false),
            (3_600, 400 * DAY_SECONDS, true),
            (7_200, 400 * DAY_SECONDS, true),
            (3_600, 455 * DAY_SECONDS + 1, false),
        ] {
            assert_eq!(
                is_legal(period(seconds), NOW - age, NOW),
                legal,
                "{seconds} at {age}"
            );
        }
    }

    /// The rule once more, in other words.
    fn answers(window: &Window, now: i64) -> bool {
        let age = now - window.span.start;
        let p = window.period.seconds();
        if age <= 3 * 3_600 {
            true
        } else if age <= 15 * DAY_SECONDS {
            p.is_multiple_of(60)
        } else if age <= 63 * DAY_SECONDS {
            p.is_multiple_of(300)
        } else {
            p.is_multiple_of(3_600)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn windows_cover_every_kept_period_once_and_legally(
            first in -470_i64..1, days in 1_i64..470, past_midnight in 0_i64..DAY_SECONDS,
            period in prop::sample::select(vec![1_u32, 10, 60, 300, 900, 3600, 5400, 21_600, 86_400]),
            auto in any::<bool>(), statistics in 1_usize..6,
        ) {
            let now = day(0).start() + past_midnight;
            let range = TimeWindow::days(day(first), day((first + days).min(1)));
            let choice = if auto { PeriodChoice::Auto } else { seconds(period) };
            let asked = if auto { 60 } else { period };
            let all = windows(range, choice, statistics, now);
            for window in &all {
                let step = i64::from(window.period.seconds());
                prop_assert!(!window.span.is_empty());
                prop_assert_eq!((window.span.start % step, window.span.end % step), (0, 0), "aligned");
                prop_assert!(window.period.seconds() >= asked, "not finer than asked");
                prop_assert!(answers(window, now) && answers(window, now + 600), "legal for the run's length");
                prop_assert!(window.span.points(window.period) * statistics as u64 <= MAX_POINTS_PER_REQUEST, "one page");
                prop_assert!(window.span.start >= range.start && window.span.end <= range.end.min(now), "inside");
            }
            for pair in all.windows(2) {
                prop_assert_eq!(pair[0].span.end, pair[1].span.start, "no gap, no overlap");
            }
            let kept = kept(range, now);
            if let (Some(first), Some(last)) = (all.first(), all.last()) {
                prop_assert!(first.span.start - kept.start < i64::from(first.period.seconds()), "from the first whole period");
                prop_assert!(kept.end.min(now) - last.span.end < i64::from(last.period.seconds()), "to the last whole period");
            } else {
                prop_assert!(kept.seconds() < DAY_SECONDS || kept.start >= now - DAY_SECONDS, "nothing but the present is left out");
            }
        }
    }

    #[test]
    fn times_cut_alike_until_the_last_request_would_find_a_day_older() {
        let midnight = day(0).start();
        assert_eq!(edges(midnight), midnight + DAY_SECONDS);
        let last = midnight + DAY_SECONDS - DAY_EDGE_MARGIN;
        assert_eq!(edges(last), midnight + DAY_SECONDS);
        assert_eq!(edges(last + 1), midnight + 2 * DAY_SECONDS);
    }

    #[test]
    fn pages_are_as_few_as_they_can_be_and_nearly_equal() {
        // 100,800 points a page: 70 days of minutes, 14 of them for five statistics.
        assert_eq!(ask(-14, 0, seconds(60), 10).len(), 2);
        assert_eq!(ask(-13, 0, seconds(60), 10), [(-13, -6, 60), (-6, 0, 60)]);
        // A page holds less than a day: it is cut at whole periods.
        let windows = windows(TimeWindow::days(day(-2), day(-1)), seconds(60), 101, NOW);
        let lengths: Vec<i64> = windows.iter().map(|w| w.span.seconds() / 60).collect();
        assert_eq!(lengths, [720, 720]);
    }
}
