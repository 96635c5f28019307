//! An event of `CloudWatch` Logs.

use std::sync::Arc;

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
    /// Bytes it takes in memory, about.
    pub fn bytes(&self) -> usize {
        self.message.len() + self.id.as_ref().map_or(0, |id| id.len()) + std::mem::size_of::<Self>()
    }
}
