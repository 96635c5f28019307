//! Which breaches of a day were told of, by channel: each is told once.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::lake::layout;
use crate::model::Day;
use crate::spend::BudgetCheck;
use crate::store::{Store, StoreError, StoreErrorKind};

const VERSION: u32 = 1;

/// What was told of a day. Written after each channel has taken its message: a run that dies in between tells once more, and never not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    version: u32,
    /// By channel, the breaches.
    channels: BTreeMap<String, BTreeSet<String>>,
}

impl Sent {
    /// Reads the record of a day.
    ///
    /// # Errors
    /// The store's, or a file that is no such record.
    pub async fn read(store: &dyn Store, day: Day) -> Result<Self, StoreError> {
        let key = layout::alerts(day);
        let Some(body) = store.get(&key).await? else {
            return Ok(Self::default());
        };
        let refuse = |message: String| StoreError {
            kind: StoreErrorKind::Refused,
            doing: format!("reading {key}"),
            message,
            hint: Some("move the file away: breaches of its day are then told of again".to_owned()),
        };
        let sent: Self = serde_json::from_slice(&body)
            .map_err(|e| refuse(format!("it is no record of alerts: {e}")))?;
        if sent.version > VERSION {
            return Err(refuse("it was written by a newer cwlake".to_owned()));
        }
        Ok(sent)
    }

    /// Whether a day has a record: a run has looked at it.
    ///
    /// # Errors
    /// The store's.
    pub async fn is_there(store: &dyn Store, day: Day) -> Result<bool, StoreError> {
        Ok(store.get(&layout::alerts(day)).await?.is_some())
    }

    /// Writes the record as it is, if that changes anything.
    ///
    /// # Errors
    /// The store's.
    pub async fn write(&mut self, store: &dyn Store, day: Day) -> Result<(), StoreError> {
        if self.version == VERSION {
            return Ok(());
        }
        self.version = VERSION;
        let json = serde_json::to_vec_pretty(self).unwrap_or_default();
        store.put(&layout::alerts(day), Bytes::from(json)).await
    }

    /// The breaches that a channel was not told of.
    pub fn news<'a>(&self, channel: &str, breaches: &[&'a BudgetCheck]) -> Vec<&'a BudgetCheck> {
        let told = self.channels.get(channel);
        let is_new = |b: &&&BudgetCheck| told.is_none_or(|t| !t.contains(&b.key()));
        breaches.iter().filter(is_new).copied().collect()
    }

    /// Notes that a channel was told, and writes the record.
    ///
    /// # Errors
    /// The store's; the channel is then told again by the next run.
    pub async fn note(
        &mut self,
        store: &dyn Store,
        day: Day,
        channel: &str,
        breaches: &[&BudgetCheck],
    ) -> Result<(), StoreError> {
        self.version = VERSION;
        let told = self.channels.entry(channel.to_owned()).or_default();
        told.extend(breaches.iter().map(|b| b.key()));
        let json = serde_json::to_vec_pretty(self).unwrap_or_default();
        store.put(&layout::alerts(day), Bytes::from(json)).await
    }
}
