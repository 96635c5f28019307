//! The client for a lake in a bucket: its credentials, its endpoint, its tries.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;

use aws_sdk_s3::config::{Builder, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::base::BaseSession;
use super::clock::{ServiceClock, ServiceTime};
use super::credentials::AccountCredentials;
use super::retry::retry;
use super::whole::WholeXml;
use crate::config::{Limits, S3Destination};
use crate::model::Cause;

/// Everything needed to call S3 for one destination. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StorageClient {
    s3: aws_sdk_s3::Client,
    credentials: Arc<AccountCredentials>,
    attempts: u32,
    clock: ServiceClock,
}

impl StorageClient {
    /// A client with the destination's own role, or with the base credentials.
    pub fn new(base: &BaseSession, destination: &S3Destination, limits: &Limits) -> Self {
        let region = destination
            .region
            .clone()
            .unwrap_or_else(|| base.home_region().clone());
        let credentials = base.credentials_of(destination.role.as_ref(), &region);
        let checksums = destination.checksums;
        let clock = ServiceClock::default();
        let mut config = Builder::from(&base.sdk(&region, &credentials))
            .request_checksum_calculation(if checksums {
                RequestChecksumCalculation::WhenSupported
            } else {
                RequestChecksumCalculation::WhenRequired
            })
            .response_checksum_validation(if checksums {
                ResponseChecksumValidation::WhenSupported
            } else {
                ResponseChecksumValidation::WhenRequired
            })
            .force_path_style(destination.path_style)
            .interceptor(WholeXml)
            .interceptor(clock.clone());
        if let Some(url) = &destination.endpoint_url {
            config = config.endpoint_url(url);
        }
        Self {
            s3: aws_sdk_s3::Client::from_conf(config.build()),
            credentials,
            attempts: limits.attempts,
            clock,
        }
    }

    /// What the time was at the store's last answer; none before one with a date.
    pub fn time(&self) -> Option<ServiceTime> {
        self.clock.time()
    }

    /// The S3 client.
    pub fn s3(&self) -> &aws_sdk_s3::Client {
        &self.s3
    }

    /// Sends a call until it succeeds, is refused for good, or its tries are used up. An expired token is refreshed once.
    ///
    /// # Errors
    /// The classified [`Cause`] of the last try, with the error for those who look for a code of their own.
    pub async fn call<T, E, F>(
        &self,
        doing: &str,
        send: impl Fn() -> F,
    ) -> Result<T, (Cause, Box<SdkError<E, HttpResponse>>)>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        retry(doing, self.attempts, &mut self.credentials.tries(), send).await
    }
}
