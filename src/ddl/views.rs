//! Views that do the daily work: one column a statistic, daily sums, the latest value, and how much is there.

use std::collections::BTreeSet;

use super::engine::Engine;
use super::{Names, Statement};
use crate::config::ExportConfig;
use crate::lake::table::{ALARMS, INSTANCES, TABLES, Table};
use crate::model::{Dataset, Statistic};

/// What a series is told by, beside its dimensions. An account's name is not: it changes, and the series does not.
const SERIES: &str = "account_id, region, namespace, metric_name, dimensions_key, series_id";

/// The same with the account's name, whose expression is given, as it is told.
fn told(account_name: &str) -> String {
    SERIES.replacen(
        "account_id",
        &format!("account_id, {account_name} AS account_name"),
        1,
    )
}

pub(super) fn statements(config: &ExportConfig, engine: Engine, names: &Names) -> Vec<Statement> {
    let mut all = Vec::new();
    let is_there = |d: &Dataset| {
        !TABLES
            .iter()
            .any(|t| t.dataset == *d && names.leaves_out(engine, t))
    };
    let datasets = Dataset::ALL.into_iter().filter(|d| config.configures(*d));
    for dataset in datasets.filter(is_there) {
        match dataset {
            Dataset::Metrics => all.extend(of_metrics(config, engine, names)),
            Dataset::Instances => all.push(latest(&INSTANCES, "instance_id", engine, names)),
            Dataset::Spend => all.push(spend_accounts(engine, names)),
            Dataset::Alarms => all.push(latest(&ALARMS, "alarm_arn", engine, names)),
            // It is about the inventory as well.
            Dataset::AlarmHistory if !is_there(&Dataset::Alarms) => {}
            Dataset::AlarmHistory => all.push(alarm_minutes(engine, names)),
            Dataset::Logs => {}
        }
    }
    all
}

fn view(engine: Engine, names: &Names, name: &str, body: &str) -> Statement {
    Statement {
        name: name.to_owned(),
        sql: format!(
            "CREATE OR REPLACE VIEW {} AS\n{body}",
            engine.qualified(names, name)
        ),
    }
}

/// Everything of a daily inventory as it was described last, also what is gone: what metrics of the past are joined with.
fn latest(table: &Table, id: &str, engine: Engine, names: &Names) -> Statement {
    let columns: Vec<&str> = table.columns.iter().map(|c| c.name).collect();
    let columns = columns.join(", ");
    let body = format!(
        "SELECT\n  {columns},\n  dt AS last_seen\nFROM (\n  SELECT\n    {columns}, dt,\n    \
         row_number() OVER (PARTITION BY account_id, region, {id} ORDER BY dt DESC) AS place\n  FROM {}\n) AS seen\nWHERE place = 1",
        engine.qualified(names, table.name)
    );
    view(engine, names, &format!("{}_latest", table.name), &body)
}

/// Days that [`alarm_minutes`] looks at.
const MINUTES_DAYS: u32 = 455;

