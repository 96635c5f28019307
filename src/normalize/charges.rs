//! Charges as they were published to charges by day.
//!
//! # Source
//! `CloudWatch` user guide, "Create a billing alarm": `EstimatedCharges` is the month so far, in US dollars, published several times a day in
//! us-east-1 and beginning anew each month.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{ChargeKey, ChargePoint, DAY_SECONDS, Day};

/// Published charges by series, each in the order of time.
pub type Charges = BTreeMap<ChargeKey, Vec<ChargePoint>>;

/// What is known of a day's charges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChargeState {
    /// They rose, or stood still.
    Ok,
    /// The month so far fell: charges were taken back.
    Fell,
    /// No value was published on the day.
    Missing,
    /// The same, of a series that has no value any more in the month while others have.
    Vanished,
    /// The first day of a month on which the old month's total was still published.
    CarriedOver,
}

impl ChargeState {
    pub(super) const ALL: [Self; 5] = [
        Self::Ok,
        Self::Fell,
        Self::Missing,
        Self::Vanished,
        Self::CarriedOver,
    ];

    /// As it stands in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Fell => "fell",
            Self::Missing => "missing",
            Self::Vanished => "vanished",
            Self::CarriedOver => "carried_over",
        }
    }
}

/// A day of a series of charges.
#[derive(Clone, Debug, PartialEq)]
pub struct DayCharge {
    /// The series.
    pub key: ChargeKey,
    /// The day.
    pub day: Day,
    /// The last value published on it: the month so far.
    pub month_to_date: Option<f64>,
    /// What came since the last known day: below zero when charges were taken back.
    pub spend: Option<f64>,
    /// Days that `spend` covers: more than one after days without a value.
    pub days: Option<i32>,
    /// What is known.
    pub state: ChargeState,
    /// When the last value was published, seconds since the epoch.
    pub last_ts: Option<i64>,
    /// The day was not over when its charges were read.
    pub provisional: bool,
}

/// Joins what was published before with what was read now. A point of a longer period gives way to one of a shorter inside it; of the same
/// time and period the later reading stands.
pub fn join_charges(before: Charges, now: Charges) -> Charges {
    let mut all = before;
    for (key, points) in now {
        let series = all.entry(key).or_default();
        for point in points {
            series.retain(|p| (p.ts, p.period) != (point.ts, point.period));
            series.push(point);
        }
        series.sort_by_key(|p| (p.ts, p.period));
        let finer = |p: &ChargePoint, points: &[ChargePoint]| {
            let end = p.ts + i64::from(p.period);
            let inside = |q: &ChargePoint| q.period < p.period && (p.ts..end).contains(&q.ts);
            points.iter().any(inside)
        };
        let kept = series.iter().filter(|p| !finer(p, series));
        *series = kept.copied().collect();
    }
    all
}

