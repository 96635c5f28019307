//! Alarms and the changes of their states to rows, and what earlier runs have seen of them.

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;

use super::decode::DecodeError;
use super::rows::{Cell, Owner, Rows, batch_of};
use crate::lake::table::{ALARM_HISTORY, ALARMS};
use crate::model::{AccountId, Alarm, AlarmChange, AlarmMetric, Lane, MetricId, series_id};

/// The alarms of one lane as one batch.
///
/// # Shape
/// One row an alarm, sorted by name.
///
/// # Errors
/// An [`ArrowError`] when it would exceed what Arrow's 32-bit offsets can hold.
pub fn alarms_batch(owner: Owner<'_>, alarms: &[Alarm]) -> Result<RecordBatch, ArrowError> {
    let mut rows: Vec<(&Alarm, Option<i64>)> = alarms
        .iter()
        .map(|alarm| {
            (
                alarm,
                alarm.metric.as_ref().and_then(|m| id_of(owner.lane, m)),
            )
        })
        .collect();
    rows.sort_by_key(|(alarm, _)| (&alarm.name, &alarm.arn));
    batch_of(&ALARMS, owner, &rows, |(alarm, series), column| {
        let metric = alarm.metric.as_ref();
        match column {
            "alarm_name" => Cell::Text(&alarm.name),
            "alarm_type" => Cell::Text(&alarm.kind),
            "alarm_arn" => Cell::Text(&alarm.arn),
            "description" => Cell::text(alarm.description.as_deref()),
            "state" => Cell::text(alarm.state.as_deref()),
            "state_reason" => Cell::text(alarm.state_reason.as_deref()),
            "state_changed_at" => Cell::number(alarm.state_changed_at),
            "configured_at" => Cell::number(alarm.configured_at),
            "namespace" => Cell::text(metric.map(|m| m.metric.namespace())),
            "metric_name" => Cell::text(metric.map(|m| m.metric.metric_name())),
            "dimensions" => Cell::Map(alarm.dimensions()),
            "dimensions_key" => Cell::text(metric.map(|m| m.metric.dimensions_key())),
            "series_id" => Cell::number(*series),
            "metric_account_id" => Cell::text(metric.and_then(|m| m.account.as_deref())),
            "stat" => Cell::text(metric.and_then(|m| m.statistic.as_deref())),
            "period" => Cell::number(metric.and_then(|m| m.period)),
            "unit" => Cell::text(metric.and_then(|m| m.unit.as_deref())),
            "expression" => Cell::text(alarm.expression.as_deref()),
            "comparison" => Cell::text(alarm.comparison.as_deref()),
            "threshold" => Cell::double(alarm.threshold),
            "evaluation_periods" => Cell::number(alarm.evaluation_periods),
            "datapoints_to_alarm" => Cell::number(alarm.datapoints_to_alarm),
            "treat_missing_data" => Cell::text(alarm.treat_missing_data.as_deref()),
            "actions_enabled" => Cell::truth(alarm.actions_enabled),
            "alarm_actions" => Cell::text(alarm.alarm_actions.as_deref()),
            "ok_actions" => Cell::text(alarm.ok_actions.as_deref()),
            "insufficient_data_actions" => Cell::text(alarm.insufficient_data_actions.as_deref()),
            _ => Cell::Null,
        }
    })
}

/// The series that an alarm's metric is, in the account it is in.
fn id_of(lane: &Lane, watched: &AlarmMetric) -> Option<i64> {
    let account = match &watched.account {
        Some(other) => AccountId::parse(other)?,
        None => lane.account.clone(),
    };
    let region = lane.region.clone();
    Some(series_id(&Lane { account, region }, &watched.metric))
}

