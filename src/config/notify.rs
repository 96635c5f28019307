//! Word when a run fails: `[notify]`.

use secrecy::SecretString;

use super::file::FileConfig;
use super::given::{Environment, NO_VARIABLE, is_variable};
use super::problem::{Problem, printable};

/// `[notify]`, validated: the channels of `[alert]`, a heartbeat, or both.
#[derive(Clone, Debug)]
pub struct NotifyConfig {
    /// The address that is asked for after a run that has nothing to tell.
    pub heartbeat_url: Option<SecretString>,
}

/// Resolves `[notify]`, collecting what is wrong.
pub(super) fn resolve(
    file: &FileConfig,
    env: &Environment,
    problems: &mut Vec<Problem>,
) -> Option<NotifyConfig> {
    let entry = file.notify.as_ref()?;
    let given = entry.get_ref().heartbeat_url.as_ref();
    if given.is_none() && file.alert.is_none() {
        problems.push(Problem::at(entry.span(), "there is nobody to tell").remedy(
            "add a channel such as [alert.sns], or heartbeat_url = \"env:CWLAKE_HEARTBEAT_URL\"",
        ));
    }
    let heartbeat_url = given.and_then(|url| {
        let text = url.get_ref().0.as_str();
        let value = match text.strip_prefix("env:") {
            Some(name) if !is_variable(name) => {
                let remedy = "heartbeat_url = \"env:CWLAKE_HEARTBEAT_URL\", and set that variable";
                problems.push(Problem::at(url.span(), NO_VARIABLE).remedy(remedy));
                return None;
            }
            Some(name) => match env.get(name).filter(|value| !value.is_empty()) {
                Some(value) => value.clone(),
                None => {
                    let text = format!("the environment variable {} is not set", printable(name));
                    let remedy = "set it to the address, or write heartbeat_url = \"https://…\"";
                    problems.push(Problem::at(url.span(), text).remedy(remedy));
                    return None;
                }
            },
            None => text.to_owned(),
        };
        if !is_address(&value) {
            // It may hold a token: it is not repeated.
            let remedy = "an address that begins with https:// (or http:// and this machine)";
            problems
                .push(Problem::at(url.span(), "this is not an address to ask for").remedy(remedy));
            return None;
        }
        Some(SecretString::from(value))
    });
    Some(NotifyConfig { heartbeat_url })
}

/// An address with a host, and without a user or a line break. In the clear only to this machine.
fn is_address(text: &str) -> bool {
    let Ok(uri) = text.parse::<http::Uri>() else {
        return false;
    };
    let host = uri.host().unwrap_or("");
    let is_plain = !uri.authority().is_some_and(|a| a.as_str().contains('@'));
    let is_local = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    let is_safe = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => is_local,
        _ => false,
    };
    // What follows the host is a port, and one that there is.
    let after = uri
        .authority()
        .map_or("", |a| a.as_str().strip_prefix(host).unwrap_or(":"));
    let is_port = after.is_empty() || uri.port_u16().is_some_and(|port| port > 0);
    !host.is_empty() && text.is_ascii() && is_plain && is_safe && is_port
}

#[cfg(test)]
mod tests {
    use super::is_address;

    #[test]
    fn an_address_has_a_host_and_is_not_in_the_clear() {
        for good in [
            "https://hc.example.com/ping/1f2e?x=1",
            "http://127.0.0.1:8000/a",
        ] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            "hc.example.com/ping",
            "/ping",
            "http://hc.example.com/ping",
            "ftp://127.0.0.1/",
            "https://user:word@example.com/",
            "https://example.com/\r\nHost: x",
            "https://",
            "http://127.0.0.1:99999/x",
            "https://example.com/é",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
