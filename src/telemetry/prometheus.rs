//! A run's figures as Prometheus text, in a file that a collector reads.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;

use prometheus::{Gauge, GaugeVec, Opts, Registry, TextEncoder};

use crate::lake::table::Partition;
use crate::model::UnitOutcome;
use crate::report::RunReport;

/// When data of a table was last seen: its name, and that of its label.
const NEWEST: &str = "cwlake_newest_data_timestamp_seconds";
const SUCCESS: &str = "cwlake_last_success_timestamp_seconds";

/// Writes the figures of a run that ended with `exit_code`, and has a report unless it failed before there was one. What a run does not know, when
/// data was last seen and when a run last went well, stays as the file has it. The file is whole at every instant.
///
/// # Errors
/// The file system's.
///
/// # Source
/// Prometheus, "Exposition formats"; node exporter, "Textfile collector": a file is renamed into place.
pub fn write_metrics(
    file: &Path,
    now: i64,
    report: Option<&RunReport>,
    exit_code: u8,
) -> std::io::Result<()> {
    // A link leads to the file that is meant.
    let file = &std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let before = match std::fs::metadata(file) {
        Ok(meta) if !meta.is_file() => {
            let text = "it is no ordinary file, but a pipe, a device or a folder";
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, text));
        }
        Ok(_) => before(file)?,
        Err(_) => String::new(),
    };
    let text = metrics_text(now, report, exit_code, &before).map_err(std::io::Error::other)?;
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    // Collectors read what ends in `.prom`.
    let staged = folder.join(format!(".{name}.{}.new", std::process::id()));
    let written = std::fs::File::create(&staged)
        .and_then(|mut new| new.write_all(text.as_bytes()))
        .and_then(|()| for_all_to_read(&staged))
        .and_then(|()| std::fs::rename(&staged, file));
    if written.is_err() {
        let _ = std::fs::remove_file(&staged);
    }
    written
}

/// The collector is another user, whatever the umask of this one.
#[cfg_attr(
    not(unix),
    expect(
        unused_variables,
        clippy::unnecessary_wraps,
        reason = "there are no modes"
    )
)]
fn for_all_to_read(file: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    Ok(())
}

/// What a file has, as far as it is one of ours.
fn before(file: &Path) -> std::io::Result<String> {
    const MOST_BYTES: u64 = 1 << 20;
    let mut text = Vec::new();
    std::fs::File::open(file)?
        .take(MOST_BYTES)
        .read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The figures as text. `before` is what the file has.
fn metrics_text(
    now: i64,
    report: Option<&RunReport>,
    exit_code: u8,
    before: &str,
) -> prometheus::Result<String> {
    let figures = Figures::default();
    figures.set(
        "cwlake_last_run_timestamp_seconds",
        "When the last run began",
        now as f64,
    )?;
    figures.set(
        "cwlake_last_run_exit_code",
        "How the last run ended: 0 done, 3 some units failed; see cwlake --help",
        f64::from(exit_code),
    )?;
    let success = if exit_code == 0 {
        Some(now as f64)
    } else {
        value_in(before, SUCCESS)
    };
    if let Some(success) = success {
        figures.set(
            SUCCESS,
            "When the last run that ended with 0 began",
            success,
        )?;
    }
    let mut newest = tables_in(before);
    if let Some(report) = report {
        figures.of_run(report)?;
        for (table, seconds) in newest_of(report) {
            let known = newest.entry(table).or_insert(seconds);
            *known = known.max(seconds);
        }
    }
    let labelled = newest
        .iter()
        .map(|(table, seconds)| (table.as_str(), *seconds));
    figures.set_each(
        NEWEST,
        "Time of the newest data of each table that a run has written",
        "table",
        labelled,
    )?;
    TextEncoder::new().encode_to_string(&figures.0.gather())
}

#[derive(Default)]
struct Figures(Registry);

impl Figures {
    fn set(&self, name: &str, help: &str, value: f64) -> prometheus::Result<()> {
        let gauge = Gauge::new(name, help)?;
        gauge.set(value);
        self.0.register(Box::new(gauge))
    }

    fn set_each<'a>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: impl Iterator<Item = (&'a str, f64)>,
    ) -> prometheus::Result<()> {
        let gauges = GaugeVec::new(Opts::new(name, help), &[label])?;
        for (of, value) in values {
            gauges.with_label_values(&[of]).set(value);
        }
        self.0.register(Box::new(gauges))
    }

    fn of_run(&self, report: &RunReport) -> prometheus::Result<()> {
        let totals = &report.totals;
        let units = UnitOutcome::ALL.map(|outcome| {
            let units = match outcome {
                UnitOutcome::Written => totals.written,
                UnitOutcome::Empty => totals.empty,
                UnitOutcome::Skipped => totals.skipped,
                UnitOutcome::Forbidden => totals.forbidden,
                UnitOutcome::Failed => totals.failed,
            };
            (outcome.as_str(), units as f64)
        });
        let help = "Units of the last run by how they ended: table, day, account and region";
        self.set_each("cwlake_last_run_units", help, "outcome", units.into_iter())?;
        let calls = totals.calls();
        let not_entered = report.fleet.accounts.iter().filter(|a| a.cause.is_some());
        for (name, help, value) in [
            (
                "unread_accounts",
                "Accounts that the last run could not enter",
                not_entered.count() as f64,
            ),
            (
                "duration_seconds",
                "How long the last run took",
                report.seconds,
            ),
            (
                "incomplete_units",
                "Units of the last run that were written without some of their series",
                totals.incomplete as f64,
            ),
            ("rows", "Rows that the last run wrote", totals.rows as f64),
            (
                "bytes",
                "Bytes that the last run wrote",
                totals.bytes as f64,
            ),
            (
                "points",
                "Points that CloudWatch answered in the last run",
                totals.get_metric_data.points_received as f64,
            ),
            ("calls", "Calls of the last run", calls.calls as f64),
            (
                "retries",
                "Calls of the last run that were made again",
                calls.retries as f64,
            ),
            (
                "throttles",
                "Calls of the last run that AWS throttled",
                calls.throttles as f64,
            ),
            (
                "billed_metrics",
                "Metrics that the last run was billed for",
                totals.get_metric_data.billed_metrics as f64,
            ),
            (
                "dollars",
                "US dollars of the last run, outside the free tier",
                totals.dollars,
            ),
        ] {
            self.set(&format!("cwlake_last_run_{name}"), help, value)?;
        }
        Ok(())
    }
}