/// The alarms of a batch, by ARN.
///
/// # Errors
/// [`DecodeError`] for another schema.
pub fn decode_alarms(
    batch: &RecordBatch,
    known: &mut BTreeMap<String, Alarm>,
) -> Result<(), DecodeError> {
    let rows = Rows::of(&ALARMS, batch)?;
    for row in 0..rows.len() {
        let text = |name: &str| rows.text(name, row).map(str::to_owned);
        let number = |name: &str| rows.number(name, row);
        let metric = match (text("namespace"), text("metric_name")) {
            (Some(namespace), Some(name)) => Some(AlarmMetric {
                metric: MetricId::new(&*namespace, &*name, rows.map("dimensions", row)?),
                account: text("metric_account_id"),
                statistic: text("stat"),
                period: number("period"),
                unit: text("unit"),
            }),
            _ => None,
        };
        let arn = rows.must("alarm_arn", row)?.to_owned();
        let alarm = Alarm {
            arn: arn.clone(),
            name: rows.must("alarm_name", row)?.to_owned(),
            kind: rows.must("alarm_type", row)?.to_owned(),
            description: text("description"),
            state: text("state"),
            state_reason: text("state_reason"),
            state_changed_at: number("state_changed_at"),
            configured_at: number("configured_at"),
            actions_enabled: rows.truth("actions_enabled", row),
            alarm_actions: text("alarm_actions"),
            ok_actions: text("ok_actions"),
            insufficient_data_actions: text("insufficient_data_actions"),
            metric,
            expression: text("expression"),
            comparison: text("comparison"),
            threshold: rows.double("threshold", row),
            evaluation_periods: number("evaluation_periods"),
            datapoints_to_alarm: number("datapoints_to_alarm"),
            treat_missing_data: text("treat_missing_data"),
        };
        known.insert(arn, alarm);
    }
    Ok(())
}

/// Changes of a lane's alarms as one batch.
///
/// # Shape
/// One row a change, sorted by alarm and time.
///
/// # Errors
/// An [`ArrowError`] when it would exceed what Arrow's 32-bit offsets can hold.
pub fn alarm_history_batch(
    owner: Owner<'_>,
    changes: &BTreeSet<AlarmChange>,
) -> Result<RecordBatch, ArrowError> {
    let rows: Vec<&AlarmChange> = changes.iter().collect();
    batch_of(
        &ALARM_HISTORY,
        owner,
        &rows,
        |change, column| match column {
            "ts" => Cell::Number(change.ts),
            "alarm_name" => Cell::Text(&change.name),
            "alarm_type" => Cell::Text(&change.kind),
            "old_state" => Cell::text(change.old_state.as_deref()),
            "new_state" => Cell::text(change.new_state.as_deref()),
            "reason" => Cell::text(change.reason.as_deref()),
            "summary" => Cell::text(change.summary.as_deref()),
            "data" => Cell::text(change.data.as_deref()),
            _ => Cell::Null,
        },
    )
}

