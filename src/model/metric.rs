//! What is measured: the identity of a CloudWatch metric, and the series it makes in one lane.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::Lane;

/// One name and value that tell a metric from its siblings.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dimension {
    /// For example `InstanceId`.
    pub name: String,
    /// For example `i-0123456789abcdef0`.
    pub value: String,
}

impl Dimension {
    /// A dimension from its two texts.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
        }
    }
}

/// Namespace, metric name and dimensions: what CloudWatch matches exactly.
///
/// # Shape
/// Dimensions are sorted by name, then value. Ordering is (namespace, metric name, [`dimensions_key`]).
///
/// Cheap to clone: the texts are shared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MetricId(Arc<Identity>);

#[derive(Debug, PartialEq, Eq, Hash)]
struct Identity {
    namespace: Arc<str>,
    metric_name: Arc<str>,
    dimensions: Box<[Dimension]>,
    key: Box<str>,
}

impl MetricId {
    /// An identity; the dimensions are sorted here, so their order of arrival does not matter.
    pub fn new(
        namespace: impl Into<Arc<str>>,
        metric_name: impl Into<Arc<str>>,
        mut dimensions: Vec<Dimension>,
    ) -> Self {
        dimensions.sort();
        let key = dimensions_key(&dimensions).into_boxed_str();
        Self(Arc::new(Identity {
            namespace: namespace.into(),
            metric_name: metric_name.into(),
            dimensions: dimensions.into_boxed_slice(),
            key,
        }))
    }

    /// For example `AWS/EC2`.
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// For example `CPUUtilization`.
    pub fn metric_name(&self) -> &str {
        &self.0.metric_name
    }

    /// Sorted by name; empty for a metric without dimensions.
    pub fn dimensions(&self) -> &[Dimension] {
        &self.0.dimensions
    }

    /// The canonical text of the dimensions, see [`dimensions_key`].
    pub fn dimensions_key(&self) -> &str {
        &self.0.key
    }

    /// The value of one dimension, if the metric has it.
    pub fn dimension(&self, name: &str) -> Option<&str> {
        self.0
            .dimensions
            .iter()
            .find(|d| d.name == name)
            .map(|d| d.value.as_str())
    }
}

impl Ord for MetricId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (&*self.0.namespace, &*self.0.metric_name, &*self.0.key).cmp(&(
            &*other.0.namespace,
            &*other.0.metric_name,
            &*other.0.key,
        ))
    }
}

impl PartialOrd for MetricId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for MetricId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {{{}}}",
            self.0.namespace, self.0.metric_name, self.0.key
        )
    }
}

/// The canonical text of sorted dimensions: `name=value` joined by commas.
///
/// A backslash stands before every `\`, `,` and `=` inside a name or value, so two different sets never share a text.
/// A metric without dimensions has the empty text.
///
/// # Examples
/// ```
/// use cwlake::model::{Dimension, dimensions_key, parse_dimensions_key};
/// let dimensions = [Dimension::new("Name", "a=b"), Dimension::new("Zone", "1")];
/// let key = dimensions_key(&dimensions);
/// assert_eq!(key, r"Name=a\=b,Zone=1");
/// assert_eq!(parse_dimensions_key(&key).expect("a key"), dimensions);
/// ```
pub fn dimensions_key(sorted: &[Dimension]) -> String {
    let texts = sorted.iter().map(|d| d.name.len() + d.value.len() + 2);
    let mut key = String::with_capacity(texts.sum());
    for (i, dimension) in sorted.iter().enumerate() {
        if i > 0 {
            key.push(',');
        }
        push_escaped(&mut key, &dimension.name);
        key.push('=');
        push_escaped(&mut key, &dimension.value);
    }
    key
}

fn push_escaped(out: &mut String, text: &str) {
    let mut plain = text;
    while let Some(at) = plain.find(['\\', ',', '=']) {
        let (before, special) = plain.split_at(at);
        out.push_str(before);
        out.push('\\');
        out.push_str(&special[..1]);
        plain = &special[1..];
    }
    out.push_str(plain);
}

