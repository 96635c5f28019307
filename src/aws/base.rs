//! The credentials the process starts with, and the one HTTP connector of every client.

use std::sync::Arc;

use aws_config::BehaviorVersion;
use aws_config::SdkConfig;
use aws_config::identity::IdentityCache;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::ProvideRegion;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;

use super::clock::{ServiceClock, ServiceTime};
use super::credentials::{AccountCredentials, Handle, Source};
use super::http::http_client;
use super::signin;
use super::whole::WholeXml;
use crate::config::{ExportConfig, Limits, Network, RoleConfig};
use crate::model::{AccountId, Cause, CauseKind, Region};

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
    home: Region,
    clock: ServiceClock,
    attempts: u32,
}

impl BaseSession {
    /// Finds the origin's provider and proves that it gives credentials.
    ///
    /// # Errors
    /// [`CauseKind::NoCredentials`] when no provider of the chain has any.
    pub async fn load(origin: &Origin, config: &ExportConfig) -> Result<Self, Cause> {
        let limits = &config.limits;
        let sdk = match origin {
            Origin::Standard => {
                aws_config::defaults(BehaviorVersion::v2026_01_12())
                    .http_client(http_client(&config.network))
                    .timeout_config(timeouts(limits))
                    .load()
                    .await
            }
            Origin::Emulator { url, access_key_id } => emulated(url, access_key_id, limits),
        };
        let Some(provider) = sdk.credentials_provider() else {
            return Err(without("the AWS chain has no provider").await);
        };
        // Our cache, not one a client: a profile's own role is then assumed once as well.
        let credentials = Arc::new(AccountCredentials::new(Source::Base {
            provider,
            limit: limits.attempt_timeout,
        }));
        if let Err(cause) = credentials.get().await {
            return Err(without(&cause.message).await);
        }
        let region = sdk.region().and_then(|r| Region::parse(r.as_ref()));
        Ok(Self {
            home: region
                .clone()
                .unwrap_or_else(|| config.partition().main_region()),
            attempts: limits.attempts,
            config: sdk,
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
        self.role_credentials(account, sts, role)
    }

    /// The session of a role of an account.
    pub(super) fn role_credentials(
        &self,
        account: AccountId,
        sts: aws_sdk_sts::Client,
        role: RoleConfig,
    ) -> Arc<AccountCredentials> {
        Arc::new(AccountCredentials::new(Source::Role {
            account,
            sts,
            base: Arc::clone(&self.credentials),
            role,
            attempts: self.attempts,
        }))
    }

    /// Tries of one call.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The region the environment or profile names, if any.
    pub fn region(&self) -> Option<&Region> {
        self.region.as_ref()
    }

    /// The same, or the main region of the accounts' partition.
    pub(super) fn home_region(&self) -> &Region {
        &self.home
    }

    /// Whether endpoints are those of FIPS, and those that answer over IPv6 as well.
    pub fn endpoint_variants(&self) -> (bool, bool) {
        let is = |set: Option<bool>| set.unwrap_or(false);
        (is(self.config.use_fips()), is(self.config.use_dual_stack()))
    }

    /// A client for the STS endpoint of `region`, calling with the base credentials.
    pub(super) fn sts(&self, region: &Region) -> aws_sdk_sts::Client {
        let config = aws_sdk_sts::config::Builder::from(&self.sdk(region, &self.credentials))
            .interceptor(WholeXml)
            .interceptor(self.clock.clone());
        aws_sdk_sts::Client::from_conf(config.build())
    }
}

/// Nobody to call as.
async fn without(detail: &str) -> Cause {
    let text = format!("no usable base credentials: {detail}");
    Cause::new(CauseKind::NoCredentials, text).with_hint(signin::remedy().await)
}

/// The region of the session where no variable names one: of the profile, else of the instance.
pub async fn session_region(network: &Network) -> Option<Region> {
    let http = http_client(network);
    let how = ProviderConfig::without_region().with_http_client(http);
    let of_profile = ProfileFileRegionProvider::builder().configure(&how).build();
    let of_instance = ImdsRegionProvider::builder().configure(&how).build();
    let region = match of_profile.region().await {
        Some(region) => Some(region),
        None => of_instance.region().await,
    };
    Region::parse(region?.as_ref())
}

fn emulated(url: &str, access_key_id: &str, limits: &Limits) -> SdkConfig {
    let credentials = Credentials::new(access_key_id, "emulated", None, None, "cwlake-emulator");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .http_client(http_client(&Network::default()))
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

fn timeouts(limits: &Limits) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(limits.connect_timeout)
        .read_timeout(limits.read_timeout)
        .operation_attempt_timeout(limits.attempt_timeout)
        .build()
}
