//! Days, periods and windows: whole seconds UTC, half-open.

use std::fmt;

use jiff::civil::Date;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Seconds in a UTC day; CloudWatch knows no leap seconds.
pub const DAY_SECONDS: i64 = 86_400;

/// A UTC calendar day, as days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Day(i64);

impl Day {
    /// The day that holds this instant (seconds since the epoch).
    ///
    /// # Examples
    /// ```
    /// use cwlake::model::Day;
    /// assert_eq!(Day::containing(1_795_226_400).to_string(), "2026-11-21");
    /// // Seconds before 1970 lie in days of their own.
    /// assert_eq!(Day::containing(-1).to_string(), "1969-12-31");
    /// ```
    pub fn containing(seconds: i64) -> Self {
        Self(seconds.div_euclid(DAY_SECONDS))
    }

    /// Reads `YYYY-MM-DD`; `None` for anything else, including dates that do not exist.
    ///
    /// # Examples
    /// ```
    /// use cwlake::model::Day;
    /// let leap = Day::parse("2028-02-29").expect("a leap day");
    /// assert_eq!(leap.plus(1).to_string(), "2028-03-01");
    /// assert_eq!(Day::parse("2027-02-29"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 10 {
            return None;
        }
        let date: Date = text.parse().ok()?;
        let epoch = Date::constant(1970, 1, 1);
        Some(Self(i64::from(
            date.since((jiff::Unit::Day, epoch)).ok()?.get_days(),
        )))
    }

    /// Its day of the week.
    pub fn weekday(self) -> jiff::civil::Weekday {
        // 1970-01-01 was a Thursday.
        let days = i32::try_from(self.0.rem_euclid(7)).unwrap_or(0);
        jiff::civil::Weekday::Thursday.wrapping_add(days)
    }

    /// First second of the day.
    pub fn start(self) -> i64 {
        self.0 * DAY_SECONDS
    }

    /// First second of the next day.
    pub fn end(self) -> i64 {
        self.start() + DAY_SECONDS
    }

    /// Its seconds.
    pub fn window(self) -> TimeWindow {
        TimeWindow {
            start: self.start(),
            end: self.end(),
        }
    }

    /// Its month, `2026-11`.
    pub fn month(self) -> String {
        self.to_string()[..7].to_owned()
    }

    /// First day of its month.
    #[must_use]
    pub fn month_start(self) -> Self {
        let date = self.to_string();
        let in_month = date[8..].parse::<i64>().unwrap_or(1);
        Self(self.0 - in_month + 1)
    }

    /// First day of the next month.
    ///
    /// # Examples
    /// ```
    /// use cwlake::model::Day;
    /// let day = Day::parse("2026-12-31").expect("a day");
    /// assert_eq!(day.month(), "2026-12");
    /// assert_eq!(day.next_month().to_string(), "2027-01-01");
    /// ```
    #[must_use]
    pub fn next_month(self) -> Self {
        self.month_start().plus(31).month_start()
    }

    /// The day `n` days later (earlier when negative).
    #[must_use]
    pub fn plus(self, n: i64) -> Self {
        Self(self.0 + n)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&iso_seconds(self.start())[..10])
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let refused = || D::Error::custom(format!("'{}' is no day", text.escape_debug()));
        Self::parse(&text).ok_or_else(refused)
    }
}

/// `2026-11-20T00:00:00Z` for seconds since the epoch; outside the years -9999 to 9999 the bare number.
pub fn iso_seconds(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |t| t.to_string())
}

/// The length of one aggregated point, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Period(u32);

impl Period {
    /// One minute, the finest period of ordinary metrics.
    pub const MINUTE: Self = Self(60);

    /// A period CloudWatch accepts (1, 5, 10, 20, 30 or a multiple of 60) that also divides a day, so that day
    /// partitions hold whole periods.
    ///
    /// # Examples
    /// ```
    /// use cwlake::model::Period;
    /// assert!(Period::new(300).is_some());
    /// // 420 s are seven minutes, and do not divide a day.
    /// assert_eq!(Period::new(420), None);
    /// assert_eq!(Period::nearest(420).seconds(), 360);
    /// ```
    pub fn new(seconds: u32) -> Option<Self> {
        let legal =
            matches!(seconds, 1 | 5 | 10 | 20 | 30) || (seconds > 0 && seconds.is_multiple_of(60));
        (legal && 86_400 % seconds == 0).then_some(Self(seconds))
    }

    /// Length in seconds.
    pub fn seconds(self) -> u32 {
        self.0
    }

    /// The legal period nearest to a refused one, for the error's remedy.
    pub fn nearest(seconds: u32) -> Self {
        (1..=86_400)
            .filter_map(Self::new)
            .min_by_key(|p| p.0.abs_diff(seconds))
            .unwrap_or(Self::MINUTE)
    }

    /// The latest multiple of the period not after `seconds`.
    ///
    /// # Examples
    /// ```
    /// use cwlake::model::Period;
    /// let period = Period::new(300).expect("five minutes");
    /// assert_eq!((period.floor(601), period.ceil(601)), (600, 900));
    /// assert_eq!(period.floor(-1), -300);
    /// ```
    pub fn floor(self, seconds: i64) -> i64 {
        let step = i64::from(self.0);
        seconds.div_euclid(step) * step
    }