/// The charges of a month by day.
///
/// `charges` may hold points of the month before: its last totals tell whether the first day's values belong to it. Days from `end` on have no
/// row; those that were not over at `read_until`, when they were asked for, are provisional.
///
/// # Shape
/// Sorted by series and day. A series has a row for every day from its first value to the end of what was asked; the total from the first of
/// the month.
pub fn month_charges(charges: &Charges, month: Day, end: i64, read_until: i64) -> Vec<DayCharge> {
    let first = month.month_start();
    let month = first.start()..first.next_month().start();
    let last_day = Day::containing(end.min(month.end) - 1);
    let (days, carried) = days_of(charges, &month, first, end);
    let mut rows = Vec::new();
    for (key, by_day) in &days {
        // Every series of a currency is published with its total: days without a total are days without an answer.
        let total = key.total();
        let is_total = **key == total;
        let answered = days.get(&total);
        let own_first = by_day.keys().next().copied().unwrap_or(first);
        // What was not published before its first value was nothing, as far as there was an answer.
        let known_zero = answered
            .and_then(|days| days.range(..own_first).next_back())
            .map(|(day, _)| *day)
            .filter(|_| !is_total);
        let mut last = (known_zero.unwrap_or(first.plus(-1)), 0.0);
        let mut day = if is_total { first } else { own_first };
        while day <= last_day {
            let point = by_day.get(&day);
            let (spend, days, state) = match point {
                Some(_) if day == first && carried.contains(key) => {
                    (None, None, ChargeState::CarriedOver)
                }
                Some(point) => {
                    let spend = point.month_to_date - last.1;
                    let since = (day.start() - last.0.start()) / DAY_SECONDS;
                    last = (day, point.month_to_date);
                    let state = if spend < 0.0 {
                        ChargeState::Fell
                    } else {
                        ChargeState::Ok
                    };
                    (Some(spend), i32::try_from(since).ok(), state)
                }
                None => {
                    let is_over = by_day.range(day..).next().is_none();
                    let others_go_on = answered.is_some_and(|d| d.range(day..).next().is_some());
                    let state = if !is_total && is_over && others_go_on {
                        ChargeState::Vanished
                    } else {
                        ChargeState::Missing
                    };
                    (None, None, state)
                }
            };
            rows.push(DayCharge {
                key: (*key).clone(),
                day,
                month_to_date: point.map(|p| p.month_to_date),
                spend,
                days,
                state,
                last_ts: point.map(|p| p.ts),
                provisional: day.end() > read_until,
            });
            day = day.plus(1);
        }
    }
    rows.sort_by(|a, b| (place(&a.key), a.day).cmp(&(place(&b.key), b.day)));
    rows
}

/// The last value of each day of a month, by series; and the series whose first day still has the old month's total.
type MonthDays<'a> = (
    BTreeMap<&'a ChargeKey, BTreeMap<Day, ChargePoint>>,
    BTreeSet<&'a ChargeKey>,
);

fn days_of<'a>(
    charges: &'a Charges,
    month: &std::ops::Range<i64>,
    first: Day,
    end: i64,
) -> MonthDays<'a> {
    // Each has at least one day.
    let mut days = BTreeMap::new();
    let mut carried = BTreeSet::new();
    for (key, points) in charges {
        let own = points
            .iter()
            .filter(|p| month.contains(&p.ts) && p.ts < end);
        let by_day: BTreeMap<Day, ChargePoint> = own.map(|p| (Day::containing(p.ts), *p)).collect();
        if by_day.is_empty() {
            continue;
        }
        // Whether a month has begun anew is told by the total: a flat fee is the same on the first as it was at the end.
        let telling = charges.get(&key.total()).unwrap_or(points);
        let before = telling.iter().rfind(|p| p.ts < month.start);
        if before.is_some_and(|b| is_carried_over(b.month_to_date, telling, first)) {
            carried.insert(key);
        }
        days.insert(key, by_day);
    }
    (days, carried)
}

/// Whether all values of a month's first day are still the old month's: none is below where that ended.
fn is_carried_over(before: f64, points: &[ChargePoint], first: Day) -> bool {
    let of_day = || points.iter().filter(|p| Day::containing(p.ts) == first);
    before > 0.0 && of_day().next().is_some() && of_day().all(|p| p.month_to_date >= before)
}