/// Adds the changes of a batch to `known`.
///
/// # Errors
/// [`DecodeError`] for another schema.
pub fn decode_alarm_history(
    batch: &RecordBatch,
    known: &mut BTreeSet<AlarmChange>,
) -> Result<(), DecodeError> {
    let rows = Rows::of(&ALARM_HISTORY, batch)?;
    for row in 0..rows.len() {
        let text = |name: &str| rows.text(name, row).map(str::to_owned);
        known.insert(AlarmChange {
            name: rows.must("alarm_name", row)?.to_owned(),
            kind: rows.must("alarm_type", row)?.to_owned(),
            ts: rows
                .number("ts", row)
                .ok_or_else(|| DecodeError::missing("ts"))?,
            old_state: text("old_state"),
            new_state: text("new_state"),
            reason: text("reason"),
            summary: text("summary"),
            data: text("data"),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Dimension, Region};

    fn lane() -> Lane {
        Lane {
            account: AccountId::parse("000122223333").expect("id"),
            region: Region::parse("us-east-1").expect("region"),
        }
    }

    #[test]
    fn alarms_round_trip_and_join_the_series_of_their_metric() {
        let lane = lane();
        let hostile = "=cmd()\u{202e}<b>\0";
        let dimensions = vec![Dimension::new("InstanceId", "i-1")];
        let metric = MetricId::new("AWS/EC2", "CPUUtilization", dimensions);
        let watched = |account: Option<&str>| AlarmMetric {
            metric: metric.clone(),
            account: account.map(str::to_owned),
            statistic: Some("Average".to_owned()),
            period: Some(300),
            unit: Some("Percent".to_owned()),
        };
        let full = Alarm {
            arn: "arn:b".to_owned(),
            name: hostile.to_owned(),
            kind: "MetricAlarm".to_owned(),
            state: Some("ALARM".to_owned()),
            state_changed_at: Some(1_795_000_000_123_000),
            actions_enabled: Some(false),
            alarm_actions: Some("arn:1,arn:2".to_owned()),
            metric: Some(watched(None)),
            threshold: Some(80.5),
            evaluation_periods: Some(3),
            description: Some("too busy".to_owned()),
            state_reason: Some("above".to_owned()),
            configured_at: Some(1_794_000_000_000_000),
            ok_actions: Some("arn:3".to_owned()),
            insufficient_data_actions: Some("arn:4".to_owned()),
            expression: None,
            comparison: Some("GreaterThanThreshold".to_owned()),
            datapoints_to_alarm: Some(2),
            treat_missing_data: Some("ignore".to_owned()),
        };
        let linked = Alarm {
            arn: "arn:a".to_owned(),
            name: "linked".to_owned(),
            metric: Some(watched(Some("111122223333"))),
            ..full.clone()
        };
        let composite = Alarm {
            arn: "arn:c".to_owned(),
            name: "both".to_owned(),
            kind: "CompositeAlarm".to_owned(),
            expression: Some("ALARM(a) AND ALARM(b)".to_owned()),
            ..Alarm::default()
        };
        let owner = Owner {
            lane: &lane,
            account_name: Some("prod"),
        };
        let all = [full, linked, composite];
        let batch = alarms_batch(owner, &all).expect("built");
        let mut known = BTreeMap::new();
        decode_alarms(&batch, &mut known).expect("decoded");
        assert_eq!(known.len(), 3);
        for alarm in &all {
            assert_eq!(known[&alarm.arn], *alarm);
        }
        let rows = Rows::of(&ALARMS, &batch).expect("its schema");
        let first = known.values().find(|a| a.name == hostile).expect("it");
        let row = (0..rows.len()).find(|row| rows.text("alarm_name", *row) == Some(hostile));
        let row = row.expect("its row");
        assert_eq!(
            rows.text("dimensions_key", row),
            first.metric.as_ref().map(|m| m.metric.dimensions_key())
        );
        let ids: Vec<Option<i64>> = (0..3).map(|row| rows.number("series_id", row)).collect();
        let other = Lane {
            account: AccountId::parse("111122223333").expect("id"),
            ..lane.clone()
        };
        let own = Some(series_id(&lane, &metric));
        assert_eq!(ids, [own, None, Some(series_id(&other, &metric))]);
    }

    #[test]
    fn changes_round_trip_sorted_and_each_once() {
        let lane = lane();
        let change = |name: &str, ts: i64| AlarmChange {
            name: name.to_owned(),
            kind: "MetricAlarm".to_owned(),
            ts,
            old_state: Some("OK".to_owned()),
            new_state: Some("ALARM".to_owned()),
            reason: Some("above".to_owned()),
            summary: Some("from OK to ALARM".to_owned()),
            data: Some("{}".to_owned()),
        };
        let given = [
            change("b", 2),
            change("a", 3),
            change("b", 1),
            change("b", 2),
        ];
        let changes: BTreeSet<AlarmChange> = given.into_iter().collect();
        let owner = Owner {
            lane: &lane,
            account_name: None,
        };
        let batch = alarm_history_batch(owner, &changes).expect("built");
        let rows = Rows::of(&ALARM_HISTORY, &batch).expect("its schema");
        let order: Vec<(&str, Option<i64>)> = (0..rows.len())
            .map(|row| {
                (
                    rows.text("alarm_name", row).unwrap_or(""),
                    rows.number("ts", row),
                )
            })
            .collect();
        assert_eq!(order, [("a", Some(3)), ("b", Some(1)), ("b", Some(2))]);
        let mut known = BTreeSet::new();
        decode_alarm_history(&batch, &mut known).expect("decoded");
        assert_eq!(known, changes);
    }
}
