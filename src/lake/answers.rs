//! What of a unit was answered, by part and for which question: a value from which everything else follows. What is covered, settled, short,
//! provisional and still to be asked is read from it and nowhere else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{DAY_SECONDS, Day, Spans, TimeWindow};

/// Age of a day from which its points no longer change: AWS promises late points within two days.
///
/// # Source
/// botocore `PutMetricData`: points older than a day "can take at least 48 hours to become available".
const SETTLED_SECONDS: i64 = 48 * 3_600;

/// Time that was refused is asked again after so long by a run that asks only what is new.
const ASK_AGAIN_SECONDS: i64 = DAY_SECONDS;

/// After the day's end and a part's delay the next nightly run comes within this time.
const UNTIL_NEXT_RUN: i64 = 26 * 3_600;

/// The answers of a unit. A part is what is answered by itself: a namespace of metrics, all log groups, the charges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// The time that was asked and answered, by part; a part that no run asked for is not here.
    pub covered: BTreeMap<String, Spans>,
    /// The part of it in which something was refused by itself: a hole that is known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, Spans>,
    /// When that was asked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_at: Option<jiff::Timestamp>,
    /// Parts that were read whole, so long after the day that nothing more will come, each with the question it was read for.
    #[serde(default)]
    pub settled: BTreeMap<String, String>,
}

/// What one run has heard of a unit.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// The unit's day.
    pub day: Day,
    /// The time that was asked, by part.
    pub asked: &'a BTreeMap<String, (TimeWindow, i64)>,
    /// What of it was answered.
    pub covered: &'a BTreeMap<String, Spans>,
    /// In which of that something was refused by itself.
    pub refused: &'a BTreeMap<String, Spans>,
    /// What each part is meant to hold.
    pub questions: &'a BTreeMap<String, String>,
    /// When the oldest answer was read.
    pub read_at: i64,
    /// What was answered may leave something out, or was not all kept: no part of it is final.
    pub ask_again: bool,
    /// What is there stays beside what is new.
    pub keeps: bool,
}

/// What `status` says about a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitState {
    /// Everything of the day is there, or is known not to exist.
    Complete,
    /// What can be there is there; the day is not over, or not everything of it is published yet.
    Provisional,
    /// Something is there, and something is missing that could be.
    Partial,
    /// Nothing was committed.
    Missing,
}

impl UnitState {
    /// The word used in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Provisional => "provisional",
            Self::Partial => "partial",
            Self::Missing => "missing",
        }
    }
}

