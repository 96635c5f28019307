//! The body of a `GetMetricData` answer, straight into columns. Pure.
//!
//! What the SDK's decoder makes of a body is the reference; it builds a date, a result and a builder for every point, and takes five times
//! as long. In: CBOR. Out: a [`Page`].
//!
//! # Source
//! smithy.io, "Smithy RPC v2 CBOR protocol"; RFC 8949; botocore's service model for the names.

use minicbor::Decoder;
use minicbor::decode::Error;

use minicbor::data::{Tag, Type};

use crate::cbor::{fields, list, more, text, whole};
use crate::model::{ServiceMessage, Timestamps};

/// One page of an answer.
#[derive(Debug, Default, PartialEq)]
pub struct Page {
    /// In the order of the answer.
    pub results: Vec<PageResult>,
    /// About the request as a whole.
    pub messages: Vec<ServiceMessage>,
    /// Where the next page begins.
    pub next_token: Option<String>,
}

/// What a page says of one query.
#[derive(Debug, Default, PartialEq)]
pub struct PageResult {
    /// The query's own id.
    pub id: String,
    /// As CloudWatch spells it.
    pub status: Option<String>,
    /// About this query.
    pub messages: Vec<ServiceMessage>,
    /// In the order of the answer; fractions of a millisecond are cut off, as the SDK does.
    pub timestamps: Timestamps,
    /// Parallel to `timestamps` in an answer that can be trusted.
    pub values: Vec<f64>,
}

