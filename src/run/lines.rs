//! The order in which lanes are read.

use std::collections::VecDeque;

use crate::run::planning::PlannedLane;

/// Lanes at once whose rows come unsorted: each holds rows that wait to be sorted.
const SORTING_LANES: usize = 6;

/// Lanes that wait for their turn, in two lines: those that sort keep no others waiting. What is at work is bounded, and what waits is
/// no more than its plan.
pub(crate) struct Lines {
    waiting: [VecDeque<PlannedLane>; 2],
    /// How many more of each may begin.
    free: [usize; 2],
}

impl Lines {
    pub(crate) fn new(lanes: usize, planned: Vec<PlannedLane>) -> Self {
        let mut lines = Self {
            waiting: Default::default(),
            free: [lanes, SORTING_LANES],
        };
        planned.into_iter().for_each(|lane| lines.push(lane));
        lines
    }

    pub(crate) fn push(&mut self, lane: PlannedLane) {
        let sorts = lane.ready.as_ref().is_ok_and(|job| job.holding().sorts);
        self.waiting[usize::from(sorts)].push_back(lane);
    }

    /// The next that may begin, with its line.
    pub(crate) fn next(&mut self) -> Option<(usize, PlannedLane)> {
        (0..2).find_map(|line| {
            let is_free = self.free[line] > 0;
            let lane = is_free.then(|| self.waiting[line].pop_front()).flatten()?;
            self.free[line] -= 1;
            Some((line, lane))
        })
    }

    pub(crate) fn ended(&mut self, line: usize) {
        self.free[line] += 1;
    }
}
