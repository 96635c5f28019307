//! The tokens of a list's pages, each followed once.

use std::collections::HashSet;

use crate::model::{Cause, CauseKind};

/// Pages of any list, at most: a token that never ends is a mistake.
const MOST_PAGES: usize = 1_000_000;

/// Where the next page of a list begins.
#[derive(Debug)]
pub struct Pages {
    doing: &'static str,
    most: usize,
    token: Option<String>,
    seen: HashSet<String>,
    has_restarted: bool,
}

impl Pages {
    /// From the first page of the list that `doing` asks for.
    pub fn of(doing: &'static str) -> Self {
        Self::at_most(MOST_PAGES, doing)
    }

    /// The same for a list that has no more pages than this.
    pub fn at_most(most: usize, doing: &'static str) -> Self {
        Self {
            doing,
            most,
            token: None,
            seen: HashSet::new(),
            has_restarted: false,
        }
    }

    /// The token to ask with; none for the first page.
    pub fn token(&self) -> Option<String> {
        self.token.clone()
    }

    /// Goes on to the page that the last one names; false when it was the last. An empty token is none.
    ///
    /// # Errors
    /// [`CauseKind::Protocol`] for a token that repeats, or a list without an end.
    pub fn follow(&mut self, next: Option<String>) -> Result<bool, Cause> {
        let Some(next) = next.filter(|token| !token.is_empty()) else {
            return Ok(false);
        };
        if self.seen.len() >= self.most || !self.seen.insert(next.clone()) {
            let text = format!("{}: the page token repeats", self.doing);
            return Err(Cause::new(CauseKind::Protocol, text));
        }
        self.token = Some(next);
        Ok(true)
    }

    /// Begins anew where a page was refused because its token went stale; once. What comes twice is the same thing.
    pub fn restarts_after(&mut self, cause: &Cause) -> bool {
        let is_stale = cause.kind == CauseKind::InvalidToken && self.token.is_some();
        if !is_stale || self.has_restarted {
            return false;
        }
        self.has_restarted = true;
        self.token = None;
        self.seen.clear();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_followed_once_and_none_for_ever() {
        let mut pages = Pages::at_most(3, "List");
        let token = |text: &str| Some(text.to_owned());
        assert_eq!(pages.token(), None);
        assert_eq!(pages.follow(token("a")), Ok(true));
        assert_eq!(pages.token(), token("a"));
        assert_eq!(pages.follow(token("b")), Ok(true));
        assert!(pages.follow(token("a")).is_err(), "it repeats");
        let stale = Cause::new(CauseKind::InvalidToken, "stale");
        assert!(pages.restarts_after(&stale));
        assert_eq!(pages.token(), None);
        for text in ["a", "b", "c"] {
            assert_eq!(pages.follow(token(text)), Ok(true));
        }
        assert!(pages.follow(token("d")).is_err(), "without an end");
        assert!(!pages.restarts_after(&stale), "once");
        assert_eq!(pages.follow(token("")), Ok(false));
        assert_eq!(pages.follow(None), Ok(false));
    }
}
