//! Sets of seconds: which parts of a day, or of any stretch of time, are already there.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::time::{TimeWindow, iso_seconds};

/// Disjoint, non-touching, ascending windows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(Vec<TimeWindow>);

impl Spans {
    /// Just this window; nothing when it is empty.
    pub fn of(window: TimeWindow) -> Self {
        let mut spans = Self::default();
        spans.add(window);
        spans
    }

    /// The windows.
    pub fn windows(&self) -> &[TimeWindow] {
        &self.0
    }

    /// Adds a window; what touches it melts into it.
    ///
    /// # Examples
    /// ```
    /// use cwlake::model::{Spans, TimeWindow};
    /// let mut spans = Spans::of(TimeWindow { start: 0, end: 10 });
    /// spans.add(TimeWindow { start: 10, end: 20 });
    /// assert_eq!(spans.windows(), [TimeWindow { start: 0, end: 20 }]);
    /// ```
    pub fn add(&mut self, window: TimeWindow) {
        if window.is_empty() {
            return;
        }
        let mut merged = window;
        self.0.retain(|w| {
            let apart = w.end < merged.start || merged.end < w.start;
            if !apart {
                merged.start = merged.start.min(w.start);
                merged.end = merged.end.max(w.end);
            }
            apart
        });
        let at = self.0.partition_point(|w| w.start < merged.start);
        self.0.insert(at, merged);
    }

    /// Whether there is no second in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What lies outside of `window`.
    ///
    /// # Examples
    /// ```
    /// use cwlake::model::{Spans, TimeWindow};
    /// let day = Spans::of(TimeWindow { start: 0, end: 86_400 });
    /// let left = day.without(TimeWindow { start: 3_600, end: 7_200 });
    /// assert_eq!(left.windows().len(), 2);
    /// assert!(!left.covers(TimeWindow { start: 0, end: 86_400 }));
    /// ```
    #[must_use]
    pub fn without(&self, window: TimeWindow) -> Self {
        if window.is_empty() {
            return self.clone();
        }
        let (start, end) = (i64::MIN, i64::MAX);
        let mut left = self.inside(TimeWindow {
            start,
            end: window.start,
        });
        left.add_all(&self.inside(TimeWindow {
            start: window.end,
            end,
        }));
        left
    }

    /// Adds all of another set.
    pub fn add_all(&mut self, other: &Self) {
        other.0.iter().for_each(|w| self.add(*w));
    }

    /// Only what lies inside `window`.
    #[must_use]
    pub fn inside(&self, window: TimeWindow) -> Self {
        let cut = |w: &TimeWindow| w.intersection(window);
        Self(self.0.iter().map(cut).filter(|w| !w.is_empty()).collect())
    }

    /// Whether every second of `window` is in the set.
    pub fn covers(&self, window: TimeWindow) -> bool {
        window.is_empty() || self.first_missing(window.start) >= window.end
    }

    /// The first second not before `from` that is not in the set.
    ///
    /// # Examples
    /// ```
    /// use cwlake::model::{Spans, TimeWindow};
    /// let spans = Spans::of(TimeWindow { start: 0, end: 600 });
    /// assert_eq!(spans.first_missing(300), 600);
    /// assert_eq!(spans.first_missing(900), 900);
    /// ```
    pub fn first_missing(&self, from: i64) -> i64 {
        self.0
            .iter()
            .find(|w| w.contains(from))
            .map_or(from, |w| w.end)
    }
}

impl Serialize for Spans {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let pair = |w: &TimeWindow| [iso_seconds(w.start), iso_seconds(w.end)];
        serializer.collect_seq(self.0.iter().map(pair))
    }
}

impl<'de> Deserialize<'de> for Spans {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut spans = Self::default();
        for [start, end] in Vec::<[jiff::Timestamp; 2]>::deserialize(deserializer)? {
            spans.add(TimeWindow {
                start: start.as_second(),
                end: end.as_second(),
            });
        }
        Ok(spans)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(start: i64, end: i64) -> TimeWindow {
        TimeWindow { start, end }
    }

    #[test]
    fn windows_that_touch_are_one() {
        let mut spans = Spans::of(window(0, 10));
        spans.add(window(20, 30));
        assert!(!spans.covers(window(0, 30)));
        assert_eq!(spans.first_missing(5), 10);
        spans.add(window(10, 20));
        assert_eq!(spans.windows(), [window(0, 30)]);
        assert_eq!(spans.inside(window(5, 7)).windows(), [window(5, 7)]);
        let text = serde_json::to_string(&spans).expect("written");
        assert_eq!(text, r#"[["1970-01-01T00:00:00Z","1970-01-01T00:00:30Z"]]"#);
        assert_eq!(serde_json::from_str::<Spans>(&text).expect("read"), spans);
    }

    proptest! {
        #[test]
        fn a_set_holds_exactly_the_seconds_added(windows in prop::collection::vec((0_i64..60, 0_i64..20), 0..12)) {
            let mut spans = Spans::default();
            let mut seconds = std::collections::BTreeSet::new();
            for (start, length) in windows {
                spans.add(window(start, start + length));
                seconds.extend(start..start + length);
            }
            for second in 0..90 {
                prop_assert_eq!(spans.covers(window(second, second + 1)), seconds.contains(&second));
            }
            for pair in spans.windows().windows(2) {
                prop_assert!(pair[0].end < pair[1].start);
            }
        }
    }
}
