//! A lake in a bucket. Follows S3 `PutObject`, `CreateMultipartUpload`, `UploadPart`, `CompleteMultipartUpload`, `GetObject`,
//! `ListObjectsV2`, `DeleteObject`.
//!
//! An object appears whole: a single PUT replaces it in one step, and a multipart upload shows nothing until it is completed. Nothing is
//! ever copied or renamed. Small files go in one PUT with their SHA-256; larger ones in parts that are read when they are sent, so memory
//! is bounded by the parts in flight whatever the file's size.

use std::path::{Path, PathBuf};

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use tokio::io::AsyncWriteExt;

use crate::lake::layout;
use crate::write::Staged;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::put_object::{PutObjectError, PutObjectOutput};
use aws_sdk_s3::types::{ObjectCannedAcl, ServerSideEncryption, StorageClass};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::s3_seen::{SeenObjects, is_changed};
use super::{AcquireError, Entry, Held, Holder, Store, StoreError, StoreErrorKind, Tail};
use crate::aws::{Pages, StorageClient};
use crate::config::{Encryption, S3Destination};
use crate::model::{Cause, CauseKind, Claim};

/// Files up to this size are sent in one PUT, larger ones in parts of this size.
pub(super) const PART_BYTES: u64 = 8 << 20;

/// Pieces of objects in memory over all lanes: with [`PART_BYTES`], 96 MiB at most.
const PIECES_IN_MEMORY: usize = 12;

/// A bucket and a prefix. Clones share the client.
#[derive(Clone, Debug)]
pub struct S3Store {
    pub(super) client: StorageClient,
    pub(super) settings: Arc<S3Destination>,
    pieces: Arc<Semaphore>,
    pub(super) seen: Arc<SeenObjects>,
}

/// Passes on a PUT that made an object. Something between us and S3 may say yes by itself, and something may leave the tag out: then `there`
/// looks, and gives the tag of what it is to be.
///
/// # Errors
/// An error that is tried again.
pub(super) async fn stored(
    mut answer: PutObjectOutput,
    there: impl Future<Output = Option<String>>,
) -> Result<PutObjectOutput, SdkError<PutObjectError>> {
    if answer.e_tag.is_none() {
        answer.e_tag = there.await;
    }
    let has_tag = answer.e_tag.is_some();
    tagged(answer, has_tag)
}

#[expect(clippy::result_large_err, reason = "the SDK's own error")]
pub(super) fn tagged<T, E>(answer: T, has_tag: bool) -> Result<T, SdkError<E>> {
    if has_tag {
        Ok(answer)
    } else {
        let text = "the answer says success and names no object";
        Err(SdkError::construction_failure(text))
    }
}

impl S3Store {
    /// A store for `settings`, called with `client`.
    pub fn new(client: StorageClient, settings: S3Destination) -> Self {
        Self {
            client,
            settings: Arc::new(settings),
            pieces: Arc::new(Semaphore::new(PIECES_IN_MEMORY)),
            seen: Arc::default(),
        }
    }

