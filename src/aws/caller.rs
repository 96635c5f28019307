//! Who is calling, and what the time is there. Follows STS `GetCallerIdentity`, which needs no permission.

use super::base::BaseSession;
use super::clock::ServiceTime;
use super::retry::retry;
use crate::model::{Cause, CauseKind, Region};

/// Who the base credentials belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The identity.
    pub arn: String,
    /// The region whose STS was asked.
    pub region: Region,
}

/// What STS answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerAnswer {
    /// Who is calling, or why that is not known.
    pub caller: Result<Caller, Cause>,
    /// The service's time; none without an answer that has a date. A refusal has one too.
    pub time: Option<ServiceTime>,
}

/// Asks STS who is calling.
pub async fn caller(
    base: &BaseSession,
    sts_region: Option<&Region>,
    attempts: u32,
) -> CallerAnswer {
    let region = sts_region.unwrap_or(base.home_region()).clone();
    let sts = base.sts(&region);
    let send = || sts.get_caller_identity().send();
    let mut tries = base.credentials().tries();
    let answer = retry("GetCallerIdentity", attempts, &mut tries, send).await;
    let answer = answer.map_err(|(cause, _)| cause);
    let caller = answer.and_then(|answer| match answer.arn() {
        Some(arn) => Ok(Caller {
            arn: arn.to_owned(),
            region,
        }),
        None => Err(Cause::new(
            CauseKind::Protocol,
            "GetCallerIdentity: the answer names nobody",
        )),
    });
    CallerAnswer {
        caller,
        time: base.service_time(),
    }
}
