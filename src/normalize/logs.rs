//! Log events to rows and back.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::ArrowError;

use super::decode::DecodeError;
use super::schema::logs_schema;
use crate::model::{Lane, LogEvent};

/// Events of one lane as one batch, in the order given.
///
/// # Errors
/// An [`ArrowError`] when its texts would exceed what Arrow's 32-bit offsets can hold.
pub fn logs_batch(
    lane: &Lane,
    account_name: Option<&str>,
    events: &[LogEvent],
) -> Result<RecordBatch, ArrowError> {
    let constant = |value: Option<&str>| -> ArrayRef {
        Arc::new(std::iter::repeat_n(value, events.len()).collect::<StringArray>())
    };
    let text = |get: fn(&LogEvent) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(events.iter().map(get)))
    };
    let time = |get: fn(&LogEvent) -> i64| -> ArrayRef {
        let micros = events.iter().map(|e| get(e).saturating_mul(1_000));
        Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
    };
    let ids: StringArray = events.iter().map(|e| e.id.as_deref()).collect();
    let columns: Vec<ArrayRef> = vec![
        time(|e| e.ts),
        time(|e| e.ingested_at),
        constant(Some(lane.account.as_str())),
        constant(account_name),
        constant(Some(lane.region.as_str())),
        text(|e| &e.group),
        text(|e| &e.stream),
        Arc::new(ids),
        text(|e| &e.message),
    ];
    RecordBatch::try_new(logs_schema(), columns)
}

/// The events of a batch, in its order.
///
/// # Errors
/// [`DecodeError`] for another schema.
pub fn decode_logs(batch: &RecordBatch) -> Result<Vec<LogEvent>, DecodeError> {
    if batch.schema().fields() != logs_schema().fields() {
        return Err(DecodeError::new("it has another schema"));
    }
    let time = |index: usize| {
        batch
            .column(index)
            .as_primitive::<TimestampMicrosecondType>()
    };
    let text = |index: usize| batch.column(index).as_string::<i32>();
    let (ts, ingested_at) = (time(0), time(1));
    let (groups, streams, ids, messages) = (text(5), text(6), text(7), text(8));
    let mut events: Vec<LogEvent> = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let same = |last: Option<&Arc<str>>, column: &StringArray| match last {
            Some(last) if **last == *column.value(row) => Arc::clone(last),
            _ => Arc::from(column.value(row)),
        };
        let (group, stream) = (
            same(events.last().map(|e| &e.group), groups),
            same(events.last().map(|e| &e.stream), streams),
        );
        events.push(LogEvent {
            ts: ts.value(row).div_euclid(1_000),
            ingested_at: ingested_at.value(row).div_euclid(1_000),
            group,
            stream,
            id: ids.is_valid(row).then(|| ids.value(row).into()),
            message: messages.value(row).into(),
        });
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountId, Region};

    #[test]
    fn events_come_back_as_they_went() {
        let lane = Lane {
            account: AccountId::parse("000122223333").expect("id"),
            region: Region::parse("us-east-1").expect("region"),
        };
        let event = |ts, id: Option<&str>, message: &str| LogEvent {
            ts,
            ingested_at: ts + 7,
            group: "/a/b".into(),
            stream: "s,\"1".into(),
            id: id.map(Into::into),
            message: message.into(),
        };
        let events = [
            event(1_795_000_000_123, Some("37"), "=1+1\t\u{1b}[31m<b>\0\r\n"),
            event(-5, None, ""),
        ];
        let batch = logs_batch(&lane, None, &events).expect("built");
        assert_eq!(decode_logs(&batch).expect("decoded"), events);
    }
}
