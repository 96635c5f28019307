//! How AWS is reached, as the environment says: proxies, certificate authorities, endpoints.

use std::path::PathBuf;
use std::sync::Arc;

use http::Uri;
use http::uri::Authority;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::given::Environment;
use super::problem::{Problem, printable};

/// Variables that name a proxy, each in two spellings, of which the first that is set decides.
///
/// # Source
/// curl manual, "Environment variables"; the SDK's own default client reads the same.
const PROXIES: [[&str; 2]; 3] = [
    ["HTTPS_PROXY", "https_proxy"],
    ["HTTP_PROXY", "http_proxy"],
    ["ALL_PROXY", "all_proxy"],
];

const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Endpoints that hand out credentials on the machine itself: no proxy stands before them.
const OWN_ENDPOINTS: [&str; 2] = [
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];

const CA_BUNDLE: &str = "AWS_CA_BUNDLE";

/// Switches that the SDK ignores when they are neither: a typo must not lead to another endpoint.
const SWITCHES: [&str; 2] = ["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"];

/// How AWS is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Proxies in use, without what they are entered with.
    pub proxies: Vec<Proxy>,
    /// Hosts that are reached without one.
    pub no_proxy: Option<String>,
    /// Whom to trust in place of the system's authorities.
    pub ca: Option<CaBundle>,
    /// Endpoints of the machine itself, `host:port`.
    pub own_endpoints: Vec<String>,
}

/// A proxy as a variable names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// The variable.
    pub variable: &'static str,
    /// Host and port; user and password are left out.
    pub address: String,
}

/// Certificate authorities.
#[derive(Clone, PartialEq, Eq)]
pub struct CaBundle {
    /// The file.
    pub path: PathBuf,
    /// Its certificates, PEM.
    pub pem: Arc<[u8]>,
    /// How many there are.
    pub certificates: usize,
}

impl std::fmt::Debug for CaBundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.path.display(), self.certificates)
    }
}

/// Reads what the environment says. What is wrong in it is a problem: the SDK only logs it, and then calls AWS in another way than was meant.
pub(super) fn resolve(env: &Environment, problems: &mut Vec<Problem>) -> Network {
    check_endpoints(env, problems);
    check_switches(env, problems);
    let no_proxy = first_set(env, &NO_PROXY).map(|(_, value)| value);
    // The matcher takes a star for host names alone.
    let none_is_used = no_proxy.as_ref().is_some_and(|hosts| hosts.trim() == "*");
    let [https, http, all] = PROXIES;
    // The one for all is used where one of the others is missing.
    let both = [https, http]
        .iter()
        .all(|names| first_set(env, names).is_some());
    let used: &[_] = match (none_is_used, both) {
        (true, _) => &[],
        (false, true) => &[https, http],
        (false, false) => &[https, http, all],
    };
    let proxies = used.iter().filter_map(|names| proxy(env, names, problems));
    let own_endpoints = OWN_ENDPOINTS.iter().filter_map(|name| {
        let uri = env.get(name)?.parse::<Uri>().ok()?;
        Some(uri.authority()?.as_str().to_owned())
    });
    Network {
        proxies: proxies.collect(),
        no_proxy,
        ca: ca_bundle(env, problems),
        own_endpoints: own_endpoints.collect(),
    }
}

fn first_set(env: &Environment, names: &[&'static str; 2]) -> Option<(&'static str, String)> {
    let set = names.iter().find_map(|name| Some((*name, env.get(name)?)));
    set.filter(|(_, value)| !value.is_empty())
}

fn proxy(
    env: &Environment,
    names: &[&'static str; 2],
    problems: &mut Vec<Problem>,
) -> Option<Proxy> {
    let (variable, value) = first_set(env, names)?;
    let uri = value.parse::<Uri>().ok();
    let uri = uri.filter(|uri| matches!(uri.scheme_str(), None | Some("http" | "https")));
    let authority = uri.as_ref().and_then(Uri::authority);
    let Some(authority) = authority.filter(|a| is_a_host(a)) else {
        problems.push(
            Problem::whole(format!(
                "environment variable {variable} is not the URL of a proxy"
            ))
            .remedy("write http://host:port, with user:password@ before the host where it asks for them, or unset it"),
        );
        return None;
    };
    let port = authority.port().map_or(String::new(), |p| format!(":{p}"));
    Some(Proxy {
        variable,
        address: format!("{}{port}", authority.host()),
    })
}

fn ca_bundle(env: &Environment, problems: &mut Vec<Problem>) -> Option<CaBundle> {
    let path = env.get(CA_BUNDLE).filter(|path| !path.is_empty())?;
    let refused = |why: String| {
        let text = format!(
            "environment variable {CA_BUNDLE}: {}: {why}",
            printable(&path)
        );
        Problem::whole(text).remedy(
            "name a file of certificates in PEM form (-----BEGIN CERTIFICATE-----), or unset it",
        )
    };
    match certificates(&path) {
        Ok((pem, certificates)) => Some(CaBundle {
            path: path.into(),
            pem: pem.into(),
            certificates,
        }),
        Err(why) => {
            problems.push(refused(why));
            None
        }
    }
}

/// The certificates of a file that can be trusted, as text, and how many there are. Bundles of systems hold some that are out of use and have a form
/// of their own: those are passed over.
fn certificates(path: &str) -> Result<(Vec<u8>, usize), String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let text = std::fs::read(path).map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&text);
    let (mut pem, mut count) = (String::new(), 0);
    let mut broken = None;
    for section in text.split_inclusive(END) {
        let Some(at) = section.find(BEGIN) else {
            continue;
        };
        let section = &section[at..];
        let read = CertificateDer::from_pem_slice(section.as_bytes()).map_err(|e| e.to_string());
        let trusted = read.and_then(|c| RootCertStore::empty().add(c).map_err(|e| e.to_string()));
        match trusted {
            Ok(()) => {
                pem += &format!("{section}\n");
                count += 1;
            }
            Err(why) => broken = Some(why),
        }
    }
    match (count, broken) {
        (0, Some(why)) => Err(format!("none of its certificates can be read: {why}")),
        (0, None) => Err("no certificate is in it".to_owned()),
        _ => Ok((pem.into_bytes(), count)),
    }
}

