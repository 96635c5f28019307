//! `FilterLogEvents` and `GetLogEvents` with a decoder of the caller's: the answer is JSON, in which a message may hold what is no Unicode.

use std::fmt;

use aws_sdk_cloudwatchlogs::operation::filter_log_events::builders::FilterLogEventsFluentBuilder;
use aws_sdk_cloudwatchlogs::operation::filter_log_events::{
    FilterLogEventsError, FilterLogEventsOutput,
};
use aws_sdk_cloudwatchlogs::operation::get_log_events::builders::GetLogEventsFluentBuilder;
use aws_sdk_cloudwatchlogs::operation::get_log_events::{GetLogEventsError, GetLogEventsOutput};
use aws_smithy_runtime_api::client::interceptors::context::{Error, Output};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ErrorMetadata;
use serde::Deserialize;

use super::tap::{Decode, Operation, Tap};

const FILTER_LOG_EVENTS: Operation = Operation {
    empty: || Output::erase(FilterLogEventsOutput::builder().build()),
    refused: |metadata| Error::erase(FilterLogEventsError::generic(metadata)),
    error_of,
};

const GET_LOG_EVENTS: Operation = Operation {
    empty: || Output::erase(GetLogEventsOutput::builder().build()),
    refused: |metadata| Error::erase(GetLogEventsError::generic(metadata)),
    error_of,
};

/// Sends a request and reads a successful answer with `decode`.
///
/// # Errors
/// The SDK's; a body that `decode` refuses is a [`SdkError::ResponseError`].
pub async fn filter_log_events<T: Send + fmt::Debug + 'static>(
    request: FilterLogEventsFluentBuilder,
    decode: Decode<T>,
) -> Result<T, SdkError<FilterLogEventsError, HttpResponse>> {
    Tap::new(FILTER_LOG_EVENTS, decode)
        .read(|tap| request.customize().interceptor(tap).send())
        .await
}

/// The same for one stream.
///
/// # Errors
/// As [`filter_log_events`].
pub async fn get_log_events<T: Send + fmt::Debug + 'static>(
    request: GetLogEventsFluentBuilder,
    decode: Decode<T>,
) -> Result<T, SdkError<GetLogEventsError, HttpResponse>> {
    Tap::new(GET_LOG_EVENTS, decode)
        .read(|tap| request.customize().interceptor(tap).send())
        .await
}

#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(rename = "__type")]
    code: Option<String>,
    #[serde(alias = "Message")]
    message: Option<String>,
}

/// Code and message of a refusal.
///
/// # Source
/// smithy.io, "AWS JSON 1.1 protocol", operation error serialization: the code is in a header or in `__type`, behind its namespace and before
/// a URL.
fn error_of(response: &HttpResponse, body: &[u8]) -> ErrorMetadata {
    let told: Refusal = serde_json::from_slice(body).unwrap_or_default();
    let header = response.headers().get("x-amzn-errortype");
    let code = header.map(str::to_owned).or(told.code);
    let mut metadata = ErrorMetadata::builder();
    if let Some(code) = code {
        let plain = code.split(':').next().unwrap_or(&code);
        metadata = metadata.code(plain.rsplit('#').next().unwrap_or(plain));
    }
    if let Some(message) = told.message {
        metadata = metadata.message(message);
    }
    metadata.build()
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;

    use super::*;

    #[test]
    fn a_refusal_is_told_by_header_or_body() {
        let told = |header: Option<&'static str>, body: &str| {
            let status = StatusCode::try_from(400).expect("a status");
            let mut response = HttpResponse::new(status, SdkBody::from(body.to_owned()));
            if let Some(header) = header {
                response.headers_mut().insert("x-amzn-errortype", header);
            }
            let metadata = error_of(&response, body.as_bytes());
            let text = |t: Option<&str>| t.unwrap_or("-").to_owned();
            (text(metadata.code()), text(metadata.message()))
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            told(
                None,
                r#"{"__type":"com.amazonaws.logs#InvalidParameterException","message":"no"}"#
            ),
            pair("InvalidParameterException", "no")
        );
        assert_eq!(
            told(
                Some("ThrottlingException:http://x/"),
                r#"{"Message":"slow"}"#
            ),
            pair("ThrottlingException", "slow")
        );
        assert_eq!(told(None, "<html>"), pair("-", "-"));
    }
}