    /// Waits for room for one more piece of an object.
    pub(super) async fn piece(&self) -> SemaphorePermit<'_> {
        let room = self.pieces.acquire().await;
        room.expect("the bound on pieces is never closed")
    }

    pub(super) fn key(&self, key: &str) -> String {
        if self.settings.prefix.is_empty() {
            key.to_owned()
        } else {
            format!("{}/{key}", self.settings.prefix)
        }
    }

    /// The key below the prefix.
    fn relative<'a>(&self, full: &'a str) -> Option<&'a str> {
        if self.settings.prefix.is_empty() {
            return Some(full);
        }
        full.strip_prefix(self.settings.prefix.as_str())?
            .strip_prefix('/')
    }

    pub(super) fn owner(&self) -> Option<String> {
        self.settings
            .expected_bucket_owner
            .as_ref()
            .map(ToString::to_string)
    }

    pub(super) fn doing(&self, what: &str, key: &str) -> String {
        format!("{what} s3://{}/{}", self.settings.bucket, self.key(key))
    }

    pub(super) fn put_request(&self, key: &str, body: Bytes) -> PutObjectFluentBuilder {
        let (encryption, kms_key) = self.encryption();
        self.client
            .s3()
            .put_object()
            .bucket(&self.settings.bucket)
            .key(self.key(key))
            .set_expected_bucket_owner(self.owner())
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(kms_key)
            .set_acl(self.acl())
            .body(ByteStream::from(body))
    }

    /// A PUT that replaces what was seen of the object, and nothing newer.
    pub(super) fn as_seen(&self, key: &str, put: PutObjectFluentBuilder) -> PutObjectFluentBuilder {
        let conditions = self.seen.conditions(key);
        put.set_if_match(conditions.if_match)
            .set_if_none_match(conditions.if_none_match)
    }

    /// With KMS and no key named, the bucket's default key is meant: no key id is sent.
    pub(super) fn encryption(&self) -> (Option<ServerSideEncryption>, Option<String>) {
        match &self.settings.encryption {
            None => (None, None),
            Some(Encryption::Aes256) => (Some(ServerSideEncryption::Aes256), None),
            Some(Encryption::Kms { key }) => (Some(ServerSideEncryption::AwsKms), key.clone()),
        }
    }

    pub(super) fn acl(&self) -> Option<ObjectCannedAcl> {
        self.settings
            .bucket_owner_full_control
            .then_some(ObjectCannedAcl::BucketOwnerFullControl)
    }

    /// Data objects only: control objects are read too often for a colder class.
    pub(super) fn storage_class(&self) -> Option<StorageClass> {
        self.settings
            .storage_class
            .as_deref()
            .map(StorageClass::from)
    }

    pub(super) async fn head(&self, key: &str) -> Result<Option<Head>, StoreError> {
        let doing = self.doing("looking at", key);
        let answer = self
            .client
            .call(&doing, || {
                self.client
                    .s3()
                    .head_object()
                    .bucket(&self.settings.bucket)
                    .key(self.key(key))
                    .set_expected_bucket_owner(self.owner())
                    .send()
            })
            .await;
        match answer {
            Ok(answer) => {
                self.seen.saw(key, Some(answer.e_tag().unwrap_or_default()));
                Ok(Some(Head {
                    etag: answer.e_tag.unwrap_or_default(),
                    sha256: answer.metadata.and_then(|m| m.get(SHA256).cloned()),
                }))
            }
            Err((_, error)) if is_missing(&error) => {
                self.seen.saw(key, None);
                Ok(None)
            }
            Err((cause, _)) => Err(self.error(&doing, cause)),
        }
    }

    /// Reads an object or a range of it; `range` as HTTP writes it.
    pub(super) async fn read(
        &self,
        key: &str,
        range: Option<String>,
    ) -> Result<Option<(Bytes, Version)>, StoreError> {
        let doing = self.doing("reading", key);
        let mut tries = 0;
        loop {
            let answer = self
                .client
                .call(&doing, || {
                    self.client
                        .s3()
                        .get_object()
                        .bucket(&self.settings.bucket)
                        .key(self.key(key))
                        .set_expected_bucket_owner(self.owner())
                        .set_range(range.clone())
                        .send()
                })
                .await;
            let answer = match answer {
                Ok(answer) => answer,
                Err((_, error)) if is_missing(&error) => {
                    self.seen.saw(key, None);
                    return Ok(None);
                }
                Err((cause, _)) => return Err(self.error(&doing, cause)),
            };
            self.seen.saw(key, Some(answer.e_tag().unwrap_or_default()));
            let version = Version {
                etag: answer.e_tag.clone().unwrap_or_default(),
                modified: answer
                    .last_modified
                    .map_or(0, |t: aws_sdk_s3::primitives::DateTime| t.secs()),
                size: total_size(
                    answer.content_range.as_deref(),
                    answer.content_length.unwrap_or(0),
                ),
            };
            match answer.body.collect().await {
                Ok(body) => return Ok(Some((body.into_bytes(), version))),
                // The answer broke off in its body: the calls above cannot see that.
                Err(_) if tries < 4 => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(100 << tries)).await;
                }
                Err(e) => {
                    let cause = Cause::new(CauseKind::Transient, format!("{doing}: {e}"));
                    return Err(self.error(&doing, cause));
                }
            }
        }
    }

    /// Uploads to keys that are ours, with their ids.
    async fn unfinished_uploads(&self) -> Result<Vec<(String, String)>, StoreError> {
        let doing = self.doing("listing unfinished uploads in", "");
        let mut unfinished = Vec::new();
        let (mut key_marker, mut id_marker) = (None::<String>, None::<String>);
        loop {
            let page = self
                .client
                .call(&doing, || {
                    self.client
                        .s3()
                        .list_multipart_uploads()
                        .bucket(&self.settings.bucket)
                        .prefix(self.key(""))
                        .set_expected_bucket_owner(self.owner())
                        .set_key_marker(key_marker.clone())
                        .set_upload_id_marker(id_marker.clone())
                        .send()
                })
                .await
                .map_err(|(cause, _)| self.error(&doing, cause))?;
            for upload in page.uploads() {
                let key = upload.key().and_then(|key| self.relative(key));
                let key = key.filter(|key| layout::is_ours(key));
                if let Some((key, id)) = key.zip(upload.upload_id()) {
                    unfinished.push((key.to_owned(), id.to_owned()));
                }
            }
            let next = page.next_key_marker.clone();
            if page.is_truncated != Some(true) || next.is_none() || next == key_marker {
                return Ok(unfinished);
            }
            (key_marker, id_marker) = (next, page.next_upload_id_marker.clone());
        }
    }

    /// What S3 refuses for good is told from what may pass, with the remedy.
    pub(super) fn error(&self, doing: &str, cause: Cause) -> StoreError {
        let message = cause
            .message
            .strip_prefix(&format!("{doing}: "))
            .unwrap_or(&cause.message)
            .to_owned();
        let kind = match cause.kind {
            CauseKind::Protocol => StoreErrorKind::Temporary,
            kind if kind.is_retryable() => StoreErrorKind::Temporary,
            // A key or the bucket's own policy has a remedy of its own.
            CauseKind::AccessDenied if cause.hint.is_none() => StoreErrorKind::NotAllowed,
            _ => StoreErrorKind::Refused,
        };
        let bucket = &self.settings.bucket;
        let is = |codes: &[&str]| codes.iter().any(|code| cause.is(code));
        let hint = if is(&["NoSuchBucket"]) {
            Some(format!(
                "create bucket {bucket}, or correct destination.url"
            ))
        } else if is(&ELSEWHERE) {
            Some(format!(
                "bucket {bucket} is in another region: set destination.region"
            ))
        } else if is(&["SignatureDoesNotMatch", "InvalidAccessKeyId"]) {
            Some(
                "S3 does not accept these credentials: renew them, or set destination.role_arn"
                    .to_owned(),
            )
        } else if cause.hint.is_some() {
            cause.hint
        } else if cause.kind == CauseKind::AccessDenied {
            Some(format!(
                "the writer needs s3:PutObject, s3:GetObject, s3:AbortMultipartUpload on arn:aws:s3:::{bucket}/… and s3:ListBucket on the bucket{}",
                if self.settings.expected_bucket_owner.is_some() {
                    ", and destination.expected_bucket_owner must be its owner"
                } else {
                    ""
                }
            ))
        } else {
            None
        };
        StoreError {
            kind,
            doing: doing.to_owned(),
            message,
            hint,
        }
    }
}

