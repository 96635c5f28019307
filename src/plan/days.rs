//! What is asked of the days of a lane, from what was answered before. Pure: reading manifests is done before.

use std::collections::{BTreeMap, BTreeSet};

use super::batches::Scope;
use super::mode::DayMode;
use super::windows::kept;
use crate::lake::answers::Answers;
use crate::model::{Day, TimeWindow};

/// How far `--since last` reaches back behind what is covered: points that came a little late. It costs no dollars, since metrics are
/// billed by request, and covers every period up to itself.
pub const OVERLAP_OF_POINTS: i64 = 3_600;

/// The same of events, which cost time for every one that is read again: every five minutes, an hour was fourteen times what was new. What is
/// covered ends a publication delay ago already; what comes later than that is found by the next run of the whole day.
pub const OVERLAP_OF_EVENTS: i64 = 120;

/// What is known of a day that is in place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownDay {
    /// What was answered.
    pub answers: Answers,
    /// It has rows that are no longer asked for.
    pub has_others: bool,
    /// Its file is there as it was recorded.
    pub is_there: bool,
}

/// What a part of a unit is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AskedPart {
    /// How long after its time a point can be expected, seconds.
    pub delay: i64,
    /// How far `--since last` reaches back behind what is covered, seconds.
    pub overlap: i64,
    /// Periods of its points, seconds.
    pub periods: BTreeSet<i64>,
    /// A fingerprint of what is asked of it.
    pub question: String,
}

/// What a run asks of the days of a lane.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Every part that a unit has.
    pub parts: &'a BTreeMap<String, i64>,
    /// Those that are asked.
    pub asked: &'a BTreeMap<String, AskedPart>,
    /// Whatever is there is asked anew.
    pub force: bool,
    /// Answers of an interrupted run are at hand.
    pub resuming: bool,
    /// The run's clock.
    pub now: i64,
    /// Before it other runs are at work: what is asked from where the last run ended leaves that to them.
    pub left_to_others: i64,
}

/// What is asked, and what becomes of each day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AskedDays {
    /// By part.
    pub windows: Scope,
    /// Every day that is asked or stands in the range, in order.
    pub days: Vec<(Day, DayMode)>,
}

impl Question<'_> {
    /// What is asked of a range of time: of each part the days that are not final, or were read for another question.
    pub fn of_range(&self, range: TimeWindow, known: &BTreeMap<Day, KnownDay>) -> AskedDays {
        let is_held = |day: Day, (part, asked): (&String, &AskedPart)| {
            let there = known.get(&day).filter(|k| k.is_there && !self.force);
            there.is_some_and(|k| k.answers.holds(part, &asked.question))
        };
        let is_whole = |day: Day| self.asked.iter().all(|part| is_held(day, part));
        // The answers an interrupted run left are to the requests for the whole range: the same are planned again, and cost nothing.
        let resumes = self.resuming && !range.touched_days().all(is_whole);
        let mut windows = Scope::new();
        for (part, asked) in self.asked {
            let days = range.touched_days();
            let held: Vec<Day> = days.filter(|day| is_held(*day, (part, asked))).collect();
            let wanted = if resumes { range } else { wanted(range, &held) };
            if !wanted.is_empty() {
                windows.insert(part.clone(), (wanted, asked.delay));
            }
        }
        let mode = |day: Day| {
            if is_whole(day) {
                DayMode::Held
            } else {
                self.mode(day, &windows, known)
            }
        };
        let days = range.touched_days().map(|day| (day, mode(day)));
        AskedDays {
            days: days.collect(),
            windows,
        }
    }

    /// What is asked from where the last run ended, of which `first` was the first day; without one, `fresh`.
    pub fn since_last(
        &self,
        first: Option<Day>,
        fresh: TimeWindow,
        known: &BTreeMap<Day, KnownDay>,
    ) -> AskedDays {
        let mut windows = Scope::new();
        let first = first.map(|first| first.max(Day::containing(self.left_to_others)));
        for (part, asked) in self.asked {
            let window = match first {
                Some(first) => since_last((part, asked), known, first, self.now),
                None => Some(fresh),
            };
            let left = window.map(|w| TimeWindow {
                start: w.start.max(self.left_to_others),
                ..w
            });
            if let Some(window) = left.filter(|w| !w.is_empty()) {
                windows.insert(part.clone(), (window, asked.delay));
            }
        }
        let days = hull(&windows).touched_days();
        let days = days.map(|day| (day, self.mode(day, &windows, known)));
        AskedDays {
            days: days.collect(),
            windows,
        }
    }

    fn mode(&self, day: Day, windows: &Scope, known: &BTreeMap<Day, KnownDay>) -> DayMode {
        let known = known.get(&day).filter(|_| !self.force);
        day_mode(day, windows, self.parts.keys(), known, self.now)
    }
}

