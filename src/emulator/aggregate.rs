//! Raw points to periods and statistics.
//!
//! # Source
//! CloudWatch user guide, "CloudWatch statistics definitions". Percentiles and trimmed statistics need single values: a period that
//! holds a statistic set (unless all its values are equal) or a negative value has none.

use super::store::Datum;

/// A statistic, parsed by the emulator's own reading of the grammar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stat {
    SampleCount,
    Sum,
    Average,
    Minimum,
    Maximum,
    Percentile(f64),
    Trimmed(Trim, Range),
    PercentileRank(f64, f64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Trim {
    Mean,
    Winsorized,
    Count,
    Sum,
}

/// Bounds as shares of the sorted values (0 to 1) or as values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Range {
    Shares(f64, f64),
    Values(f64, f64),
}

impl Stat {
    /// Whether single values are needed, and not only their sums and ends.
    pub(super) fn needs_values(self) -> bool {
        matches!(
            self,
            Self::Percentile(_) | Self::Trimmed(..) | Self::PercentileRank(..)
        )
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "SampleCount" => Self::SampleCount,
            "Sum" => Self::Sum,
            "Average" => Self::Average,
            "Minimum" => Self::Minimum,
            "Maximum" => Self::Maximum,
            "IQM" => Self::Trimmed(Trim::Mean, Range::Shares(0.25, 0.75)),
            _ => return Self::parse_extended(text),
        })
    }

    fn parse_extended(text: &str) -> Option<Self> {
        if let Some(number) = text.strip_prefix('p') {
            return share(number).map(|s| Self::Percentile(s * 100.0));
        }
        let trim = |name: &str| match name.to_ascii_lowercase().as_str() {
            "tm" => Some(Trim::Mean),
            "wm" => Some(Trim::Winsorized),
            "tc" => Some(Trim::Count),
            "ts" => Some(Trim::Sum),
            _ => None,
        };
        let name = text.get(..2)?;
        if let Some(bounds) = text[2..]
            .strip_prefix('(')
            .and_then(|t| t.strip_suffix(')'))
        {
            let (low, high) = bounds.split_once(':')?;
            if bounds.contains('%') {
                let side = |b: &str, open: f64| {
                    if b.is_empty() {
                        Some(open)
                    } else {
                        share(b.strip_suffix('%')?)
                    }
                };
                return Some(Self::Trimmed(
                    trim(name)?,
                    Range::Shares(side(low, 0.0)?, side(high, 1.0)?),
                ));
            }
            let side = |b: &str, open: f64| {
                if b.is_empty() {
                    Some(open)
                } else {
                    b.parse().ok()
                }
            };
            let (low, high) = (side(low, f64::NEG_INFINITY)?, side(high, f64::INFINITY)?);
            return match name {
                "PR" => Some(Self::PercentileRank(low, high)),
                _ => Some(Self::Trimmed(trim(name)?, Range::Values(low, high))),
            };
        }
        Some(Self::Trimmed(
            trim(name)?,
            Range::Shares(0.0, share(&text[2..])?),
        ))
    }
}

fn share(percent: &str) -> Option<f64> {
    let value: f64 = percent.parse().ok()?;
    (percent.bytes().all(|b| b.is_ascii_digit() || b == b'.') && (0.0..=100.0).contains(&value))
        .then_some(value / 100.0)
}

/// The content of one period.
#[derive(Debug)]
pub(super) struct Bin {
    count: f64,
    sum: f64,
    min: f64,
    max: f64,
    values: Vec<(f64, f64)>,
    sorted: bool,
    only_sets: bool,
}

impl Default for Bin {
    fn default() -> Self {
        Self {
            count: 0.0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            values: Vec::new(),
            sorted: false,
            only_sets: false,
        }
    }
}

impl Bin {
    /// One single value.
    pub(super) fn add_value(&mut self, value: f64, count: f64, keep_values: bool) {
        self.count += count;
        self.sum += value * count;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        if keep_values {
            self.values.push((value, count));
        }
    }

    /// A raw point.
    pub(super) fn add(&mut self, datum: &Datum, keep_values: bool) {
        match datum {
            Datum::Values(values) => values
                .iter()
                .for_each(|&(v, n)| self.add_value(v, n, keep_values)),
            Datum::Set {
                count,
                sum,
                min,
                max,
            } if min == max || *count == 1.0 => {
                let _ = sum;
                self.add_value(*max, *count, keep_values);
            }
            Datum::Set {
                count,
                sum,
                min,
                max,
            } => {
                self.count += count;
                self.sum += sum;
                self.min = self.min.min(*min);
                self.max = self.max.max(*max);
                self.only_sets = true;
            }
        }
    }