fn check_endpoints(env: &Environment, problems: &mut Vec<Problem>) {
    for (name, value) in env.beginning_with("AWS_ENDPOINT_URL") {
        if let Err((why, remedy)) = check_endpoint(value) {
            let text = format!("environment variable {name} {why}");
            problems.push(Problem::whole(text).remedy(remedy));
        }
    }
}

/// An address to call instead of AWS's. What is wrong with it, and the remedy.
pub(super) fn check_endpoint(value: &str) -> Result<(), (&'static str, &'static str)> {
    let uri = value.parse::<Uri>().ok();
    let uri = uri.filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some_and(is_a_host)
    });
    let Some(uri) = uri else {
        return Err(("is not a URL", "write http://host:port or https://host"));
    };
    if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
        return Err((
            "holds a user or a password",
            "leave them out: calls are signed with the credentials of the AWS chain",
        ));
    }
    Ok(())
}

/// A host, with a port that is one where there is any: the parser takes a port for text.
fn is_a_host(authority: &Authority) -> bool {
    let (host, text) = (authority.host(), authority.as_str());
    let after_host = text.rsplit('@').next().unwrap_or(text);
    !host.is_empty() && (after_host == host || authority.port_u16().is_some())
}

fn check_switches(env: &Environment, problems: &mut Vec<Problem>) {
    for name in SWITCHES {
        let value = env.get(name).unwrap_or_default();
        let is_known = ["", "true", "false"].contains(&&*value.to_ascii_lowercase());
        if !is_known {
            let text = format!("environment variable {name} is neither true nor false");
            problems.push(Problem::whole(text).remedy("write true, or unset it"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> (Network, Vec<String>) {
        let pairs = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let mut problems = Vec::new();
        let network = resolve(&pairs.collect(), &mut problems);
        (network, problems.into_iter().map(|p| p.message).collect())
    }

    #[test]
    fn what_is_wrong_is_refused_by_name_and_shows_no_secret() {
        let empty = tempfile::NamedTempFile::new().expect("a file");
        let broken = tempfile::NamedTempFile::new().expect("a file");
        let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(broken.path(), text).expect("written");
        for (name, value) in [
            ("HTTPS_PROXY", "not a url"),
            ("https_proxy", "socks5://host:1080"),
            ("HTTP_PROXY", "ftp://host"),
            ("ALL_PROXY", "http://host:notaport"),
            ("HTTPS_PROXY", "http://"),
            ("AWS_CA_BUNDLE", "/does/not/exist.pem"),
            ("AWS_CA_BUNDLE", empty.path().to_str().expect("utf-8")),
            ("AWS_CA_BUNDLE", broken.path().to_str().expect("utf-8")),
            ("AWS_ENDPOINT_URL", "example.com"),
            ("AWS_ENDPOINT_URL", "http://example.com:none"),
            ("AWS_ENDPOINT_URL_STS", "https://user:secret@example.com"),
            ("AWS_USE_FIPS_ENDPOINT", "yes"),
            ("AWS_USE_DUALSTACK_ENDPOINT", "1"),
        ] {
            let (_, problems) = of(&[(name, value)]);
            let [problem] = &problems[..] else {
                panic!("{name}={value}: {problems:?}");
            };
            assert!(problem.contains(name), "{name}={value}: {problem}");
            assert!(!problem.contains("secret"), "{problem}");
        }
    }

    #[test]
    fn a_star_goes_around_every_proxy() {
        let (network, _) = of(&[("HTTPS_PROXY", "http://proxy:1"), ("no_proxy", "*")]);
        assert_eq!(network.proxies, []);
        // Nor is one refused that is not used.
        let web = [("HTTPS_PROXY", "http://p:1"), ("HTTP_PROXY", "http://p:1")];
        let (network, problems) = of(&[web[0], web[1], ("ALL_PROXY", "socks5://p:2")]);
        assert_eq!((network.proxies.len(), problems), (2, Vec::new()));
    }

    #[test]
    fn proxies_are_read_as_curl_reads_them() {
        let (network, problems) = of(&[
            ("HTTPS_PROXY", "http://user:secret@proxy.example:3128"),
            ("https_proxy", "http://other:1"),
            ("http_proxy", "proxy.example"),
            ("ALL_PROXY", ""),
            ("all_proxy", "http://never:1"),
            ("NO_PROXY", "localhost,.internal"),
            ("AWS_USE_FIPS_ENDPOINT", "True"),
            (
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                "http://localhost:51679/v2",
            ),
        ]);
        assert_eq!(problems, Vec::<String>::new());
        let shown: Vec<_> = network
            .proxies
            .iter()
            .map(|p| (p.variable, &*p.address))
            .collect();
        assert_eq!(
            shown,
            [
                ("HTTPS_PROXY", "proxy.example:3128"),
                ("http_proxy", "proxy.example")
            ]
        );
        assert_eq!(network.no_proxy.as_deref(), Some("localhost,.internal"));
        assert_eq!(network.own_endpoints, ["localhost:51679"]);
        assert!(!format!("{network:?}").contains("secret"));
    }
}
