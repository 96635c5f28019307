//! Log events to rows and back.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;

use super::decode::DecodeError;
use super::rows::{Cell, Owner, Rows, batch_of};
use crate::lake::table::LOGS;
use crate::model::LogEvent;

/// Events of one lane as one batch, in the order given.
///
/// # Errors
/// An [`ArrowError`] when its texts would exceed what Arrow's 32-bit offsets can hold.
pub fn logs_batch(owner: Owner<'_>, events: &[LogEvent]) -> Result<RecordBatch, ArrowError> {
    batch_of(&LOGS, owner, events, |e, column| match column {
        "ts" => Cell::Number(e.ts.saturating_mul(1_000)),
        "ingested_at" => Cell::Number(e.ingested_at.saturating_mul(1_000)),
        "log_group" => Cell::Text(&e.group),
        "log_stream" => Cell::Text(&e.stream),
        "event_id" => Cell::text(e.id.as_deref()),
        "message" => Cell::Text(&e.message),
        _ => Cell::Null,
    })
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
        assert_eq!(decode_logs(&batch).expect("decoded"), events);
    }
}
