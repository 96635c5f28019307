//! Making finished files visible: the destination is opened once, locked for the run, and published to file by file.
//!
//! In: a [`Staged`](crate::write::Staged) file. Out: the file at its final name, or the better one that was there.

mod lake;
mod publish;

pub use lake::{Lake, LakeError};
pub use publish::{Kept, Published, publish};
