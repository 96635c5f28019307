//! Objects on their way to a bucket: small ones in one PUT, larger ones in parts. A success that names no object is none.

use std::collections::HashMap;
use std::path::Path;

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures::{StreamExt, stream};

use super::StoreError;
use crate::write::Staged;

use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::s3::{PART_BYTES, S3Store, SHA256, stored, tagged};
use super::s3_seen::{Conditions, is_changed};
use crate::model::{Cause, CauseKind};

/// Parts of one upload in flight.
const PARTS_IN_FLIGHT: usize = 3;

/// # Source
/// S3 user guide, "Multipart upload limits": 10,000 parts.
const MOST_PARTS: u64 = 10_000;

impl S3Store {
    pub(super) async fn put_whole(&self, key: &str, staged: &Staged) -> Result<(), StoreError> {
        let doing = self.doing("writing", key);
        let _piece = self.piece().await;
        let body: Bytes = tokio::fs::read(&staged.path)
            .await
            .map_err(|e| StoreError::io("reading", &staged.path, &e))?
            .into();
        let checksum = self
            .settings
            .checksums
            .then(|| base64_of_hex(&staged.sha256));
        let answer = self
            .client
            .call(&doing, async || {
                let request = self
                    .as_seen(key, self.put_request(key, body.clone()))
                    .set_storage_class(self.storage_class())
                    .set_checksum_sha256(checksum.clone())
                    .metadata(SHA256, &staged.sha256);
                let there = Box::pin(async {
                    let head = self.head(key).await.ok()??;
                    (head.sha256.as_ref() == Some(&staged.sha256)).then_some(head.etag)
                });
                stored(request.send().await?, there).await
            })
            .await;
        match answer {
            Ok(answer) => self.seen.saw(key, answer.e_tag()),
            Err((_, error)) if is_changed(&error) => match self.head(key).await? {
                Some(head) if head.sha256.as_deref() == Some(staged.sha256.as_str()) => {}
                _ => return Err(StoreError::changed(&*doing)),
            },
            Err((cause, _)) => return Err(self.error(&doing, cause)),
        }
        Ok(())
    }

    pub(super) async fn put_parts(&self, key: &str, staged: &Staged) -> Result<(), StoreError> {
        let upload = self.create_upload(key, Some(&staged.sha256)).await?;
        let done = async {
            let parts = self.send_parts(key, &upload, staged).await?;
            self.complete(key, &upload, parts, staged).await
        };
        let result = done.await;
        if result.is_err() {
            self.abort(key, &upload).await;
        }
        result
    }

    pub(super) async fn create_upload(
        &self,
        key: &str,
        sha256: Option<&str>,
    ) -> Result<String, StoreError> {
        let doing = self.doing("writing", key);
        let (encryption, kms_key) = self.encryption();
        let metadata = sha256.map(|s| HashMap::from([(SHA256.to_owned(), s.to_owned())]));
        let answer = self
            .client
            .call(&doing, || {
                self.client
                    .s3()
                    .create_multipart_upload()
                    .bucket(&self.settings.bucket)
                    .key(self.key(key))
                    .set_expected_bucket_owner(self.owner())
                    .set_server_side_encryption(encryption.clone())
                    .set_ssekms_key_id(kms_key.clone())
                    .set_acl(self.acl())
                    .set_storage_class(self.storage_class())
                    .set_metadata(metadata.clone())
                    // Named here, or some stores refuse the parts' checksums.
                    .set_checksum_algorithm(
                        self.settings.checksums.then_some(ChecksumAlgorithm::Crc32),
                    )
                    .send()
            })
            .await
            .map_err(|(cause, _)| self.error(&doing, cause))?;
        answer.upload_id.ok_or_else(|| {
            let cause = Cause::new(CauseKind::Protocol, "the answer names no upload");
            self.error(&doing, cause)
        })
    }

    async fn send_parts(
        &self,
        key: &str,
        upload: &str,
        staged: &Staged,
    ) -> Result<Vec<CompletedPart>, StoreError> {
        let size = part_size(staged.bytes);
        let count = staged.bytes.div_ceil(size);
        let mut parts = stream::iter(0..count)
            .map(|n| {
                let length = size.min(staged.bytes - n * size);
                self.send_part(key, upload, &staged.path, n, n * size, length)
            })
            .buffered(PARTS_IN_FLIGHT);
        let mut done = Vec::new();
        while let Some(part) = parts.next().await {
            done.push(part?);
        }
        Ok(done)
    }

