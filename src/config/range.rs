//! Which UTC days a run covers: pure, with "now" as an argument.

use super::limits::OLDEST_SECONDS;
use crate::model::{DAY_SECONDS, Day, TimeWindow};

/// What was typed: `--date`, or `--from` and `--to`, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeRequest {
    /// `--date`.
    pub date: Option<String>,
    /// `--from`.
    pub from: Option<String>,
    /// `--to`, exclusive.
    pub to: Option<String>,
}

/// The days of a run, half-open, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayRange {
    /// First day.
    pub first: Day,
    /// First day after.
    pub end: Day,
}

impl DayRange {
    /// The seconds the days hold.
    pub fn window(&self) -> TimeWindow {
        TimeWindow::days(self.first, self.end)
    }

    /// How many days.
    pub fn len(&self) -> i64 {
        self.window().seconds() / DAY_SECONDS
    }

    /// True for a range without days; [`resolve_range`] never gives one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why a range cannot be exported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{flag}: {message}")]
pub struct RangeError {
    /// The flag to change.
    pub flag: &'static str,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// The days meant by the flags: one date, a half-open range, or yesterday and `lookback_days` before it.
///
/// # Errors
/// [`RangeError`] for a text that is no UTC day, an empty range, one that ends after today, or one that begins before the
/// 455 days CloudWatch keeps. `--date` may be today: the day is then provisional.
pub fn resolve_range(
    request: &RangeRequest,
    lookback_days: u32,
    now: i64,
) -> Result<DayRange, RangeError> {
    let today = Day::containing(now);
    let (range, flag) = match (&request.date, &request.from, &request.to) {
        (None, None, None) => (
            DayRange {
                first: today.plus(-1 - i64::from(lookback_days)),
                end: today,
            },
            "run.lookback_days",
        ),
        (Some(date), None, None) => {
            let first = day("--date", date)?;
            (
                DayRange {
                    first,
                    end: first.plus(1),
                },
                "--date",
            )
        }
        (None, Some(from), to) => {
            let first = day("--from", from)?;
            let end = to.as_ref().map_or(Ok(today), |to| day("--to", to))?;
            (DayRange { first, end }, "--from")
        }
        (None, None, Some(_)) => {
            return Err(RangeError {
                flag: "--to",
                message: "needs --from as well".to_owned(),
            });
        }
        (Some(_), ..) => {
            return Err(RangeError {
                flag: "--date",
                message: "stands alone: use --from and --to for a range".to_owned(),
            });
        }
    };
    if range.first >= range.end {
        return Err(RangeError {
            flag,
            message: format!(
                "{} is not before {}; the end is exclusive",
                range.first, range.end
            ),
        });
    }
    if range.end > today.plus(1) {
        let last = range.end.plus(-1);
        return Err(RangeError {
            flag: if flag == "--from" { "--to" } else { flag },
            message: format!("{last} is in the future; today is {today} (UTC)"),
        });
    }
    let oldest = Day::containing(now - OLDEST_SECONDS);
    if range.first < oldest {
        return Err(RangeError {
            flag,
            message: format!("CloudWatch keeps 455 days: nothing before {oldest} is left"),
        });
    }
    Ok(range)
}

/// A date, or an RFC 3339 instant that is a UTC midnight.
fn day(flag: &'static str, text: &str) -> Result<Day, RangeError> {
    if let Some(day) = Day::parse(text) {
        return Ok(day);
    }
    let refuse = |message: String| RangeError { flag, message };
    let instant: jiff::Timestamp = text.parse().map_err(|_| {
        refuse(format!(
            "'{}' is not a date such as 2026-11-20",
            text.escape_debug()
        ))
    })?;
    let day = Day::containing(instant.as_second());
    if instant.as_second() != day.start() || instant.subsec_nanosecond() != 0 {
        return Err(refuse(format!(
            "'{text}' is inside {day}; exports cover whole UTC days: give a date"
        )));
    }
    Ok(day)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_226_400; // 2026-11-21T02:00:00Z

    fn resolve(
        date: Option<&str>,
        from: Option<&str>,
        to: Option<&str>,
    ) -> Result<(String, String), String> {
        let own = |s: Option<&str>| s.map(str::to_owned);
        resolve_range(
            &RangeRequest {
                date: own(date),
                from: own(from),
                to: own(to),
            },
            2,
            NOW,
        )
        .map(|r| (r.first.to_string(), r.end.to_string()))
        .map_err(|e| e.to_string())
    }

    #[test]
    fn no_flags_mean_yesterday_and_the_days_looked_back() {
        assert_eq!(
            resolve(None, None, None),
            Ok(("2026-11-18".to_owned(), "2026-11-21".to_owned()))
        );
    }

    #[test]
    fn dates_and_midnights_name_days() {
        assert_eq!(
            resolve(Some("2026-11-20"), None, None),
            Ok(("2026-11-20".to_owned(), "2026-11-21".to_owned()))
        );
        assert_eq!(
            resolve(None, Some("2026-11-01T00:00:00Z"), Some("2026-11-03")),
            Ok(("2026-11-01".to_owned(), "2026-11-03".to_owned()))
        );
        assert_eq!(
            resolve(None, Some("2026-11-01"), None),
            Ok(("2026-11-01".to_owned(), "2026-11-21".to_owned()))
        );
        assert_eq!(
            resolve(Some("2026-11-21"), None, None),
            Ok(("2026-11-21".to_owned(), "2026-11-22".to_owned()))
        );
    }

    #[test]
    fn wrong_ranges_name_the_flag() {
        for (date, from, to, expected) in [
            (
                Some("2026-11-31"),
                None,
                None,
                "--date: '2026-11-31' is not a date",
            ),
            (Some("yesterday"), None, None, "--date: 'yesterday'"),
            (
                Some("2026-11-22"),
                None,
                None,
                "--date: 2026-11-22 is in the future",
            ),
            (
                None,
                Some("2026-11-03"),
                Some("2026-11-03"),
                "--from: 2026-11-03 is not before",
            ),
            (
                None,
                Some("2026-11-03"),
                Some("2027-01-01"),
                "--to: 2026-12-31 is in the future",
            ),
            (
                None,
                Some("2020-01-01"),
                Some("2020-02-01"),
                "--from: CloudWatch keeps 455 days",
            ),
            (None, None, Some("2026-11-03"), "--to: needs --from"),
            (
                Some("2026-11-03"),
                Some("2026-11-03"),
                None,
                "--date: stands alone",
            ),
            (
                None,
                Some("2026-11-03T10:00:00Z"),
                None,
                "--from: '2026-11-03T10:00:00Z' is inside 2026-11-03",
            ),
        ] {
            let error = resolve(date, from, to).expect_err(expected);
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
