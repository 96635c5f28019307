//! Answers on their way back, spoiled by the faults of the transport.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;

use super::answer::Answer;

use axum::body::{Body, Bytes};

use super::faults::{Fault, FaultKind};

/// # Source
/// RFC 9110, 5.6.7.
pub(super) fn http_date(seconds: i64) -> String {
    let at = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

pub(super) fn plain(status: u16, content_type: &'static str, body: Vec<u8>) -> Response {
    response(
        Answer {
            status,
            content_type,
            headers: Vec::new(),
            body: Vec::new(),
        },
        Body::from(body),
    )
}

fn response(answer: Answer, body: Body) -> Response {
    let mut builder = Response::builder()
        .status(StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        .header("content-type", answer.content_type)
        .header("x-amzn-requestid", "emulated");
    for (name, value) in answer.headers {
        builder = builder.header(name, value);
    }
    builder.body(body).unwrap_or_default()
}

/// An answer of the same kind that has nothing in it.
fn without_list(answer: &Answer) -> Vec<u8> {
    match answer.content_type {
        "application/cbor" => vec![0xa0],
        json if json.contains("json") => b"{}".to_vec(),
        _ => ["reservationSet", "regionInfo"]
            .into_iter()
            .fold(answer.body.clone(), |body, list| without(&body, list)),
    }
}

/// XML without any element of a name, all it holds included.
fn without(body: &[u8], name: &str) -> Vec<u8> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut text = String::from_utf8_lossy(body).into_owned();
    while let Some(start) = text.find(&open)
        && let Some(length) = text[start..].find(&close)
    {
        text.replace_range(start..start + length + close.len(), "");
    }
    text.into_bytes()
}

/// Sends an answer, spoiled on the way by the faults of the transport.
pub(super) async fn send(mut answer: Answer, faults: &[Fault]) -> Response {
    for fault in faults {
        match fault.kind {
            FaultKind::Delay => tokio::time::sleep(Duration::from_millis(fault.millis)).await,
            FaultKind::Hang => std::future::pending::<()>().await,
            FaultKind::Garbage => answer.body = b"<html><body>Bad gateway</body></html>".to_vec(),
            FaultKind::EmptyBody => answer.body.clear(),
            FaultKind::Halve => answer.body.truncate(answer.body.len() / 2),
            FaultKind::NoList => answer.body = without_list(&answer),
            FaultKind::Untagged => answer.body = without(&answer.body, "tagSet"),
            FaultKind::Cut => {
                answer
                    .headers
                    .push(("content-length", answer.body.len().to_string()));
                let half = Bytes::from(answer.body.split_off(answer.body.len() / 2));
                let pieces = [
                    Ok(half),
                    Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
                ];
                return response(answer, Body::from_stream(futures::stream::iter(pieces)));
            }
            FaultKind::Drip => {
                let pause = Duration::from_millis(fault.millis);
                let bytes = std::mem::take(&mut answer.body);
                let drip = futures::stream::unfold(bytes.into_iter(), move |mut rest| async move {
                    tokio::time::sleep(pause).await;
                    rest.next()
                        .map(|byte| (Ok::<_, std::io::Error>(Bytes::from(vec![byte])), rest))
                });
                return response(answer, Body::from_stream(drip));
            }
            _ => {}
        }
    }
    let body = Body::from(std::mem::take(&mut answer.body));
    response(answer, body)
}