/// One row an alarm and day that is over and known whole: minutes in `ALARM`. A state lasts from its change to the next one, when that says that this
/// state was before it; and as long as an inventory has seen it. What lies between is not known, nor are its days.
fn alarm_minutes(engine: Engine, names: &Names) -> Statement {
    let history = engine.qualified(names, "alarm_history");
    let alarms = engine.qualified(names, "alarms");
    let (changed, since) = (engine.seconds("ts"), engine.seconds("state_changed_at"));
    let (seen, date) = (engine.day_number("dt"), engine.date_of("n"));
    let days = engine.days_over(MINUTES_DAYS);
    let who = "account_id, region, alarm_type, alarm_name";
    // Of two changes in one millisecond the one to ALARM comes first.
    let window = format!(
        "PARTITION BY {who} ORDER BY began, CASE WHEN old_state = 'ALARM' THEN 1 ELSE 0 END"
    );
    let body = format!(
        "WITH changes AS (\n  \
         SELECT {who}, account_name, {changed} AS began, old_state, new_state\n  FROM {history}\n),\n\
         in_order AS (\n  SELECT {who}, account_name, began, new_state AS state, lead(began) OVER ({window}) AS next_began, \
         lead(old_state) OVER ({window}) AS next_old\n  FROM changes\n),\n\
         told AS (\n  SELECT {who}, account_name, state, began, CASE WHEN next_old = state THEN next_began ELSE began END AS ended\n  \
         FROM in_order\n  UNION ALL\n  SELECT {who}, account_name, state, {since} AS began, {seen} * 86400 AS ended\n  FROM {alarms}\n),\n\
         states AS (\n  SELECT {who}, max(account_name) AS account_name, state, min(began) AS began, max(ended) AS ended\n  \
         FROM told\n  WHERE state IS NOT NULL AND began IS NOT NULL\n  GROUP BY {who}, state, floor(began + 0.5)\n),\n\
         days AS (\n  {days}\n),\n\
         parts AS (\n  SELECT {who}, account_name, n, state, least(ended, (n + 1) * 86400) - greatest(began, n * 86400) AS seconds\n  \
         FROM states JOIN days ON began < (n + 1) * 86400 AND ended > n * 86400\n)\n\
         SELECT\n  {date} AS day, account_id, max(account_name) AS account_name, region, alarm_type, alarm_name,\n  \
         sum(CASE WHEN state = 'ALARM' THEN seconds ELSE 0 END) / 60 AS minutes\n\
         FROM parts\nGROUP BY n, {who}\nHAVING sum(seconds) BETWEEN 86399.9 AND 86400.1"
    );
    view(engine, names, "alarm_minutes", &body)
}

/// One row an account and day: its own total, or what its payer says of it. A payer's own total is everybody's, and is not in it.
fn spend_accounts(engine: Engine, names: &Names) -> Statement {
    let spend = engine.qualified(names, "spend");
    let body = format!(
        "SELECT\n  day, account_id, account_name, currency, month_to_date, spend, days, state, last_ts, provisional, month\nFROM (\n  SELECT\n    \
         day, currency, month_to_date, spend, days, state, last_ts, provisional, month,\n    \
         coalesce(linked_account_id, account_id) AS account_id,\n    \
         CASE WHEN scope = 'total' THEN account_name END AS account_name,\n    \
         row_number() OVER (PARTITION BY day, currency, coalesce(linked_account_id, account_id) ORDER BY CASE WHEN month_to_date IS NULL THEN 1 ELSE 0 END, scope DESC) AS place\n  FROM {spend}\n  \
         WHERE scope = 'linked_account'\n    \
         OR scope = 'total' AND account_id NOT IN (SELECT account_id FROM {spend} WHERE scope = 'linked_account')\n) AS each_account\nWHERE place = 1"
    );
    view(engine, names, "spend_accounts", &body)
}

