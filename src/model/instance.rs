//! An EC2 instance as it was described.

use super::metric::Dimension;

/// One row of the `instances` table. Texts are empty where EC2 says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    /// `i-…`.
    pub id: String,
    /// For example `m7g.large`.
    pub instance_type: Option<String>,
    /// `running`, `stopped` …
    pub state: Option<String>,
    /// Availability zone.
    pub availability_zone: Option<String>,
    /// `vpc-…`.
    pub vpc_id: Option<String>,
    /// `subnet-…`.
    pub subnet_id: Option<String>,
    /// `ami-…`.
    pub image_id: Option<String>,
    /// `Linux/UNIX`, `Windows` …
    pub platform: Option<String>,
    /// `x86_64`, `arm64` …
    pub architecture: Option<String>,
    /// µs since the epoch.
    pub launch_time: Option<i64>,
    /// Primary private IPv4 address.
    pub private_ip: Option<String>,
    /// Public IPv4 address.
    pub public_ip: Option<String>,
    /// ARN of the instance profile.
    pub iam_profile: Option<String>,
    /// Sorted by key, each key once.
    pub tags: Vec<Dimension>,
}
