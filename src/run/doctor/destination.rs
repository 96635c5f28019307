//! The destination: a probe is written, read, listed and deleted, a file could be published, and the lock taken.

use bytes::Bytes;

use super::report::{Check, CheckState, DoctorReport};
use crate::config::{Destination, ExportConfig};
use crate::iam::Grants;
use crate::model::{Cause, CauseKind};
use crate::run::pipeline::RunContext;
use crate::run::place::Place;
use crate::write::{AcquireError, Holder, Store, layout};

pub(super) async fn destination(context: &RunContext, report: &mut DoctorReport) {
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
    let store = &*place.store;
    let key = format!(
        "{}/probe-{:016x}",
        layout::CONTROL_FOLDER,
        fastrand::u64(..)
    );
    let body = Bytes::from_static(b"written by cwlake doctor\n");
    let writer = writer_name(&context.config);
    let statements = Grants::of(&context.config).writer_statements();
    let missing = |check: Check, sid: &str| {
        let statement = statements.iter().find(|s| s.sid == sid);
        match statement {
            Some(statement) => check.add(format!("the policy of {writer}"), statement),
            None => check,
        }
    };
    if let Err(error) = store.put(&key, body.clone()).await {
        let check = Check::of_store("write", &error, CheckState::Failed);
        report.checks.push(missing(check, "CwlakeWrite"));
        return;
    }
    let place_of = format!("{}: {key}", store.describe());
    report
        .checks
        .push(Check::ok("destination", "write", place_of));
    report.checks.push(match store.get(&key).await {
        Ok(Some(read)) if read == body => Check::ok("destination", "read", "as it was written"),
        Ok(_) => Check::new(
            "destination",
            "read",
            CheckState::Failed,
            "not what was written",
        ),
        Err(error) => missing(
            Check::of_store("read", &error, CheckState::Failed),
            "CwlakeWrite",
        ),
    });
    let control = format!("{}/", layout::CONTROL_FOLDER);
    report.checks.push(match store.list(&control).await {
        Ok(_) => Check::ok("destination", "list", control),
        Err(error) => missing(
            Check::of_store("list", &error, CheckState::Failed),
            "CwlakeList",
        ),
    });
    report
        .checks
        .push(match store.prove_writable(layout::METRICS).await {
            Ok(()) => Check::ok(
                "destination",
                "publish",
                format!("files of {}", layout::METRICS),
            ),
            Err(error) => {
                let check = Check::of_store("publish", &error, CheckState::Failed);
                missing(check, "CwlakeWrite")
            }
        });
    report.checks.push(match lock(store).await {
        check if check.state == CheckState::Failed => missing(check, "CwlakeWrite"),
        check => check,
    });
    report.checks.push(match store.delete(&key).await {
        Ok(()) => Check::ok("destination", "delete", key),
        // Only a forced empty unit needs it.
        Err(error) => {
            let check = Check::of_store("delete", &error, CheckState::Warning);
            missing(check, "CwlakeReplace")
        }
    });
}

/// The lock that two runs share: a bucket's needs a store that writes on conditions.
async fn lock(store: &dyn Store) -> Check {
    let holder = Holder::of_this_process("doctor");
    match store.acquire(&holder).await {
        Ok(held) => {
            held.release().await;
            Check::ok("destination", "lock", "taken and given back")
        }
        Err(AcquireError::Taken { holder, .. }) => {
            Check::ok("destination", "lock", format!("a run holds it: {holder}"))
        }
        Err(AcquireError::Store(error)) => Check::of_store("lock", &error, CheckState::Failed),
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
