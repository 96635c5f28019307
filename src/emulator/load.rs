//! Real series from files: CSV with an index that gives each its identity.
//!
//! `index.toml` in the folder: an optional `shift_seconds` for all, and one `[[series]]` a file with `file`, `account`, `region`,
//! `namespace`, `metric_name`, `dimensions`, `unit` and an optional `shift_seconds` of its own. The CSV has the columns `timestamp`
//! (`YYYY-MM-DD HH:MM:SS` or RFC 3339, UTC) and `value`; repeated timestamps are several samples.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::cloudwatch::Metrics;
use std::path::{Path, PathBuf};

use super::store::{Raw, single};

/// A folder that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("reading {}", .0.display())]
    Io(PathBuf, #[source] std::io::Error),
    /// The index has a mistake.
    #[error("reading {}", .0.display())]
    Index(PathBuf, #[source] toml::de::Error),
    /// A line has a mistake.
    #[error("{}:{line}: {why}", file.display())]
    Line {
        /// The CSV file.
        file: PathBuf,
        /// Its line, from 1.
        line: u64,
        /// What is wrong.
        why: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    #[serde(default)]
    shift_seconds: i64,
    #[serde(default)]
    series: Vec<SeriesFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeriesFile {
    file: String,
    account: String,
    region: String,
    namespace: String,
    metric_name: String,
    #[serde(default)]
    dimensions: BTreeMap<String, String>,
    #[serde(default = "no_unit")]
    unit: String,
    shift_seconds: Option<i64>,
}

fn no_unit() -> String {
    "None".to_owned()
}

/// Loads a folder; returns the number of points.
///
/// # Errors
/// [`LoadError`] with file and line.
pub(super) fn load(dir: &Path, metrics: &Metrics) -> Result<u64, LoadError> {
    let index_path = dir.join("index.toml");
    let text =
        std::fs::read_to_string(&index_path).map_err(|e| LoadError::Io(index_path.clone(), e))?;
    let index: Index = toml::from_str(&text).map_err(|e| LoadError::Index(index_path, e))?;
    let mut points = 0;
    for series in index.series {
        let shift = series.shift_seconds.unwrap_or(index.shift_seconds);
        let key = (
            series.namespace.clone(),
            series.metric_name.clone(),
            series
                .dimensions
                .iter()
                .map(|(n, v)| (n.clone(), v.clone()))
                .collect::<Vec<_>>(),
        );
        let path = dir.join(&series.file);
        for (second, value) in read(&path)? {
            let raw = Raw {
                second: second + shift,
                unit: series.unit.clone(),
                datum: single(value),
            };
            metrics.put(&series.account, &series.region, key.clone(), raw);
            points += 1;
        }
    }
    Ok(points)
}

fn read(path: &Path) -> Result<Vec<(i64, f64)>, LoadError> {
    let mut reader = csv::Reader::from_path(path)
        .map_err(|e| LoadError::Io(path.to_owned(), std::io::Error::other(e)))?;
    let mut points = Vec::new();
    for (row, record) in reader.records().enumerate() {
        let line = row as u64 + 2;
        let fail = |why: String| LoadError::Line {
            file: path.to_owned(),
            line,
            why,
        };
        let record = record.map_err(|e| fail(e.to_string()))?;
        let (Some(time), Some(value)) = (record.get(0), record.get(1)) else {
            return Err(fail("expected timestamp,value".to_owned()));
        };
        let second = second(time).ok_or_else(|| fail(format!("'{time}' is not a timestamp")))?;
        let value = value
            .trim()
            .parse()
            .map_err(|_| fail(format!("'{value}' is not a number")))?;
        points.push((second, value));
    }
    Ok(points)
}

fn second(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Some(instant.as_second());
    }
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    let instant = jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()?;
    Some(instant.as_second())
}
