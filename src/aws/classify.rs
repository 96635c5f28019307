//! SDK error → kind → retryable, decided here and nowhere else.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::chain::{all_below, below, innermost};
use super::denials::refusal;
use super::http::{NoAnswer, is_too_long};
use crate::model::{Cause, CauseKind};

/// # Source
/// AWS SDKs reference guide, "Retry behavior"; plus the spellings STS, EC2 and CloudWatch use.
const THROTTLED: &[&str] = &[
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "LimitExceededException",
    "SlowDown",
    "ProvisionedThroughputExceededException",
    "TransactionInProgressException",
    "PriorRequestNotComplete",
    "EC2ThrottledException",
    "LimitExceeded",
];

const EXPIRED: &[&str] = &[
    "ExpiredToken",
    "ExpiredTokenException",
    "TokenRefreshRequired",
];

const DENIED: &[&str] = &[
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "AuthorizationError",
    "NotAuthorized",
    "Unauthorized",
    "UnauthorizedAccess",
];

/// A session that STS just gave and a region refuses belongs to a region that is not enabled.
///
/// # Source
/// turbot/steampipe-plugin-aws#1391; IAM user guide, "Managing AWS STS in an AWS Region".
const DISABLED: &[&str] = &[
    "RegionDisabledException",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "AuthFailure",
    "OptInRequired",
];

const TRANSIENT: &[&str] = &[
    "InternalFailure",
    "InternalError",
    "InternalServiceError",
    "InternalServiceFault",
    "InternalServerError",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "RequestTimeout",
    "RequestTimeoutException",
    "Unavailable",
    "IDPCommunicationError",
    // S3: another write of the object is under way, or the body arrived broken.
    "OperationAborted",
    "ConditionalRequestConflict",
    "BadDigest",
    "IncompleteBody",
    "XAmzContentSHA256Mismatch",
];

/// The secret does not belong to the key, or there is none.
const UNSIGNED: &[&str] = &[
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "IncompleteSignature",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
];

/// Signing time off: the SDK corrects the clock from the answer, so one more try is worth it.
const SKEWED: &[&str] = &[
    "RequestTimeTooSkewed",
    "RequestExpired",
    "RequestInTheFuture",
];

/// What an SDK error is, in one line, without secrets. `doing` says what was being done, in lower case.
pub fn cause_of<E>(doing: &str, error: &SdkError<E, HttpResponse>) -> Cause
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match error {
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let code = service.err().code().unwrap_or("");
            let message = match service.err().message() {
                Some(message) => message,
                None if status == 200 => "an answer that is none of this service's",
                None => "no message",
            };
            let kind = kind_of(code, status, message);
            let name = name_of(code, status);
            let text = format!("{doing}: {name}: {}", one_line(message));
            let code = name.rsplit('#').next().unwrap_or(&name);
            let cause = Cause::new(kind, text).with_code(code);
            match refusal(code, message) {
                Some(refusal) if !kind.is_retryable() => Cause {
                    kind: refusal.kind,
                    hint: refusal.hint,
                    ..cause
                },
                _ => cause,
            }
        }
        other if is_too_long(other) => {
            let text = format!("{doing}: the answer is longer than 64 MiB");
            Cause::new(CauseKind::Protocol, text)
                .with_hint("what answers is not AWS, or not well: check endpoint and proxy")
        }
        SdkError::TimeoutError(_) => {
            Cause::new(CauseKind::Transient, format!("{doing}: no answer in time"))
        }
        SdkError::ResponseError(response) => Cause::new(
            CauseKind::Transient,
            format!(
                "{doing}: unreadable answer (HTTP {}): {}",
                response.raw().status().as_u16(),
                one_line(&innermost(error))
            ),
        ),
        other => match inner_cause(other) {
            Some(cause) => cause,
            None => {
                let text = innermost(other);
                let no_connection = matches!(other, SdkError::DispatchFailure(e)
                    if e.is_io() || e.is_timeout() && text.contains("HTTP connect"));
                let remedy = below::<NoAnswer>(other).and_then(|e| e.hint);
                let kind = if remedy.is_some() {
                    // It fails until somebody changes it.
                    CauseKind::Other
                } else if no_connection {
                    CauseKind::Unreachable
                } else {
                    CauseKind::Transient
                };
                let cause = Cause::new(kind, format!("{doing}: {}", one_line(&text)));
                match remedy {
                    Some(hint) => cause.with_hint(hint),
                    None => cause,
                }
            }
        },
    }
}