/// In which order series stand in a file.
pub(super) fn place(key: &ChargeKey) -> (&'static str, Option<&str>, Option<&str>, &str) {
    let (linked, service) = (key.linked_account.as_deref(), key.service.as_deref());
    (key.scope(), linked, service, &key.currency)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::normalize) fn key(service: Option<&str>) -> ChargeKey {
        ChargeKey {
            currency: "USD".to_owned(),
            linked_account: None,
            service: service.map(str::to_owned),
        }
    }

    /// Points at hours, as `11-02 06 3.5` a line.
    pub(in crate::normalize) fn points(text: &str) -> Vec<ChargePoint> {
        let lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
        lines
            .map(|line| {
                let mut fields = line.split(' ');
                let mut field = || fields.next().expect("three fields");
                let day = Day::parse(&format!("2026-{}", field())).expect("a day");
                ChargePoint {
                    ts: day.start() + field().parse::<i64>().expect("an hour") * 3_600,
                    period: 300,
                    month_to_date: field().parse().expect("an amount"),
                }
            })
            .collect()
    }

    fn november(charges: &[(Option<&str>, &str)], end: &str) -> Vec<String> {
        let charges = charges.iter().map(|(s, text)| (key(*s), points(text)));
        let month = Day::parse("2026-11-01").expect("a day");
        let end = Day::parse(end).expect("a day").start();
        let amount = |a: Option<f64>| a.map_or("-".to_owned(), |a| format!("{a}"));
        month_charges(&charges.collect(), month, end, end)
            .iter()
            .map(|r| {
                format!(
                    "{}{} {} {} {} {}",
                    r.key
                        .service
                        .as_deref()
                        .map_or(String::new(), |s| format!("{s} ")),
                    &r.day.to_string()[5..],
                    amount(r.month_to_date),
                    amount(r.spend),
                    r.days.map_or("-".to_owned(), |d| d.to_string()),
                    r.state.as_str()
                )
            })
            .collect()
    }

    #[test]
    fn a_month_begins_anew_whatever_is_still_published_of_the_old_one() {
        // The old month's total goes on for some hours of the first.
        let rows = november(
            &[(
                None,
                "10-31 06 990
                 10-31 20 1000
                 11-01 02 1005
                 11-01 08 4
                 11-01 20 12.5
                 11-02 20 30",
            )],
            "2026-11-03",
        );
        assert_eq!(rows, ["11-01 12.5 12.5 1 ok", "11-02 30 17.5 1 ok"]);
        // All of the first day: what is of the new month is not known, and in the next day's.
        let rows = november(
            &[(
                None,
                "10-31 20 1000\n11-01 02 1005\n11-01 20 1008\n11-02 20 30",
            )],
            "2026-11-03",
        );
        assert_eq!(rows, ["11-01 1008 - - carried_over", "11-02 30 30 2 ok"]);
        // Nothing was spent before: nothing can be carried over.
        let rows = november(
            &[(None, "10-31 20 0\n11-01 20 0\n11-02 20 5")],
            "2026-11-03",
        );
        assert_eq!(rows, ["11-01 0 0 1 ok", "11-02 5 5 1 ok"]);
    }

    #[test]
    fn a_flat_fee_on_the_first_is_no_old_month() {
        let rows = november(
            &[
                (None, "10-31 20 1000\n11-01 20 120"),
                (Some("Support"), "10-31 20 100\n11-01 20 100"),
            ],
            "2026-11-02",
        );
        assert_eq!(rows, ["Support 11-01 100 100 1 ok", "11-01 120 120 1 ok"]);
    }

    #[test]
    fn a_missing_day_is_named_and_the_next_one_covers_it() {
        let rows = november(
            &[(None, "11-01 20 10\n11-03 20 40\n11-04 20 50")],
            "2026-11-06",
        );
        assert_eq!(
            rows,
            [
                "11-01 10 10 1 ok",
                "11-02 - - - missing",
                "11-03 40 30 2 ok",
                "11-04 50 10 1 ok",
                "11-05 - - - missing",
            ]
        );
        let rows = november(&[(None, "11-03 20 40")], "2026-11-04");
        assert_eq!(
            rows,
            [
                "11-01 - - - missing",
                "11-02 - - - missing",
                "11-03 40 40 3 ok"
            ]
        );
    }

    #[test]
    fn a_late_correction_is_kept_and_flagged() {
        let rows = november(
            &[(
                None,
                "11-01 20 10\n11-02 20 40\n11-03 20 35.5\n11-04 20 45.5",
            )],
            "2026-11-05",
        );
        assert_eq!(
            rows,
            [
                "11-01 10 10 1 ok",
                "11-02 40 30 1 ok",
                "11-03 35.5 -4.5 1 fell",
                "11-04 45.5 10 1 ok",
            ]
        );
        // Published late, for a day that was read before: the day is what it is now.
        let before = Charges::from([(key(None), points("11-01 20 10\n11-02 08 20"))]);
        let late = Charges::from([(key(None), points("11-02 08 21\n11-02 20 22"))]);
        let joined = join_charges(before, late);
        assert_eq!(
            joined[&key(None)],
            points("11-01 20 10\n11-02 08 21\n11-02 20 22")
        );
    }

    #[test]
    fn a_service_that_vanishes_or_begins_mid_month_is_told_from_a_missing_answer() {
        let rows = november(
            &[
                (None, "11-01 20 10\n11-02 20 20\n11-04 20 40\n11-05 20 50"),
                (Some("A"), "11-01 20 1\n11-02 20 2"),
                (Some("B"), "11-04 20 7\n11-05 20 9"),
                (Some("C"), "11-05 20 4"),
                (Some("D"), "11-02 20 1\n11-05 20 2"),
            ],
            "2026-11-06",
        );
        assert_eq!(
            rows,
            [
                "A 11-01 1 1 1 ok",
                "A 11-02 2 1 1 ok",
                "A 11-03 - - - vanished",
                "A 11-04 - - - vanished",
                "A 11-05 - - - vanished",
                // The total had no value on the third: B may have begun on it.
                "B 11-04 7 7 2 ok",
                "B 11-05 9 2 1 ok",
                "C 11-05 4 4 1 ok",
                "D 11-02 1 1 1 ok",
                "D 11-03 - - - missing",
                "D 11-04 - - - missing",
                "D 11-05 2 1 3 ok",
                "11-01 10 10 1 ok",
                "11-02 20 10 1 ok",
                "11-03 - - - missing",
                "11-04 40 20 2 ok",
                "11-05 50 10 1 ok",
            ]
        );
    }

    #[test]
    fn hours_give_way_to_the_five_minutes_in_them() {
        let fine = ChargePoint {
            ts: 7_500,
            period: 300,
            month_to_date: 2.0,
        };
        let coarse = |ts| ChargePoint {
            ts,
            period: 3_600,
            month_to_date: 2.0,
        };
        let before = Charges::from([(key(None), vec![fine])]);
        let hours = [3_600, 7_200, 10_800].map(coarse);
        let now = Charges::from([(key(None), hours.to_vec())]);
        let joined = join_charges(before, now);
        assert_eq!(joined[&key(None)], [hours[0], fine, hours[2]]);
    }

    #[test]
    fn what_a_service_cost_before_its_first_value_is_told_by_the_total_of_its_currency() {
        let total = "11-01 20 10\n11-02 20 20\n11-03 20 30";
        let rows = november(&[(None, total), (Some("C"), "11-03 20 4")], "2026-11-04");
        assert_eq!(rows[0], "C 11-03 4 4 1 ok");
        let of = |currency: &str, service, text: &str| {
            let key = ChargeKey {
                currency: currency.to_owned(),
                ..key(service)
            };
            (key, points(text))
        };
        let charges = Charges::from([
            of("EUR", None, "11-01 20 10\n11-02 20 20"),
            of("USD", None, "11-03 20 9"),
            of("USD", Some("A"), "11-03 20 9"),
        ]);
        let month = Day::parse("2026-11-01").expect("a day");
        let end = month.plus(3).start();
        let rows = month_charges(&charges, month, end, end);
        let first = rows.iter().find(|r| r.key.service.is_some());
        let days = first.and_then(|r| r.days);
        assert_eq!(days, Some(3), "no dollars were told before");
    }

    #[test]
    fn a_point_at_midnight_is_the_new_days() {
        let total = "11-01 20 10\n11-02 20 20\n11-03 20 30\n11-04 20 40";
        let late = "11-01 20 1\n11-05 00 2";
        let rows = november(&[(None, total), (Some("A"), late)], "2026-11-05");
        let known = "what came after is not known yet";
        assert_eq!(rows[1], "A 11-02 - - - vanished", "{known}");
        let rows = november(
            &[(None, "10-31 20 1000\n11-01 00 5\n11-01 20 8")],
            "2026-11-02",
        );
        assert_eq!(rows, ["11-01 8 8 1 ok"]);
    }
}
