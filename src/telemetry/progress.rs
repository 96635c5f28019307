//! How far a run is: a bar on a terminal, lines elsewhere, or nothing.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::logs::{Level, LogFormat, format, say};
use crate::model::UnitOutcome;
use crate::report::{LaneReport, Look, RunReport, UnitReport, counted, grouped, plan_text};

/// Lines of the plan shown before a run; `cwlake plan` shows them all.
const PLAN_LINES: usize = 20;

/// Between two lines that say how far the answers are, where there is no bar to move.
const BETWEEN_LINES: Duration = Duration::from_secs(30);

/// A time left is not told before so much of it is known.
const BEFORE_FORECAST: Duration = Duration::from_secs(5);

/// Shows how far a run is. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Progress {
    mode: Mode,
    reading: Arc<Mutex<Reading>>,
}

#[derive(Clone, Debug)]
enum Mode {
    Quiet,
    Lines,
    Bar(ProgressBar),
}

/// How far the answers of a run are.
#[derive(Clone, Copy, Debug)]
struct Reading {
    lanes: u64,
    lanes_done: u64,
    /// Requests that the plan counts.
    planned: u64,
    answered: u64,
    points: u64,
    began: Instant,
    told: Instant,
}

impl Reading {
    /// `3 of 30 lanes, 45 % of the requests, 12,345 points, about 2 min left`.
    fn text(&self, elapsed: Duration) -> String {
        let mut parts = vec![format!(
            "{} of {}",
            grouped(self.lanes_done),
            counted(self.lanes, "lane")
        )];
        if self.planned > 0 {
            // A request may have more pages than the plan counts.
            let answered = self.answered.min(self.planned);
            parts.push(format!(
                "{} % of the requests",
                answered * 100 / self.planned
            ));
            parts.push(counted(self.points, "point"));
            if elapsed >= BEFORE_FORECAST && answered > 0 && answered < self.planned {
                let share = self.planned as f64 / answered as f64 - 1.0;
                parts.push(format!("about {} left", rough(elapsed.mul_f64(share))));
            }
        }
        parts.join(", ")
    }
}

/// `40 s`, `12 min`, `3 h 5 min`.
fn rough(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..90 => format!("{} s", seconds.max(1)),
        90..5_400 => format!("{} min", (seconds + 30) / 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

impl Progress {
    fn new(mode: Mode) -> Self {
        let now = Instant::now();
        let reading = Reading {
            lanes: 0,
            lanes_done: 0,
            planned: 0,
            answered: 0,
            points: 0,
            began: now,
            told: now,
        };
        Self {
            mode,
            reading: Arc::new(Mutex::new(reading)),
        }
    }

    /// Nothing is shown.
    pub fn quiet() -> Self {
        Self::new(Mode::Quiet)
    }

    /// Whether nothing is shown.
    pub fn is_quiet(&self) -> bool {
        matches!(self.mode, Mode::Quiet)
    }

    /// A bar when stderr is a terminal that can draw one, else lines.
    pub fn to_stderr() -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|t| t == "dumb");
        if !std::io::stderr().is_terminal() || dumb || format() == LogFormat::Json {
            return Self::new(Mode::Lines);
        }
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(120));
        Self::new(Mode::Bar(bar))
    }

    /// A stage begins.
    pub fn stage(&self, text: &str) {
        match &self.mode {
            Mode::Quiet => {}
            Mode::Lines => say(Level::Info, text, &json!({})),
            Mode::Bar(bar) => bar.set_message(text.to_owned()),
        }
    }

    /// The plan is made; this is printed before anything is spent.
    pub fn plan(&self, report: &RunReport) {
        let screen = std::io::stderr().is_terminal();
        let text = || plan_text(report, Some(PLAN_LINES), &Look::of(screen, false));
        match &self.mode {
            Mode::Quiet => {}
            Mode::Lines if format() == LogFormat::Json => {
                say(
                    Level::Info,
                    "the plan is made",
                    &json!({ "plan": report.planned }),
                );
            }
            Mode::Lines => say(Level::Info, &text(), &json!({})),
            Mode::Bar(bar) => bar.println(text().trim_end()),
        }
    }

    /// So many lanes will be exported, with so many requests.
    pub fn lanes(&self, lanes: usize, requests: u64) {
        let now = Instant::now();
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        *reading = Reading {
            lanes: lanes as u64,
            planned: requests,
            began: now,
            told: now,
            ..*reading
        };
        if let Mode::Bar(bar) = &self.mode {
            let style = ProgressStyle::with_template("{bar:24} {elapsed} {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_length(lanes as u64 + requests);
            bar.set_position(0);
            bar.set_message(reading.text(Duration::ZERO));
        }
    }

    /// So many requests were answered, with so many points.
    pub fn answered(&self, requests: u64, points: u64) {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        reading.answered += requests;
        reading.points += points;
        match &self.mode {
            Mode::Lines if reading.told.elapsed() >= BETWEEN_LINES => {
                reading.told = Instant::now();
                let text = reading.text(reading.began.elapsed());
                let fields = json!({ "lanes": reading.lanes, "lanes_done": reading.lanes_done, "requests": reading.planned, "answered": reading.answered, "points": reading.points });
                say(Level::Info, &text, &fields);
            }
            Mode::Quiet | Mode::Lines => {}
            Mode::Bar(bar) => {
                bar.inc(requests);
                bar.set_message(reading.text(reading.began.elapsed()));
            }
        }
    }

    /// One dataset is done in a lane.
    pub fn lane_done(&self, lane: &LaneReport, units: &[UnitReport]) {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        reading.lanes_done += 1;
        match &self.mode {
            Mode::Quiet => {}
            Mode::Lines => {
                let (text, fields) = done(lane, units);
                say(Level::Info, &text, &fields);
            }
            Mode::Bar(bar) => {
                bar.inc(1);
                bar.set_message(reading.text(reading.began.elapsed()));
            }
        }
    }

    /// Nothing more comes.
    pub fn finish(&self) {
        if let Mode::Bar(bar) = &self.mode {
            bar.finish_and_clear();
        }
    }
}

