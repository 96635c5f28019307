//! Where the lake goes: a local folder or a bucket, and how its objects are written.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::file;
use super::given::{Environment, Overrides};
use super::network::check_endpoint;
use super::problem::{Problem, printable};
use super::regions::known_region;
use super::roles::{RoleConfig, named_role};
use super::spanned::Spanned;
use crate::model::{AccountId, Region};

/// A validated destination.
#[derive(Clone, Debug)]
pub enum Destination {
    /// Absolute path of the lake's root folder.
    Local(PathBuf),
    /// A bucket and a prefix.
    S3(Box<S3Destination>),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(root) => write!(f, "{}", root.display()),
            Self::S3(s3) if s3.prefix.is_empty() => write!(f, "s3://{}", s3.bucket),
            Self::S3(s3) => write!(f, "s3://{}/{}", s3.bucket, s3.prefix),
        }
    }
}

/// A lake in a bucket.
#[derive(Clone, Debug)]
pub struct S3Destination {
    /// The bucket.
    pub bucket: String,
    /// Key prefix without slashes at its ends; may be empty.
    pub prefix: String,
    /// Region of the bucket; `None` takes the base region.
    pub region: Option<Region>,
    /// Endpoint of an S3-compatible store.
    pub endpoint_url: Option<String>,
    /// `https://host/bucket/key` instead of `https://bucket.host/key`.
    pub path_style: bool,
    /// Refuse to write to a bucket of any other account.
    pub expected_bucket_owner: Option<AccountId>,
    /// `None` leaves it to the bucket's default.
    pub encryption: Option<Encryption>,
    /// Storage class of the tables' objects; `None` is the store's default.
    pub storage_class: Option<String>,
    /// Give the bucket's owner full control of every object.
    pub bucket_owner_full_control: bool,
    /// Send and check checksums wherever S3 takes them.
    pub checksums: bool,
    /// Life of the lock when it is not renewed.
    pub lease: Duration,
    /// The role to write with; `None` writes with the base credentials.
    pub role: Option<RoleConfig>,
}

/// Server-side encryption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// S3's own keys.
    Aes256,
    /// KMS; without a key the bucket's default one.
    Kms {
        /// Id, alias or ARN.
        key: Option<String>,
    },
}

/// # Source
/// S3 API reference, `PutObject`, `x-amz-storage-class`; archive classes are left out: a lake is read.
const STORAGE_CLASSES: &[&str] = &[
    "STANDARD",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
    "REDUCED_REDUNDANCY",
    "EXPRESS_ONEZONE",
];

const DEFAULT_LEASE: Duration = Duration::from_mins(1);

/// What is being resolved, and where problems with it are told.
struct Resolver<'a> {
    file: &'a file::Destination,
    env: &'a Environment,
    problems: &'a mut Vec<Problem>,
}

/// Resolves the destination. A local one in the file is relative to the file's folder, so that a cron job's working folder does not
/// matter; one given by flag is relative to the working folder.
pub(super) fn resolve(
    path: &Path,
    file: &file::Destination,
    overrides: &Overrides,
    extra: &[Region],
    env: &Environment,
    problems: &mut Vec<Problem>,
) -> Option<Destination> {
    let (url, place, base) = match &overrides.destination {
        Some(url) => (url, None, PathBuf::from(".")),
        None => {
            let base = path
                .parent()
                .filter(|p| !p.as_os_str().is_empty())
                .unwrap_or(Path::new("."));
            (file.url.get_ref(), Some(file.url.span()), base.to_owned())
        }
    };
    let mut resolver = Resolver {
        file,
        env,
        problems,
    };
    let resolved = if let Some(rest) = url.strip_prefix("s3://") {
        resolver.s3(rest, extra)
    } else {
        // A folder named by flag is for this run only: the file's keys stay for the others.
        if overrides.destination.is_none() {
            resolver.only_for_s3();
        }
        local(url, &base).map(Destination::Local)
    };
    match resolved {
        Ok(destination) => Some(destination),
        Err((message, remedy)) => {
            let problem = match place {
                Some(span) => Problem::at(span, message),
                None => Problem::whole(format!("--destination: {message}")),
            };
            resolver.problems.push(problem.remedy(remedy));
            None
        }
    }
}

/// What is wrong with the URL and what to write instead.
type Refusal = (String, String);

fn refusal<T>(message: impl Into<String>, remedy: &str) -> Result<T, Refusal> {
    Err((message.into(), remedy.to_owned()))
}

