//! Log events to rows and back.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::ArrowError;

use super::decode::DecodeError;
use super::rows::{Owner, Rows};
use super::schema::schema_of;
use crate::lake::table::{Column, LOGS};
use crate::model::LogEvent;

/// Events of one lane as one batch, in the order given.
///
/// Column by column: by the name of every cell, as other tables are built, it takes a tenth of an export of logs.
///
/// # Errors
/// An [`ArrowError`] when it is not the table's schema.
///
/// # Panics
/// When its texts exceed what Arrow's 32-bit offsets can hold.
pub fn logs_batch(owner: Owner<'_>, events: &[LogEvent]) -> Result<RecordBatch, ArrowError> {
    let column = |column: &Column| -> ArrayRef {
        match column.name {
            "ts" => instants(events, |e| e.ts),
            "ingested_at" => instants(events, |e| e.ingested_at),
            "account_id" => texts(events, |_| Some(owner.lane.account.as_str())),
            "account_name" => texts(events, |_| owner.account_name),
            "region" => texts(events, |_| Some(owner.lane.region.as_str())),
            "log_group" => texts(events, |e| Some(&e.group)),
            "log_stream" => texts(events, |e| Some(&e.stream)),
            "event_id" => texts(events, |e| e.id.as_deref()),
            "message" => texts(events, |e| Some(&e.message)),
            other => unreachable!("logs has no column {other}"),
        }
    };
    let columns = LOGS.columns.iter().map(column).collect();
    RecordBatch::try_new(schema_of(&LOGS), columns)
}

fn instants(events: &[LogEvent], millis: impl Fn(&LogEvent) -> i64) -> ArrayRef {
    let micros = events.iter().map(|e| millis(e).saturating_mul(1_000));
    Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
}

fn texts<'a>(events: &'a [LogEvent], text: impl Fn(&'a LogEvent) -> Option<&'a str>) -> ArrayRef {
    let bytes = events.iter().filter_map(&text).map(str::len).sum();
    let mut builder = StringBuilder::with_capacity(events.len(), bytes);
    events
        .iter()
        .map(text)
        .for_each(|t| builder.append_option(t));
    Arc::new(builder.finish())
}

/// The events of a batch, in its order.
///
/// # Errors
/// [`DecodeError`] for another schema.
pub fn decode_logs(batch: &RecordBatch) -> Result<Vec<LogEvent>, DecodeError> {
    let rows = Rows::of(&LOGS, batch)?;
    let mut events: Vec<LogEvent> = Vec::with_capacity(rows.len());
    for row in 0..rows.len() {
        // Neighbours are mostly of one stream: its name is kept once.
        let same = |last: Option<&Arc<str>>, text: &str| match last {
            Some(last) if **last == *text => Arc::clone(last),
            _ => Arc::from(text),
        };
        let millis = |name: &str| rows.number(name, row).map(|t| t.div_euclid(1_000));
        let ts = millis("ts").ok_or_else(|| DecodeError::missing("ts"))?;
        events.push(LogEvent {
            ts,
            ingested_at: millis("ingested_at").unwrap_or(ts),
            group: same(
                events.last().map(|e| &e.group),
                rows.must("log_group", row)?,
            ),
            stream: same(
                events.last().map(|e| &e.stream),
                rows.must("log_stream", row)?,
            ),
            id: rows.text("event_id", row).map(Into::into),
            message: rows.must("message", row)?.into(),
        });
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountId, Lane, Region};

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
        let owner = Owner {
            lane: &lane,
            account_name: None,
        };
        let batch = logs_batch(owner, &events).expect("built");
        let decoded = decode_logs(&batch).expect("decoded");
        assert_eq!(decoded, events);
        assert!(Arc::ptr_eq(&decoded[0].stream, &decoded[1].stream));
        let other = LogEvent {
            stream: "another".into(),
            ..events[1].clone()
        };
        let events = [events[0].clone(), other];
        let batch = logs_batch(owner, &events).expect("built");
        assert_eq!(decode_logs(&batch).expect("decoded"), events);
    }
}
