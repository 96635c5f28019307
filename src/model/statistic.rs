//! The grammar of CloudWatch statistics, so that a misspelt one is refused before any call.

use std::fmt;
use std::sync::Arc;

/// Statistics of one metric that one request is billed as a single metric for.
///
/// # Source
/// CloudWatch pricing page, as quoted in prometheus-community/yet-another-cloudwatch-exporter#1232.
pub const MAX_STATISTICS_PER_BILLED_METRIC: usize = 5;

/// A validated statistic, spelled as it was asked for.
///
/// Ordered by its text, which is the order of rows in a file.
///
/// # Source
/// CloudWatch user guide, "CloudWatch statistics definitions": `SampleCount`, `Sum`, `Average`, `Minimum`, `Maximum`,
/// percentiles `pNN.N`, trimmed mean `TM`, winsorized mean `WM`, trimmed count `TC`, trimmed sum `TS`, percentile rank
/// `PR` and the interquartile mean `IQM`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Statistic(Arc<str>);

/// Why a text is not a statistic, with the nearest thing that is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{given}' is not a CloudWatch statistic: {why}")]
pub struct StatisticError {
    /// The refused text.
    pub given: String,
    /// What is wrong with it, and what to write instead.
    pub why: String,
}

const BASIC: [&str; 5] = ["SampleCount", "Sum", "Average", "Minimum", "Maximum"];

impl Statistic {
    /// Reads one statistic.
    ///
    /// # Errors
    /// [`StatisticError`] when the text fits no form, or its bounds are out of range or in the wrong order.
    ///
    /// # Examples
    /// ```
    /// use cwlake::model::Statistic;
    /// assert_eq!(Statistic::parse("p99.9").expect("a percentile").as_str(), "p99.9");
    /// assert!(Statistic::parse("TM(10%:90%)").is_ok());
    /// let refused = Statistic::parse("avg").expect_err("no statistic");
    /// assert_eq!(refused.why, "write 'Average'");
    /// ```
    pub fn parse(text: &str) -> Result<Self, StatisticError> {
        let refuse = |why: String| StatisticError {
            given: text.to_owned(),
            why,
        };
        if BASIC.contains(&text) || text == "IQM" {
            return Ok(Self(text.into()));
        }
        if let Some(basic) = BASIC.iter().find(|b| is_nickname(text, b)) {
            return Err(refuse(format!("write '{basic}'")));
        }
        if let Some((name, bounds)) = text.strip_suffix(')').and_then(|t| t.split_once('(')) {
            return ranged(name, bounds)
                .map(|()| Self(text.into()))
                .map_err(refuse);
        }
        let split = text
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(text.len());
        let (name, number) = text.split_at(split);
        match name {
            "p" | "tm" | "wm" | "tc" | "ts" | "TM" | "WM" | "TC" | "TS" => percent(number)
                .map(|_| Self(text.into()))
                .map_err(|why| refuse(format!("after '{name}' comes a percentile: {why}"))),
            _ => Err(refuse(
                "expected SampleCount, Sum, Average, Minimum, Maximum, pNN.N, tmNN, wmNN, tcNN, tsNN, IQM, \
                 or TM, WM, TC, TS, PR with a range such as TM(10%:90%)"
                    .to_owned(),
            )),
        }
    }

    /// The text CloudWatch is asked with.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_nickname(text: &str, basic: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let short: &[&str] = match basic {
        "SampleCount" => &["count", "samples", "n"],
        "Sum" => &["total"],
        "Average" => &["avg", "mean"],
        "Minimum" => &["min"],
        _ => &["max"],
    };
    lower == basic.to_ascii_lowercase() || short.contains(&lower.as_str())
}

