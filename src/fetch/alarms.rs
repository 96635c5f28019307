//! Alarms of a lane and the changes of their states. Follows CloudWatch `DescribeAlarms` and `DescribeAlarmHistory`.

use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{
    AlarmHistoryItem, AlarmType, ComparisonOperator, CompositeAlarm, Dimension as Described,
    HistoryItemType, LogAlarm, MetricAlarm, MetricDataQuery, ScanBy, StandardUnit, StateValue,
    Statistic,
};
use serde::Deserialize;

use crate::aws::{Api, CallStats, LaneClient, Pages, listed};
use crate::model::{
    Alarm, AlarmChange, AlarmMetric, Cause, CauseKind, Dimension, MetricId, TimeWindow,
};

/// The kinds of alarms, which are asked for apart: composite ones need a permission of `*`, and no service knew of the last always.
///
/// # Source
/// botocore `data/cloudwatch/2010-08-01/service-2.json`, `DescribeAlarms`, `AlarmTypes`.
pub const ALARM_KINDS: [&str; 3] = ["MetricAlarm", "CompositeAlarm", "LogAlarm"];

/// Alarms and changes on one page.
///
/// # Source
/// As [`ALARM_KINDS`], `MaxRecords`.
const PAGE_SIZE: i32 = 100;

/// Every alarm of a kind.
///
/// # Errors
/// The cause of the page that failed, or a token that repeats.
pub async fn alarms(
    client: &LaneClient,
    kind: &str,
    stats: &mut CallStats,
) -> Result<Vec<Alarm>, Cause> {
    let mut found = Vec::new();
    let mut pages = Pages::of("DescribeAlarms");
    loop {
        let page = client
            .call(Api::DescribeAlarms, 0.0, false, stats, async || {
                let request = client
                    .cloudwatch()
                    .describe_alarms()
                    .alarm_types(AlarmType::from(kind))
                    .max_records(PAGE_SIZE)
                    .set_next_token(pages.token());
                let page = request.send().await?;
                let has_list = page.metric_alarms.is_some()
                    || page.composite_alarms.is_some()
                    || page.log_alarms.is_some();
                listed(page, has_list)
            })
            .await;
        let page = match page {
            Ok(page) => page,
            Err(cause) if pages.restarts_after(&cause) => continue,
            Err(cause) => return none_of_unknown(kind, cause).map(|()| found),
        };
        found.extend(page.metric_alarms().iter().filter_map(metric_alarm));
        found.extend(page.composite_alarms().iter().filter_map(composite_alarm));
        found.extend(page.log_alarms().iter().filter_map(log_alarm));
        if !pages.follow(page.next_token)? {
            return Ok(found);
        }
    }
}

/// Every change of state of alarms of a kind in a window, the oldest first.
///
/// # Errors
/// As [`alarms`].
pub async fn alarm_history(
    client: &LaneClient,
    kind: &str,
    window: TimeWindow,
    stats: &mut CallStats,
) -> Result<Vec<AlarmChange>, Cause> {
    let mut found = Vec::new();
    let mut pages = Pages::of("DescribeAlarmHistory");
    loop {
        let page = client
            .call(Api::DescribeAlarmHistory, 0.0, false, stats, async || {
                let request = client
                    .cloudwatch()
                    .describe_alarm_history()
                    .alarm_types(AlarmType::from(kind))
                    .history_item_type(HistoryItemType::StateUpdate)
                    .start_date(DateTime::from_secs(window.start))
                    .end_date(DateTime::from_secs(window.end))
                    .scan_by(ScanBy::TimestampAscending)
                    .max_records(PAGE_SIZE)
                    .set_next_token(pages.token());
                let page = request.send().await?;
                let has_list = page.alarm_history_items.is_some();
                listed(page, has_list)
            })
            .await;
        let page = match page {
            Ok(page) => page,
            Err(cause) if pages.restarts_after(&cause) => continue,
            Err(cause) => return none_of_unknown(kind, cause).map(|()| found),
        };
        let changes = page.alarm_history_items().iter();
        let changes = changes.filter_map(|item| change(item, kind));
        // Whether the end belongs to the window is not said.
        let inside = |c: &AlarmChange| {
            let second = c.ts.div_euclid(1_000_000);
            (window.start..window.end).contains(&second)
        };
        found.extend(changes.filter(inside));
        if !pages.follow(page.next_token)? {
            return Ok(found);
        }
    }
}