/// `111122223333/us-east-1: 2 written; 1,234 rows in 0.4 s`, and the same as fields.
fn done(lane: &LaneReport, units: &[UnitReport]) -> (String, Value) {
    let name = lane.dataset.name();
    let of_dataset = if name == "metrics" {
        String::new()
    } else {
        format!(" {name}")
    };
    let written = units.iter().filter(|u| u.outcome == UnitOutcome::Written);
    let rows: u64 = written.map(|u| u.rows).sum();
    let counts =
        UnitOutcome::ALL.map(|o| (o.as_str(), units.iter().filter(|u| u.outcome == o).count()));
    let counts = counts.into_iter().filter(|(_, n)| *n > 0);
    let words: Vec<String> = counts
        .clone()
        .map(|(word, n)| format!("{n} {word}"))
        .collect();
    let text = format!(
        "{}/{}{of_dataset}: {}; {} in {:.1} s",
        lane.account_id,
        lane.region,
        words.join(", "),
        counted(rows, "row"),
        lane.seconds
    );
    let units: Map<String, Value> = counts
        .map(|(word, n)| (word.to_owned(), n.into()))
        .collect();
    let fields = json!({ "account_id": lane.account_id, "region": lane.region, "dataset": name, "units": units, "rows": rows, "seconds": lane.seconds });
    (text, fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_long_lane_tells_its_points_its_share_and_the_time_left() {
        let now = Instant::now();
        let reading = Reading {
            lanes: 1,
            lanes_done: 0,
            planned: 200,
            answered: 50,
            points: 1_234_567,
            began: now,
            told: now,
        };
        assert_eq!(
            reading.text(Duration::from_mins(1)),
            "0 of 1 lane, 25 % of the requests, 1,234,567 points, about 3 min left"
        );
        let more = Reading {
            answered: 201,
            lanes_done: 1,
            ..reading
        };
        assert_eq!(
            more.text(Duration::from_mins(1)),
            "1 of 1 lane, 100 % of the requests, 1,234,567 points"
        );
        let logs = Reading {
            planned: 0,
            lanes: 3,
            ..reading
        };
        assert_eq!(logs.text(Duration::from_mins(1)), "0 of 3 lanes");
        assert_eq!(rough(Duration::from_mins(185)), "3 h 5 min");
    }
}