/// `10%:90%`, `10%:`, `:90%`, `80:500`, `80:`, `:500`; `PR` takes plain values only.
fn ranged(name: &str, bounds: &str) -> Result<(), String> {
    if !matches!(name, "TM" | "WM" | "TC" | "TS" | "PR") {
        return Err(format!("'{name}' takes no range; TM, WM, TC, TS and PR do"));
    }
    let Some((low, high)) = bounds.split_once(':') else {
        return Err(format!(
            "a range is two bounds with a colon, such as {name}(10%:90%)"
        ));
    };
    if low.is_empty() && high.is_empty() {
        return Err("at least one bound is needed".to_owned());
    }
    let given: Vec<&str> = [low, high].into_iter().filter(|b| !b.is_empty()).collect();
    let percents = given.iter().filter(|b| b.ends_with('%')).count();
    if percents != 0 && percents != given.len() {
        return Err("both bounds are percentages or neither is".to_owned());
    }
    if percents != 0 && name == "PR" {
        return Err("PR takes plain values, such as PR(:300)".to_owned());
    }
    let number = |b: &str| {
        if percents == 0 {
            plain(b)
        } else {
            percent(b.strip_suffix('%').unwrap_or(b))
        }
    };
    let values = given
        .iter()
        .map(|b| number(b))
        .collect::<Result<Vec<f64>, String>>()?;
    match values.as_slice() {
        [low, high] if low >= high => Err("the lower bound is not below the upper".to_owned()),
        _ => Ok(()),
    }
}

/// 0 to 100 with up to ten decimals.
fn percent(text: &str) -> Result<f64, String> {
    let value = plain(text)?;
    let decimals = text.split_once('.').map_or(0, |(_, d)| d.len());
    if !(0.0..=100.0).contains(&value) {
        return Err(format!("{text} is not between 0 and 100"));
    }
    if decimals > 10 {
        return Err("at most ten decimals are kept".to_owned());
    }
    Ok(value)
}

/// Digits with an optional fraction; no sign, exponent or spelled-out infinity.
fn plain(text: &str) -> Result<f64, String> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || text.len() > 40 {
        return Err(format!("'{text}' is not a number"));
    }
    text.parse()
        .map_err(|_| format!("'{text}' is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_documented_form_is_accepted_as_spelled() {
        for ok in [
            "SampleCount",
            "Sum",
            "Average",
            "Minimum",
            "Maximum",
            "p0",
            "p50",
            "p99.9",
            "p95.0123456789",
            "p100",
            "IQM",
            "tm90",
            "TM90",
            "wm98",
            "tc90",
            "ts90.5",
            "TM(10%:90%)",
            "TM(2%:98%)",
            "TM(:95%)",
            "TM(5%:)",
            "WM(10%:90%)",
            "TC(0.005:0.030)",
            "TS(80%:)",
            "TM(150:1000)",
            "PR(:300)",
            "PR(100:2000)",
            "PR(500:)",
        ] {
            assert_eq!(
                Statistic::parse(ok).map(|s| s.to_string()),
                Ok(ok.to_owned())
            );
        }
    }

    #[test]
    fn wrong_forms_are_refused_with_a_remedy() {
        for (bad, hint) in [
            ("Avg", "write 'Average'"),
            ("average", "write 'Average'"),
            ("max", "write 'Maximum'"),
            ("p101", "between 0 and 100"),
            ("p", "percentile"),
            ("p99.01234567890", "ten decimals"),
            ("PR(10%:90%)", "plain values"),
            ("TM(90%:10%)", "not below"),
            ("TM(10%:500)", "both bounds"),
            ("TM(:)", "at least one bound"),
            ("TM(10%%:90%)", "not a number"),
            ("TM(10%)", "two bounds"),
            ("XX(1:2)", "takes no range"),
            ("iqm", "expected"),
            ("p-1", "expected"),
            ("TM(1e3:)", "not a number"),
            ("", "expected"),
        ] {
            let error = Statistic::parse(bad).expect_err(bad);
            assert!(error.why.contains(hint), "{bad}: {error}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_keeps_the_text(text in "\\PC{0,24}") {
            if let Ok(statistic) = Statistic::parse(&text) {
                prop_assert_eq!(statistic.as_str(), text.as_str());
            }
        }
    }
}
