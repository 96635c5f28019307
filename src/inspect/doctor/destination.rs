//! The destination: a probe is written, read, listed and deleted, a file could be published, and the lock taken.

use bytes::Bytes;

use crate::commit::Scratch;
use crate::given::context::RunContext;
use crate::given::place::Place;
use crate::iam::Grants;
use crate::lake::layout;
use crate::lake::table::Table;

use crate::config::{Destination, ExportConfig};
use crate::inspect::doctor::report::{Check, CheckState, DoctorReport};
use crate::model::{Cause, CauseKind, Claim};
use crate::store::{AcquireError, Holder, Store, StoreError, StoreErrorKind};

pub(crate) async fn destination(context: &RunContext, report: &mut DoctorReport) {
    let place = match Place::of(context).await {
        Ok(place) => place,
        Err(error) => {
            let cause = Cause::new(CauseKind::Destination, error.to_string());
            report
                .checks
                .push(Check::failed("destination", "found", &cause));
            return;
        }
    };
    report.checks.extend(spool(&place.scratch));
    let store = &*place.store;
    let writer = writer_name(&context.config);
    let statements = Grants::of(&context.config).writer_statements();
    let missing = |check: Check, error: &StoreError, sid: &str| {
        let statement = statements.iter().find(|s| s.sid == sid);
        match statement {
            Some(statement) if error.kind == StoreErrorKind::NotAllowed => {
                check.add(format!("the policy of {writer}"), statement)
            }
            _ => check,
        }
    };
    // It claims nothing: runs that are under way are not in its way, nor it in theirs.
    let holder = Holder::of_this_process("doctor");
    match store.acquire(&holder, &Claim::nothing()).await {
        Ok(held) => {
            let taken = Check::ok("destination", "lock", "taken, to be given back");
            report.checks.push(taken);
            report
                .checks
                .extend(probe(store, &context.config.tables_to_write(), missing).await);
            held.release().await;
        }
        // Of an earlier version, which locks all of the lake.
        Err(AcquireError::Taken { holder, .. }) => {
            let text = format!("a run holds it, so nothing is written: {holder}");
            report.checks.push(Check::ok("destination", "lock", text));
            report.checks.push(list(store, missing).await);
        }
        Err(AcquireError::Store(error)) => {
            // Others' locks are listed before one's own is written.
            let listed = list(store, missing).await;
            if listed.state == CheckState::Failed {
                report.checks.push(listed);
                return;
            }
            let check = Check::of_store("lock", &error, CheckState::Failed);
            report.checks.push(missing(check, &error, "CwlakeWrite"));
        }
    }
}

/// The folder for files on their way to a bucket, made as an export makes it. A local lake has it inside.
fn spool(scratch: &Scratch) -> Option<Check> {
    let folder = scratch.private_folder()?;
    Some(match scratch.secure() {
        Ok(()) => Check::ok("destination", "spool", folder.display().to_string()),
        Err(error) => Check::of_store("spool", &error, CheckState::Failed),
    })
}

/// Writes, reads, lists and deletes an object, and begins to publish a file of every table.
async fn probe(
    store: &dyn Store,
    tables: &[&Table],
    missing: impl Fn(Check, &StoreError, &str) -> Check,
) -> Vec<Check> {
    let key = format!(
        "{}/probe-{:016x}",
        layout::CONTROL_FOLDER,
        fastrand::u64(..)
    );
    let body = Bytes::from_static(b"written by cwlake doctor\n");
    if let Err(error) = store.put(&key, body.clone()).await {
        let check = Check::of_store("write", &error, CheckState::Failed);
        return vec![missing(check, &error, "CwlakeWrite")];
    }
    let place = format!("{}: {key}", store.describe());
    let written = Check::ok("destination", "write", place);
    let read = match store.get(&key).await {
        Ok(Some(read)) if read == body => Check::ok("destination", "read", "as it was written"),
        Ok(_) => Check::new(
            "destination",
            "read",
            CheckState::Failed,
            "not what was written",
        ),
        Err(error) => missing(
            Check::of_store("read", &error, CheckState::Failed),
            &error,
            "CwlakeWrite",
        ),
    };
    let listed = list(store, &missing).await;
    let mut published = Vec::new();
    let mut writable: Vec<&str> = Vec::new();
    for table in tables {
        match store.prove_writable(table.name).await {
            Ok(()) => writable.push(table.name),
            Err(error) => {
                let check = Check::of_store("publish", &error, CheckState::Failed);
                published.push(missing(check, &error, "CwlakeWrite"));
            }
        }
    }
    if !writable.is_empty() {
        let text = format!("files of {}", writable.join(", "));
        published.insert(0, Check::ok("destination", "publish", text));
    }
    let deleted = match store.delete(&key).await {
        Ok(()) => Check::ok("destination", "delete", key),
        // Only a forced empty unit needs it.
        Err(error) => {
            let check = Check::of_store("delete", &error, CheckState::Warning);
            missing(check, &error, "CwlakeReplace")
        }
    };
    let mut checks = vec![written, read, listed];
    checks.extend(published);
    checks.push(deleted);
    checks
}

async fn list(store: &dyn Store, missing: impl Fn(Check, &StoreError, &str) -> Check) -> Check {
    let control = format!("{}/", layout::CONTROL_FOLDER);
    match store.list(&control).await {
        Ok(_) => Check::ok("destination", "list", control),
        Err(error) => missing(
            Check::of_store("list", &error, CheckState::Failed),
            &error,
            "CwlakeList",
        ),
    }
}

fn writer_name(config: &ExportConfig) -> String {
    match &config.destination {
        Destination::S3(s3) => s3
            .role
            .as_ref()
            .map_or("the caller", |r| r.arn.as_str())
            .to_owned(),
        Destination::Local(_) => "the caller".to_owned(),
    }
}
