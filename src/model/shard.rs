//! A share of a run: which of how many, and of which group.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One of the shards that a run is split into: `3/16` is the third of sixteen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shard {
    /// Which, from 1.
    pub index: u32,
    /// How many there are.
    pub of: u32,
}

impl Shard {
    /// More than anybody's engine starts at once; AWS Batch arrays end at 10,000.
    pub const MOST: u32 = 10_000;

    /// Whoever brings all of a group together: no shard runs beside it.
    pub const ALL: Self = Self { index: 0, of: 0 };

    /// Reads `3/16`.
    ///
    /// # Examples
    /// ```
    /// use cwlake::model::Shard;
    /// assert_eq!(Shard::parse("3/16").expect("a shard").to_string(), "3/16");
    /// assert_eq!(Shard::parse("17/16"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let (index, of) = text.split_once('/')?;
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse::<u32>().ok()).flatten()
        };
        Self::new(number(index)?, number(of)?)
    }

    /// The shard, if there is one of that number.
    pub fn new(index: u32, of: u32) -> Option<Self> {
        (index >= 1 && index <= of && of <= Self::MOST).then_some(Self { index, of })
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

/// Name of a group: the shards of one run. It becomes part of keys, so it holds ASCII letters, digits, `-` and `_` alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupName(String);

impl GroupName {
    /// The longest name.
    pub const LONGEST: usize = 100;

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let fits = (1..=Self::LONGEST).contains(&text.len());
        (fits && text.bytes().all(is_plain)).then(|| Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A shard of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// Its group.
    pub group: GroupName,
    /// Which it is.
    #[serde(flatten)]
    pub shard: Shard,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.shard == Shard::ALL {
            return write!(f, "gather of group {}", self.group);
        }
        write!(f, "shard {} of group {}", self.shard, self.group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_count_from_one() {
        let shard = |index, of| Some(Shard { index, of });
        for (text, expected) in [
            ("1/1", shard(1, 1)),
            ("3/16", shard(3, 16)),
            ("16/16", shard(16, 16)),
            ("10000/10000", shard(10_000, 10_000)),
            ("0/16", None),
            ("17/16", None),
            ("1/10001", None),
            ("3", None),
            ("3/", None),
            ("/16", None),
            ("+3/16", None),
            (" 3/16", None),
            ("3/16/2", None),
            ("99999999999/99999999999", None),
        ] {
            assert_eq!(Shard::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn names_of_groups_are_safe_in_a_key() {
        for good in ["nightly-2026-11-26", "a_B_9", &"x".repeat(100)] {
            assert_eq!(
                GroupName::parse(good).map(|n| n.to_string()).as_deref(),
                Some(good)
            );
        }
        for bad in ["", "a.b", "a/b", "..", "a b", "ä", &"x".repeat(101)] {
            assert_eq!(GroupName::parse(bad), None, "{bad}");
        }
    }
}
