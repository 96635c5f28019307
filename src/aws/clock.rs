//! What the time is at the service, by the `Date` of its answers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::Format;

/// The date of the last answer, and when it came. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct ServiceClock(Arc<Mutex<Option<ServiceTime>>>);

/// What time a service's answer gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceTime {
    /// Seconds since the epoch.
    pub date: i64,
    /// When it arrived.
    pub at: Instant,
}

impl ServiceTime {
    /// What it is there now.
    pub fn now(self) -> i64 {
        self.date + self.at.elapsed().as_secs().cast_signed()
    }
}

impl ServiceClock {
    /// None before the first answer with a date; a refusal has one too.
    pub(super) fn time(&self) -> Option<ServiceTime> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[dyn_dispatch_hint]
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
        let date =
            date.and_then(|d| aws_smithy_types::DateTime::from_str(d, Format::HttpDate).ok());
        if let Some(date) = date {
            let time = ServiceTime {
                date: date.secs(),
                at: Instant::now(),
            };
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(time);
        }
        Ok(())
    }
}
