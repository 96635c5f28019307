//! Making finished files visible: the destination is locked for the run, a unit's file takes its place when it is no worse than the one
//! that is there, and the manifest says what is there afterwards.
//!
//! In: a [`Staged`](crate::write::Staged) file. Out: the file at its final key, or the better one that was there, and its record.

mod compaction;
mod group;
mod kept_answers;
mod lake;
mod manifest;
mod publish;
mod reports;

pub use compaction::{read_compaction, write_compaction};
pub use group::{Group, GroupError, GroupPlan, Question, join_group, read_group, write_group};
pub use kept_answers::KeptAnswers;
pub use lake::{Lake, LakeError, Scratch};
pub use manifest::{Attempt, Committed, FileRecord, LaneRecords, UnitRecord};
pub use publish::{Decision, Kept, NewFile, OldFile, OldRecord, decide, is_as_recorded, old_file};
pub use reports::remove_reports;