/// Everything from the first second asked of any part to the last.
pub fn hull(windows: &Scope) -> TimeWindow {
    let nothing = TimeWindow { start: 0, end: 0 };
    windows.values().fold(nothing, |hull, (w, _)| hull.hull(*w))
}

/// The shortest window that holds every day that is still wanted. Days held in between are asked again: a metric is billed by the
/// request, not by the day.
fn wanted(range: TimeWindow, held: &[Day]) -> TimeWindow {
    let nothing = TimeWindow { start: 0, end: 0 };
    range
        .touched_days()
        .filter(|day| !held.contains(day))
        .map(|day| day.window().intersection(range))
        .fold(nothing, |hull, w| hull.hull(w))
}

/// What becomes of a day when `windows` are asked of `parts`. `known` is what is there, unless it is forced.
fn day_mode<'a>(
    day: Day,
    windows: &Scope,
    mut parts: impl Iterator<Item = &'a String>,
    known: Option<&KnownDay>,
    now: i64,
) -> DayMode {
    let nothing = (TimeWindow { start: 0, end: 0 }, 0);
    let asked = |part: &str| windows.get(part).unwrap_or(&nothing).0;
    // Whole days are kept, or nothing of them.
    let is_touched = windows
        .values()
        .any(|(w, _)| !kept(*w, now).intersection(day.window()).is_empty());
    if !is_touched || day.start() >= now {
        return DayMode::Gone;
    }
    let begun = TimeWindow {
        start: day.start(),
        end: day.end().min(now),
    };
    if !parts.all(|part| asked(part).intersection(begun) == begun) {
        DayMode::Merge
    } else if known.is_some_and(|k| k.has_others) {
        DayMode::Join
    } else {
        DayMode::Replace
    }
}

/// What `--since last` asks of a part of which `known` days are in place, the first of them `first`; none when nothing new can have come. What
/// no run has asked for yet is asked from today on.
fn since_last(
    (part, asked): (&str, &AskedPart),
    known: &BTreeMap<Day, KnownDay>,
    first: Day,
    now: i64,
) -> Option<TimeWindow> {
    let since = since((part, asked.overlap), known, first, now);
    // Asked again, it would be billed again for what is there.
    let published = now - asked.delay;
    let has_news = |period: &i64| published.div_euclid(*period) * period > since.gap;
    asked.periods.iter().any(has_news).then_some(TimeWindow {
        start: since.back,
        end: now,
    })
}

/// Where `--since last` begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Since {
    /// The first second that is not covered.
    gap: i64,
    /// From where it asks.
    back: i64,
}