/// A service that does not know of a kind has no alarms of it.
fn none_of_unknown(kind: &str, cause: Cause) -> Result<(), Cause> {
    if kind == "LogAlarm" && cause.kind == CauseKind::Validation {
        Ok(())
    } else {
        Err(cause)
    }
}

fn own(text: Option<&str>) -> Option<String> {
    text.filter(|t| !t.is_empty()).map(str::to_owned)
}

/// The SDK cuts what is sent as a fraction of seconds to milliseconds, which may be one too few.
fn micros(at: Option<&DateTime>) -> Option<i64> {
    at.map(|t| t.secs() * 1_000_000 + i64::from(t.subsec_nanos() / 1_000))
}

fn joined(actions: &[String]) -> Option<String> {
    (!actions.is_empty()).then(|| actions.join(","))
}

fn metric_id(namespace: &str, name: &str, dimensions: &[Described]) -> MetricId {
    let dimensions = dimensions
        .iter()
        .map(|d| Dimension::new(d.name().unwrap_or_default(), d.value().unwrap_or_default()));
    MetricId::new(namespace, name, dimensions.collect())
}

/// What all kinds of alarms are described by.
macro_rules! described {
    ($given:ident, $kind:literal) => {
        Alarm {
            arn: $given.alarm_arn()?.to_owned(),
            name: $given.alarm_name()?.to_owned(),
            kind: ALARM_KINDS[$kind].to_owned(),
            description: own($given.alarm_description()),
            state: own($given.state_value().map(StateValue::as_str)),
            state_reason: own($given.state_reason()),
            state_changed_at: micros(
                $given
                    .state_transitioned_timestamp()
                    .or($given.state_updated_timestamp()),
            ),
            configured_at: micros($given.alarm_configuration_updated_timestamp()),
            actions_enabled: $given.actions_enabled(),
            alarm_actions: joined($given.alarm_actions()),
            ok_actions: joined($given.ok_actions()),
            insufficient_data_actions: joined($given.insufficient_data_actions()),
            ..Alarm::default()
        }
    };
}

fn metric_alarm(given: &MetricAlarm) -> Option<Alarm> {
    let named = given.namespace().zip(given.metric_name());
    let statistic = given.extended_statistic();
    let statistic = statistic.or_else(|| given.statistic().map(Statistic::as_str));
    let plain = named.map(|(namespace, name)| AlarmMetric {
        metric: metric_id(namespace, name, given.dimensions()),
        account: None,
        statistic: own(statistic),
        period: given.period().map(i64::from),
        unit: own(given.unit().map(StandardUnit::as_str)),
    });
    let (metric, expression) = match plain {
        Some(metric) => (Some(metric), None),
        None => watched(given.metrics()),
    };
    Some(Alarm {
        metric,
        expression,
        comparison: own(given.comparison_operator().map(ComparisonOperator::as_str)),
        threshold: given.threshold(),
        evaluation_periods: given.evaluation_periods().map(i64::from),
        datapoints_to_alarm: given.datapoints_to_alarm().map(i64::from),
        treat_missing_data: own(given.treat_missing_data()),
        ..described!(given, 0)
    })
}

/// What queries watch: the one metric of another account, or an expression.
fn watched(queries: &[MetricDataQuery]) -> (Option<AlarmMetric>, Option<String>) {
    let watched = match queries {
        [one] => Some(one),
        several => several.iter().find(|q| q.return_data() == Some(true)),
    };
    let Some(query) = watched else {
        return (None, None);
    };
    if let Some(expression) = query.expression() {
        return (None, Some(expression.to_owned()));
    }
    let metric = query.metric_stat().and_then(|stat| {
        let metric = stat.metric()?;
        let (namespace, name) = (metric.namespace()?, metric.metric_name()?);
        Some(AlarmMetric {
            metric: metric_id(namespace, name, metric.dimensions()),
            account: own(query.account_id()),
            statistic: own(stat.stat()),
            period: stat.period().map(i64::from),
            unit: own(stat.unit().map(StandardUnit::as_str)),
        })
    });
    (metric, None)
}

