//! The two wire protocols of CloudWatch: Smithy RPC v2 CBOR and AWS JSON 1.0, read into and written from one tree.
//!
//! # Source
//! smithy.io, "Smithy RPC v2 CBOR protocol" and "AWS JSON 1.0 protocol"; botocore's service model.

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

/// A request or answer, whatever its encoding.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
    /// Seconds since the epoch; written as a timestamp.
    Times(Vec<i64>),
    /// Written as plain doubles.
    Doubles(Vec<f64>),
    /// Milliseconds since the epoch; written as a timestamp in seconds.
    Time(i64),
    /// A whole number of 64 bits.
    Integer(i64),
    /// JSON, written as it stands.
    Json(String),
}

/// Which encoding a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Cbor,
    Json,
}

impl Protocol {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Cbor => "application/cbor",
            Self::Json => "application/x-amz-json-1.0",
        }
    }

    pub(super) fn read(self, body: &[u8]) -> Option<Value> {
        if body.is_empty() {
            return Some(Value::Map(Vec::new()));
        }
        match self {
            Self::Cbor => read_cbor(&mut Decoder::new(body), 0).ok(),
            Self::Json => serde_json::from_slice(body).ok().map(from_json),
        }
    }

    pub(super) fn write(self, value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Cbor => write_cbor(&mut Encoder::new(&mut out), value),
            Self::Json => write_json(&mut out, value),
        }
        out
    }
}

impl Value {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Self::Map(pairs) => pairs
                .iter()
                .find(|(k, _)| k == key)
                .map(|(_, v)| v)
                .filter(|v| **v != Self::Null),
            _ => None,
        }
    }

    pub(super) fn str(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(Self::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(super) fn number(&self, key: &str) -> Option<f64> {
        match self.get(key) {
            Some(Self::Number(n)) => Some(*n),
            _ => None,
        }
    }

    pub(super) fn list(&self, key: &str) -> &[Value] {
        match self.get(key) {
            Some(Self::List(list)) => list,
            _ => &[],
        }
    }
}

fn read_cbor(d: &mut Decoder<'_>, depth: usize) -> Result<Value, minicbor::decode::Error> {
    if depth > 16 {
        return Err(minicbor::decode::Error::message("too deep"));
    }
    Ok(match d.datatype()? {
        Type::Null | Type::Undefined => {
            d.skip()?;
            Value::Null
        }
        Type::Bool => Value::Bool(d.bool()?),
        Type::String => Value::Text(d.str()?.to_owned()),
        Type::StringIndef => Value::Text(d.str_iter()?.collect::<Result<Vec<_>, _>>()?.concat()),
        Type::F16 => Value::Number(f64::from(d.f16()?)),
        Type::F32 => Value::Number(f64::from(d.f32()?)),
        Type::F64 => Value::Number(d.f64()?),
        Type::Array | Type::ArrayIndef => {
            let length = d.array()?;
            let mut list = Vec::new();
            while more(d, length, list.len())? {
                list.push(read_cbor(d, depth + 1)?);
            }
            Value::List(list)
        }
        Type::Map | Type::MapIndef => {
            let length = d.map()?;
            let mut pairs = Vec::new();
            while more(d, length, pairs.len())? {
                let key = d.str()?.to_owned();
                pairs.push((key, read_cbor(d, depth + 1)?));
            }
            Value::Map(pairs)
        }
        Type::Tag => {
            d.tag()?;
            read_cbor(d, depth + 1)?
        }
        _ => Value::Number(d.i64()? as f64),
    })
}

fn more(
    d: &mut Decoder<'_>,
    length: Option<u64>,
    read: usize,
) -> Result<bool, minicbor::decode::Error> {
    match length {
        Some(n) => Ok((read as u64) < n),
        None if d.datatype()? == Type::Break => {
            d.skip()?;
            Ok(false)
        }
        None => Ok(true),
    }
}

fn write_cbor(e: &mut Encoder<&mut Vec<u8>>, value: &Value) {
    // A Vec takes every byte.
    let _ = match value {
        Value::Null => e.null().map(|_| ()),
        Value::Bool(b) => e.bool(*b).map(|_| ()),
        Value::Number(n) => e.f64(*n).map(|_| ()),
        Value::Integer(n) => e.i64(*n).map(|_| ()),
        Value::Time(millis) => e
            .tag(minicbor::data::IanaTag::Timestamp)
            .and_then(|e| e.f64(*millis as f64 / 1_000.0))
            .map(|_| ()),
        Value::Json(text) => e.str(text).map(|_| ()),
        Value::Text(text) => e.str(text).map(|_| ()),
        Value::List(list) => e
            .array(list.len() as u64)
            .map(|_| ())
            .map(|()| list.iter().for_each(|v| write_cbor(e, v))),
        Value::Map(pairs) => e.map(pairs.len() as u64).map(|_| ()).map(|()| {
            for (key, value) in pairs {
                let _ = e.str(key);
                write_cbor(e, value);
            }
        }),
        // Nearly all bytes of an answer are these two columns: written by hand.
        Value::Times(times) => e.array(times.len() as u64).map(|e| {
            let out = e.writer_mut();
            out.reserve(times.len() * 10);
            for time in times {
                let mut item = [0xc1, 0xfb, 0, 0, 0, 0, 0, 0, 0, 0];
                item[2..].copy_from_slice(&(*time as f64).to_be_bytes());
                out.extend_from_slice(&item);
            }
        }),
        Value::Doubles(values) => e.array(values.len() as u64).map(|e| {
            let out = e.writer_mut();
            out.reserve(values.len() * 9);
            for value in values {
                let mut item = [0xfb, 0, 0, 0, 0, 0, 0, 0, 0];
                item[1..].copy_from_slice(&value.to_be_bytes());
                out.extend_from_slice(&item);
            }
        }),
    };
}

fn from_json(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(b) => Value::Bool(b),
        serde_json::Value::Number(n) => Value::Number(n.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(text) => Value::Text(text),
        serde_json::Value::Array(list) => Value::List(list.into_iter().map(from_json).collect()),
        serde_json::Value::Object(map) => {
            Value::Map(map.into_iter().map(|(k, v)| (k, from_json(v))).collect())
        }
    }
}

fn write_json(out: &mut Vec<u8>, value: &Value) {
    use std::io::Write;
    // A Vec takes every byte.
    let _ = match value {
        Value::Null => write!(out, "null"),
        Value::Bool(b) => write!(out, "{b}"),
        Value::Number(n) => double(out, *n),
        Value::Integer(n) => write!(out, "{n}"),
        Value::Time(millis) => write!(out, "{}", *millis as f64 / 1_000.0),
        Value::Json(text) => out.write_all(text.as_bytes()),
        Value::Text(text) => write!(out, "{}", serde_json::Value::from(text.as_str())),
        Value::List(list) => joined(out, *b"[]", list, write_json),
        Value::Map(pairs) => joined(out, *b"{}", pairs, |out, (key, value)| {
            let _ = write!(out, "{}:", serde_json::Value::from(key.as_str()));
            write_json(out, value);
        }),
        Value::Times(times) => joined(out, *b"[]", times, |out, t| {
            let _ = write!(out, "{t}");
        }),
        Value::Doubles(values) => joined(out, *b"[]", values, |out, v| {
            let _ = double(out, *v);
        }),
    };
}

/// Items between brackets, with commas.
fn joined<T>(
    out: &mut Vec<u8>,
    [open, close]: [u8; 2],
    items: &[T],
    mut one: impl FnMut(&mut Vec<u8>, &T),
) -> std::io::Result<()> {
    use std::io::Write;
    out.push(open);
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        one(out, item);
    }
    out.write_all(&[close])
}