#[async_trait]
impl Store for S3Store {
    fn describe(&self) -> String {
        let S3Destination { bucket, prefix, .. } = &*self.settings;
        if prefix.is_empty() {
            format!("s3://{bucket}")
        } else {
            format!("s3://{bucket}/{prefix}")
        }
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        let doing = self.doing("writing", key);
        let answer = self
            .client
            .call(&doing, async || {
                let put = self.put_request(key, body.clone());
                let answer = self.as_seen(key, put).send().await?;
                let there = Box::pin(async {
                    let (there, version) = self.read(key, None).await.ok()??;
                    (there == body).then_some(version.etag)
                });
                stored(answer, there).await
            })
            .await;
        match answer {
            Ok(answer) => self.seen.saw(key, answer.e_tag()),
            Err((_, error)) if is_changed(&error) => match self.read(key, None).await? {
                Some((there, _)) if there == body => {}
                _ => return Err(StoreError::changed(&*doing)),
            },
            Err((cause, _)) => return Err(self.error(&doing, cause)),
        }
        Ok(())
    }

    async fn publish(&self, key: &str, staged: &Staged) -> Result<(), StoreError> {
        if staged.bytes <= PART_BYTES {
            self.put_whole(key, staged).await?;
        } else {
            self.put_parts(key, staged).await?;
        }
        tokio::fs::remove_file(&staged.path)
            .await
            .map_err(|e| StoreError::io("removing", &staged.path, &e))
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.read(key, None).await?.map(|(body, _)| body))
    }

    async fn tail(&self, key: &str, bytes: u64) -> Result<Option<Tail>, StoreError> {
        let range = format!("bytes=-{bytes}");
        Ok(self
            .read(key, Some(range))
            .await?
            .map(|(bytes, version)| Tail {
                size: version.size,
                bytes,
            }))
    }

    async fn open(&self, key: &str, scratch: &Path) -> Result<Option<PathBuf>, StoreError> {
        let path = scratch.join(format!("read-{}", key.replace('/', "_")));
        let io = |e: std::io::Error| StoreError::io("writing", &path, &e);
        crate::files::create_folder(scratch).map_err(io)?;
        let file = crate::files::create_file(&path).map_err(io)?;
        let mut file = tokio::fs::File::from_std(file);
        let (mut at, mut whole) = (0_u64, None);
        // In pieces, so that memory does not follow the object's size.
        while whole.is_none_or(|size| at < size) {
            let _piece = self.piece().await;
            let range = format!("bytes={at}-{}", at + PART_BYTES - 1);
            let Some((body, version)) = self.read(key, Some(range)).await? else {
                return Ok(None);
            };
            if body.is_empty() {
                break;
            }
            file.write_all(&body).await.map_err(io)?;
            at += body.len() as u64;
            whole = Some(version.size);
        }
        file.flush().await.map_err(io)?;
        Ok(Some(path))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let doing = self.doing("listing", prefix);
        let mut entries = Vec::new();
        let mut pages = Pages::of("ListObjectsV2");
        loop {
            let page = self
                .client
                .call(&doing, || {
                    self.client
                        .s3()
                        .list_objects_v2()
                        .bucket(&self.settings.bucket)
                        .prefix(self.key(prefix))
                        .set_expected_bucket_owner(self.owner())
                        .set_continuation_token(pages.token())
                        .send()
                })
                .await
                .map_err(|(cause, _)| self.error(&doing, cause))?;
            for object in page.contents() {
                if let Some(key) = object.key().and_then(|key| self.relative(key)) {
                    entries.push(Entry {
                        key: key.to_owned(),
                        bytes: object
                            .size()
                            .and_then(|n| u64::try_from(n).ok())
                            .unwrap_or(0),
                        stamp: object.e_tag().unwrap_or_default().to_owned(),
                    });
                }
            }
            let is_cut = page.is_truncated == Some(true);
            let next = page.next_continuation_token;
            if is_cut && next.is_none() {
                let cause = Cause::new(
                    CauseKind::Protocol,
                    "the list goes on and does not say where",
                );
                return Err(self.error(&doing, cause));
            }
            let followed = pages.follow(next.filter(|_| is_cut));
            if !followed.map_err(|cause| self.error(&doing, cause))? {
                break;
            }
        }
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(entries)
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let doing = self.doing("removing", key);
        let removing = async |if_match: Option<String>| {
            self.client
                .call(&doing, || {
                    self.client
                        .s3()
                        .delete_object()
                        .bucket(&self.settings.bucket)
                        .key(self.key(key))
                        .set_expected_bucket_owner(self.owner())
                        .set_if_match(if_match.clone())
                        .send()
                })
                .await
        };
        let mut answer = removing(self.seen.conditions(key).if_match).await;
        // A store may know conditions for writes alone.
        if answer
            .as_ref()
            .is_err_and(|(cause, _)| cause.is("NotImplemented"))
        {
            answer = removing(None).await;
        }
        match answer {
            Err((_, error)) if !is_missing(&error) && is_changed(&error) => {
                Err(StoreError::changed(&*doing))
            }
            Err((cause, error)) if !is_missing(&error) => Err(self.error(&doing, cause)),
            _ => {
                self.seen.saw(key, None);
                Ok(())
            }
        }
    }

    /// An upload that is begun and given up needs the same permissions and key as one that is completed, and shows nothing to a reader.
    async fn prove_writable(&self, table: &str) -> Result<(), StoreError> {
        let key = format!("{table}/.probe");
        let upload = self.create_upload(&key, None).await?;
        self.abort(&key, &upload).await;
        Ok(())
    }

    /// Aborts unfinished uploads whose keys are ours. A writer that may not list them leaves that to a lifecycle rule.
    async fn sweep(&self, held: &dyn Held) -> Result<(), StoreError> {
        let unfinished = match self.unfinished_uploads().await {
            Ok(unfinished) => unfinished,
            Err(error) => {
                tracing::warn!(%error, "unfinished uploads of dead runs are not looked for");
                return Ok(());
            }
        };
        // Looked at after the list was made: whoever has begun an upload in it and lives has a lock that is seen.
        if unfinished.is_empty() || !held.is_alone().await? {
            return Ok(());
        }
        for (key, upload) in unfinished {
            self.abort(&key, &upload).await;
        }
        Ok(())
    }

    async fn acquire(&self, holder: &Holder, claim: &Claim) -> Result<Box<dyn Held>, AcquireError> {
        self.take_lease(holder, claim).await
    }
}

