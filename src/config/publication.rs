//! How long after a period's end its point can be expected: until then a day is not called complete.

/// Delay of namespaces whose metrics come every minute.
///
/// # Source
/// CloudWatch user guide, "Publish custom metrics" and the service pages: within a few minutes; taken on the late side.
const EVERY_MINUTE: i64 = 5 * 60;

/// Namespaces that publish more slowly than every minute, with their delay in seconds.
///
/// # Source
/// - `AWS/EC2`, `AWS/EBS`: EC2 user guide, "Manage detailed monitoring": basic monitoring sends five-minute periods.
/// - `AWS/S3`: S3 user guide, "Metrics and dimensions": storage metrics once a day, for the day before.
/// - `AWS/Billing`: CloudWatch user guide, "Create a billing alarm": several times a day; the console takes six-hour periods.
/// - `AWS/Usage`, `AWS/TrustedAdvisor`: their user guides, every five minutes to some hours.
/// - `AWS/CloudFront`, `AWS/Route53`: global services, reported through us-east-1 some minutes later.
const SLOWER: &[(&str, i64)] = &[
    ("AWS/Billing", 24 * 3_600),
    ("AWS/CloudFront", 15 * 60),
    ("AWS/EBS", 15 * 60),
    ("AWS/EC2", 15 * 60),
    ("AWS/Route53", 15 * 60),
    ("AWS/S3", 48 * 3_600),
    ("AWS/TrustedAdvisor", 24 * 3_600),
    ("AWS/Usage", 15 * 60),
];

/// Seconds after which the points of a namespace can be expected, unless the configuration says otherwise.
pub(super) fn publication_delay(namespace: &str) -> i64 {
    SLOWER
        .iter()
        .find(|(name, _)| *name == namespace)
        .map_or(EVERY_MINUTE, |(_, delay)| *delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn daily_and_billing_metrics_are_waited_for() {
        assert_eq!(publication_delay("AWS/Lambda"), 300);
        assert_eq!(publication_delay("My/App"), 300);
        assert_eq!(publication_delay("AWS/EC2"), 900);
        assert_eq!(publication_delay("AWS/S3"), 172_800);
        assert_eq!(publication_delay("AWS/Billing"), 86_400);
    }
}
