//! When and how settled days are compacted: what `[compact]` says.

use super::file::FileConfig;
use super::given::{CompactFlags, Overrides};
use super::problem::Problem;
use super::run_options::whole;
use super::spanned::Spanned;

/// When and how settled days are compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactConfig {
    /// `[compact]` is there: runs of whole days compact at their end, and statements for engines know of compacted files.
    pub is_configured: bool,
    /// Days after whose end a unit is settled.
    pub older_than_days: u32,
    /// Bytes after which a compacted file ends.
    pub target_bytes: u64,
    /// Days after which the files that were compacted are removed; `None`: never.
    pub prune_after_days: Option<u32>,
}

/// Compressed bytes of a file that engines read well, and that one process reads in seconds.
const DEFAULT_TARGET_MB: u32 = 512;

/// Days that readers have for learning of new files, where it is not said: a view that is older misses what was removed.
const DEFAULT_PRUNE_AFTER_DAYS: u32 = 7;

pub(super) fn resolve(
    file: &FileConfig,
    overrides: &Overrides,
    lookback_days: u32,
    problems: &mut Vec<Problem>,
) -> CompactConfig {
    let given = file.compact.as_ref().map(Spanned::get_ref);
    let mut number = |value, key, range| whole(value, key, range, problems);
    let older = given.and_then(|c| c.older_than_days.as_ref());
    let older = number(older, "older_than_days", 1..=3_650);
    let target = given.and_then(|c| c.target_size_mb.as_ref());
    let target = number(target, "target_size_mb", 1..=65_536);
    let prune = given.and_then(|c| c.prune_after_days.as_ref());
    let prune = number(prune, "prune_after_days", 1..=3_650);
    let flags = &overrides.compact;
    check_flags(flags, problems);
    let by_flag = flags.prune.then_some(DEFAULT_PRUNE_AFTER_DAYS);
    let target_mb = flags.target_size_mb.or(target).unwrap_or(DEFAULT_TARGET_MB);
    CompactConfig {
        is_configured: given.is_some(),
        // The days that a run without dates reads again are not settled.
        older_than_days: flags.older_than_days.or(older).unwrap_or(lookback_days + 1),
        target_bytes: u64::from(target_mb) << 20,
        prune_after_days: prune.or(by_flag),
    }
}

fn check_flags(flags: &CompactFlags, problems: &mut Vec<Problem>) {
    let mut check = |value: Option<u32>, flag: &str, most: u32| {
        if let Some(n) = value.filter(|n| !(1..=most).contains(n)) {
            let text = format!("{flag}: {n} is not between 1 and {most}");
            problems.push(Problem::whole(text).remedy("leave it out for the default"));
        }
    };
    check(flags.older_than_days, "--older-than", 3_650);
    check(flags.target_size_mb, "--target-size", 65_536);
}
