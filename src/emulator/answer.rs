//! What a service of the emulator is asked, as a form, and what it answers.

use std::collections::HashMap;

use super::wire::{Protocol, Value};

/// A decoded form body.
#[derive(Debug)]
pub(super) struct Form(pub(super) HashMap<String, String>);

impl Form {
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

/// An answer before faults.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn xml(body: String) -> Self {
        Self {
            status: 200,
            content_type: "text/xml",
            headers: Vec::new(),
            body: body.into_bytes(),
        }
    }

    /// An error of a query service.
    pub(super) fn query_error(status: u16, code: &str, message: &str) -> Self {
        let body = format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{}</Message></Error>\
             <RequestId>emulated</RequestId></ErrorResponse>",
            xml_escape(message)
        );
        Self {
            status,
            ..Self::xml(body)
        }
    }

    /// An error of EC2, which has a shape of its own.
    pub(super) fn ec2_error(status: u16, code: &str, message: &str) -> Self {
        let body = format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>{}</Message></Error></Errors><RequestID>emulated</RequestID></Response>",
            xml_escape(message)
        );
        Self {
            status,
            ..Self::xml(body)
        }
    }

    pub(super) fn of_value(protocol: Protocol, status: u16, value: &Value) -> Self {
        let headers = match protocol {
            Protocol::Cbor => vec![("smithy-protocol", "rpc-v2-cbor".to_owned())],
            Protocol::Json => Vec::new(),
        };
        Self {
            status,
            content_type: protocol.content_type(),
            headers,
            body: protocol.write(value),
        }
    }

    /// An error of CloudWatch, with the header that keeps the old query code.
    pub(super) fn cloudwatch_error(protocol: Protocol, refusal: &Refusal) -> Self {
        let prefix = match (protocol, refusal.code) {
            (_, "ValidationError") => "com.amazon.coral.validate#ValidationException".to_owned(),
            (_, code) => format!("com.amazonaws.cloudwatch.v2010_08_01#{code}"),
        };
        let body = Value::Map(vec![
            ("__type".to_owned(), Value::Text(prefix)),
            ("message".to_owned(), Value::text(&refusal.message)),
        ]);
        let mut answer = Self::of_value(protocol, refusal.status, &body);
        let side = if refusal.status < 500 {
            "Sender"
        } else {
            "Receiver"
        };
        answer
            .headers
            .push(("x-amzn-query-error", format!("{};{side}", refusal.code)));
        answer
    }
}

pub(super) fn xml_escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\r', "&#13;")
        .replace('\n', "&#10;")
        .replace('\t', "&#9;")
}

/// An error as CloudWatch words it.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self {
            status: 400,
            code: "ValidationError",
            message: message.into(),
        }
    }
}