/// The first second from day `first` on that is not covered, or was refused and is due, less the overlap.
fn since(
    (part, overlap): (&str, i64),
    known: &BTreeMap<Day, KnownDay>,
    first: Day,
    now: i64,
) -> Since {
    let asks = |day: Day| {
        known
            .get(&day)
            .is_some_and(|k| k.answers.covered.contains_key(part))
    };
    let recent = || known.range(first..);
    let is_new =
        recent().any(|(_, k)| !k.answers.covered.is_empty()) && !recent().any(|(d, _)| asks(*d));
    if is_new {
        let today = Day::containing(now).start();
        return Since {
            gap: today,
            back: today,
        };
    }
    let days = TimeWindow {
        start: first.start(),
        end: now.max(first.end()),
    };
    let begun = days.touched_days().find(|day| asks(*day)).unwrap_or(first);
    let gap_of = |day: Day| {
        let there = known.get(&day);
        there.map_or(day.start(), |k| k.answers.first_missing(part, day, now))
    };
    let gap = days
        .touched_days()
        .filter(|day| *day >= begun)
        .map(|day| (gap_of(day), day.end()))
        .find_map(|(gap, end)| (gap < end).then_some(gap))
        .unwrap_or(days.end);
    // Not into a day that no run has begun.
    let back = gap - overlap;
    if asks(Day::containing(back)) {
        Since { gap, back }
    } else {
        let back = Day::containing(gap).start().max(back);
        Since { gap, back }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Spans;

    const HOUR: i64 = 3_600;

    fn day(n: i64) -> Day {
        Day::parse("2026-11-20").expect("a day").plus(n)
    }

    fn at(n: i64, hour: i64) -> i64 {
        day(n).start() + hour * HOUR
    }

    /// Days with the hours that part `a` is covered, from and to.
    fn known(days: &[(i64, i64, i64)]) -> BTreeMap<Day, KnownDay> {
        let mut known: BTreeMap<Day, KnownDay> = BTreeMap::new();
        for (n, from, to) in days {
            let window = TimeWindow {
                start: at(*n, *from),
                end: at(*n, *to),
            };
            let answers = &mut known.entry(day(*n)).or_default().answers;
            answers
                .covered
                .entry("a".to_owned())
                .or_default()
                .add(window);
        }
        known
    }

    #[test]
    fn a_run_goes_on_from_the_first_second_that_is_not_covered() {
        let now = at(0, 12);
        for (there, gap, back) in [
            // To eleven o'clock.
            (vec![(-1, 0, 24), (0, 0, 11)], at(0, 11), at(0, 10)),
            // Today was not begun: yesterday is, so the overlap reaches into it.
            (vec![(-1, 0, 24)], at(0, 0), at(-1, 23)),
            // A hole, and what came after it.
            (
                vec![(-1, 0, 5), (-1, 9, 24), (0, 0, 11)],
                at(-1, 5),
                at(-1, 4),
            ),
            // The first day begins late: it was passed over, or begun so.
            (vec![(-1, 9, 24), (0, 0, 11)], at(-1, 0), at(-1, 0)),
            // All of it.
            (vec![(-1, 0, 24), (0, 0, 12), (0, 12, 24)], now, at(0, 11)),
        ] {
            let since = since(("a", HOUR), &known(&there), day(-1), now);
            assert_eq!((since.gap, since.back), (gap, back), "{there:?}");
        }
    }

    #[test]
    fn events_are_asked_again_for_minutes_and_points_for_an_hour() {
        let there = known(&[(-1, 0, 24), (0, 0, 11)]);
        for overlap in [OVERLAP_OF_EVENTS, OVERLAP_OF_POINTS] {
            let since = since(("a", overlap), &there, day(-1), at(0, 12));
            assert_eq!(since.gap - since.back, overlap);
        }
    }

    #[test]
    fn what_no_run_has_asked_for_is_asked_from_today_on() {
        let there = known(&[(-1, 0, 24), (0, 0, 11)]);
        let new = since(("b", HOUR), &there, day(-1), at(0, 12));
        assert_eq!((new.gap, new.back), (at(0, 0), at(0, 0)));
        // A file that no record says anything of: nothing of it is known to be there.
        let unknown = BTreeMap::from([(day(-1), KnownDay::default())]);
        assert_eq!(
            since(("b", HOUR), &unknown, day(-1), at(0, 12)).gap,
            at(-1, 0)
        );
    }

    #[test]
    fn refused_time_is_asked_again_once_a_day() {
        let mut there = known(&[(-1, 0, 24), (0, 0, 11)]);
        let refused = Spans::of(TimeWindow {
            start: at(-1, 7),
            end: at(-1, 9),
        });
        let yesterday = there.get_mut(&day(-1)).expect("there");
        let stamp = |seconds| jiff::Timestamp::from_second(seconds).ok();
        yesterday.answers.refused.insert("a".to_owned(), refused);
        yesterday.answers.refused_at = stamp(at(-1, 9));
        let gap =
            |there: &BTreeMap<Day, KnownDay>, now| since(("a", HOUR), there, day(-1), now).gap;
        assert_eq!(gap(&there, at(0, 8)), at(0, 11), "not yet");
        assert_eq!(gap(&there, at(0, 9)), at(-1, 7));
        let yesterday = there.get_mut(&day(-1)).expect("there");
        yesterday.answers.refused_at = stamp(at(0, 9));
        assert_eq!(gap(&there, at(0, 12)), at(0, 11), "just asked");
    }

    #[test]
    fn nothing_is_asked_before_a_whole_period_can_have_come() {
        let there = known(&[(-1, 0, 24), (0, 0, 11)]);
        let asked = |period: i64, delay: i64, now: i64| {
            let part = AskedPart {
                delay,
                overlap: HOUR,
                periods: BTreeSet::from([period]),
                ..AskedPart::default()
            };
            since_last(("a", &part), &there, day(-1), now)
        };
        assert_eq!(asked(HOUR, 0, at(0, 12) - 1), None);
        let window = TimeWindow {
            start: at(0, 10),
            end: at(0, 12),
        };
        assert_eq!(asked(HOUR, 0, at(0, 12)), Some(window));
        assert_eq!(asked(HOUR, 900, at(0, 12)), None);
        assert!(asked(300, 900, at(0, 12)).is_some());
    }

    #[test]
    fn a_day_is_replaced_merged_joined_or_left() {
        let now = at(1, 12);
        let parts = ["a".to_owned(), "b".to_owned()];
        let asked = |windows: &[(&str, i64, i64)]| -> Scope {
            let one = |(part, from, to): &(&str, i64, i64)| {
                let window = TimeWindow {
                    start: *from,
                    end: *to,
                };
                ((*part).to_owned(), (window, 0))
            };
            windows.iter().map(one).collect()
        };
        let whole = asked(&[("a", at(0, 0), at(1, 0)), ("b", at(0, 0), at(1, 0))]);
        let part = asked(&[("a", at(0, 10), at(0, 11)), ("b", at(0, 0), at(1, 0))]);
        let one = asked(&[("a", at(0, 0), at(1, 0))]);
        let others = KnownDay {
            has_others: true,
            ..KnownDay::default()
        };
        let same = KnownDay::default();
        for (windows, known, wanted) in [
            (&whole, None, DayMode::Replace),
            (&whole, Some(&same), DayMode::Replace),
            (&whole, Some(&others), DayMode::Join),
            (&part, Some(&others), DayMode::Merge),
            (&one, Some(&same), DayMode::Merge),
            (&Scope::new(), Some(&same), DayMode::Gone),
        ] {
            let mode = day_mode(day(0), windows, parts.iter(), known, now);
            assert_eq!(mode, wanted, "{windows:?} {known:?}");
        }
        let later = day_mode(day(2), &whole, parts.iter(), None, now);
        assert_eq!(later, DayMode::Gone, "it has not begun");
        for (age, mode) in [(454, DayMode::Replace), (455, DayMode::Gone)] {
            let old = day(1).plus(-age);
            let all = asked(&[("a", old.start(), now), ("b", old.start(), now)]);
            assert_eq!(day_mode(old, &all, parts.iter(), None, now), mode, "{age}");
        }
    }

    #[test]
    fn the_shortest_window_holds_what_is_not_held() {
        let range = TimeWindow::days(day(0), day(5));
        let hull = |held: &[i64]| {
            let held: Vec<Day> = held.iter().map(|n| day(*n)).collect();
            wanted(range, &held)
        };
        assert_eq!(hull(&[0, 4]), TimeWindow::days(day(1), day(4)));
        assert_eq!(hull(&[2]), range);
        assert!(hull(&[0, 1, 2, 3, 4]).is_empty());
    }

    /// Days that are there, `a` and `b` final for their questions.
    fn settled(days: &[i64]) -> BTreeMap<Day, KnownDay> {
        let question = |part: &str| (part.to_owned(), format!("of {part}"));
        let one = |n: &i64| {
            let answers = Answers {
                settled: [question("a"), question("b")].into(),
                ..Answers::default()
            };
            let known = KnownDay {
                answers,
                is_there: true,
                has_others: false,
            };
            (day(*n), known)
        };
        days.iter().map(one).collect()
    }

    #[test]
    fn a_range_asks_of_each_part_the_days_that_are_not_final() {
        let part = |question: &str| AskedPart {
            question: question.to_owned(),
            delay: 900,
            ..AskedPart::default()
        };
        let parts = BTreeMap::from([("a".to_owned(), 900), ("b".to_owned(), 900)]);
        let asked =
            |b: &str| BTreeMap::from([("a".to_owned(), part("of a")), ("b".to_owned(), part(b))]);
        let (same, changed) = (asked("of b"), asked("of b, and more"));
        let question = |asked, force, resuming| Question {
            parts: &parts,
            asked,
            force,
            resuming,
            now: at(5, 0),
            left_to_others: 0,
        };
        let range = TimeWindow::days(day(0), day(4));
        let known = settled(&[0, 1, 2]);
        let ask = |question: Question<'_>, known: &BTreeMap<Day, KnownDay>| {
            let asked = question.of_range(range, known);
            let window = |part: &str| {
                let window = asked.windows.get(part)?.0;
                Some((window.start, window.end))
            };
            let modes: Vec<DayMode> = asked.days.iter().map(|(_, mode)| *mode).collect();
            (window("a"), window("b"), modes)
        };
        let last = Some((at(3, 0), at(4, 0)));
        let all = Some((at(0, 0), at(4, 0)));
        let (held, new) = (DayMode::Held, DayMode::Replace);
        // What is final is not asked; of a part with another question all is.
        let usual = ask(question(&same, false, false), &known);
        assert_eq!(usual, (last, last, vec![held, held, held, new]));
        let other = ask(question(&changed, false, false), &known);
        let merge = DayMode::Merge;
        assert_eq!(other, (last, all, vec![merge, merge, merge, new]));
        // Forced, everything; the answers at hand are to all of it as well, unless all of it is final.
        let forced = ask(question(&same, true, false), &known);
        assert_eq!(forced, (all, all, vec![new; 4]));
        let resumed = ask(question(&same, false, true), &known);
        assert_eq!(resumed, (all, all, vec![held, held, held, new]));
        let whole = ask(question(&same, false, true), &settled(&[0, 1, 2, 3]));
        assert_eq!(whole, (None, None, vec![held; 4]));
        // Rows that are no longer asked for stay, unless it is forced.
        let mut others = settled(&[0, 1, 2]);
        others
            .values_mut()
            .for_each(|known| known.has_others = true);
        let join = DayMode::Join;
        let joined = ask(question(&changed, false, true), &others);
        assert_eq!(joined, (all, all, vec![join, join, join, new]));
        let forced = ask(question(&changed, true, false), &others);
        assert_eq!(forced, (all, all, vec![new; 4]));
        // A file that is gone is asked for, whatever its record says.
        let mut gone = settled(&[0, 1, 2, 3]);
        gone.get_mut(&day(1)).expect("it").is_there = false;
        let one = Some((at(1, 0), at(2, 0)));
        let again = ask(question(&same, false, false), &gone);
        assert_eq!(again, (one, one, vec![held, new, held, held]));
    }

    #[test]
    fn a_first_run_since_the_last_asks_what_is_fresh_and_leaves_the_rest_to_others() {
        let part = AskedPart {
            overlap: HOUR,
            periods: BTreeSet::from([300]),
            ..AskedPart::default()
        };
        let parts = BTreeMap::from([("a".to_owned(), 0)]);
        let asked = BTreeMap::from([("a".to_owned(), part)]);
        let question = |left_to_others| Question {
            parts: &parts,
            asked: &asked,
            force: false,
            resuming: false,
            now: at(0, 12),
            left_to_others,
        };
        let fresh = TimeWindow {
            start: at(0, 0),
            end: at(0, 12),
        };
        let none = BTreeMap::new();
        let first = question(0).since_last(None, fresh, &none);
        assert_eq!(first.windows["a"].0, fresh);
        assert_eq!(first.days, [(day(0), DayMode::Replace)]);
        let late = question(at(0, 9)).since_last(None, fresh, &none);
        assert_eq!(
            (late.windows["a"].0.start, late.windows["a"].0.end),
            (at(0, 9), at(0, 12))
        );
        assert_eq!(late.days, [(day(0), DayMode::Merge)]);
        let nothing = question(at(0, 12)).since_last(None, fresh, &none);
        assert_eq!(nothing, AskedDays::default());
        let there = known(&[(-1, 0, 24), (0, 0, 11)]);
        let next = question(0).since_last(Some(day(-1)), fresh, &there);
        assert_eq!(next.windows["a"].0.start, at(0, 10));
        assert_eq!(next.days, [(day(0), DayMode::Merge)]);
    }
}
