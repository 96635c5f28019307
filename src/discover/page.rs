//! The body of a `ListMetrics` answer, straight into identities. Pure.
//!
//! # Source
//! smithy.io, "Smithy RPC v2 CBOR protocol"; botocore's service model for the names.

use std::sync::Arc;

use minicbor::Decoder;
use minicbor::decode::Error;

use crate::cbor::{fields, list, text, whole};
use crate::model::{Dimension, MetricId};

/// One page of a listing.
#[derive(Debug, Default, PartialEq)]
pub struct ListPage {
    /// In the order of the answer; `None` where the answer has no list.
    pub metrics: Option<Vec<Listed>>,
    /// Whose each metric is, where linked accounts are listed as well.
    pub owning_accounts: Vec<String>,
    /// Where the next page begins.
    pub next_token: Option<String>,
    /// An entry has no namespace or name: what else is listed is not all.
    pub is_nameless: bool,
}

/// One entry.
#[derive(Debug, PartialEq)]
pub struct Listed {
    /// What is measured.
    pub metric: MetricId,
    /// The name of a dimension that it has twice: a map has room for one.
    pub repeated: Option<String>,
}

/// A body that is no answer to `ListMetrics`.
#[derive(Debug, thiserror::Error)]
#[error("the body is no ListMetrics answer")]
pub struct ListPageError(#[source] Error);

impl ListPage {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ListPageError`] when it is not CBOR of the right shape, or goes on behind its end.
    pub fn decode(body: &[u8]) -> Result<Self, ListPageError> {
        let mut page = Self::default();
        let mut texts = Shared::default();
        let read = |d: &mut Decoder<'_>| {
            fields(d, |d, name| {
                match name {
                    "Metrics" => {
                        let metrics = page.metrics.get_or_insert_default();
                        list(d, |d| {
                            let listed = listed(d, &mut texts)?;
                            page.is_nameless |= listed.is_none();
                            metrics.extend(listed);
                            Ok(())
                        })?;
                    }
                    "OwningAccounts" => list(d, |d| {
                        page.owning_accounts.push(text(d)?.into_owned());
                        Ok(())
                    })?,
                    "NextToken" => page.next_token = Some(text(d)?.into_owned()),
                    _ => d.skip()?,
                }
                Ok(())
            })
        };
        whole(body, read).map_err(ListPageError)?;
        Ok(page)
    }
}

fn listed(d: &mut Decoder<'_>, texts: &mut Shared) -> Result<Option<Listed>, Error> {
    let (mut namespace, mut metric_name) = (None, None);
    let (mut dimensions, mut repeated) = (Vec::new(), None);
    fields(d, |d, name| {
        match name {
            "Namespace" => namespace = Some(shared(&mut texts.namespace, &text(d)?)),
            "MetricName" => metric_name = Some(shared(&mut texts.metric_name, &text(d)?)),
            "Dimensions" => list(d, |d| {
                let dimension = dimension(d)?;
                let is_same = |other: &Dimension| other.name == dimension.name;
                if dimensions.iter().any(is_same) {
                    repeated = Some(dimension.name);
                } else {
                    dimensions.push(dimension);
                }
                Ok(())
            })?,
            _ => d.skip()?,
        }
        Ok(())
    })?;
    let named = namespace.zip(metric_name);
    Ok(named.map(|(namespace, metric_name)| Listed {
        metric: MetricId::new(namespace, metric_name, dimensions),
        repeated,
    }))
}

fn dimension(d: &mut Decoder<'_>) -> Result<Dimension, Error> {
    let mut dimension = Dimension::new("", "");
    fields(d, |d, name| {
        match name {
            "Name" => dimension.name = text(d)?.into_owned(),
            "Value" => dimension.value = text(d)?.into_owned(),
            _ => d.skip()?,
        }
        Ok(())
    })?;
    Ok(dimension)
}

/// The texts of the entry before: most entries have the same.
#[derive(Default)]
struct Shared {
    namespace: Arc<str>,
    metric_name: Arc<str>,
}

fn shared(last: &mut Arc<str>, text: &str) -> Arc<str> {
    if **last != *text {
        *last = Arc::from(text);
    }
    Arc::clone(last)
}

#[cfg(test)]
mod tests {
    use minicbor::Encoder;
    use proptest::prelude::*;

    use super::*;

    type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

    fn body(write: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Written) -> Vec<u8> {
        let mut body = Vec::new();
        write(&mut Encoder::new(&mut body)).expect("written");
        body
    }

    fn put_metric(
        e: &mut Encoder<&mut Vec<u8>>,
        name: &str,
        dimensions: &[(&str, &str)],
    ) -> Written {
        e.begin_map()?.str("Namespace")?.str("N")?;
        e.str("MetricName")?
            .str(name)?
            .str("Dimensions")?
            .begin_array()?;
        for (name, value) in dimensions {
            e.map(2)?.str("Name")?.str(name)?.str("Value")?.str(value)?;
        }
        e.end()?.end()?;
        Ok(())
    }

    #[test]
    fn a_page_is_read_and_one_that_is_cut_is_not() {
        let bytes = body(|e| {
            e.begin_map()?.str("Metrics")?.array(3)?;
            put_metric(e, "a", &[("B", "2"), ("A", "1")])?;
            put_metric(e, "b", &[])?;
            put_metric(e, "b", &[("A", "1"), ("A", "2")])?;
            e.str("Other")?.null()?.str("NextToken")?.str("t")?;
            e.str("OwningAccounts")?
                .array(1)?
                .str("111122223333")?
                .end()?;
            Ok(())
        });
        let page = ListPage::decode(&bytes).expect("an answer");
        let metrics = page.metrics.expect("a list");
        let told: Vec<String> = metrics.iter().map(|m| m.metric.to_string()).collect();
        assert_eq!(told, ["N a {A=1,B=2}", "N b {}", "N b {A=1}"]);
        let repeated: Vec<_> = metrics.iter().map(|m| m.repeated.as_deref()).collect();
        assert_eq!(repeated, [None, None, Some("A")]);
        assert_eq!(page.next_token.as_deref(), Some("t"));
        assert_eq!(page.owning_accounts, ["111122223333"]);
        for end in 0..bytes.len() {
            assert!(ListPage::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
        assert!(
            ListPage::decode(&[&bytes[..], b"\x00"].concat()).is_err(),
            "goes on"
        );
    }

    #[test]
    fn an_answer_without_a_list_is_not_an_empty_one() {
        assert_eq!(ListPage::decode(b"\xa0").expect("a map").metrics, None);
        let empty = body(|e| e.map(1)?.str("Metrics")?.array(0).map(|_| ()));
        assert_eq!(
            ListPage::decode(&empty).expect("a map").metrics,
            Some(Vec::new())
        );
        let nameless = body(|e| e.map(1)?.str("Metrics")?.array(1)?.map(0).map(|_| ()));
        assert!(ListPage::decode(&nameless).expect("a map").is_nameless);
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = ListPage::decode(&bytes);
        }
    }
}
