//! An event of `CloudWatch` Logs.

use std::sync::Arc;

use super::time::Day;

/// One row of the `logs` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEvent {
    /// When it happened, ms since the epoch.
    pub ts: i64,
    /// When `CloudWatch` took it in, ms since the epoch.
    pub ingested_at: i64,
    /// Its group.
    pub group: Arc<str>,
    /// Its stream.
    pub stream: Arc<str>,
    /// `CloudWatch`'s id; none of events of a stream that is read by name.
    pub id: Option<Box<str>>,
    /// Its text.
    pub message: Box<str>,
}

impl LogEvent {
    /// The day on which it happened.
    pub fn day(&self) -> Day {
        Day::containing(self.ts.div_euclid(1_000))
    }

    /// Bytes it takes in memory, about.
    pub fn bytes(&self) -> usize {
        self.message.len() + self.id.as_ref().map_or(0, |id| id.len()) + std::mem::size_of::<Self>()
    }
}