fn composite_alarm(given: &CompositeAlarm) -> Option<Alarm> {
    Some(Alarm {
        expression: own(given.alarm_rule()),
        ..described!(given, 1)
    })
}

fn log_alarm(given: &LogAlarm) -> Option<Alarm> {
    let query = given.scheduled_query_configuration();
    Some(Alarm {
        expression: own(query.and_then(|q| q.query_string())),
        comparison: own(given.comparison_operator().map(ComparisonOperator::as_str)),
        threshold: given.threshold(),
        evaluation_periods: given.query_results_to_evaluate().map(i64::from),
        datapoints_to_alarm: given.query_results_to_alarm().map(i64::from),
        treat_missing_data: own(given.treat_missing_data()),
        ..described!(given, 2)
    })
}

/// What the history says of a change, as far as it is in a form that is known.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ChangeData {
    old_state: StateData,
    new_state: StateData,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct StateData {
    state_value: Option<String>,
    state_reason: Option<String>,
}

fn change(given: &AlarmHistoryItem, kind: &str) -> Option<AlarmChange> {
    let data = given.history_data();
    let told: ChangeData = data
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let own_kind = given.alarm_type().map_or(kind, AlarmType::as_str);
    Some(AlarmChange {
        name: given.alarm_name()?.to_owned(),
        kind: own_kind.to_owned(),
        ts: micros(given.timestamp())?,
        old_state: told.old_state.state_value,
        new_state: told.new_state.state_value,
        reason: told.new_state.state_reason,
        summary: own(given.history_summary()),
        data: own(data),
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_cloudwatch::types::{Metric, MetricStat};

    use super::*;

    #[test]
    fn an_alarm_on_another_accounts_metric_watches_one_metric_and_on_math_none() {
        let metric = Metric::builder().namespace("App").metric_name("Errors");
        let stat = MetricStat::builder()
            .metric(metric.build())
            .stat("Sum")
            .period(60)
            .build();
        let query = MetricDataQuery::builder()
            .id("m")
            .metric_stat(stat)
            .account_id("111122223333")
            .build();
        let alarm = |queries: &[MetricDataQuery]| {
            let given = MetricAlarm::builder().alarm_arn("arn").alarm_name("a");
            let given = given.set_metrics(Some(queries.to_vec())).build();
            metric_alarm(&given).expect("an alarm")
        };
        let linked = alarm(std::slice::from_ref(&query));
        let watched = linked.metric.expect("a metric");
        assert_eq!(watched.account.as_deref(), Some("111122223333"));
        assert_eq!(
            (watched.statistic.as_deref(), watched.period),
            (Some("Sum"), Some(60))
        );
        let math = MetricDataQuery::builder()
            .id("e")
            .expression("m / 60")
            .return_data(true)
            .build();
        let of_math = alarm(&[query, math]);
        assert_eq!(
            (of_math.metric, of_math.expression.as_deref()),
            (None, Some("m / 60"))
        );
    }

    #[test]
    fn a_change_tells_its_states_and_keeps_what_it_cannot_read() {
        let item = |data: &str| {
            let given = AlarmHistoryItem::builder()
                .alarm_name("a")
                .timestamp(DateTime::from_millis(1_795_000_000_123))
                .history_data(data);
            change(&given.build(), "MetricAlarm").expect("a change")
        };
        let known = item(
            r#"{"version":"1.0","oldState":{"stateValue":"OK"},"newState":{"stateValue":"ALARM","stateReason":"high"}}"#,
        );
        assert_eq!(known.old_state.as_deref(), Some("OK"));
        assert_eq!(known.new_state.as_deref(), Some("ALARM"));
        assert_eq!(known.reason.as_deref(), Some("high"));
        assert_eq!(known.ts, 1_795_000_000_123_000);
        let unknown = item("<?>");
        assert_eq!(
            (unknown.new_state, unknown.data.as_deref()),
            (None, Some("<?>"))
        );
    }
}
