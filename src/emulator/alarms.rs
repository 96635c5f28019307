//! CloudWatch alarms: `DescribeAlarms` and `DescribeAlarmHistory`.
//!
//! # Source
//! botocore `data/cloudwatch/2010-08-01/service-2.json`: pages of 100; metric alarms alone unless `AlarmTypes` says otherwise; a history without
//! a name is that of all alarms of a type.

use super::answer::Refusal;
use super::wire::{Value, whole};
use super::world::{AccountSpec, AlarmSpec};

const PAGE_SIZE: usize = 100;
const DAY_MS: i64 = 86_400_000;

/// How long the history is kept.
const KEPT_MS: i64 = 30 * DAY_MS;

/// When alarms were made: 2025-10-01, ms.
const MADE: i64 = 1_759_276_800_000;

/// A change of state.
#[derive(Clone, Debug)]
struct Change {
    /// ms since the epoch.
    at: i64,
    from: String,
    to: String,
    reason: String,
}

pub(super) fn handle(
    account: &AccountSpec,
    region: &str,
    now: i64,
    (operation, input): (&str, &Value),
) -> Result<Value, Refusal> {
    let asked: Vec<&str> = input
        .list("AlarmTypes")
        .iter()
        .filter_map(|t| match t {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    let kinds = if asked.is_empty() {
        vec!["MetricAlarm"]
    } else {
        asked
    };
    let here = |a: &&AlarmSpec| {
        a.region.as_deref().is_none_or(|r| r == region) && kinds.contains(&a.kind())
    };
    let mut alarms: Vec<&AlarmSpec> = account.alarms.iter().filter(here).collect();
    alarms.sort_by(|a, b| a.name.cmp(&b.name));
    let size = input
        .number("MaxRecords")
        .map_or(Some(PAGE_SIZE), |n| usize::try_from(whole(n)).ok())
        .unwrap_or(0);
    if !(1..=PAGE_SIZE).contains(&size) {
        return Err(Refusal::validation(
            "Value at 'maxRecords' failed to satisfy constraint: Member must have value less than or equal to 100",
        ));
    }
    let from = match input.str("NextToken") {
        None => 0,
        Some(token) => token
            .strip_prefix("alarms-")
            .and_then(|n| n.parse().ok())
            .ok_or_else(|| Refusal {
                status: 400,
                code: "InvalidNextToken",
                message: "Invalid nextToken".to_owned(),
            })?,
    };
    let now = now * 1_000;
    let (mut answer, all) = if operation == "DescribeAlarms" {
        let page = || alarms.iter().skip(from).take(size);
        let of = |kind: &str| {
            let own = page().filter(|a| a.kind() == kind);
            Value::List(own.map(|a| described(a, account, region, now)).collect())
        };
        let answer = vec![
            ("MetricAlarms".to_owned(), of("MetricAlarm")),
            ("CompositeAlarms".to_owned(), of("CompositeAlarm")),
        ];
        (answer, alarms.len())
    } else {
        let items = history(&alarms, now, input);
        let page = items.iter().skip(from).take(size).cloned().collect();
        let answer = vec![("AlarmHistoryItems".to_owned(), Value::List(page))];
        (answer, items.len())
    };
    if from + size < all {
        let token = format!("alarms-{}", from + size);
        answer.push(("NextToken".to_owned(), Value::text(token)));
    }
    Ok(Value::Map(answer))
}

/// The changes of an alarm that happened in a time, the oldest first: those that are generated, and those that are written down.
fn changes(alarm: &AlarmSpec, from: i64, to: i64) -> Vec<Change> {
    let mut all = Vec::new();
    let a_day = i64::from(alarm.changes_per_day);
    if a_day > 0 {
        let mut n = from.div_euclid(DAY_MS) * a_day;
        loop {
            let (day, k) = (n.div_euclid(a_day), n.rem_euclid(a_day));
            let at = day * DAY_MS + (2 * k + 1) * DAY_MS / (2 * a_day) + 123;
            if at >= to {
                break;
            }
            let states = ["OK", "ALARM"];
            let rises = n.rem_euclid(2) == 0;
            let (was, is) = (states[usize::from(!rises)], states[usize::from(rises)]);
            all.push(Change {
                at,
                from: was.to_owned(),
                to: is.to_owned(),
                reason: format!("Threshold Crossed: the value went to {is}"),
            });
            n += 1;
        }
    }
    all.extend(alarm.changes.iter().map(|c| Change {
        at: c.ts.as_millisecond(),
        from: c.from.clone(),
        to: c.to.clone(),
        reason: c.reason.clone(),
    }));
    all.retain(|c| (from..to).contains(&c.at));
    all.sort_by_key(|c| c.at);
    all
}

fn history(alarms: &[&AlarmSpec], now: i64, input: &Value) -> Vec<Value> {
    let millis = |key: &str| {
        #[expect(clippy::cast_possible_truncation, reason = "a time in milliseconds")]
        let at = |seconds: f64| (seconds * 1_000.0) as i64;
        input.number(key).map(at)
    };
    let from = millis("StartDate").unwrap_or(i64::MIN).max(now - KEPT_MS);
    let to = millis("EndDate").map_or(now, |end| end.min(now));
    let wanted = |a: &&&AlarmSpec| input.str("AlarmName").is_none_or(|n| n == a.name);
    let is_state = input
        .str("HistoryItemType")
        .is_none_or(|t| t == "StateUpdate");
    let mut items: Vec<(i64, Value)> = Vec::new();
    for alarm in alarms.iter().filter(wanted).filter(|_| is_state) {
        items.extend(
            changes(alarm, from, to)
                .iter()
                .map(|c| (c.at, item(alarm, c))),
        );
    }
    items.sort_by_key(|(at, _)| *at);
    if input.str("ScanBy") != Some("TimestampAscending") {
        items.reverse();
    }
    items.into_iter().map(|(_, item)| item).collect()
}

fn item(alarm: &AlarmSpec, change: &Change) -> Value {
    let state = |state: &str, reason: &str| serde_json::json!({ "stateValue": state, "stateReason": reason });
    let data = serde_json::json!({
        "version": "1.0",
        "oldState": state(&change.from, "before"),
        "newState": state(&change.to, &change.reason),
    });
    let summary = format!("Alarm updated from {} to {}", change.from, change.to);
    map(&[
        ("AlarmName", Value::text(&alarm.name)),
        ("AlarmType", Value::text(alarm.kind())),
        ("Timestamp", Value::Time(change.at)),
        ("HistoryItemType", Value::text("StateUpdate")),
        ("HistorySummary", Value::text(summary)),
        ("HistoryData", Value::text(data.to_string())),
    ])
}

fn described(alarm: &AlarmSpec, account: &AccountSpec, region: &str, now: i64) -> Value {
    let last = changes(alarm, now - KEPT_MS, now + 1).pop();
    let (state, reason, since) = match last {
        Some(change) => (change.to, change.reason, change.at),
        None => (alarm.state.clone(), "as it was made".to_owned(), MADE),
    };
    let arn = format!(
        "arn:aws:cloudwatch:{region}:{}:alarm:{}",
        account.id, alarm.name
    );
    let actions = alarm.actions.iter().map(Value::text).collect();
    let mut pairs = vec![
        ("AlarmName", Value::text(&alarm.name)),
        ("AlarmArn", Value::text(arn)),
        ("AlarmConfigurationUpdatedTimestamp", Value::Time(MADE)),
        ("ActionsEnabled", Value::Bool(true)),
        ("OKActions", Value::List(Vec::new())),
        ("AlarmActions", Value::List(actions)),
        ("InsufficientDataActions", Value::List(Vec::new())),
        ("StateValue", Value::text(state)),
        ("StateReason", Value::text(reason)),
        ("StateUpdatedTimestamp", Value::Time(since)),
        ("StateTransitionedTimestamp", Value::Time(since)),
    ];
    if let Some(rule) = &alarm.rule {
        pairs.push(("AlarmRule", Value::text(rule)));
        return map(&pairs);
    }
    let dimensions = alarm
        .dimensions
        .iter()
        .map(|(name, value)| map(&[("Name", Value::text(name)), ("Value", Value::text(value))]));
    pairs.extend([
        ("Namespace", Value::text(&alarm.namespace)),
        ("MetricName", Value::text(&alarm.metric)),
        ("Dimensions", Value::List(dimensions.collect())),
        ("Statistic", Value::text("Average")),
        ("Period", Value::Integer(300)),
        ("EvaluationPeriods", Value::Integer(3)),
        ("Threshold", Value::Number(alarm.threshold)),
        ("ComparisonOperator", Value::text("GreaterThanThreshold")),
        ("TreatMissingData", Value::text("missing")),
    ]);
    map(&pairs)
}

fn map(pairs: &[(&str, Value)]) -> Value {
    let pairs = pairs.iter().map(|(k, v)| ((*k).to_owned(), v.clone()));
    Value::Map(pairs.collect())
}