fn of_metrics(config: &ExportConfig, engine: Engine, names: &Names) -> Vec<Statement> {
    let view = |name: &str, body: String| view(engine, names, name, &body);
    let metrics = engine.qualified(names, "metrics");
    let dimensions = engine.any_of("dimensions");
    let mut statistics: Vec<&str> = config
        .selections
        .iter()
        .flat_map(|s| s.asks.statistics.iter().map(Statistic::as_str))
        .collect();
    statistics.sort_unstable();
    statistics.dedup();
    let wide: Vec<String> = statistic_columns(&statistics)
        .into_iter()
        .map(|(statistic, column)| {
            format!("  max(CASE WHEN stat = '{statistic}' THEN value END) AS {column}")
        })
        .collect();
    vec![
        view(
            "metrics_wide",
            format!(
                "SELECT\n  dt, ts, {},\n  {dimensions} AS dimensions,\n  period, unit,\n{}\nFROM {metrics}\n\
                 GROUP BY dt, ts, {SERIES}, period, unit",
                told("max(account_name)"),
                wide.join(",\n")
            ),
        ),
        view(
            "metrics_daily",
            format!(
                "SELECT\n  dt, {},\n  {dimensions} AS dimensions,\n  stat, period, unit,\n  count(*) AS points,\n  \
                 min(value) AS min_value,\n  max(value) AS max_value,\n  avg(value) AS mean_value,\n  sum(value) AS sum_value\n\
                 FROM {metrics}\nGROUP BY dt, {SERIES}, stat, period, unit",
                told("max_by(account_name, ts)")
            ),
        ),
        view(
            "metrics_latest",
            format!(
                "SELECT\n  {},\n  {dimensions} AS dimensions,\n  stat,\n  max(ts) AS ts,\n  max_by(value, ts) AS value,\n  \
                 max_by(period, ts) AS period,\n  max_by(unit, ts) AS unit\nFROM {metrics}\nWHERE dt >= {}\nGROUP BY {SERIES}, stat",
                told("max_by(account_name, ts)"),
                engine.days_ago(LATEST_DAYS)
            ),
        ),
        view(
            "metrics_coverage",
            format!(
                "SELECT\n  dt, account_id, region, namespace,\n  count(DISTINCT series_id) AS series,\n  sum(points) AS points,\n  \
                 min(first_ts) AS first_ts,\n  max(last_ts) AS last_ts,\n  \
                 CAST(sum(points) AS double) / sum(86400.0 / period) AS share_of_day\nFROM (\n  SELECT\n    \
                 dt, account_id, region, namespace, series_id, stat, period,\n    count(*) AS points,\n    min(ts) AS first_ts,\n    \
                 max(ts) AS last_ts\n  FROM {metrics}\n  GROUP BY dt, account_id, region, namespace, series_id, stat, period\n) AS by_series\n\
                 GROUP BY dt, account_id, region, namespace"
            ),
        ),
    ]
}

/// How far back the latest value may be: a view over all days would read the whole lake.
const LATEST_DAYS: u32 = 7;

/// A column for each statistic: lower case letters, digits and `_`, no two the same.
pub fn statistic_columns<'a>(statistics: &[&'a str]) -> Vec<(&'a str, String)> {
    let mut taken = BTreeSet::new();
    let column = |statistic: &&'a str| {
        let plain = column_of(statistic);
        let mut column = plain.clone();
        for n in 2.. {
            if taken.insert(column.clone()) {
                break;
            }
            column = format!("{plain}_{n}");
        }
        (*statistic, column)
    };
    statistics.iter().map(column).collect()
}

/// `SampleCount` is `sample_count`, `p99.9` is `p99_9`, `TM(10%:90%)` is `tm_10_90`.
fn column_of(statistic: &str) -> String {
    let mut out = String::new();
    let mut before = ' ';
    for c in statistic.chars() {
        if c.is_ascii_alphanumeric() {
            if c.is_ascii_uppercase() && before.is_ascii_lowercase() {
                out.push('_');
            }
            out.push(c.to_ascii_lowercase());
        } else if !out.ends_with('_') {
            out.push('_');
        }
        before = c;
    }
    out.trim_end_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statistic_has_a_safe_column_of_its_own() {
        let given = [
            "Average",
            "SampleCount",
            "p99",
            "p99.9",
            "TM(10%:90%)",
            "TM(10:90)",
            "PR(:300)",
            "IQM",
        ];
        let columns: Vec<String> = statistic_columns(&given)
            .into_iter()
            .map(|(_, c)| c)
            .collect();
        assert_eq!(
            columns,
            [
                "average",
                "sample_count",
                "p99",
                "p99_9",
                "tm_10_90",
                "tm_10_90_2",
                "pr_300",
                "iqm"
            ]
        );
    }
}