/// Credentials are resolved inside the SDK's call: a refused role arrives wrapped in a dispatch error.
fn inner_cause(error: &(dyn Error + 'static)) -> Option<Cause> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(cause) = error.downcast_ref::<Cause>() {
            return Some(cause.clone());
        }
        if let Some(credentials) = error.downcast_ref::<CredentialsError>() {
            let nested = credentials.source().and_then(inner_cause);
            return nested.or_else(|| Some(of_credentials(credentials)));
        }
        current = error.source();
    }
    None
}

/// What a failure of a credentials provider is.
pub(super) fn of_credentials(error: &CredentialsError) -> Cause {
    let kind = match error {
        CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_) => {
            CauseKind::NoCredentials
        }
        _ => CauseKind::Transient,
    };
    let text = match error {
        // The chain's own text is a list of its providers' inner states.
        CredentialsError::CredentialsNotLoaded(_) => {
            "neither environment, profile, web identity, container nor instance has any".to_owned()
        }
        _ => one_line(&all_below(error)),
    };
    Cause::new(kind, format!("finding credentials: {text}"))
}

fn kind_of(code: &str, status: u16, message: &str) -> CauseKind {
    // Query services put a namespace before the code in places: `com.amazonaws…#Throttling`.
    let code = code.rsplit('#').next().unwrap_or(code);
    let is = |set: &[&str]| set.contains(&code);
    if is(THROTTLED) || status == 429 {
        CauseKind::Throttled
    } else if is(EXPIRED) {
        CauseKind::ExpiredToken
    } else if code == "NotImplemented" {
        // By a store that is not AWS's: it stays so.
        CauseKind::Other
    } else if is(DENIED) {
        CauseKind::AccessDenied
    } else if is(DISABLED) {
        CauseKind::RegionDisabled
    } else if is(UNSIGNED) {
        // A clock that is off, which the SDK corrects from the answer, is refused under the same code as a wrong key.
        if message.contains("not yet current") || message.contains("expired") {
            CauseKind::Transient
        } else {
            CauseKind::NoCredentials
        }
    } else if is(TRANSIENT) || is(SKEWED) || status >= 500 {
        CauseKind::Transient
    } else if code.contains("NextToken") {
        CauseKind::InvalidToken
    } else if code.contains("Validation")
        || status == 413
        || code == "RequestEntityTooLarge"
        || code.contains("InvalidParameter")
        || code.contains("MissingParameter")
    {
        CauseKind::Validation
    } else if status == 200 || code.is_empty() {
        // A success that is not one, or an error page from something that is not AWS.
        CauseKind::Transient
    } else {
        CauseKind::Other
    }
}

fn name_of(code: &str, status: u16) -> String {
    if code.is_empty() {
        format!("HTTP {status}")
    } else {
        code.to_owned()
    }
}