/// A body that is no answer to `GetMetricData`.
#[derive(Debug, thiserror::Error)]
#[error("the body is no GetMetricData answer")]
pub struct PageError(#[source] Error);

impl Page {
    /// Reads a body.
    ///
    /// # Errors
    /// [`PageError`] when it is not CBOR of the right shape, or goes on behind its end.
    pub fn decode(body: &[u8]) -> Result<Self, PageError> {
        let mut page = Self::default();
        whole(body, |d| page.read(d)).map_err(PageError)?;
        Ok(page)
    }

    fn read(&mut self, d: &mut Decoder<'_>) -> Result<(), Error> {
        fields(d, |d, name| {
            match name {
                "MetricDataResults" => list(d, |d| {
                    let mut result = PageResult::default();
                    result.read(d)?;
                    self.results.push(result);
                    Ok(())
                })?,
                "Messages" => self.messages = messages(d)?,
                "NextToken" => self.next_token = Some(text(d)?.into_owned()),
                _ => d.skip()?,
            }
            Ok(())
        })
    }
}

impl PageResult {
    fn read(&mut self, d: &mut Decoder<'_>) -> Result<(), Error> {
        fields(d, |d, name| {
            match name {
                "Id" => self.id = text(d)?.into_owned(),
                "StatusCode" => self.status = Some(text(d)?.into_owned()),
                "Timestamps" => self.timestamps = timestamps(d)?,
                "Values" => self.values = values(d)?,
                "Messages" => self.messages = messages(d)?,
                _ => d.skip()?,
            }
            Ok(())
        })
    }
}

fn messages(d: &mut Decoder<'_>) -> Result<Vec<ServiceMessage>, Error> {
    let mut all = Vec::new();
    list(d, |d| {
        let mut message = ServiceMessage {
            code: String::new(),
            text: String::new(),
        };
        fields(d, |d, name| {
            match name {
                "Code" => message.code = text(d)?.into_owned(),
                "Value" => message.text = text(d)?.into_owned(),
                _ => d.skip()?,
            }
            Ok(())
        })?;
        all.push(message);
        Ok(())
    })?;
    Ok(all)
}

/// Bytes of a tagged double, as CloudWatch writes a timestamp.
const TIMESTAMP: usize = 10;

/// Bytes of a double.
const DOUBLE: usize = 9;

fn timestamps(d: &mut Decoder<'_>) -> Result<Timestamps, Error> {
    let mut all = Timestamps::default();
    let mut left = d.array()?;
    loop {
        // The usual form, by hand, as often as the length allows. Whole seconds that follow the two before them are only counted.
        let mut rest = &d.input()[d.position()..];
        let mut most = left.unwrap_or(u64::MAX);
        let (mut last, mut step, mut more_of_it) = (f64::NAN, f64::NAN, 0);
        while most > 0
            && let Some((item, after)) = rest.split_first_chunk::<TIMESTAMP>()
            && let [0xc1, 0xfb, seconds @ ..] = item
        {
            let seconds = f64::from_be_bytes(*seconds);
            if seconds - last == step && is_exact(step) && is_exact(last) {
                more_of_it += 1;
            } else {
                all.go_on(std::mem::take(&mut more_of_it));
                all.push(micros(seconds));
                step = seconds - last;
            }
            last = seconds;
            rest = after;
            most -= 1;
        }
        all.go_on(more_of_it);
        left = left.map(|_| most);
        d.set_position(d.input().len() - rest.len());
        if !more(d, &mut left)? {
            return Ok(all);
        }
        if d.tag()? != Tag::new(1) {
            return Err(Error::message("a timestamp has another tag"));
        }
        all.push(micros(number(d)?));
    }
}

fn values(d: &mut Decoder<'_>) -> Result<Vec<f64>, Error> {
    let mut left = d.array()?;
    let room = (d.input().len() - d.position()) / DOUBLE;
    let length = left.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let mut all = Vec::with_capacity(length.min(room));
    loop {
        let mut rest = &d.input()[d.position()..];
        let mut most = left.unwrap_or(u64::MAX);
        while most > 0
            && let Some((item, after)) = rest.split_first_chunk::<DOUBLE>()
            && let [0xfb, value @ ..] = item
        {
            all.push(f64::from_be_bytes(*value));
            rest = after;
            most -= 1;
        }
        left = left.map(|_| most);
        d.set_position(d.input().len() - rest.len());
        if !more(d, &mut left)? {
            return Ok(all);
        }
        all.push(number(d)?);
    }
}

/// Whether it is a whole number of seconds, small enough that sums of such are exact.
fn is_exact(seconds: f64) -> bool {
    const LARGEST: f64 = 1e12;
    #[expect(clippy::cast_possible_truncation, reason = "bounded")]
    let whole = seconds.clamp(-LARGEST, LARGEST) as i64;
    whole as f64 == seconds
}

/// A number in any of CBOR's forms.
fn number(d: &mut Decoder<'_>) -> Result<f64, Error> {
    match d.datatype()? {
        Type::F16 | Type::F32 | Type::F64 => d.f64(),
        _ => Ok(d.i64()? as f64),
    }
}

/// Microseconds of an instant in seconds, whole milliseconds; far-off ones saturate, and lie outside every window.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates; the fraction is between 0 and 1"
)]
fn micros(seconds: f64) -> i64 {
    // Nearly all are whole, and need no call into the math library.
    let near = seconds as i64;
    if near as f64 == seconds {
        return near.saturating_mul(1_000_000);
    }
    let whole = seconds.floor();
    let millis = i64::from(((seconds - whole) * 1e9) as u32 / 1_000_000);
    (whole as i64)
        .saturating_mul(1_000_000)
        .saturating_add(millis * 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use minicbor::Encoder;
    use proptest::prelude::*;

    #[test]
    fn every_form_of_a_number_and_of_a_list_is_read() {
        // {_ "MetricDataResults": [_ {"Id": (_ "q" "0"), "Timestamps": [_ 1(60.0), 1(120), 1(60 as f16), 1(-1.5)],
        //  "Values": [1.0 as f64, 2.5 as f32, 3, -4, 0.5 as f16], "Label": null, "Other": [1]}], "NextToken": null}
        let mut bytes = Vec::new();
        let mut e = Encoder::new(&mut bytes);
        e.begin_map()
            .and_then(|e| e.str("MetricDataResults"))
            .expect("written");
        e.begin_array()
            .and_then(|e| e.map(5))
            .and_then(|e| e.str("Id"))
            .expect("written");
        e.begin_str()
            .and_then(|e| e.str("q"))
            .and_then(|e| e.str("0"))
            .and_then(|e| e.end())
            .expect("written");
        e.str("Timestamps")
            .and_then(|e| e.begin_array())
            .expect("written");
        e.tag(Tag::new(1))
            .and_then(|e| e.f64(60.0))
            .expect("written");
        e.tag(Tag::new(1))
            .and_then(|e| e.i64(120))
            .expect("written");
        e.tag(Tag::new(1))
            .and_then(|e| e.f16(60.0))
            .expect("written");
        e.tag(Tag::new(1))
            .and_then(|e| e.f64(-1.5))
            .and_then(|e| e.end())
            .expect("written");
        e.str("Values")
            .and_then(|e| e.array(5))
            .and_then(|e| e.f64(1.0))
            .expect("written");
        e.f32(2.5)
            .and_then(|e| e.u8(3))
            .and_then(|e| e.i8(-4))
            .and_then(|e| e.f16(0.5))
            .expect("written");
        e.str("Label").and_then(|e| e.null()).expect("written");
        e.str("Other")
            .and_then(|e| e.array(1))
            .and_then(|e| e.u8(1))
            .and_then(|e| e.end())
            .expect("written");
        e.str("NextToken")
            .and_then(|e| e.null())
            .and_then(|e| e.end())
            .expect("written");
        let page = Page::decode(&bytes).expect("decoded");
        let result = &page.results[0];
        assert_eq!(
            (result.id.as_str(), &result.status, &page.next_token),
            ("q0", &None, &None)
        );
        let seconds: Vec<i64> = result.timestamps.iter().collect();
        assert_eq!(seconds, [60_000_000, 120_000_000, 60_000_000, -1_500_000]);
        assert_eq!(result.values, [1.0, 2.5, 3.0, -4.0, 0.5]);
        for end in 0..bytes.len() {
            assert!(Page::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
        bytes.push(0);
        assert!(Page::decode(&bytes).is_err(), "goes on");
    }

    #[test]
    fn a_length_that_lies_asks_for_no_memory() {
        // {"MetricDataResults": [{"Values": array of 2^60
        let mut bytes = Vec::new();
        let mut e = Encoder::new(&mut bytes);
        e.map(1)
            .and_then(|e| e.str("MetricDataResults"))
            .and_then(|e| e.array(1))
            .expect("written");
        e.map(1)
            .and_then(|e| e.str("Values"))
            .and_then(|e| e.array(1 << 60))
            .expect("written");
        assert!(Page::decode(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Page::decode(&bytes);
        }
    }
}
