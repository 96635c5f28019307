//! What becomes of a unit in a run.

use crate::model::{Cause, CauseKind};

/// What becomes of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DayMode {
    /// All of it is asked: a new file takes the old one's place.
    Replace,
    /// A part of it is asked, and joins what is there.
    Merge,
    /// It is in the lake, whole and settled: nothing is asked.
    Held,
    /// All of it is asked, and what is there has rows that are no longer asked for: they stay.
    Join,
    /// CloudWatch no longer has all of it, or it has not begun.
    Gone,
}

impl DayMode {
    /// Whether points of the day are wanted.
    pub fn is_asked(self) -> bool {
        matches!(self, Self::Replace | Self::Merge | Self::Join)
    }

    /// Whether the new file has the rows of the old one as well.
    pub fn adds(self) -> bool {
        matches!(self, Self::Merge | Self::Join)
    }

    /// Why a unit that stands in the range is not asked.
    pub fn why_not_asked(self) -> Cause {
        if self == Self::Held {
            let text = "in the lake already, whole and settled: not asked again";
            return Cause::new(CauseKind::Other, text).with_hint("--force reads it again");
        }
        let text =
            "CloudWatch no longer has all of it, it has not begun, or nothing of it is asked";
        Cause::new(CauseKind::Other, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_can_be_forced_and_what_is_gone_cannot() {
        let held = DayMode::Held.why_not_asked();
        assert_eq!(held.hint.as_deref(), Some("--force reads it again"));
        assert_eq!(DayMode::Gone.why_not_asked().hint, None);
    }
}
