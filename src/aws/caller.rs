//! Who is calling, and what the time is there. Follows STS `GetCallerIdentity`, which needs no permission.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::Format;

use super::base::BaseSession;
use super::connect::main_region;
use super::credentials::retried;
use crate::model::{Cause, CauseKind, Partition, Region};

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
    /// Seconds our clock is ahead of the service's; none without an answer that has a date. A refusal has one too.
    pub clock_ahead: Option<i64>,
}

/// Asks STS who is calling.
pub async fn caller(
    base: &BaseSession,
    sts_region: Option<&Region>,
    attempts: u32,
) -> CallerAnswer {
    let region = sts_region.or(base.region()).cloned();
    let region = region.unwrap_or_else(|| main_region(Partition::Aws));
    let clock = ServiceClock::default();
    let sts = base.sts(&region);
    let answer = retried("GetCallerIdentity", attempts, || {
        sts.get_caller_identity()
            .customize()
            .interceptor(clock.clone())
            .send()
    })
    .await;
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
        clock_ahead: clock.ahead(),
    }
}

/// Takes the date of the last answer.
#[derive(Clone, Debug, Default)]
struct ServiceClock(Arc<Mutex<Option<i64>>>);

impl ServiceClock {
    fn ahead(&self) -> Option<i64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for ServiceClock {
    fn name(&self) -> &'static str {
        "ServiceClock"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let there =
            date.and_then(|d| aws_smithy_types::DateTime::from_str(d, Format::HttpDate).ok());
        let here = SystemTime::now().duration_since(UNIX_EPOCH);
        if let (Some(there), Ok(here)) = (there, here) {
            let ahead = here.as_secs().cast_signed() - there.secs();
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(ahead);
        }
        Ok(())
    }
}
