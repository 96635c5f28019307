//! The credentials the process starts with, and the one HTTP connector of every client.

use std::sync::Arc;

use aws_config::BehaviorVersion;
use aws_config::SdkConfig;
use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::tls;
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use super::clock::{ServiceClock, ServiceTime};
use super::credentials::{AccountCredentials, Handle, Source};
use super::whole::WholeXml;
use crate::config::{Limits, RoleConfig};
use crate::model::{Cause, CauseKind, Region};

/// Where the base credentials and the endpoints come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The standard AWS chain and the standard endpoint settings.
    Standard,
    /// An emulator: nothing of the environment is read.
    Emulator {
        /// Its address, `http://127.0.0.1:PORT`.
        url: String,
        /// The access key id that names the calling account.
        access_key_id: String,
    },
}

/// The standard AWS chain (environment, profile, web identity, container, instance), resolved once.
#[derive(Clone, Debug)]
pub struct BaseSession {
    config: SdkConfig,
    credentials: Arc<AccountCredentials>,
    region: Option<Region>,
    clock: ServiceClock,
}

impl BaseSession {
    /// Finds the origin's provider and proves that it gives credentials.
    ///
    /// # Errors
    /// [`CauseKind::NoCredentials`] when no provider of the chain has any.
    pub async fn load(origin: &Origin, limits: &Limits) -> Result<Self, Cause> {
        let config = match origin {
            Origin::Standard => {
                aws_config::defaults(BehaviorVersion::v2026_01_12())
                    .http_client(http_client())
                    .timeout_config(timeouts(limits))
                    .load()
                    .await
            }
            Origin::Emulator { url, access_key_id } => emulated(url, access_key_id, limits),
        };
        let none = |detail: String| {
            Cause::new(CauseKind::NoCredentials, format!("no usable base credentials: {detail}")).with_hint(
                "set AWS_PROFILE, run where an instance or container role is attached, or export AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY",
            )
        };
        let provider = config
            .credentials_provider()
            .ok_or_else(|| none("the AWS chain has no provider".to_owned()))?;
        // Our cache, not one a client: a profile's own role is then assumed once as well.
        let credentials = Arc::new(AccountCredentials::new(Source::Base(provider)));
        credentials
            .get()
            .await
            .map_err(|cause| none(cause.message))?;
        let region = config.region().and_then(|r| Region::parse(r.as_ref()));
        Ok(Self {
            config,
            credentials,
            region,
            clock: ServiceClock::default(),
        })
    }

    /// What the time was at the last answer of STS.
    pub fn service_time(&self) -> Option<ServiceTime> {
        self.clock.time()
    }

    /// Settings of every client: connector, time limits, endpoints from the environment. Tries are counted by us.
    pub(super) fn sdk(&self, region: &Region, credentials: &Arc<AccountCredentials>) -> SdkConfig {
        let provider = Handle(Arc::clone(credentials));
        self.config
            .to_builder()
            .region(aws_config::Region::new(region.as_str().to_owned()))
            .credentials_provider(SharedCredentialsProvider::new(provider))
            // The session caches itself; a second cache would go on using a session that AWS has already refused.
            .identity_cache(IdentityCache::no_cache())
            .retry_config(RetryConfig::disabled())
            .build()
    }

    /// The base credentials.
    pub(super) fn credentials(&self) -> &Arc<AccountCredentials> {
        &self.credentials
    }

    /// The session of a role, assumed at the STS endpoint of `region`; the base credentials without one.
    pub(super) fn credentials_of(
        &self,
        role: Option<&RoleConfig>,
        region: &Region,
    ) -> Arc<AccountCredentials> {
        let role = role.and_then(|role| Some((role.account()?, role.clone())));
        let Some((account, role)) = role else {
            return Arc::clone(&self.credentials);
        };
        let sts = self.sts(region);
        Arc::new(AccountCredentials::new(Source::Role { account, sts, role }))
    }

    /// The region the environment or profile names, if any.
    pub fn region(&self) -> Option<&Region> {
        self.region.as_ref()
    }

    /// A client for the STS endpoint of `region`, calling with the base credentials.
    pub(super) fn sts(&self, region: &Region) -> aws_sdk_sts::Client {
        let config = aws_sdk_sts::config::Builder::from(&self.sdk(region, &self.credentials))
            .interceptor(WholeXml)
            .interceptor(self.clock.clone());
        aws_sdk_sts::Client::from_conf(config.build())
    }
}

fn emulated(url: &str, access_key_id: &str, limits: &Limits) -> SdkConfig {
    let credentials = Credentials::new(access_key_id, "emulated", None, None, "cwlake-emulator");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .http_client(http_client())
        .timeout_config(timeouts(limits))
        .sleep_impl(aws_smithy_async::rt::sleep::SharedAsyncSleep::new(
            aws_smithy_async::rt::sleep::TokioSleep::new(),
        ))
        .time_source(aws_smithy_async::time::SharedTimeSource::new(
            aws_smithy_async::time::SystemTimeSource::new(),
        ))
        .endpoint_url(url)
        .region(aws_config::Region::from_static("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

/// One connector: a pool a client would open sockets by the thousand for hundreds of accounts.
fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(
            tls::rustls_provider::CryptoMode::AwsLc,
        ))
        .build_https()
}

fn timeouts(limits: &Limits) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(limits.connect_timeout)
        .read_timeout(limits.read_timeout)
        .operation_attempt_timeout(limits.attempt_timeout)
        .build()
}
