//! Sequences of runs, whatever befalls them: what is recorded as answered was answered, every hole is known, a run without faults heals what it
//! can reach, and nothing is asked again that the rules do not ask for.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::batches::Scope;
use super::days::{AskedDays, AskedPart, KnownDay, Question, hull};
use super::mode::DayMode;
use crate::lake::answers::{Answers, Heard, UnitState};
use crate::model::{DAY_SECONDS, Day, Spans, TimeWindow};

const HOUR: i64 = 3_600;
const PARTS: [(&str, i64); 2] = [("a", 0), ("b", 2 * HOUR)];

/// A run.
#[derive(Clone, Debug)]
struct Run {
    /// Hours since the one before.
    after: i64,
    what: What,
    fault: Fault,
    /// The parts that are configured, each with the version of its question.
    questions: [Option<u8>; 2],
    force: bool,
}

#[derive(Clone, Debug)]
enum What {
    /// Yesterday and the days before it.
    Nightly(i64),
    SinceLast,
    /// Hours before now, from and to.
    Window(i64, i64),
}

#[derive(Clone, Debug, PartialEq)]
enum Fault {
    None,
    /// Nothing is answered: a denial, a network.
    Denied,
    /// Killed after some days were recorded.
    Crash(usize),
    /// One query of a part is refused by itself, everywhere.
    Refused(usize),
}

fn run() -> impl Strategy<Value = Run> {
    let what = prop_oneof![
        3 => (0_i64..4).prop_map(What::Nightly),
        4 => Just(What::SinceLast),
        2 => (1_i64..60, 0_i64..50).prop_map(|(a, b)| What::Window(a.max(b) + 1, a.min(b))),
    ];
    let fault = prop_oneof![
        4 => Just(Fault::None),
        1 => Just(Fault::Denied),
        1 => (0_usize..3).prop_map(Fault::Crash),
        2 => (0_usize..2).prop_map(Fault::Refused),
    ];
    let question = || prop_oneof![4 => Just(Some(0)), 1 => Just(Some(1)), 1 => Just(None)];
    (
        1_i64..40,
        what,
        fault,
        [question(), question()],
        prop::bool::weighted(0.1),
    )
        .prop_map(|(after, what, fault, questions, force)| Run {
            after,
            what,
            fault,
            questions,
            force,
        })
}

/// The lake, and what really happened.
#[derive(Default)]
struct World {
    known: BTreeMap<Day, KnownDay>,
    /// What CloudWatch answered, by part.
    answered: BTreeMap<String, Spans>,
    /// What of it holds a hole: refused, and not answered since.
    holes: BTreeMap<String, Spans>,
}

fn nothing() -> TimeWindow {
    TimeWindow { start: 0, end: 0 }
}

impl World {
    /// What a run asks. `now` is whole hours.
    fn ask(&self, run: &Run, now: i64) -> (BTreeMap<String, AskedPart>, AskedDays) {
        let configured = PARTS.iter().zip(run.questions);
        let asked = configured.filter_map(|((part, delay), version)| {
            let asked = AskedPart {
                delay: *delay,
                overlap: HOUR,
                periods: [HOUR].into(),
                question: format!("{part} {}", version?),
            };
            Some(((*part).to_owned(), asked))
        });
        let asked: BTreeMap<String, AskedPart> = asked.collect();
        let parts = asked.iter().map(|(p, a)| (p.clone(), a.delay)).collect();
        let question = Question {
            left_to_others: i64::MIN,
            parts: &parts,
            asked: &asked,
            force: run.force,
            resuming: false,
            now,
        };
        let today = Day::containing(now);
        let days = match run.what {
            What::Nightly(back) => {
                let range = TimeWindow::days(today.plus(-1 - back), today);
                question.of_range(range, &self.known)
            }
            What::Window(from, to) => {
                let range = TimeWindow {
                    start: now - from * HOUR,
                    end: now - to * HOUR,
                };
                question.of_range(range, &self.known)
            }
            What::SinceLast => {
                let first = self.known.keys().next().copied();
                question.since_last(first, today.window(), &self.known)
            }
        };
        (asked, days)
    }

    /// Sends what was asked and records what came.
    fn answer(
        &mut self,
        run: &Run,
        now: i64,
        asked: &BTreeMap<String, AskedPart>,
        days: &AskedDays,
    ) {
        let published = |part: &str| {
            let delay = asked.get(part).map_or(0, |a| a.delay);
            TimeWindow {
                start: i64::MIN,
                end: now - delay,
            }
        };
        let mut recorded = 0;
        for (day, mode) in &days.days {
            let is_lost = match run.fault {
                Fault::Denied => true,
                Fault::Crash(after) => recorded >= after,
                Fault::None | Fault::Refused(_) => false,
            };
            if !mode.is_asked() || is_lost {
                continue;
            }
            recorded += 1;
            let (mut covered, mut refused) = (BTreeMap::new(), BTreeMap::new());
            for (n, (part, _)) in PARTS.iter().enumerate() {
                let Some((window, _)) = days.windows.get(*part) else {
                    continue;
                };
                let here = window.intersection(day.window());
                let known = here.intersection(published(part));
                if known.is_empty() {
                    covered.insert((*part).to_owned(), Spans::default());
                    continue;
                }
                covered.insert((*part).to_owned(), Spans::of(known));
                self.answered
                    .entry((*part).to_owned())
                    .or_default()
                    .add(known);
                let hole = self.holes.entry((*part).to_owned()).or_default();
                *hole = hole.without(here);
                if run.fault == Fault::Refused(n) {
                    hole.add(here);
                    refused.insert((*part).to_owned(), Spans::of(here));
                }
            }
            let questions = asked
                .iter()
                .map(|(p, a)| (p.clone(), a.question.clone()))
                .collect();
            let before = self.known.get(day);
            let heard = Heard {
                day: *day,
                asked: &days.windows,
                covered: &covered,
                refused: &refused,
                questions: &questions,
                read_at: now,
                ask_again: false,
                keeps: mode.adds(),
            };
            let answers = Answers::after(before.map(|k| &k.answers), &heard, asked.keys());
            let has_others = mode.adds() && before.is_some();
            let after = KnownDay {
                answers,
                has_others,
                is_there: true,
            };
            self.known.insert(*day, after);
        }
    }
}

