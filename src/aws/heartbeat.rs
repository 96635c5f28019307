//! A heartbeat: an address that is asked for, and whose answer matters to nobody but its own service.

use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;

use super::http::connector;
use crate::config::Network;

/// Asks for an address, through the proxies and with the authorities that the environment names.
///
/// # Errors
/// What was answered, or why nothing was. The address itself is not repeated: it may hold a token.
pub async fn beat(url: &str, network: &Network) -> Result<(), String> {
    let mut request = HttpRequest::new(SdkBody::empty());
    request
        .set_uri(url)
        .map_err(|_| "it is no address".to_owned())?;
    request.headers_mut().insert("user-agent", USER_AGENT);
    let answer = connector(network).call(request).await;
    match answer {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(format!("it answered {}", answer.status().as_u16())),
        Err(error) => Err(super::chain::innermost(&error)),
    }
}

const USER_AGENT: &str = concat!("cwlake/", env!("CARGO_PKG_VERSION"));