    /// The statistic of what is in, or none where CloudWatch has none.
    pub(super) fn statistic(&mut self, stat: Stat) -> Option<f64> {
        match stat {
            Stat::SampleCount => Some(self.count),
            Stat::Sum => Some(self.sum),
            Stat::Average => Some(self.sum / self.count),
            Stat::Minimum => Some(self.min),
            Stat::Maximum => Some(self.max),
            _ if self.only_sets || self.min < 0.0 || self.values.is_empty() => None,
            Stat::Percentile(p) => Some(self.at_share(p / 100.0)),
            Stat::PercentileRank(low, high) => {
                let inside: f64 = self
                    .values
                    .iter()
                    .filter(|(v, _)| low < *v && *v <= high)
                    .map(|(_, n)| n)
                    .sum();
                Some(inside / self.count * 100.0)
            }
            Stat::Trimmed(trim, range) => self.trimmed(trim, range),
        }
    }

    fn sort(&mut self) {
        if !self.sorted {
            self.values.sort_by(|a, b| a.0.total_cmp(&b.0));
            self.sorted = true;
        }
    }

    /// Nearest rank: the smallest value that has at least this share of the values at or below it.
    fn at_share(&mut self, share: f64) -> f64 {
        self.sort();
        let rank = share * self.count;
        let mut below = 0.0;
        for (value, count) in &self.values {
            below += count;
            if below >= rank {
                return *value;
            }
        }
        self.max
    }

    fn trimmed(&mut self, trim: Trim, range: Range) -> Option<f64> {
        self.sort();
        let (mut count, mut sum) = (0.0, 0.0);
        match range {
            Range::Values(low, high) => {
                for (value, n) in self.values.iter().filter(|(v, _)| low < *v && *v <= high) {
                    count += n;
                    sum += value * n;
                }
            }
            Range::Shares(low, high) => {
                let (from, to) = (low * self.count, high * self.count);
                let mut below = 0.0;
                for (value, n) in &self.values {
                    let part = ((below + n).min(to) - below.max(from)).max(0.0);
                    count += part;
                    sum += value * part;
                    below += n;
                }
            }
        }
        match trim {
            Trim::Count => Some(count),
            Trim::Sum => Some(sum),
            Trim::Mean => (count > 0.0).then(|| sum / count),
            Trim::Winsorized => {
                let (low, high) = match range {
                    Range::Values(low, high) => (low, high),
                    Range::Shares(low, high) => (self.at_share(low), self.at_share(high)),
                };
                Some(
                    self.values
                        .iter()
                        .map(|(v, n)| v.clamp(low, high) * n)
                        .sum::<f64>()
                        / self.count,
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64], stat: &str) -> Option<f64> {
        let mut bin = Bin::default();
        values.iter().for_each(|v| bin.add_value(*v, 1.0, true));
        bin.statistic(Stat::parse(stat).expect(stat))
    }

    #[test]
    fn statistics_of_one_to_ten() {
        let values: Vec<f64> = (1..=10).map(f64::from).collect();
        for (stat, expected) in [
            ("Sum", 55.0),
            ("Average", 5.5),
            ("SampleCount", 10.0),
            ("Minimum", 1.0),
            ("Maximum", 10.0),
            ("p50", 5.0),
            ("p90", 9.0),
            ("p100", 10.0),
            ("p0", 1.0),
            ("tm90", 5.0),
            ("TM(10%:90%)", 5.5),
            ("IQM", 5.5),
            ("TC(10%:90%)", 8.0),
            ("TS(:50%)", 15.0),
            ("PR(:3)", 30.0),
            ("PR(3:8)", 50.0),
            ("TM(3:8)", 6.0),
            ("wm90", 5.4),
            ("tc50", 5.0),
        ] {
            assert_eq!(of(&values, stat), Some(expected), "{stat}");
        }
    }

    #[test]
    fn negative_values_and_sets_have_no_percentiles() {
        assert_eq!(of(&[-1.0, 2.0], "p50"), None);
        let mut bin = Bin::default();
        bin.add(
            &Datum::Set {
                count: 2.0,
                sum: 3.0,
                min: 1.0,
                max: 2.0,
            },
            true,
        );
        assert_eq!(
            (
                bin.statistic(Stat::Percentile(50.0)),
                bin.statistic(Stat::Sum)
            ),
            (None, Some(3.0))
        );
    }

    #[test]
    fn nonsense_is_not_a_statistic() {
        for bad in ["Avg", "p101", "tm", "TM(10%)", "PR(10%:20%)", "p-1", "x"] {
            assert_eq!(Stat::parse(bad), None, "{bad}");
        }
    }
}
