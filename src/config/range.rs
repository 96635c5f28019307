//! Which time a run covers: pure, with "now" as an argument.

use super::limits::OLDEST_SECONDS;
use crate::model::{Day, TimeWindow, iso_seconds};

/// What was typed: `--date`, or `--from` and `--to`, or `--since`, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeRequest {
    /// `--date`.
    pub date: Option<String>,
    /// `--from`.
    pub from: Option<String>,
    /// `--to`, exclusive.
    pub to: Option<String>,
    /// `--since`: `last`.
    pub since: Option<String>,
}

/// What a run asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// These seconds, never empty: whole days, unless instants inside a day were given.
    Window(TimeWindow),
    /// In each lane from where its last run ended, to now; `fresh` in a lane that has not run yet.
    SinceLast {
        /// The days a run without dates reads, and today so far.
        fresh: TimeWindow,
    },
}

impl Range {
    /// All that may be asked of a lane that has not run yet.
    pub fn window(&self) -> TimeWindow {
        match self {
            Self::Window(window) | Self::SinceLast { fresh: window } => *window,
        }
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

/// What is meant by the flags: one date, a half-open range of dates or instants, from the last run on, or yesterday and `lookback_days`
/// before it.
///
/// # Errors
/// [`RangeError`] for a text that is no UTC day or minute, an empty range, one that ends after today, or one that begins before the
/// 455 days CloudWatch keeps. `--date` may be today: the day is then provisional.
pub fn resolve_range(
    request: &RangeRequest,
    lookback_days: u32,
    now: i64,
) -> Result<Range, RangeError> {
    let today = Day::containing(now);
    let nightly = TimeWindow::days(today.plus(-1 - i64::from(lookback_days)), today);
    if let Some(since) = &request.since {
        return since_last(since, request, nightly, now);
    }
    let (window, flag) = match (&request.date, &request.from, &request.to) {
        (None, None, None) => (nightly, "run.lookback_days"),
        (Some(date), None, None) => {
            let day = Day::parse(date).ok_or_else(|| not_a_date("--date", date))?;
            (day.window(), "--date")
        }
        (None, Some(from), to) => {
            let start = instant("--from", from)?;
            let end = to
                .as_ref()
                .map_or(Ok(today.start()), |to| instant("--to", to))?;
            (TimeWindow { start, end }, "--from")
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
    check(window, flag, today, now)?;
    Ok(Range::Window(window))
}

fn since_last(
    since: &str,
    request: &RangeRequest,
    nightly: TimeWindow,
    now: i64,
) -> Result<Range, RangeError> {
    let refuse = |message: String| RangeError {
        flag: "--since",
        message,
    };
    if since != "last" {
        return Err(refuse(format!(
            "'{}' is not 'last'; for a point in time use --from",
            since.escape_debug()
        )));
    }
    if request.date.is_some() || request.from.is_some() || request.to.is_some() {
        return Err(refuse("stands alone, without dates".to_owned()));
    }
    let fresh = TimeWindow {
        start: nightly.start,
        end: now,
    };
    Ok(Range::SinceLast { fresh })
}

fn check(window: TimeWindow, flag: &'static str, today: Day, now: i64) -> Result<(), RangeError> {
    if window.is_empty() {
        return Err(RangeError {
            flag,
            message: format!(
                "{} is not before {}; the end is exclusive",
                point(window.start),
                point(window.end)
            ),
        });
    }
    if window.end > today.end() {
        let last = Day::containing(window.end - 1);
        return Err(RangeError {
            flag: if flag == "--from" { "--to" } else { flag },
            message: format!("{last} is in the future; today is {today} (UTC)"),
        });
    }
    if window.start >= now {
        return Err(RangeError {
            flag,
            message: format!(
                "{} is in the future; it is {} (UTC)",
                point(window.start),
                iso_seconds(now)
            ),
        });
    }
    let oldest = oldest_day(now);
    if window.start < oldest.start() {
        return Err(RangeError {
            flag,
            message: format!("CloudWatch keeps 455 days: nothing before {oldest} is left"),
        });
    }
    Ok(())
}

/// The oldest day of which CloudWatch still has all.
pub fn oldest_day(now: i64) -> Day {
    Day::containing(now - OLDEST_SECONDS).plus(1)
}

/// A day where it is a midnight, else the instant.
pub fn point(seconds: i64) -> String {
    let day = Day::containing(seconds);
    if day.start() == seconds {
        day.to_string()
    } else {
        iso_seconds(seconds)
    }
}

fn not_a_date(flag: &'static str, text: &str) -> RangeError {
    RangeError {
        flag,
        message: format!("'{}' is not a date such as 2026-11-20", text.escape_debug()),
    }
}

/// A date, or an RFC 3339 instant at a whole minute.
fn instant(flag: &'static str, text: &str) -> Result<i64, RangeError> {
    if let Some(day) = Day::parse(text) {
        return Ok(day.start());
    }
    let instant: jiff::Timestamp = text.parse().map_err(|_| RangeError {
        flag,
        message: format!(
            "'{}' is not a date such as 2026-11-20 or an instant such as 2026-11-20T10:00:00Z",
            text.escape_debug()
        ),
    })?;
    if instant.as_second() % 60 != 0 || instant.subsec_nanosecond() != 0 {
        return Err(RangeError {
            flag,
            message: format!("'{text}' is not at a whole minute"),
        });
    }
    Ok(instant.as_second())
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
                since: None,
            },
            2,
            NOW,
        )
        .map(|r| (point(r.window().start), point(r.window().end)))
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
    fn instants_name_windows_inside_a_day() {
        assert_eq!(
            resolve(
                None,
                Some("2026-11-20T10:00:00Z"),
                Some("2026-11-20T12:30:00+01:00")
            ),
            Ok((
                "2026-11-20T10:00:00Z".to_owned(),
                "2026-11-20T11:30:00Z".to_owned()
            ))
        );
    }

    #[test]
    fn since_last_stands_alone() {
        let since = |since: &str, date: Option<&str>| {
            let request = RangeRequest {
                since: Some(since.to_owned()),
                date: date.map(str::to_owned),
                ..RangeRequest::default()
            };
            resolve_range(&request, 2, NOW)
        };
        let fresh = since("last", None).expect("a range").window();
        assert_eq!(
            (point(fresh.start), fresh.end),
            ("2026-11-18".to_owned(), NOW)
        );
        assert!(since("yesterday", None).is_err());
        assert!(since("last", Some("2026-11-20")).is_err());
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
                Some("2026-11-03T10:00:07Z"),
                None,
                "--from: '2026-11-03T10:00:07Z' is not at a whole minute",
            ),
            (
                None,
                Some("2026-11-21T03:00:00Z"),
                Some("2026-11-21T04:00:00Z"),
                "--from: 2026-11-21T03:00:00Z is in the future",
            ),
        ] {
            let error = resolve(date, from, to).expect_err(expected);
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