fn inside(spans: Option<&Spans>, window: TimeWindow) -> Spans {
    spans.map(|s| s.inside(window)).unwrap_or_default()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_sequence_of_runs_loses_a_second_or_asks_one_without_a_rule(runs in prop::collection::vec(run(), 1..14)) {
        let mut world = World::default();
        let mut now = Day::parse("2026-11-01").expect("a day").start() + 5 * HOUR;
        for run in &runs {
            now += run.after * HOUR;
            let (asked, days) = world.ask(run, now);
            // What is final for the question is not asked, but between days that are not.
            for (part, (window, _)) in &days.windows {
                prop_assert!(!window.is_empty());
                let question = &asked[part].question;
                let is_held = |day: Day| !run.force && world.known.get(&day).is_some_and(|k| k.answers.holds(part, question));
                let mut touched = window.touched_days();
                let ends = [touched.next(), Some(Day::containing(window.end - 1))];
                if !matches!(run.what, What::SinceLast) {
                    prop_assert!(ends.into_iter().flatten().all(|day| !is_held(day)), "{part} is final at an end of {window:?}");
                } else if let Some(first) = world.known.keys().next() {
                    // No second is asked that is neither missing, nor due, nor of the overlap.
                    let missing = |day: Day| world.known.get(&day).map_or(day.start(), |k| k.answers.first_missing(part, day, now));
                    let all = TimeWindow { start: first.start(), end: now };
                    let gap = all.touched_days().map(|d| (missing(d), d.end())).find(|(m, end)| m < end).map_or(now, |(m, _)| m);
                    prop_assert!(window.start >= gap.min(Day::containing(now).start()) - HOUR, "{part}: {window:?} before the gap at {gap}");
                }
            }
            world.answer(run, now, &asked, &days);
            for (day, known) in &world.known {
                for (part, _) in PARTS {
                    let covered = inside(known.answers.covered.get(part), day.window());
                    let answered = inside(world.answered.get(part), day.window());
                    for window in covered.windows() {
                        prop_assert!(answered.covers(*window), "{part} of {day} is not answered in {window:?}");
                    }
                    // Every hole is known.
                    let refused = inside(known.answers.refused.get(part), day.window());
                    for hole in inside(world.holes.get(part), day.window()).windows() {
                        prop_assert!(refused.covers(*hole), "{part} of {day} has a hole in {hole:?} that is not known");
                    }
                    if !refused.is_empty() {
                        prop_assert!(!known.answers.settled.contains_key(part), "{part} of {day} is final with a hole");
                    }
                }
            }
        }
        // Three days later, without faults: everything since the first day is there, and final.
        now += 3 * DAY_SECONDS;
        let Some(first) = world.known.keys().next().copied() else { return Ok(()) };
        let back = (Day::containing(now).start() - first.start()) / DAY_SECONDS - 1;
        let heal = Run { after: 0, what: What::Nightly(back), fault: Fault::None, questions: [Some(0), Some(0)], force: false };
        for what in [heal.what.clone(), What::SinceLast] {
            let run = Run { what, ..heal.clone() };
            let (asked, days) = world.ask(&run, now);
            world.answer(&run, now, &asked, &days);
        }
        let delays: BTreeMap<String, i64> = PARTS.iter().map(|(p, d)| ((*p).to_owned(), *d)).collect();
        for (day, known) in world.known.iter().filter(|(d, _)| d.end() + 2 * DAY_SECONDS <= now) {
            prop_assert_eq!(known.answers.state(*day, now, &delays), UnitState::Complete, "{}", day);
            prop_assert!(known.answers.refused.is_empty(), "{day} still has a hole");
        }
        // Once more: of what is final nothing is asked.
        let (_, days) = world.ask(&heal, now);
        let final_days = |(day, _): &&(Day, DayMode)| day.end() + 2 * DAY_SECONDS <= now;
        prop_assert!(days.days.iter().filter(final_days).all(|(_, mode)| *mode == DayMode::Held));
        let scope: &Scope = &days.windows;
        prop_assert!(hull(scope) == nothing() || hull(scope).start >= now - 3 * DAY_SECONDS - DAY_SECONDS);
    }
}
