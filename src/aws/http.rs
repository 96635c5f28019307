//! The one HTTP connector of every client: through the proxies and with the authorities that the environment names.
//!
//! A connector of one's own knows of neither: the SDK reads the environment for its default client alone.

use std::error::Error;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http::Uri;
use http::uri::Authority;
use http_body_util::{LengthLimitError, Limited};

use super::chain::{below, innermost};
use crate::config::{CaBundle, Network};

/// One connector: a pool a client would open sockets by the thousand for hundreds of accounts.
pub(super) fn http_client(network: &Network) -> SharedHttpClient {
    let trust = trust(network.ca.as_ref());
    let direct = Builder::new()
        .tls_provider(provider())
        .tls_context(trust.clone())
        .build_https();
    let proxied = (!network.proxies.is_empty()).then(|| proxied(trust));
    SharedHttpClient::new(Routed {
        direct,
        proxied,
        own_endpoints: network.own_endpoints.clone(),
    })
}

fn proxied(trust: TlsContext) -> SharedHttpClient {
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder().proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector
            .tls_provider(provider())
            .tls_context(trust.clone())
            .build()
    })
}

/// A connector for one request beside AWS's.
pub(super) fn connector(network: &Network) -> Connector {
    let mut connector = Connector::builder();
    if !network.proxies.is_empty() {
        connector = connector.proxy_config(ProxyConfig::from_env());
    }
    connector
        .tls_provider(provider())
        .tls_context(trust(network.ca.as_ref()))
        .build()
}

fn provider() -> tls::Provider {
    tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc)
}

fn trust(ca: Option<&CaBundle>) -> TlsContext {
    let mut store = TrustStore::default();
    if let Some(ca) = ca {
        store = TrustStore::empty().with_pem_certificate(ca.pem.to_vec());
    }
    let context = TlsContext::builder().with_trust_store(store).build();
    context.expect("the certificates were read with the configuration")
}

/// Through the proxies, except what the machine itself answers: credentials of an instance or a container.
#[derive(Clone, Debug)]
struct Routed<T> {
    direct: T,
    proxied: Option<T>,
    own_endpoints: Vec<String>,
}

impl HttpClient for Routed<SharedHttpClient> {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let made = |client: &SharedHttpClient| client.http_connector(settings, components);
        SharedHttpConnector::new(Routed {
            direct: made(&self.direct),
            proxied: self.proxied.as_ref().map(made),
            own_endpoints: self.own_endpoints.clone(),
        })
    }
}

impl HttpConnector for Routed<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let uri = request.uri().parse::<Uri>().ok();
        let authority = uri.as_ref().and_then(Uri::authority);
        let is_own = authority.is_some_and(|a| is_of_the_machine(a, &self.own_endpoints));
        let proxied = self.proxied.as_ref().filter(|_| !is_own);
        let host = authority
            .map_or("the endpoint", Authority::as_str)
            .to_owned();
        // As the SDK marks it.
        let is_of_an_object = request.uri().contains("x-id=GetObject");
        let answer = proxied.unwrap_or(&self.direct).call(request);
        HttpConnectorFuture::new(async move {
            let answer = answer.await.map_err(|e| of_host(&host, &e))?;
            Ok(if is_of_an_object {
                answer
            } else {
                answer.map(bounded)
            })
        })
    }
}

/// Bytes of an answer to a call, at most: the longest of AWS's have a few MiB. Objects of a bucket are our own.
const MOST_BYTES: usize = 64 << 20;

/// A body that ends in an error where it grows beyond the bound.
fn bounded(body: SdkBody) -> SdkBody {
    SdkBody::from_body_1_x(Limited::new(body, MOST_BYTES))
}

/// Whether an answer was given up for its size.
pub(super) fn is_too_long(error: &(dyn Error + 'static)) -> bool {
    below::<LengthLimitError>(error).is_some()
}

/// A call that got no answer, with the host it went to: the connector's own error names none.
#[derive(Debug)]
pub(super) struct NoAnswer {
    text: String,
    /// What to do about it, where the error tells.
    pub(super) hint: Option<&'static str>,
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for NoAnswer {}

fn of_host(host: &str, error: &ConnectorError) -> ConnectorError {
    let below = innermost(error);
    let hint = if is_of_a_certificate(error) {
        Some(
            "an authority that is not trusted signed it: AWS_CA_BUNDLE names a file with a company's own (PEM)",
        )
    } else if below.contains("proxy auth") {
        Some("the proxy asks for a login: write user:password@ before its host in HTTPS_PROXY")
    } else {
        None
    };
    let told = NoAnswer {
        text: format!("{host}: {below}"),
        hint,
    };
    if error.is_timeout() {
        ConnectorError::timeout(told.into())
    } else if error.is_io() {
        ConnectorError::io(told.into())
    } else if error.is_user() {
        ConnectorError::user(told.into())
    } else {
        ConnectorError::other(told.into(), error.as_other())
    }
}

/// Whether TLS refused the certificate: an I/O error carries what it is about, and does not give it as its source.
fn is_of_a_certificate(error: &(dyn Error + 'static)) -> bool {
    let mut current = Some(error);
    while let Some(error) = current {
        let inner = error.downcast_ref::<std::io::Error>();
        let inner = inner.and_then(std::io::Error::get_ref);
        let of_tls = inner.and_then(|e| e.downcast_ref::<rustls::Error>());
        let of_tls = of_tls.or_else(|| error.downcast_ref());
        if matches!(of_tls, Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        current = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

/// # Source
/// EC2 user guide, "Access instance metadata" (169.254.169.254, `fd00:ec2::254`); ECS and EKS guides: credentials at 169.254.170.2, and of a pod at
/// 169.254.170.23 or `fd00:ec2::23`.
fn is_of_the_machine(authority: &Authority, own_endpoints: &[String]) -> bool {
    let host = authority.host().trim_matches(['[', ']']);
    host.starts_with("169.254.")
        || host.starts_with("fd00:ec2:")
        || own_endpoints.iter().any(|own| own == authority.as_str())
}

#[cfg(test)]
mod tests {
    use super::is_of_the_machine;

    #[test]
    fn credentials_of_the_machine_are_fetched_directly() {
        let own = ["localhost:51679".to_owned()];
        for (uri, direct) in [
            ("http://169.254.169.254/latest/api/token", true),
            ("http://169.254.170.2/v2/credentials/x", true),
            ("http://169.254.170.23/v1/credentials", true),
            ("http://[fd00:ec2::254]/latest/api/token", true),
            ("http://localhost:51679/get", true),
            ("http://localhost:4566/", false),
            ("https://sts.us-east-1.amazonaws.com/", false),
            ("https://169.example.com/", false),
        ] {
            let parsed = uri.parse::<http::Uri>().expect(uri);
            let authority = parsed.authority().expect(uri);
            assert_eq!(is_of_the_machine(authority, &own), direct, "{uri}");
        }
    }
}