impl Answers {
    /// The answers of a unit after a run; `parts` are all that the unit has.
    #[must_use]
    pub fn after<'a>(
        before: Option<&Self>,
        heard: &Heard<'_>,
        parts: impl Iterator<Item = &'a String>,
    ) -> Self {
        let mut covered = heard.covered.clone();
        for (part, spans) in before
            .filter(|_| heard.keeps)
            .iter()
            .flat_map(|b| &b.covered)
        {
            covered.entry(part.clone()).or_default().add_all(spans);
        }
        // Asked again is not answered: what nobody answered this time either stays refused.
        let mut refused = before
            .map(|b| b.refused_but(heard.covered))
            .unwrap_or_default();
        for (part, spans) in heard.refused {
            refused.entry(part.clone()).or_default().add_all(spans);
        }
        let refused_at = if heard.refused.is_empty() {
            before.and_then(|b| b.refused_at)
        } else {
            jiff::Timestamp::from_second(heard.read_at).ok()
        };
        let mut after = Self {
            refused_at: refused_at.filter(|_| !refused.is_empty()),
            covered,
            refused,
            settled: BTreeMap::new(),
        };
        for part in parts {
            // What was not asked this time is known not to be answered.
            after.covered.entry(part.clone()).or_default();
            let kept = before
                .filter(|_| heard.keeps)
                .and_then(|b| b.settled.get(part));
            let question = if after.is_final(part, heard) {
                heard.questions.get(part)
            } else {
                kept.filter(|_| !after.refused.contains_key(part))
            };
            if let Some(question) = question {
                after.settled.insert(part.clone(), question.clone());
            }
        }
        after
    }

    /// Whether a run has read all of a part, when nothing more could come.
    fn is_final(&self, part: &str, heard: &Heard<'_>) -> bool {
        let day = heard.day.window();
        let asked = heard.asked.get(part);
        asked.is_some_and(|(window, _)| window.intersection(day) == day)
            && !heard.ask_again
            && heard.read_at >= heard.day.end() + SETTLED_SECONDS
            && !self.refused.contains_key(part)
            && heard.covered.get(part).is_some_and(|s| s.covers(day))
    }

    /// Whether a part is final, and was asked the same question.
    pub fn holds(&self, part: &str, question: &str) -> bool {
        self.settled.get(part).is_some_and(|q| q == question)
    }

    /// Whether the whole day is covered in each of these parts.
    pub fn covers_day<'a>(&self, day: Day, mut parts: impl Iterator<Item = &'a String>) -> bool {
        let whole = |part: &String| {
            self.covered
                .get(part)
                .is_some_and(|s| s.covers(day.window()))
        };
        parts.all(whole)
    }

    /// Whether all of another's time is covered here.
    pub fn covers(&self, other: &BTreeMap<String, Spans>) -> bool {
        other.iter().all(|(part, spans)| {
            let there = self.covered.get(part);
            let covers = |w: &TimeWindow| there.is_some_and(|t| t.covers(*w));
            spans.windows().iter().all(covers)
        })
    }

    /// The time in which something was refused, without what was answered now.
    fn refused_but(&self, answered: &BTreeMap<String, Spans>) -> BTreeMap<String, Spans> {
        let left = |(part, spans): (&String, &Spans)| {
            let answered = answered.get(part).into_iter();
            let left = answered
                .flat_map(Spans::windows)
                .fold(spans.clone(), |left, window| left.without(*window));
            (!left.is_empty()).then(|| (part.clone(), left))
        };
        self.refused.iter().filter_map(left).collect()
    }

    /// The time in which something was refused, outside of what is asked now.
    pub fn refused_beside(
        &self,
        asked: &BTreeMap<String, (TimeWindow, i64)>,
    ) -> BTreeMap<String, Spans> {
        let beside = |(part, spans): (&String, &Spans)| {
            let left = match asked.get(part) {
                Some((window, _)) => spans.without(*window),
                None => spans.clone(),
            };
            (!left.is_empty()).then(|| (part.clone(), left))
        };
        self.refused.iter().filter_map(beside).collect()
    }

    /// The first second that is missing of a part on its day, or was refused and is due at `now`; the day's end when there is none.
    pub fn first_missing(&self, part: &str, day: Day, now: i64) -> i64 {
        let spans = self.covered.get(part);
        let gap = spans.map_or(day.start(), |s| s.first_missing(day.start()));
        let is_due = |at: jiff::Timestamp| at.as_second() + ASK_AGAIN_SECONDS <= now;
        let refused = self.refused.get(part).and_then(|s| s.windows().first());
        let refused = refused.filter(|_| self.refused_at.is_some_and(is_due));
        gap.min(refused.map_or(gap, |w| w.start)).min(day.end())
    }

    /// What the unit is at `now`; `delays` are the configured parts with their publication delays in seconds.
    ///
    /// A gap at the end of the day is provisional as long as the next nightly run can fill it; any other gap makes the unit partial.
    pub fn state(&self, day: Day, now: i64, delays: &BTreeMap<String, i64>) -> UnitState {
        // What was not asked for then is asked from then on: its time before is no hole.
        let knows = |part: &&String| self.covered.contains_key(part.as_str());
        let knows_any = delays.keys().any(|part| knows(&part));
        let asked = || delays.iter().filter(|(part, _)| !knows_any || knows(part));
        if self.covers_day(day, asked().map(|(part, _)| part)) {
            return UnitState::Complete;
        }
        let may_still_come = |(part, delay): (&String, &i64)| {
            let missing = self.covered.get(part).map_or(day.start(), |spans| {
                let day_spans = spans.inside(day.window());
                match day_spans.windows() {
                    [] => day.start(),
                    [one] if one.start == day.start() => one.end,
                    // A hole: it was passed over.
                    _ => i64::MIN,
                }
            });
            missing >= day.end() || missing != i64::MIN && now < day.end() + delay + UNTIL_NEXT_RUN
        };
        if asked().all(may_still_come) {
            UnitState::Provisional
        } else {
            UnitState::Partial
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day() -> Day {
        Day::parse("2026-11-20").expect("a day")
    }

    fn hours(from: i64, to: i64) -> TimeWindow {
        TimeWindow {
            start: day().start() + from * 3_600,
            end: day().start() + to * 3_600,
        }
    }

    fn by_part(spans: &[(&str, i64, i64)]) -> BTreeMap<String, Spans> {
        let mut all: BTreeMap<String, Spans> = BTreeMap::new();
        for (part, from, to) in spans {
            let own = all.entry((*part).to_owned()).or_default();
            own.add(hours(*from, *to));
        }
        all
    }

    #[test]
    fn states_follow_what_is_covered_and_when() {
        let delays = BTreeMap::from([("A".to_owned(), 900), ("S3".to_owned(), 2 * DAY_SECONDS)]);
        let soon = day().end() + 2 * 3_600;
        let late = day().end() + 5 * DAY_SECONDS;
        for (covered, now, state) in [
            (vec![("A", 0, 24), ("S3", 0, 24)], soon, UnitState::Complete),
            // S3 was not asked for then.
            (vec![("A", 0, 24)], late, UnitState::Complete),
            (
                vec![("A", 0, 12), ("S3", 0, 24)],
                soon,
                UnitState::Provisional,
            ),
            (vec![("A", 0, 12), ("S3", 0, 24)], late, UnitState::Partial),
            // A hole.
            (vec![("A", 3, 24), ("S3", 0, 24)], soon, UnitState::Partial),
        ] {
            let answers = Answers {
                covered: by_part(&covered),
                ..Answers::default()
            };
            assert_eq!(answers.state(day(), now, &delays), state, "{covered:?}");
        }
        let mut unpublished = by_part(&[("A", 0, 24)]);
        unpublished.insert("S3".to_owned(), Spans::default());
        let answers = Answers {
            covered: unpublished,
            ..Answers::default()
        };
        assert_eq!(answers.state(day(), soon, &delays), UnitState::Provisional);
        assert_eq!(answers.state(day(), late, &delays), UnitState::Partial);
    }

    #[test]
    fn a_part_is_final_when_it_was_read_whole_and_late_for_the_question_it_was_read_for() {
        let questions: BTreeMap<String, String> = [("a", "q1"), ("b", "q2")]
            .map(|(p, q)| (p.to_owned(), q.to_owned()))
            .into();
        let parts = || questions.keys();
        let late = day().end() + SETTLED_SECONDS;
        let all = hours(0, 24);
        let heard = |asked: &[(&str, TimeWindow)],
                     refused: &[(&str, i64, i64)],
                     at: i64,
                     before: Option<&Answers>| {
            let asked: BTreeMap<String, (TimeWindow, i64)> = asked
                .iter()
                .map(|(p, w)| ((*p).to_owned(), (*w, 0)))
                .collect();
            let covered = asked
                .iter()
                .map(|(p, (w, _))| (p.clone(), Spans::of(w.intersection(all))));
            let covered = covered.collect();
            let refused = by_part(refused);
            let heard = Heard {
                day: day(),
                asked: &asked,
                covered: &covered,
                refused: &refused,
                questions: &questions,
                read_at: at,
                ask_again: false,
                keeps: before.is_some(),
            };
            Answers::after(before, &heard, parts())
        };
        let both = [("a", all), ("b", all)];
        let early = heard(&both, &[], late - 1, None);
        assert!(early.settled.is_empty() && early.covers_day(day(), parts()));
        let whole = heard(&both, &[], late, None);
        assert!(whole.settled == questions && whole.holds("a", "q1") && !whole.holds("a", "q2"));
        // One part again: the other stays as it was.
        let again = heard(&[("b", all)], &[], late, Some(&whole));
        assert_eq!(again.settled, questions);
        // A window inside the day joins: what was final is, for the question it was read for.
        let window = heard(&[("b", hours(3, 5))], &[], late, Some(&whole));
        assert!(window.holds("b", "q2"));
        // Something was refused in it: known, and asked again when it is due.
        let holed = heard(&[("b", hours(3, 5))], &[("b", 3, 5)], late, Some(&whole));
        assert!(!holed.settled.contains_key("b") && holed.holds("a", "q1"));
        assert_eq!(
            holed.first_missing("b", day(), late),
            day().end(),
            "just asked"
        );
        let due = late + ASK_AGAIN_SECONDS;
        assert_eq!(holed.first_missing("b", day(), due), hours(3, 5).start);
        // Asked again and answered: nothing is refused any more.
        let healed = heard(&[("b", all)], &[], due, Some(&holed));
        assert!(
            healed.refused.is_empty() && healed.refused_at.is_none() && healed.settled == questions
        );
    }

    #[test]
    fn what_was_refused_stays_so_until_it_is_answered() {
        let before = Answers {
            covered: by_part(&[("logs", 0, 12)]),
            refused: by_part(&[("logs", 3, 5)]),
            ..Answers::default()
        };
        let asked = BTreeMap::from([("logs".to_owned(), (hours(3, 13), 0))]);
        for (covered, refused) in [
            // Asked again, and not answered for want of one group.
            (vec![], vec![("logs", 3, 5)]),
            (vec![("logs", 4, 13)], vec![("logs", 3, 4)]),
            (vec![("logs", 3, 13)], vec![]),
        ] {
            let heard = Heard {
                day: day(),
                asked: &asked,
                covered: &by_part(&covered),
                refused: &BTreeMap::new(),
                questions: &BTreeMap::new(),
                read_at: day().end(),
                ask_again: false,
                keeps: true,
            };
            let parts = ["logs".to_owned()];
            let after = Answers::after(Some(&before), &heard, parts.iter());
            assert_eq!(after.refused, by_part(&refused), "{covered:?}");
        }
    }

    #[test]
    fn what_may_leave_something_out_or_was_not_asked_whole_is_not_final() {
        let questions = BTreeMap::from([("a".to_owned(), "q".to_owned())]);
        let covered = by_part(&[("a", 0, 24)]);
        let settled = |asked: TimeWindow, ask_again| {
            let heard = Heard {
                day: day(),
                asked: &BTreeMap::from([("a".to_owned(), (asked, 0))]),
                covered: &covered,
                refused: &BTreeMap::new(),
                questions: &questions,
                read_at: day().end() + SETTLED_SECONDS,
                ask_again,
                keeps: false,
            };
            !Answers::after(None, &heard, questions.keys())
                .settled
                .is_empty()
        };
        assert!(settled(hours(0, 24), false) && settled(hours(-24, 48), false));
        assert!(!settled(hours(0, 24), true));
        assert!(!settled(hours(0, 23), false) && !settled(hours(1, 24), false));
    }

    #[test]
    fn what_is_covered_and_what_stays_refused_is_told_by_part() {
        let answers = Answers {
            covered: by_part(&[("a", 0, 12), ("b", 0, 24)]),
            refused: by_part(&[("a", 3, 5), ("b", 6, 8)]),
            ..Answers::default()
        };
        assert!(answers.covers(&by_part(&[("a", 3, 12), ("b", 0, 24)])));
        assert!(!answers.covers(&by_part(&[("a", 3, 13)])));
        assert!(!answers.covers(&by_part(&[("b", 0, 1), ("c", 0, 1)])));
        let asked =
            |part: &str, from, to| BTreeMap::from([(part.to_owned(), (hours(from, to), 0))]);
        let beside = |asked| answers.refused_beside(&asked);
        assert_eq!(
            beside(asked("a", 4, 24)),
            by_part(&[("a", 3, 4), ("b", 6, 8)])
        );
        assert_eq!(beside(asked("a", 0, 24)), by_part(&[("b", 6, 8)]));
        assert_eq!(beside(asked("c", 0, 24)), answers.refused);
    }

    #[test]
    fn a_gap_is_provisional_until_the_next_run_could_have_filled_it() {
        let answers = Answers {
            covered: by_part(&[("a", 0, 23)]),
            ..Answers::default()
        };
        let delays = BTreeMap::from([("a".to_owned(), 900)]);
        let last = day().end() + 900 + UNTIL_NEXT_RUN;
        let state = |now| answers.state(day(), now, &delays);
        assert_eq!(state(last - 1), UnitState::Provisional);
        assert_eq!(state(last), UnitState::Partial);
        let names = [
            UnitState::Complete,
            UnitState::Provisional,
            UnitState::Partial,
        ];
        let names = names.map(UnitState::as_str);
        assert_eq!(names, ["complete", "provisional", "partial"]);
    }
}