    async fn send_part(
        &self,
        key: &str,
        upload: &str,
        path: &Path,
        n: u64,
        from: u64,
        length: u64,
    ) -> Result<CompletedPart, StoreError> {
        let doing = self.doing("writing", key);
        let _piece = self.piece().await;
        let body = read_part(path, from, length)
            .await
            .map_err(|e| StoreError::io("reading", path, &e))?;
        let number = i32::try_from(n + 1).unwrap_or(i32::MAX);
        let part = self
            .client
            .call(&doing, async || {
                let request = self
                    .client
                    .s3()
                    .upload_part()
                    .bucket(&self.settings.bucket)
                    .key(self.key(key))
                    .set_expected_bucket_owner(self.owner())
                    .upload_id(upload)
                    .part_number(number)
                    .set_checksum_algorithm(
                        self.settings.checksums.then_some(ChecksumAlgorithm::Crc32),
                    )
                    .body(ByteStream::from(body.clone()));
                let part = request.send().await?;
                let has_tag = part.e_tag.is_some();
                tagged(part, has_tag)
            })
            .await
            .map_err(|(cause, _)| self.error(&doing, cause))?;
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(part.e_tag)
            .set_checksum_crc32(part.checksum_crc32)
            .build())
    }

    /// Completes an upload. An answer that was lost, or is an error under HTTP 200, says nothing: then the object itself is looked at.
    pub(super) async fn complete(
        &self,
        key: &str,
        upload: &str,
        parts: Vec<CompletedPart>,
        staged: &Staged,
    ) -> Result<(), StoreError> {
        let doing = self.doing("writing", key);
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(parts))
            .build();
        let completing = async |conditions: Conditions| {
            self.client
                .call(&doing, || {
                    self.client
                        .s3()
                        .complete_multipart_upload()
                        .set_if_match(conditions.if_match.clone())
                        .set_if_none_match(conditions.if_none_match.clone())
                        .bucket(&self.settings.bucket)
                        .key(self.key(key))
                        .set_expected_bucket_owner(self.owner())
                        .upload_id(upload)
                        .multipart_upload(parts.clone())
                        .send()
                })
                .await
        };
        let mut answer = completing(self.seen.conditions(key)).await;
        // A store may know conditions for plain writes alone.
        if answer
            .as_ref()
            .is_err_and(|(cause, _)| cause.is("NotImplemented"))
        {
            answer = completing(Conditions::default()).await;
        }
        let failure = match answer {
            Ok(answer) if answer.e_tag.is_some() => {
                self.seen.saw(key, answer.e_tag());
                return Ok(());
            }
            Ok(_) => {
                let text = "the upload was answered with success and no object";
                self.error(&doing, Cause::new(CauseKind::Transient, text))
            }
            Err((_, error)) if is_changed(&error) => StoreError::changed(&*doing),
            Err((cause, _)) => self.error(&doing, cause),
        };
        match self.head(key).await? {
            Some(head) if head.sha256.as_deref() == Some(staged.sha256.as_str()) => Ok(()),
            _ => Err(failure),
        }
    }

    /// As good as it can: what stays is swept by the next run.
    pub(super) async fn abort(&self, key: &str, upload: &str) {
        let doing = self.doing("aborting the upload of", key);
        let aborted = self
            .client
            .call(&doing, || {
                self.client
                    .s3()
                    .abort_multipart_upload()
                    .bucket(&self.settings.bucket)
                    .key(self.key(key))
                    .set_expected_bucket_owner(self.owner())
                    .upload_id(upload)
                    .send()
            })
            .await;
        if let Err((cause, _)) = aborted {
            tracing::warn!(%cause, "an upload stays open until the next run");
        }
    }
}

/// Parts as small as the number of parts allows.
fn part_size(bytes: u64) -> u64 {
    PART_BYTES.max(bytes.div_ceil(MOST_PARTS).next_multiple_of(1 << 20))
}

async fn read_part(path: &Path, from: u64, length: u64) -> std::io::Result<Bytes> {
    let mut file = tokio::fs::File::open(path).await?;
    file.seek(std::io::SeekFrom::Start(from)).await?;
    let mut part = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact(&mut part).await?;
    Ok(part.into())
}

/// S3 wants checksums in base64.
fn base64_of_hex(hex: &str) -> String {
    let bytes: Vec<u8> = (0..hex.len() / 2)
        .filter_map(|i| u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok())
        .collect();
    aws_smithy_types::base64::encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_fit_the_limit_whatever_the_size() {
        assert_eq!(part_size(9 << 20), PART_BYTES);
        let huge = 200 << 30;
        assert!(huge / part_size(huge) <= MOST_PARTS);
        assert_eq!(part_size(huge) % (1 << 20), 0);
    }

    #[test]
    fn checksums_are_written_as_s3_does() {
        assert_eq!(base64_of_hex("00ff10"), "AP8Q");
    }
}