/// The last time of each table that the run wrote.
fn newest_of(report: &RunReport) -> BTreeMap<String, f64> {
    let mut newest = BTreeMap::new();
    for unit in &report.units {
        // A month's unit ends with what was asked, whatever was published.
        let is_of_day = unit.table.partition == Partition::Day && unit.rows > 0;
        let last = unit.last_ts.as_deref().filter(|_| is_of_day);
        let last = last.and_then(|ts| ts.parse::<jiff::Timestamp>().ok());
        if let Some(last) = last {
            let seconds = last.as_second() as f64;
            let known = newest.entry(unit.table.name.to_owned()).or_insert(seconds);
            *known = seconds.max(*known);
        }
    }
    newest
}

/// The value of a figure without labels in a file.
fn value_in(text: &str, name: &str) -> Option<f64> {
    let mut lines = text.lines();
    lines.find_map(|line| number(line.strip_prefix(name)?.strip_prefix(' ')?))
}

/// A number that can be compared.
fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|n: &f64| n.is_finite())
}

/// When data of each table was last seen, as a file has it.
fn tables_in(text: &str) -> BTreeMap<String, f64> {
    let of_line = |line: &str| {
        let rest = line.strip_prefix(NEWEST)?.strip_prefix("{table=\"")?;
        let (table, value) = rest.split_once("\"} ")?;
        Some((table.to_owned(), number(value)?))
    };
    text.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failed_run_does_not_know_stays_as_it_was() {
        let first = metrics_text(1_000, None, 0, "").expect("text");
        assert_eq!(value_in(&first, SUCCESS), Some(1_000.0));
        let newest = format!("{NEWEST}{{table=\"metrics\"}} 900\n");
        let second = metrics_text(2_000, None, 5, &(first + &newest)).expect("text");
        assert_eq!(value_in(&second, SUCCESS), Some(1_000.0));
        assert_eq!(value_in(&second, "cwlake_last_run_exit_code"), Some(5.0));
        assert!(second.contains(&newest), "{second}");
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = tempfile::tempdir().expect("temp dir");
        let file = dir.path().join("cwlake.prom");
        write_metrics(&file, 1_000, None, 7).expect("written");
        write_metrics(&file, 2_000, None, 0).expect("written");
        let text = std::fs::read_to_string(&file).expect("read");
        assert_eq!(value_in(&text, "cwlake_last_run_exit_code"), Some(0.0));
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 1);
        assert!(write_metrics(&dir.path().join("no/x.prom"), 1, None, 0).is_err());
        assert!(write_metrics(dir.path(), 1, None, 0).is_err());
        // A link stays one, and leads to the new figures.
        let link = dir.path().join("link.prom");
        std::os::unix::fs::symlink(&file, &link).expect("linked");
        write_metrics(&link, 3_000, None, 8).expect("written");
        let text = std::fs::read_to_string(&file).expect("read");
        assert_eq!(value_in(&text, "cwlake_last_run_exit_code"), Some(8.0));
        assert!(
            std::fs::symlink_metadata(&link)
                .expect("there")
                .is_symlink()
        );
        assert_eq!(value_in("x NaN\nx 3\n", "x"), Some(3.0));
    }
}