/// The dimensions that a text of [`dimensions_key`] stands for; none when it is no such text.
pub fn parse_dimensions_key(key: &str) -> Option<Vec<Dimension>> {
    let mut dimensions = Vec::new();
    if key.is_empty() {
        return Some(dimensions);
    }
    let (mut text, mut name) = (String::new(), None);
    let mut chars = key.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push(chars.next()?),
            '=' if name.is_none() => name = Some(std::mem::take(&mut text)),
            '=' => return None,
            ',' => dimensions.push(Dimension::new(name.take()?, std::mem::take(&mut text))),
            plain => text.push(plain),
        }
    }
    dimensions.push(Dimension::new(name?, text));
    Some(dimensions)
}

/// A metric as one lane has it, with the hash that names it in joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// The metric.
    pub metric: MetricId,
    /// See [`series_id`].
    pub id: i64,
}

impl Series {
    /// The series that `metric` is in `lane`.
    pub fn new(lane: &Lane, metric: MetricId) -> Self {
        let id = series_id(lane, &metric);
        Self { metric, id }
    }
}

/// A stable 64-bit name for a series: the first eight bytes, big-endian, of the SHA-256 of
/// account, region, namespace, metric name and dimensions key joined by NUL.
///
/// The same in every run and version, and reproducible from the table's own columns.
pub fn series_id(lane: &Lane, metric: &MetricId) -> i64 {
    let mut hash = Sha256::new();
    for field in [
        lane.account.as_str(),
        lane.region.as_str(),
        metric.namespace(),
        metric.metric_name(),
    ] {
        hash.update(field.as_bytes());
        hash.update([0]);
    }
    hash.update(metric.dimensions_key().as_bytes());
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountId, Region};
    use proptest::prelude::*;

    #[test]
    fn identity_ignores_the_order_of_dimensions() {
        let a = MetricId::new(
            "N",
            "m",
            vec![Dimension::new("b", "2"), Dimension::new("a", "1")],
        );
        let b = MetricId::new(
            "N",
            "m",
            vec![Dimension::new("a", "1"), Dimension::new("b", "2")],
        );
        assert_eq!(a, b);
        assert_eq!(a.dimensions_key(), "a=1,b=2");
    }

    proptest! {
        #[test]
        fn a_key_is_read_back(texts in prop::collection::vec(("[a=,\\\\é]{0,4}", "[b=,\\\\]{0,4}"), 0..4)) {
            let mut dimensions: Vec<Dimension> = texts.into_iter().map(|(n, v)| Dimension::new(n, v)).collect();
            dimensions.sort();
            prop_assert_eq!(parse_dimensions_key(&dimensions_key(&dimensions)), Some(dimensions));
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["a", "a=b,", "a=b=c", "a=b,c", "\\"] {
            assert_eq!(parse_dimensions_key(text), None, "{text}");
        }
    }

    #[test]
    fn series_id_is_the_documented_hash() {
        let lane = Lane {
            account: AccountId::parse("111122223333").expect("digits"),
            region: Region::parse("us-east-1").expect("region"),
        };
        let metric = MetricId::new(
            "AWS/EC2",
            "CPUUtilization",
            vec![Dimension::new("InstanceId", "i-1")],
        );
        // printf '111122223333\0us-east-1\0AWS/EC2\0CPUUtilization\0InstanceId=i-1' | sha256sum | cut -c1-16
        assert_eq!(
            series_id(&lane, &metric),
            0xd9cd_100d_6c14_8573_u64.cast_signed()
        );
    }

    proptest! {
        #[test]
        fn different_dimensions_have_different_keys(
            a in prop::collection::btree_map("[a=,\\\\]{1,4}", "[b=,\\\\]{0,4}", 0..4),
            b in prop::collection::btree_map("[a=,\\\\]{1,4}", "[b=,\\\\]{0,4}", 0..4),
        ) {
            let key = |m: &std::collections::BTreeMap<String, String>| {
                dimensions_key(&m.iter().map(|(n, v)| Dimension::new(n.clone(), v.clone())).collect::<Vec<_>>())
            };
            prop_assert_eq!(a == b, key(&a) == key(&b));
        }
    }
}
