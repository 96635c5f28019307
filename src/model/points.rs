//! What one query brought back.

use super::Cause;

/// The points of one query over one window, after all pages were merged.
///
/// # Shape
/// `timestamps` (µs since the epoch, start of the period) and `values` run parallel, ascending, one value a timestamp,
/// all inside the asked window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueryPoints {
    /// Starts of the periods, in microseconds since the epoch.
    pub timestamps: Vec<i64>,
    /// Bit-exact as received.
    pub values: Vec<f64>,
}

/// A `MessageData` entry that CloudWatch attached to a result, such as `MultipleUnits`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceMessage {
    /// Machine-readable code.
    pub code: String,
    /// Text as CloudWatch wrote it.
    pub text: String,
}

/// How one query ended. Nothing here stands for two things: no points is `Complete` with empty columns, not a failure.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryOutcome {
    /// Every page arrived and CloudWatch called the result complete.
    Complete {
        /// The points, possibly none.
        points: QueryPoints,
        /// What CloudWatch had to say about them.
        messages: Vec<ServiceMessage>,
    },
    /// CloudWatch refuses this query for good (`Forbidden`, or a validation error that names it alone).
    Refused(Cause),
    /// The query did not finish: asking again later may succeed.
    Failed(Cause),
}
