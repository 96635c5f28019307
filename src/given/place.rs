//! The destination of a configuration as a store, with the local folders beside it.

use crate::lake::table::unit_tables;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::commit::{KeptAnswers, Scratch};
use crate::config::Destination;
use crate::fetch::SpoolCopies;
use crate::given::context::RunContext;
use crate::given::error::RunError;
use crate::lake::layout;
use crate::model::{Dataset, Lane};

use sha2::{Digest, Sha256};

use crate::aws::{BaseSession, StorageClient};
use crate::store::{LocalStore, S3Store, Store, StoreError};

/// Where a run reads and writes.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) scratch: Scratch,
    /// The base session, when the destination already needed it.
    session: Option<BaseSession>,
    /// The lanes the lake had when somebody first asked.
    known: OnceCell<BTreeSet<Lane>>,
    /// Kept answers that the lake has copies of, for an export that shares them.
    pub(crate) kept_answers: OnceCell<Arc<KeptAnswers>>,
}

impl Place {
    /// A local destination calls nothing; a bucket needs the base credentials.
    pub(crate) async fn of(context: &RunContext) -> Result<Self, RunError> {
        let config = &context.config;
        match &config.destination {
            Destination::Local(root) => Ok(Self {
                store: match &context.store {
                    Some(store) => Arc::clone(store),
                    None => Arc::new(LocalStore::new(root)),
                },
                // Staged files must lie on the lake's own file system.
                scratch: Scratch::new(&layout::local_scratch(root)),
                session: None,
                known: OnceCell::new(),
                kept_answers: OnceCell::new(),
            }),
            Destination::S3(settings) => {
                let session = base_session(context).await?;
                let client = StorageClient::new(&session, settings, &config.limits);
                let store = S3Store::new(client, (**settings).clone());
                let own = config.run.spool_dir.clone();
                let name = folder_of(&format!("{} {:?}", store.describe(), settings.endpoint_url));
                let base = own.or_else(cache_folder);
                let scratch = base.map_or_else(Scratch::nowhere, |b| Scratch::private(&b, &name));
                Ok(Self {
                    store: Arc::new(store),
                    scratch,
                    session: Some(session),
                    known: OnceCell::new(),
                    kept_answers: OnceCell::new(),
                })
            }
        }
    }

    /// Every lane the lake has something of, listed once.
    pub(crate) async fn known_lanes(&self) -> Result<&BTreeSet<Lane>, StoreError> {
        self.known
            .get_or_try_init(|| known_lanes(&*self.store))
            .await
    }

    /// Lists the copies of kept answers, where runs have such: a folder's spool is in it already. Without them a run goes on as well.
    pub(crate) async fn share_spool(&self, context: &RunContext) {
        let is_bucket = matches!(context.config.destination, Destination::S3(_));
        if !is_bucket || !context.config.run.spool_in_bucket {
            return;
        }
        match KeptAnswers::list(Arc::clone(&self.store)).await {
            Ok(kept) => drop(self.kept_answers.set(Arc::new(kept))),
            Err(error) => {
                tracing::warn!(%error, "answers that an interrupted run kept in the lake are not used");
            }
        }
    }

    /// The base session, loaded once.
    pub(crate) async fn session(&self, context: &RunContext) -> Result<BaseSession, RunError> {
        match &self.session {
            Some(session) => Ok(session.clone()),
            None => base_session(context).await,
        }
    }
}

#[async_trait]
impl SpoolCopies for KeptAnswers {
    async fn keep(&self, lane: &Lane, name: &str, bytes: Bytes) {
        Self::keep(self, lane, name, bytes).await;
    }

    async fn forget(&self, lane: &Lane, names: &[String]) {
        Self::forget(self, lane, names).await;
    }
}

/// `$XDG_CACHE_HOME/cwlake` or `~/.cache/cwlake`; none where neither variable is set. A folder for temporary files is anybody's: it is not guessed.
///
/// # Source
/// XDG Base Directory Specification.
fn cache_folder() -> Option<PathBuf> {
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let variable = |name| std::env::var_os(name).map(PathBuf::from).and_then(absolute);
    let base =
        variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    base.map(|base| base.join("cwlake"))
}

/// A name of the lake's own: lakes share no file on its way.
fn folder_of(lake: &str) -> String {
    Sha256::digest(lake)
        .iter()
        .take(8)
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Every lane a manifest speaks of.
pub(crate) async fn known_lanes(store: &dyn Store) -> Result<BTreeSet<Lane>, StoreError> {
    let mut lanes = BTreeSet::new();
    // Charges are in one region, which need not be one that is read.
    for table in unit_tables().filter(|t| t.dataset != Dataset::Spend) {
        let entries = store.list(&layout::manifests(table)).await?;
        let of_table = entries
            .iter()
            .filter_map(|e| layout::parse_manifest(table, &e.key));
        lanes.extend(of_table.map(|(_, lane)| lane));
    }
    Ok(lanes)
}

pub(crate) async fn base_session(context: &RunContext) -> Result<BaseSession, RunError> {
    // On the heap: signing in nests so deep that callers a few floors up pass the compiler's limit for the layout of a future.
    Box::pin(BaseSession::load(&context.origin, &context.config))
        .await
        .map_err(RunError::Credentials)
}
