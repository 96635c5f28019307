//! Which months of charges are read, and over which window.

use super::mode::DayMode;
use super::windows::kept;
use crate::model::{DAY_SECONDS, Day, TimeWindow};

/// After so long a month's charges are final: invoices are made in its first days.
const FINAL_SECONDS: i64 = 10 * DAY_SECONDS;

/// A run from where the last one ended asks again after so long: charges are published several times a day, and each asking is billed.
const ASK_AGAIN_SECONDS: i64 = 3_600;

/// The time of a month.
pub fn month_window(first: Day) -> TimeWindow {
    TimeWindow::days(first, first.next_month())
}

/// The months of the days that are asked for, oldest first; and the one before while its charges are not final: they are corrected in the first
/// days of the next, and are asked for in the same requests.
pub fn months(days: &[Day], now: i64) -> Vec<Day> {
    let mut months: Vec<Day> = days.iter().map(|day| day.month_start()).collect();
    let this = Day::containing(now).month_start();
    if now < this.start() + FINAL_SECONDS && months.contains(&this) {
        months.insert(0, this.plus(-1).month_start());
    }
    months.sort();
    months.dedup();
    months
}

/// What is known of a month before it is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// All of it was answered, nothing was refused, and its files are there as they were recorded.
    pub is_whole: bool,
    /// Until when it was asked for.
    pub asked_until: Option<i64>,
}

/// Whether a month's charges no longer change.
pub fn is_final(first: Day, now: i64) -> bool {
    now >= first.next_month().start() + FINAL_SECONDS
}

/// What becomes of a month. `goes_on` says that the run goes on from where the last one ended.
pub fn mode(first: Day, known: Known, now: i64, force: bool, goes_on: bool) -> DayMode {
    let is_fresh = goes_on
        && known
            .asked_until
            .is_some_and(|until| now - until < ASK_AGAIN_SECONDS);
    if is_final(first, now) && known.is_whole && !force || is_fresh {
        DayMode::Held
    } else if kept(month_window(first), now).is_empty() {
        DayMode::Gone
    } else {
        DayMode::Merge
    }
}

/// From a day before the first month that is asked, whose last totals may still be published on the first, to the end of the last one or to now.
pub fn window_of(months: &[(Day, DayMode)], now: i64) -> TimeWindow {
    let asked = || months.iter().filter(|(_, mode)| mode.is_asked());
    match (asked().next(), asked().next_back()) {
        (Some((first, _)), Some((last, _))) => {
            let window = TimeWindow {
                start: first.plus(-1).start(),
                end: last.next_month().start().min(now),
            };
            kept(window, now)
        }
        _ => TimeWindow { start: 0, end: 0 },
    }
}

/// The first second of a month that has no row yet: today is not over.
pub fn end_of(first: Day, now: i64) -> i64 {
    let today = Day::containing(now).start();
    first.next_month().start().min(today.max(first.end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        Day::parse(text).expect("a day")
    }

    #[test]
    fn the_month_before_is_asked_until_its_charges_are_final() {
        for (now, asked, wanted) in [
            ("2026-11-21", "2026-11-20", vec!["2026-11-01"]),
            ("2026-12-02", "2026-12-01", vec!["2026-11-01", "2026-12-01"]),
            ("2026-12-01", "2026-11-30", vec!["2026-11-01"]),
            ("2026-12-11", "2026-12-10", vec!["2026-12-01"]),
        ] {
            let wanted: Vec<Day> = wanted.into_iter().map(day).collect();
            assert_eq!(months(&[day(asked)], day(now).start()), wanted, "{now}");
        }
    }

    #[test]
    fn a_final_month_is_held_and_a_fresh_one_is_not_asked_twice_an_hour() {
        let november = day("2026-11-01");
        let whole = Known {
            is_whole: true,
            asked_until: None,
        };
        let at = |text: &str| day(text).start();
        for (now, known, force, goes_on, wanted) in [
            ("2026-12-09", whole, false, false, DayMode::Merge),
            ("2026-12-11", whole, false, false, DayMode::Held),
            ("2026-12-11", whole, true, false, DayMode::Merge),
            ("2026-12-11", Known::default(), false, false, DayMode::Merge),
            ("2029-12-11", Known::default(), false, false, DayMode::Gone),
        ] {
            assert_eq!(
                mode(november, known, at(now), force, goes_on),
                wanted,
                "{now}"
            );
        }
        let asked = Known {
            is_whole: false,
            asked_until: Some(at("2026-11-20")),
        };
        let soon = at("2026-11-20") + 1_800;
        assert_eq!(mode(november, asked, soon, false, true), DayMode::Held);
        assert_eq!(mode(november, asked, soon, false, false), DayMode::Merge);
        assert_eq!(
            mode(november, asked, soon + 1_800, false, true),
            DayMode::Merge
        );
    }

    #[test]
    fn the_window_begins_a_day_before_the_first_month() {
        let months = [(day("2026-11-01"), DayMode::Merge)];
        let window = window_of(&months, day("2026-11-21").start());
        assert_eq!(
            window,
            TimeWindow::days(day("2026-10-31"), day("2026-11-21"))
        );
        let held = [(months[0].0, DayMode::Held)];
        assert!(window_of(&held, day("2026-11-21").start()).is_empty());
        assert_eq!(
            end_of(day("2026-11-01"), day("2026-11-21").start()),
            day("2026-11-21").start()
        );
        assert_eq!(
            end_of(day("2026-11-01"), day("2026-12-21").start()),
            day("2026-12-01").start()
        );
    }
}