fn local(url: &str, base: &Path) -> Result<PathBuf, Refusal> {
    let local = url.strip_prefix("file://").unwrap_or(url);
    if local.len() < url.len() && !local.starts_with('/') {
        return refusal(
            "a file URL names a host",
            "write file:///absolute/path, or the path alone",
        );
    }
    if let Some((scheme, _)) = local.split_once("://") {
        return refusal(
            format!(
                "destinations of kind '{}://' are not supported",
                printable(scheme)
            ),
            "write s3://bucket/prefix, or a local folder such as \"./lake\"",
        );
    }
    if local.is_empty() || local.contains('\0') {
        return refusal(
            "the destination is empty or holds a NUL",
            "write a folder such as \"./lake\", or s3://bucket/prefix",
        );
    }
    let folder = Path::new(local);
    if folder.components().any(|c| c == Component::ParentDir) {
        return refusal(
            "the destination climbs out with '..'",
            "write the absolute path",
        );
    }
    let absolute = std::path::absolute(base.join(folder)).map_err(|e| {
        (
            format!("the destination is no path: {e}"),
            "write the absolute path".to_owned(),
        )
    })?;
    if absolute.parent().is_none() {
        return refusal(
            "the destination is the root of the file system",
            "name a folder of its own",
        );
    }
    Ok(absolute)
}

impl Resolver<'_> {
    fn refuse(&mut self, span: std::ops::Range<usize>, message: impl Into<String>, remedy: &str) {
        self.problems
            .push(Problem::at(span, message).remedy(remedy));
    }

    /// Keys that mean nothing for a folder are mistakes.
    fn only_for_s3(&mut self) {
        let f = self.file;
        let spans = [
            ("region", f.region.as_ref().map(Spanned::span)),
            ("endpoint_url", f.endpoint_url.as_ref().map(Spanned::span)),
            ("path_style", f.path_style.as_ref().map(Spanned::span)),
            (
                "expected_bucket_owner",
                f.expected_bucket_owner.as_ref().map(Spanned::span),
            ),
            ("sse", f.sse.as_ref().map(Spanned::span)),
            ("kms_key_id", f.kms_key_id.as_ref().map(Spanned::span)),
            ("storage_class", f.storage_class.as_ref().map(Spanned::span)),
            ("acl", f.acl.as_ref().map(Spanned::span)),
            ("checksums", f.checksums.as_ref().map(Spanned::span)),
            ("lease_secs", f.lease_secs.as_ref().map(Spanned::span)),
            ("role_arn", f.role_arn.as_ref().map(Spanned::span)),
            ("external_id", f.external_id.as_ref().map(Spanned::span)),
        ];
        for (key, span) in spans {
            if let Some(span) = span {
                self.refuse(
                    span,
                    format!("{key} is for S3 destinations, this one is a folder"),
                    "remove it, or write url = \"s3://bucket/prefix\"",
                );
            }
        }
    }

    fn s3(&mut self, rest: &str, extra: &[Region]) -> Result<Destination, Refusal> {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        check_bucket(bucket)?;
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        check_prefix(prefix)?;
        let region = self.region(extra);
        let encryption = self.encryption(region.as_ref());
        Ok(Destination::S3(Box::new(S3Destination {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            endpoint_url: self.endpoint(),
            path_style: self.file.path_style.as_ref().is_some_and(|p| *p.get_ref()),
            expected_bucket_owner: self.owner(),
            encryption,
            storage_class: self.storage_class(),
            bucket_owner_full_control: self.acl(),
            checksums: self.file.checksums.as_ref().is_none_or(|c| *c.get_ref()),
            lease: self.lease(),
            role: named_role(
                "destination",
                self.file.role_arn.as_ref(),
                self.file.external_id.as_ref(),
                self.env,
                self.problems,
            ),
            region,
        })))
    }

    fn region(&mut self, extra: &[Region]) -> Option<Region> {
        let code = self.file.region.as_ref()?;
        match known_region(code.get_ref(), extra) {
            Ok(region) => Some(region),
            Err(remedy) => {
                let message = format!("'{}' is not a known region", printable(code.get_ref()));
                self.refuse(code.span(), message, &remedy);
                None
            }
        }
    }

    fn endpoint(&mut self) -> Option<String> {
        let url = self.file.endpoint_url.as_ref()?;
        match check_endpoint(url.get_ref()) {
            Ok(()) => Some(url.get_ref().clone()),
            Err((why, remedy)) => {
                self.refuse(url.span(), format!("endpoint_url {why}"), remedy);
                None
            }
        }
    }

    fn owner(&mut self) -> Option<AccountId> {
        let given = self.file.expected_bucket_owner.as_ref()?;
        let owner = AccountId::parse(given.get_ref());
        if owner.is_none() {
            let message = format!("'{}' is not an account id", printable(given.get_ref()));
            self.refuse(given.span(), message, "twelve digits in quotes");
        }
        owner
    }

    fn encryption(&mut self, region: Option<&Region>) -> Option<Encryption> {
        let key = self.file.kms_key_id.as_ref();
        let Some(sse) = &self.file.sse else {
            if let Some(key) = key {
                self.refuse(
                    key.span(),
                    "a KMS key is named, and sse is not \"aws:kms\"",
                    "write sse = \"aws:kms\" beside it",
                );
            }
            return None;
        };
        match (sse.get_ref().as_str(), key) {
            ("AES256", None) => Some(Encryption::Aes256),
            ("AES256", Some(key)) => {
                self.refuse(
                    key.span(),
                    "a KMS key is named, and sse is \"AES256\"",
                    "write sse = \"aws:kms\", or remove the key",
                );
                None
            }
            ("aws:kms", key) => {
                if let Some(key) = key {
                    self.check_kms_key(key, region);
                }
                Some(Encryption::Kms {
                    key: key.map(|k| k.get_ref().clone()),
                })
            }
            (other, _) => {
                let message = format!("'{}' is not a kind of encryption", printable(other));
                self.refuse(
                    sse.span(),
                    message,
                    "\"AES256\", or \"aws:kms\" with kms_key_id or the bucket's default key",
                );
                None
            }
        }
    }

    fn check_kms_key(&mut self, key: &Spanned<String>, region: Option<&Region>) {
        let text = key.get_ref();
        let plain = |c: char| c.is_ascii_alphanumeric() || ":/_-".contains(c);
        if text.is_empty() || text.len() > 2_048 || !text.chars().all(plain) {
            self.refuse(
                key.span(),
                "kms_key_id is not a key id, alias or ARN",
                "for example arn:aws:kms:eu-west-1:111122223333:key/…",
            );
            return;
        }
        let home = text
            .strip_prefix("arn:")
            .and_then(|arn| arn.split(':').nth(2));
        if let (Some(home), Some(region)) = (home, region)
            && home != region.as_str()
        {
            self.refuse(
                key.span(),
                format!("the key is in {}, the bucket in {region}", printable(home)),
                "S3 takes keys of the bucket's region only",
            );
        }
    }

    fn storage_class(&mut self) -> Option<String> {
        let given = self.file.storage_class.as_ref()?;
        if !STORAGE_CLASSES.contains(&given.get_ref().as_str()) {
            let message = format!("'{}' is not a storage class", printable(given.get_ref()));
            self.refuse(given.span(), message, &STORAGE_CLASSES.join(", "));
        }
        Some(given.get_ref().clone())
    }

    fn acl(&mut self) -> bool {
        let Some(acl) = &self.file.acl else {
            return false;
        };
        if acl.get_ref() != "bucket-owner-full-control" {
            let message = format!("acl '{}' is not supported", printable(acl.get_ref()));
            self.refuse(
                acl.span(),
                message,
                "\"bucket-owner-full-control\", or leave it out",
            );
        }
        true
    }

    fn lease(&mut self) -> Duration {
        let Some(given) = &self.file.lease_secs else {
            return DEFAULT_LEASE;
        };
        if !(5..=3_600).contains(given.get_ref()) {
            let message = format!("lease_secs = {} is out of range", given.get_ref());
            self.refuse(given.span(), message, "5 to 3600");
        }
        Duration::from_secs(u64::try_from(*given.get_ref()).unwrap_or(0))
    }
}