/// Refusals of a bucket that is in another region.
const ELSEWHERE: [&str; 4] = [
    "PermanentRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "HTTP 301",
];

pub(super) const SHA256: &str = "cwlake-sha256";

#[derive(Debug)]
pub(super) struct Head {
    pub(super) etag: String,
    pub(super) sha256: Option<String>,
}

/// Which content of an object was read.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) etag: String,
    /// Seconds since the epoch, by the store's clock.
    pub(super) modified: i64,
    size: u64,
}

fn is_missing<E: ProvideErrorMetadata>(
    error: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
) -> bool {
    let code = error.as_service_error().and_then(|e| e.code());
    let status = error.raw_response().map_or(0, |r| r.status().as_u16());
    matches!(code, Some("NoSuchKey" | "NotFound")) || status == 404 && code.is_none()
}

/// `bytes 10-19/200` names the whole object's size after the slash.
fn total_size(content_range: Option<&str>, length: i64) -> u64 {
    content_range
        .and_then(|range| range.rsplit_once('/'))
        .and_then(|(_, size)| size.parse().ok())
        .unwrap_or_else(|| u64::try_from(length).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::total_size;

    #[test]
    fn sizes_are_read_as_s3_writes_them() {
        assert_eq!(total_size(Some("bytes 10-19/200"), 10), 200);
        assert_eq!(total_size(None, 10), 10);
    }
}