/// At most 300 characters, no control character.
fn one_line(text: &str) -> String {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(300)
        .collect();
    clean.trim().to_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use aws_smithy_types::body::SdkBody;
    use aws_smithy_types::error::metadata::ErrorMetadata;
    use http_body_util::{BodyExt, Limited};

    use super::*;

    /// What a service refused, as its client says it.
    #[derive(Debug)]
    pub(in crate::aws) struct Refused(ErrorMetadata);

    impl std::fmt::Display for Refused {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{}", self.0)
        }
    }

    impl Error for Refused {}

    impl ProvideErrorMetadata for Refused {
        fn meta(&self) -> &ErrorMetadata {
            &self.0
        }
    }

    pub(in crate::aws) fn refused(
        code: &str,
        message: Option<&str>,
        status: u16,
    ) -> SdkError<Refused, HttpResponse> {
        let mut meta = ErrorMetadata::builder().code(code);
        if let Some(text) = message {
            meta = meta.message(text);
        }
        let status = status.try_into().expect("a status");
        let raw = HttpResponse::new(status, SdkBody::empty());
        SdkError::service_error(Refused(meta.build()), raw)
    }

    #[test]
    fn what_a_service_refused_is_told_with_its_code_and_remedy() {
        let text =
            |code, message, status| cause_of("listing", &refused(code, message, status)).message;
        assert_eq!(
            text("Surprise", Some("no\tway"), 400),
            "listing: Surprise: no way"
        );
        assert_eq!(text("", None, 503), "listing: HTTP 503: no message");
        assert_eq!(
            text("", None, 200),
            "listing: HTTP 200: an answer that is none of this service's"
        );
        let denied = "User: u is not authorized to perform: ec2:DescribeRegions with an explicit deny in a service control policy";
        let denied = cause_of("listing", &refused("AccessDenied", Some(denied), 403));
        assert_eq!(denied.kind, CauseKind::PolicyDenied);
        let hint = denied.hint.expect("a remedy");
        assert!(hint.contains("ec2:DescribeRegions"), "{hint}");
        // What may be better in a moment is no refusal, whatever it says.
        let busy = "not authorized to perform: ec2:DescribeRegions";
        let busy = cause_of("listing", &refused("Throttling", Some(busy), 400));
        assert_eq!((busy.kind, busy.hint), (CauseKind::Throttled, None));
    }

    #[tokio::test]
    async fn an_answer_that_grows_without_an_end_is_not_asked_for_again() {
        let body = Limited::new(SdkBody::from("four"), 3);
        let error = body.collect().await.expect_err("longer");
        let raw = HttpResponse::new(200.try_into().expect("a status"), SdkBody::empty());
        let error = SdkError::<Refused, HttpResponse>::response_error(error, raw);
        let cause = cause_of("listing", &error);
        assert_eq!(cause.kind, CauseKind::Protocol, "{cause}");
    }

    #[test]
    fn codes_and_statuses_have_one_meaning_each() {
        for (code, status, kind) in [
            ("Throttling", 400, CauseKind::Throttled),
            ("ThrottlingException", 400, CauseKind::Throttled),
            ("", 429, CauseKind::Throttled),
            ("RequestLimitExceeded", 503, CauseKind::Throttled),
            ("ExpiredToken", 403, CauseKind::ExpiredToken),
            ("AccessDenied", 403, CauseKind::AccessDenied),
            ("UnauthorizedOperation", 403, CauseKind::AccessDenied),
            (
                "UnrecognizedClientException",
                403,
                CauseKind::RegionDisabled,
            ),
            ("AuthFailure", 401, CauseKind::RegionDisabled),
            ("InternalFailure", 500, CauseKind::Transient),
            ("", 502, CauseKind::Transient),
            ("ValidationError", 400, CauseKind::Validation),
            ("InvalidParameterCombination", 400, CauseKind::Validation),
            (
                "com.amazon.coral.validate#ValidationException",
                400,
                CauseKind::Validation,
            ),
            ("RequestEntityTooLarge", 413, CauseKind::Validation),
            ("", 413, CauseKind::Validation),
            ("InvalidNextToken", 400, CauseKind::InvalidToken),
            ("SignatureDoesNotMatch", 403, CauseKind::NoCredentials),
            ("RequestTimeTooSkewed", 403, CauseKind::Transient),
            ("Surprise", 200, CauseKind::Transient),
            ("", 404, CauseKind::Transient),
            ("Surprise", 400, CauseKind::Other),
        ] {
            assert_eq!(kind_of(code, status, "no"), kind, "{code} {status}");
        }
    }

    #[test]
    fn a_signature_of_another_time_is_tried_again_and_one_of_another_key_is_not() {
        for (message, kind) in [
            (
                "Signature not yet current: 20261121T021500Z",
                CauseKind::Transient,
            ),
            ("Signature expired: 20261121T014500Z", CauseKind::Transient),
            (
                "The request signature we calculated does not match",
                CauseKind::NoCredentials,
            ),
        ] {
            let found = kind_of("SignatureDoesNotMatch", 403, message);
            assert_eq!(found, kind, "{message}");
        }
        assert_eq!(
            kind_of("AccessDenied", 403, "it expired"),
            CauseKind::AccessDenied
        );
    }

    #[test]
    fn credentials_that_are_not_there_are_not_looked_for_again() {
        let nowhere = of_credentials(&CredentialsError::not_loaded("env: no; profile: no"));
        assert_eq!(nowhere.kind, CauseKind::NoCredentials);
        assert!(
            nowhere.message.ends_with("nor instance has any"),
            "{nowhere}"
        );
        let wrong = of_credentials(&CredentialsError::invalid_configuration("no such profile"));
        assert_eq!(wrong.kind, CauseKind::NoCredentials);
        assert!(wrong.message.contains("no such profile"), "{wrong}");
        let late = of_credentials(&CredentialsError::provider_error("the service is busy"));
        assert_eq!(late.kind, CauseKind::Transient);
        assert!(late.message.contains("the service is busy"), "{late}");
    }

    #[test]
    fn a_cause_inside_a_credentials_error_is_found() {
        let cause = Cause::new(CauseKind::AccessDenied, "assuming role: no");
        let wrapped = CredentialsError::provider_error(cause.clone());
        assert_eq!(inner_cause(&wrapped), Some(cause));
    }
}
