//! A chart of bars, a bar a day, with its axes.

use crate::report::printable;

/// Size of a chart in its own units: those of its text.
const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 170.0;

/// Room for the numbers on the left, below for the days, and above for the greatest number's own height.
const LEFT: f64 = 70.0;
const BELOW: f64 = 22.0;
const ABOVE: f64 = 10.0;

/// Bars of one colour: a value a day, or none where there is none.
pub(super) struct Series<'a> {
    pub(super) title: &'a str,
    /// How a value is told, with its unit.
    pub(super) told: &'a dyn Fn(f64) -> String,
    /// What is known of each day.
    pub(super) values: Vec<(String, Option<f64>)>,
    /// A limit that is drawn across.
    pub(super) limit: Option<f64>,
    /// By how much a larger unit is larger: 1,000, or 1,024 for bytes.
    pub(super) base: f64,
}

/// A chart, ready to be shown.
#[derive(Debug)]
pub(super) struct Chart {
    pub(super) title: String,
    /// The chart in words.
    pub(super) summary: String,
    pub(super) bars: String,
    pub(super) limit: Option<String>,
    pub(super) ticks: Vec<Tick>,
    pub(super) labels: Vec<Label>,
    /// The numbers: days and values.
    pub(super) rows: Vec<[String; 2]>,
}

/// A number on the left, and the line across at its height.
#[derive(Debug)]
pub(super) struct Tick {
    pub(super) y: String,
    pub(super) text: String,
}

/// A day below.
#[derive(Debug)]
pub(super) struct Label {
    pub(super) x: String,
    pub(super) anchor: &'static str,
    pub(super) text: String,
}

/// The chart; none without a value.
pub(super) fn chart(series: &Series<'_>) -> Option<Chart> {
    let known = || {
        series
            .values
            .iter()
            .filter_map(|(day, v)| Some((day, (*v)?)))
    };
    let values = known().map(|(_, v)| v).chain(series.limit);
    let top = round_up(values.fold(0.0, f64::max), series.base);
    known().next()?;
    let floor = HEIGHT - BELOW;
    let y_of = |value: f64| floor - value.max(0.0) / top * (floor - ABOVE);
    let step = (WIDTH - LEFT) / series.values.len() as f64;
    let width = (step * 0.78).clamp(0.6, 28.0);
    let mut bars = String::new();
    for (n, (_, value)) in series.values.iter().enumerate() {
        if let Some(value) = value {
            let y = y_of(*value).min(floor - 0.6);
            bars += &format!(
                "M{:.1} {floor}V{y:.1}h{width:.1}V{floor}z",
                LEFT + n as f64 * step + (step - width) / 2.0
            );
        }
    }
    let told = |value: f64| (series.told)(value);
    let tick = |share: f64| Tick {
        y: format!("{:.1}", y_of(top * share)),
        text: told(top * share),
    };
    let (last_day, last) = known().next_back()?;
    let (most_day, most) = known().max_by(|a, b| a.1.total_cmp(&b.1))?;
    Some(Chart {
        title: series.title.to_owned(),
        summary: format!(
            "{} on {last_day}, the last day; at most {} on {most_day}{}",
            told(last),
            told(most),
            series.limit.map_or(String::new(), |limit| format!(
                "; allowed are {}",
                told(limit)
            ))
        ),
        bars,
        limit: series.limit.map(|limit| format!("{:.1}", y_of(limit))),
        ticks: [0.0, 0.5, 1.0].map(tick).into(),
        labels: labels(&series.values, step),
        rows: series
            .values
            .iter()
            .map(|(day, value)| {
                let value = value.map_or("not known".to_owned(), told);
                [printable(day), value]
            })
            .collect(),
    })
}

/// The first, the middle and the last day.
fn labels(values: &[(String, Option<f64>)], step: f64) -> Vec<Label> {
    let at = |n: usize, anchor| Label {
        x: format!("{:.1}", LEFT + (n as f64 + 0.5) * step),
        anchor,
        text: values
            .get(n)
            .map(|(day, _)| day.clone())
            .unwrap_or_default(),
    };
    match values.len() {
        0 => Vec::new(),
        1 => vec![at(0, "middle")],
        n @ 2..=6 => vec![at(0, "start"), at(n - 1, "end")],
        n => vec![at(0, "start"), at(n / 2, "middle"), at(n - 1, "end")],
    }
}

/// The next number of one digit, or of one and a half, in its unit: what an axis ends with.
fn round_up(most: f64, base: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    let unit = base.powf(most.log(base).floor().max(0.0));
    let power = unit * 10_f64.powf((most / unit).log10().floor());
    let steps = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    let fits = steps.into_iter().find(|step| step * power >= most);
    fits.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_in_round_numbers_and_gaps_are_no_bars() {
        assert_eq!(
            [0.0, 0.012, 7.1, 100.0, 101.0].map(|v| round_up(v, 1_000.0)),
            [1.0, 0.015, 8.0, 100.0, 150.0]
        );
        assert_eq!(
            [1_500.0, 40_000.0, 1.1e6].map(|v| round_up(v, 1_024.0)),
            [1_536.0, 40_960.0, 1_572_864.0]
        );
        let day = |n: usize, value| (format!("2026-11-{n:02}"), value);
        let series = Series {
            title: "Rows",
            told: &|v| format!("{v:.0}"),
            values: vec![day(1, Some(10.0)), day(2, None), day(3, Some(40.0))],
            limit: None,
            base: 1_000.0,
        };
        let chart = chart(&series).expect("it has values");
        assert_eq!(chart.bars.matches('M').count(), 2);
        assert_eq!(chart.rows[1], ["2026-11-02", "not known"]);
        assert_eq!(chart.ticks.last().map(|t| t.text.as_str()), Some("40"));
        assert_eq!(
            chart.summary,
            "40 on 2026-11-03, the last day; at most 40 on 2026-11-03"
        );
    }
}