/// AWS JSON writes what JSON has no number for as text.
fn double(out: &mut Vec<u8>, n: f64) -> std::io::Result<()> {
    use std::io::Write;
    if n.is_nan() {
        write!(out, "\"NaN\"")
    } else if n.is_infinite() {
        write!(out, "\"{}Infinity\"", if n < 0.0 { "-" } else { "" })
    } else {
        write!(out, "{n:?}")
    }
}

/// The whole seconds, points or periods of a number on the wire.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast saturates, and what is out of range is refused or finds nothing"
)]
pub(super) fn whole(number: f64) -> i64 {
    number.floor() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_protocols_carry_the_same_tree() {
        let value = Value::Map(vec![
            (
                "a".to_owned(),
                Value::List(vec![
                    Value::Number(1.5),
                    Value::text("x\"y"),
                    Value::Bool(true),
                ]),
            ),
            ("b".to_owned(), Value::Map(vec![])),
        ]);
        for protocol in [Protocol::Cbor, Protocol::Json] {
            assert_eq!(
                protocol.read(&protocol.write(&value)),
                Some(value.clone()),
                "{protocol:?}"
            );
        }
    }

    #[test]
    fn cbor_lists_may_be_indefinite_and_tagged() {
        let bytes = [
            0xbf, 0x61, b't', 0x9f, 0xc1, 0x1a, 0, 0, 0, 60, 0xf9, 0x3c, 0x00, 0xff, 0xff,
        ];
        let expected = Value::Map(vec![(
            "t".to_owned(),
            Value::List(vec![Value::Number(60.0), Value::Number(1.0)]),
        )]);
        assert_eq!(Protocol::Cbor.read(&bytes), Some(expected));
    }
}
