//! `GetMetricData` and `ListMetrics` with a decoder of the caller's, and queries of the caller's: all of that is CBOR.

use std::fmt;

use aws_sdk_cloudwatch::operation::get_metric_data::builders::GetMetricDataFluentBuilder;
use aws_sdk_cloudwatch::operation::get_metric_data::{GetMetricDataError, GetMetricDataOutput};
use aws_sdk_cloudwatch::operation::list_metrics::builders::ListMetricsFluentBuilder;
use aws_sdk_cloudwatch::operation::list_metrics::{ListMetricsError, ListMetricsOutput};
use aws_smithy_runtime_api::client::interceptors::context::{Error, Output};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ErrorMetadata;
use bytes::Bytes;
use minicbor::Decoder;
use minicbor::data::Type;

use super::tap::{Decode, Operation, Tap};
use crate::cbor::{fields, text};

const GET_METRIC_DATA: Operation = Operation {
    empty: || Output::erase(GetMetricDataOutput::builder().build()),
    refused: |metadata| Error::erase(GetMetricDataError::generic(metadata)),
    error_of,
};

const LIST_METRICS: Operation = Operation {
    empty: || Output::erase(ListMetricsOutput::builder().build()),
    refused: |metadata| Error::erase(ListMetricsError::generic(metadata)),
    error_of,
};

/// Sends a request and reads a successful answer with `decode`.
///
/// # Errors
/// The SDK's; a body that `decode` refuses is a [`SdkError::ResponseError`].
pub async fn list_metrics<T: Send + fmt::Debug + 'static>(
    request: ListMetricsFluentBuilder,
    decode: Decode<T>,
) -> Result<T, SdkError<ListMetricsError, HttpResponse>> {
    Tap::new(LIST_METRICS, decode)
        .read(|tap| request.customize().interceptor(tap).send())
        .await
}

/// Sends a request and reads a successful answer with `decode`. `queries` is the member `MetricDataQueries`, name and value in CBOR, which the
/// request itself has not.
///
/// # Errors
/// The SDK's; a body that `decode` refuses is a [`SdkError::ResponseError`].
pub async fn get_metric_data<T: Send + fmt::Debug + 'static>(
    request: GetMetricDataFluentBuilder,
    queries: Bytes,
    decode: Decode<T>,
) -> Result<T, SdkError<GetMetricDataError, HttpResponse>> {
    Tap::new(GET_METRIC_DATA, decode)
        .with_member(queries)
        .read(|tap| request.customize().interceptor(tap).send())
        .await
}

/// Code and message of a refusal. The header keeps the code that query clients know; the body may spell another, behind its namespace.
///
/// # Source
/// smithy.io, "Smithy RPC v2 CBOR protocol", operation errors; "AWS query compatible trait".
fn error_of(response: &HttpResponse, body: &[u8]) -> ErrorMetadata {
    let mut metadata = ErrorMetadata::builder();
    let (mut code, mut message) = (None, None);
    // A body that breaks off has told what it has told.
    let _ = fields(&mut Decoder::new(body), |d, name| {
        let is_text = matches!(d.datatype()?, Type::String | Type::StringIndef);
        match name {
            "__type" if is_text => {
                let shape = text(d)?;
                code = Some(shape.rsplit('#').next().unwrap_or(&shape).to_owned());
            }
            "message" | "Message" if is_text => message = Some(text(d)?.into_owned()),
            _ => d.skip()?,
        }
        Ok(())
    });
    let header = response.headers().get("x-amzn-query-error");
    let kept = header.and_then(|h| h.split(';').next()).map(str::to_owned);
    if let Some(code) = kept.or(code) {
        metadata = metadata.code(code);
    }
    if let Some(message) = message {
        metadata = metadata.message(message);
    }
    metadata.build()
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;

    use super::*;

    fn refusal(header: Option<&'static str>, body: &[u8]) -> (Option<String>, Option<String>) {
        let status = StatusCode::try_from(400).expect("a status");
        let mut response = HttpResponse::new(status, SdkBody::from(body));
        if let Some(header) = header {
            response.headers_mut().insert("x-amzn-query-error", header);
        }
        let metadata = error_of(&response, body);
        let text = |t: Option<&str>| t.map(str::to_owned);
        (text(metadata.code()), text(metadata.message()))
    }

    #[test]
    fn a_refusal_is_told_by_header_and_body() {
        // {"__type": "com.amazonaws.cloudwatch#InvalidNextToken", "message": "no"}
        let mut body = vec![0xa2, 0x66];
        body.extend(b"__type\x78\x29com.amazonaws.cloudwatch#InvalidNextToken\x67message\x62no");
        let told = |code: &str| (Some(code.to_owned()), Some("no".to_owned()));
        assert_eq!(refusal(None, &body), told("InvalidNextToken"));
        assert_eq!(
            refusal(Some("Throttling;Sender"), &body),
            told("Throttling")
        );
        assert_eq!(refusal(None, b"<html>"), (None, None));
        // {"message": null, "__type": "A"}
        let body = b"\xa2\x67message\xf6\x66__type\x61A";
        assert_eq!(refusal(None, body), (Some("A".to_owned()), None));
        // {"message": 1, "__type": "A"}
        let body = b"\xa2\x67message\x01\x66__type\x61A";
        assert_eq!(refusal(None, body), (Some("A".to_owned()), None));
    }
}
