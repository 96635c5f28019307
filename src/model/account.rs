//! Whose data it is: account, region, and the lane the two make.

use std::fmt;
use std::sync::Arc;

/// A 12-digit AWS account id. Leading zeros are part of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(Arc<str>);

impl AccountId {
    /// Reads exactly twelve ASCII digits; `None` for anything else.
    ///
    /// # Examples
    /// ```
    /// use cwlake::model::AccountId;
    /// assert!(AccountId::parse("000011112222").is_some());
    /// assert_eq!(AccountId::parse("11112222"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| Self(text.into()))
    }

    /// The twelve digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The group of regions that share IAM and endpoints; the second field of an ARN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Partition {
    /// Commercial regions: `aws`.
    Aws,
    /// China: `aws-cn`.
    China,
    /// US government: `aws-us-gov`.
    UsGov,
    /// European Sovereign Cloud: `aws-eusc`.
    EuSovereign,
    /// Isolated regions, spelled after their region prefix: `aws-iso`, `aws-iso-b`, …
    Iso,
}

impl Partition {
    /// The spelling used in ARNs. Isolated partitions have several; the first stands for all.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::China => "aws-cn",
            Self::UsGov => "aws-us-gov",
            Self::EuSovereign => "aws-eusc",
            Self::Iso => "aws-iso",
        }
    }

    /// Reads the partition field of an ARN.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "aws" => Some(Self::Aws),
            "aws-cn" => Some(Self::China),
            "aws-us-gov" => Some(Self::UsGov),
            "aws-eusc" => Some(Self::EuSovereign),
            iso if iso.starts_with("aws-iso") => Some(Self::Iso),
            _ => None,
        }
    }

    /// The region that answers where none is named.
    ///
    /// # Panics
    /// Never: the codes have the shape of a region.
    pub fn main_region(self) -> Region {
        let code = match self {
            Self::Aws => "us-east-1",
            Self::China => "cn-north-1",
            Self::UsGov => "us-gov-west-1",
            Self::EuSovereign => "eusc-de-east-1",
            Self::Iso => "us-iso-east-1",
        };
        Region::parse(code).expect("the codes above have the shape of a region")
    }
}

/// An AWS region code such as `eu-west-1`. Safe as part of a file name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Region(Arc<str>);

impl Region {
    /// Reads a code of the form letters-words-digit: two to four letters, at least one word, one or two digits.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('-').collect();
        let [first, middle @ .., last] = parts.as_slice() else {
            return None;
        };
        let letters = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_lowercase());
        let shape = (2..=4).contains(&first.len())
            && letters(first)
            && !middle.is_empty()
            && middle.iter().all(|word| letters(word))
            && (1..=2).contains(&last.len())
            && last.bytes().all(|b| b.is_ascii_digit());
        (shape && text.len() <= 32).then(|| Self(text.into()))
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The partition the region belongs to, by its prefix.
    pub fn partition(&self) -> Partition {
        let code = &*self.0;
        if code.starts_with("cn-") {
            Partition::China
        } else if code.starts_with("us-gov-") {
            Partition::UsGov
        } else if code.starts_with("eusc-") {
            Partition::EuSovereign
        } else if code.starts_with("us-iso") || code.starts_with("eu-iso") {
            Partition::Iso
        } else {
            Partition::Aws
        }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One (account, region). Quotas, clients, limiters and retries belong to a lane.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane {
    /// The account whose data is read, and whose quota is spent.
    pub account: AccountId,
    /// The region the calls go to.
    pub region: Region,
}

#[cfg(test)]
impl Lane {
    /// `111122223333/us-east-1`, for tests.
    pub(crate) fn example() -> Self {
        Self {
            account: AccountId::parse("111122223333").expect("id"),
            region: Region::parse("us-east-1").expect("region"),
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.account, self.region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_ids_are_twelve_digits_and_keep_zeros() {
        assert_eq!(
            AccountId::parse("000022223333").map(|a| a.to_string()),
            Some("000022223333".to_owned())
        );
        for bad in [
            "11112222333",
            "1111222233334",
            "11112222333a",
            "",
            "１１１１２２２２３３３３",
        ] {
            assert_eq!(AccountId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn regions_have_a_shape_and_a_partition() {
        for (code, partition) in [
            ("us-east-1", Partition::Aws),
            ("ap-southeast-12", Partition::Aws),
            ("cn-north-1", Partition::China),
            ("us-gov-west-1", Partition::UsGov),
            ("us-isob-east-1", Partition::Iso),
            ("eusc-de-east-1", Partition::EuSovereign),
        ] {
            assert_eq!(
                Region::parse(code).map(|r| r.partition()),
                Some(partition),
                "{code}"
            );
        }
        for bad in [
            "us-east",
            "US-EAST-1",
            "us_east_1",
            "../../x-1",
            "useast1",
            "us--1",
            "",
        ] {
            assert_eq!(Region::parse(bad), None, "{bad}");
        }
    }
}