/// # Source
/// S3 user guide, "General purpose bucket naming rules".
fn check_bucket(bucket: &str) -> Result<(), Refusal> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = bucket.as_bytes();
    let like_an_ip = bucket.split('.').count() == 4
        && bucket
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    let ok = (3..=63).contains(&bytes.len())
        && bytes.iter().all(|b| plain(*b))
        && edge(bytes.first())
        && edge(bytes.last())
        && !bucket.contains("..")
        && !like_an_ip;
    if ok {
        return Ok(());
    }
    refusal(
        format!("'{}' is not the name of a bucket", printable(bucket)),
        "s3://bucket/prefix; a bucket has 3 to 63 lower case letters, digits, '-' or '.'",
    )
}

/// What every reader takes without escaping.
fn check_prefix(prefix: &str) -> Result<(), Refusal> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-=/".contains(c);
    if !prefix.chars().all(plain) || prefix.len() > 512 {
        return refusal(
            format!(
                "the prefix '{}' has characters that need escaping",
                printable(prefix)
            ),
            "letters, digits, '-', '_', '.', '=' and single slashes",
        );
    }
    let odd = |part: &str| part.is_empty() || part == "." || part == "..";
    if !prefix.is_empty() && prefix.split('/').any(odd) {
        return refusal(
            "the prefix has an empty part, '.' or '..'",
            "write s3://bucket/some/prefix",
        );
    }
    Ok(())
}
