//! What each channel was told: everything is told once.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::store::{Store, StoreError, StoreErrorKind};

const VERSION: u32 = 1;

/// What was told of a day. Written after each channel has taken its message: a run that dies in between tells once more, and never not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    version: u32,
    /// By channel, what it was told.
    channels: BTreeMap<String, BTreeSet<String>>,
}

impl Sent {
    /// Reads a record; none is an empty one.
    ///
    /// # Errors
    /// The store's, or a file that is no such record.
    pub async fn read(store: &dyn Store, key: &str) -> Result<Self, StoreError> {
        let Some(body) = store.get(key).await? else {
            return Ok(Self::default());
        };
        let refuse = |message: String| StoreError {
            kind: StoreErrorKind::Refused,
            doing: format!("reading {key}"),
            message,
            hint: Some("move the file away: what it speaks of is then told again".to_owned()),
        };
        let sent: Self = serde_json::from_slice(&body)
            .map_err(|e| refuse(format!("it is no record of alerts: {e}")))?;
        if sent.version > VERSION {
            return Err(refuse("it was written by a newer cwlake".to_owned()));
        }
        Ok(sent)
    }

    /// Whether there is a record: a run has looked.
    ///
    /// # Errors
    /// The store's.
    pub async fn is_there(store: &dyn Store, key: &str) -> Result<bool, StoreError> {
        Ok(store.get(key).await?.is_some())
    }

    /// Writes the record as it is, if that changes anything.
    ///
    /// # Errors
    /// The store's.
    pub async fn write(&mut self, store: &dyn Store, key: &str) -> Result<(), StoreError> {
        if self.version == VERSION {
            return Ok(());
        }
        self.put(store, key).await
    }

    async fn put(&mut self, store: &dyn Store, key: &str) -> Result<(), StoreError> {
        self.version = VERSION;
        let json = serde_json::to_vec_pretty(self).unwrap_or_default();
        store.put(key, Bytes::from(json)).await
    }

    /// Whether a channel was told.
    pub fn has(&self, channel: &str, what: &str) -> bool {
        let told = self.channels.get(channel);
        told.is_some_and(|told| told.contains(what))
    }

    /// Adds what another record says.
    pub fn add(&mut self, other: Self) {
        for (channel, told) in other.channels {
            self.channels.entry(channel).or_default().extend(told);
        }
    }

    /// Notes that a channel was told, and writes the record if that is new.
    ///
    /// # Errors
    /// The store's; the channel is then told again by the next run.
    pub async fn note(
        &mut self,
        store: &dyn Store,
        key: &str,
        channel: &str,
        what: impl Iterator<Item = String>,
    ) -> Result<(), StoreError> {
        let told = self.channels.entry(channel.to_owned()).or_default();
        let before = told.len();
        told.extend(what);
        if told.len() == before {
            return Ok(());
        }
        self.put(store, key).await
    }
}