    /// The earliest multiple of the period not before `seconds`.
    pub fn ceil(self, seconds: i64) -> i64 {
        -self.floor(-seconds)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0)
    }
}

/// A span of time: `start` belongs to it, `end` does not. Seconds since the epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimeWindow {
    /// First second.
    pub start: i64,
    /// First second after.
    pub end: i64,
}

impl TimeWindow {
    /// The days from `first` up to, not including, `end`.
    pub fn days(first: Day, end: Day) -> Self {
        Self {
            start: first.start(),
            end: end.start(),
        }
    }

    /// True when no second belongs to it.
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// Length in seconds, 0 for an empty window.
    pub fn seconds(&self) -> i64 {
        (self.end - self.start).max(0)
    }

    /// Whether this second belongs to it.
    pub fn contains(&self, seconds: i64) -> bool {
        self.start <= seconds && seconds < self.end
    }

    /// Points one query of this period can return over the window: CloudWatch's own estimate, range ÷ period.
    ///
    /// # Examples
    /// ```
    /// use cwlake::model::{Day, Period};
    /// let day = Day::containing(0).window();
    /// assert_eq!(day.points(Period::MINUTE), 1_440);
    /// ```
    pub fn points(&self, period: Period) -> u64 {
        u64::try_from(self.seconds())
            .unwrap_or(0)
            .div_ceil(u64::from(period.seconds()))
    }

    /// The seconds that belong to both.
    ///
    /// # Examples
    /// ```
    /// use cwlake::model::TimeWindow;
    /// let (a, b) = (TimeWindow { start: 0, end: 60 }, TimeWindow { start: 30, end: 90 });
    /// assert_eq!(a.intersection(b), TimeWindow { start: 30, end: 60 });
    /// ```
    #[must_use]
    pub fn intersection(&self, other: Self) -> Self {
        Self {
            start: self.start.max(other.start),
            end: self.end.min(other.end),
        }
    }

    /// The smallest window that holds both; an empty one adds nothing.
    #[must_use]
    pub fn hull(&self, other: Self) -> Self {
        match (self.is_empty(), other.is_empty()) {
            (true, _) => other,
            (_, true) => *self,
            _ => Self {
                start: self.start.min(other.start),
                end: self.end.max(other.end),
            },
        }
    }

    /// Every UTC day the window touches, in order.
    ///
    /// # Examples
    /// ```
    /// use cwlake::model::TimeWindow;
    /// // One second of the second day is enough.
    /// let days = TimeWindow { start: 0, end: 86_401 }.touched_days();
    /// assert_eq!(days.map(|d| d.to_string()).collect::<Vec<_>>(), ["1970-01-01", "1970-01-02"]);
    /// ```
    pub fn touched_days(&self) -> impl Iterator<Item = Day> + use<> {
        let first = Day::containing(self.start);
        let count = if self.is_empty() {
            0
        } else {
            Day::containing(self.end - 1).0 - first.0 + 1
        };
        (0..count).map(move |n| first.plus(n))
    }
}

impl fmt::Display for TimeWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} to {}",
            iso_seconds(self.start),
            iso_seconds(self.end)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn days_read_and_print_iso_dates_only() {
        assert_eq!(Day::parse("1970-01-02"), Some(Day(1)));
        assert_eq!(Day::parse("1969-12-31").map(Day::start), Some(-86_400));
        for bad in [
            "2026-02-29",
            "2026-13-01",
            "20261101",
            "2026-1-1",
            "2026-11-20T00:00:00Z",
            "",
        ] {
            assert_eq!(Day::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn periods_are_legal_and_divide_a_day() {
        for ok in [1, 5, 10, 20, 30, 60, 300, 3600, 86_400] {
            assert!(Period::new(ok).is_some(), "{ok}");
        }
        for bad in [0, 2, 45, 90, 420, 7 * 3600, 172_800] {
            assert_eq!(Period::new(bad), None, "{bad}");
        }
        assert_eq!(Period::nearest(90), Period::MINUTE);
    }

    #[test]
    fn a_window_touches_the_days_of_its_seconds() {
        let days = |start, end| {
            TimeWindow { start, end }
                .touched_days()
                .map(|d| d.0)
                .collect::<Vec<_>>()
        };
        assert_eq!(days(0, DAY_SECONDS), [0]);
        assert_eq!(days(0, DAY_SECONDS + 1), [0, 1]);
        assert_eq!(days(10, 10), [] as [i64; 0]);
    }

    proptest! {
        #[test]
        fn dates_round_trip(n in -200_000_i64..200_000) {
            let day = Day(n);
            if (-700_000..2_900_000).contains(&n) && n >= -719_528 {
                prop_assert_eq!(Day::parse(&day.to_string()), Some(day));
            }
        }

        #[test]
        fn floor_and_ceil_enclose(seconds in -1_000_000_i64..1_000_000, p in prop::sample::select(vec![1, 60, 300, 3600])) {
            let period = Period::new(p).expect("legal");
            let (low, high) = (period.floor(seconds), period.ceil(seconds));
            prop_assert!(low <= seconds && seconds <= high && high - low <= i64::from(p));
            prop_assert_eq!((low % i64::from(p), high % i64::from(p)), (0, 0));
        }
    }
}
