//! A group: the shards of one run, and what they have to agree on. Kept in the lake, where each of them finds it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::lake::layout;
use crate::model::{DAY_SECONDS, GroupName, Member, TimeWindow, iso_seconds};
use crate::store::{Store, StoreError, StoreErrorKind};

/// Version of the record's shape.
const VERSION: u32 = 1;

/// What the shards of a group agree on. The first of them writes it, or `cwlake plan --write` before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Version of this shape.
    pub group_version: u32,
    /// Tells this use of the name from an earlier one.
    pub generation: String,
    /// How many shards there are.
    pub shards: u32,
    /// The time that is asked, in seconds since the epoch; none when each lane is asked from where its last run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<(i64, i64)>,
    /// Names what its configuration asks for.
    pub asks: String,
    /// When it was made, seconds since the epoch.
    pub made_at: i64,
    /// Which shard has which lane; by hash without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<GroupPlan>,
    /// The run that brought its reports together, once that is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gathered_as: Option<String>,
}

/// Lanes dealt out before the shards begin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupPlan {
    /// What each shard reads, from the first: `ACCOUNT/REGION`, or a region with all accounts in it.
    pub shares: Vec<Vec<String>>,
    /// US dollars that each shard's plan came to.
    pub dollars: Vec<f64>,
}

/// The shards do not belong together.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// The name is in use for another run.
    #[error("group {group} is {there}, and this run {asked}")]
    Other {
        /// Its name.
        group: GroupName,
        /// What it is.
        there: String,
        /// What is asked.
        asked: String,
    },
    /// Some of its shards are done: dealt out anew, their reports would count for nothing.
    #[error("group {group} has begun: shard {shard} has left its report")]
    Begun {
        /// Its name.
        group: GroupName,
        /// One that is done.
        shard: u32,
    },
    /// It was never begun.
    #[error("{root} has no group {group}")]
    None {
        /// Its name.
        group: GroupName,
        /// The lake's root.
        root: String,
    },
    /// The lake did not let us find out.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a shard is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The time; none from where each lane's last run ended.
    pub window: Option<TimeWindow>,
    /// Names what the configuration asks for.
    pub asks: String,
    /// It was typed: a run without dates means other days after midnight.
    pub is_typed: bool,
}

impl Group {
    /// One that begins now.
    pub fn new(shards: u32, question: &Question, now: i64) -> Self {
        Self {
            group_version: VERSION,
            generation: format!("{:016x}", fastrand::u64(..)),
            shards,
            window: question.window.map(|w| (w.start, w.end)),
            asks: question.asks.clone(),
            made_at: now,
            plan: None,
            gathered_as: None,
        }
    }

    /// The time that is asked.
    pub fn window(&self) -> Option<TimeWindow> {
        self.window.map(|(start, end)| TimeWindow { start, end })
    }

    fn describe(&self) -> String {
        let time = asked_time(self.window());
        format!("one of {} shards that asks {time}", self.shards)
    }

    /// What a shard that comes now is to do.
    fn admits(&self, of: u32, question: &Question, now: i64) -> Admission {
        let is_same = self.window() == question.window;
        if self.gathered_as.is_some() && (!is_same || self.window.is_none()) {
            return Admission::Anew;
        }
        // Begun again after midnight, without dates, a shard goes on with what the others are asked.
        let is_late = !question.is_typed
            && question.window.is_some()
            && self.window.is_some()
            && now - self.made_at < DAY_SECONDS;
        let is_alike = self.shards == of && self.asks == question.asks;
        if is_alike && (is_same || is_late) {
            Admission::Joins
        } else {
            Admission::Refused
        }
    }
}

fn asked_time(window: Option<TimeWindow>) -> String {
    window.map_or_else(
        || "from where each lane's last run ended".to_owned(),
        |w| format!("{} to {}", iso_seconds(w.start), iso_seconds(w.end)),
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    Joins,
    /// What was done under the name is done.
    Anew,
    Refused,
}

/// Reads a group.
///
/// # Errors
/// The store's, or a record that cannot be understood.
pub async fn read_group(store: &dyn Store, group: &GroupName) -> Result<Option<Group>, StoreError> {
    let key = layout::group(group);
    let Some(body) = store.get(&key).await? else {
        return Ok(None);
    };
    let refuse = |message: String| StoreError {
        kind: StoreErrorKind::Refused,
        doing: format!("reading {key}"),
        message,
        hint: Some("give --group another name, or move the file away".to_owned()),
    };
    let group: Group =
        serde_json::from_slice(&body).map_err(|e| refuse(format!("it is no group: {e}")))?;
    if group.group_version > VERSION {
        return Err(refuse("it was written by a newer cwlake".to_owned()));
    }
    Ok(Some(group))
}

/// Writes a group over what was read last.
///
/// # Errors
/// The store's; [`StoreErrorKind::Changed`] when somebody else wrote it meanwhile.
pub async fn write_group(
    store: &dyn Store,
    name: &GroupName,
    group: &Group,
) -> Result<(), StoreError> {
    let json = serde_json::to_vec(group).unwrap_or_default();
    store.put(&layout::group(name), Bytes::from(json)).await
}

/// The group of a shard: what is there, or a new one. Of those who come at once the first decides.
///
/// # Errors
/// [`GroupError::Other`] when the name means another run.
pub async fn join_group(
    store: &dyn Store,
    member: &Member,
    question: &Question,
    now: i64,
) -> Result<Group, GroupError> {
    const TRIES: u32 = 20;
    let (name, of) = (&member.group, member.shard.of);
    let mut tries = 1;
    loop {
        let there = read_group(store, name).await?;
        match there.map(|group| (group.admits(of, question, now), group)) {
            Some((Admission::Joins, group)) => return Ok(group),
            Some((Admission::Refused, group)) => {
                let what = if group.asks == question.asks {
                    ""
                } else {
                    " of another configuration"
                };
                return Err(GroupError::Other {
                    group: name.clone(),
                    there: group.describe(),
                    asked: format!(
                        "is one of {of}{what} and asks {}",
                        asked_time(question.window)
                    ),
                });
            }
            None | Some((Admission::Anew, _)) => {}
        }
        let group = Group::new(of, question, now);
        match write_group(store, name, &group).await {
            Err(error) if error.kind == StoreErrorKind::Changed && tries < TRIES => tries += 1,
            written => {
                written?;
                return Ok(group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Day, Shard};
    use crate::store::MemoryStore;

    const NOW: i64 = 1_764_200_000;

    fn days(n: i64) -> TimeWindow {
        let last = Day::containing(NOW).plus(n);
        TimeWindow::days(last.plus(-3), last)
    }

    fn asked(window: Option<TimeWindow>, is_typed: bool) -> Question {
        Question {
            window,
            asks: "metrics".to_owned(),
            is_typed,
        }
    }

    fn first_of_four() -> Member {
        Member {
            group: GroupName::parse("nightly").expect("a name"),
            shard: Shard::parse("1/4").expect("a shard"),
        }
    }

    #[test]
    fn a_shard_joins_its_group_and_no_other_run() {
        let gathered = |group: &Group| Group {
            gathered_as: Some("run".to_owned()),
            ..group.clone()
        };
        let nightly = Group::new(4, &asked(Some(days(0)), false), NOW);
        let last = Group::new(4, &asked(None, false), NOW);
        let (nightly_gathered, last_gathered) = (gathered(&nightly), gathered(&last));
        let check = |name, group: &Group, of, (days, is_typed), later, expected| {
            let question = asked(days, is_typed);
            let admission = group.admits(of, &question, NOW + later);
            assert_eq!(admission, expected, "{name}");
        };
        let (today, next) = ((Some(days(0)), false), (Some(days(1)), false));
        let (typed, since_last) = ((Some(days(1)), true), (None, false));
        let (joins, anew, refused) = (Admission::Joins, Admission::Anew, Admission::Refused);
        check("the same", &nightly, 4, today, 0, joins);
        check("another number", &nightly, 5, today, 0, refused);
        check("after midnight", &nightly, 4, next, 3_600, joins);
        check("days that are typed", &nightly, 4, typed, 3_600, refused);
        check("the next night", &nightly, 4, next, 90_000, refused);
        check(
            "the next night, gathered",
            &nightly_gathered,
            4,
            next,
            90_000,
            anew,
        );
        check("again, gathered", &nightly_gathered, 4, today, 0, joins);
        check("split anew, gathered", &nightly_gathered, 5, next, 0, anew);
        check("since last", &last, 4, since_last, 0, joins);
        check(
            "since last, gathered",
            &last_gathered,
            4,
            since_last,
            0,
            anew,
        );
        let other = Question {
            asks: "logs".to_owned(),
            ..asked(Some(days(0)), false)
        };
        assert_eq!(
            nightly.admits(4, &other, NOW),
            refused,
            "another configuration"
        );
        check("days of since last", &last, 4, today, 0, refused);
    }

    #[tokio::test]
    async fn the_first_shard_writes_what_the_others_read() {
        let store = MemoryStore::new();
        let member = |shard: &str| Member {
            group: GroupName::parse("g").expect("a name"),
            shard: Shard::parse(shard).expect("a shard"),
        };
        let question = &asked(Some(days(0)), true);
        let first = join_group(&store, &member("1/2"), question, NOW)
            .await
            .expect("made");
        let second = join_group(&store, &member("2/2"), question, NOW + 9)
            .await
            .expect("joined");
        assert_eq!(first, second);
        let error = join_group(&store, &member("3/3"), question, NOW)
            .await
            .expect_err("other");
        let text = error.to_string();
        assert!(
            text.contains("group g is one of 2 shards") && text.contains("is one of 3"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn shards_that_come_at_once_agree_and_a_store_that_fails_is_told() {
        let member = first_of_four();
        let question = asked(Some(days(0)), false);
        let join = async |kind, failures| {
            let store = MemoryStore::new();
            store.fail_writes(kind, failures);
            join_group(&store, &member, &question, NOW).await
        };
        for failures in [0, 1, 19] {
            let group = join(StoreErrorKind::Changed, failures).await;
            assert_eq!(group.expect("joined").shards, 4);
        }
        for failures in [20, 40] {
            assert!(join(StoreErrorKind::Changed, failures).await.is_err());
        }
        assert!(join(StoreErrorKind::Temporary, 1).await.is_err());
    }

    #[tokio::test]
    async fn whoever_asks_for_something_else_is_told_what_the_group_asks() {
        let store = MemoryStore::new();
        let member = first_of_four();
        let window = TimeWindow {
            start: 0,
            end: 86_400,
        };
        let first = asked(Some(window), true);
        join_group(&store, &member, &first, NOW)
            .await
            .expect("made");
        let refused = join_group(&store, &member, &asked(None, false), NOW).await;
        let told = refused.expect_err("another question").to_string();
        for part in [
            "one of 4 shards that asks 1970-01-01T00:00:00Z to 1970-01-02T00:00:00Z",
            "is one of 4 and asks from where each lane's last run ended",
        ] {
            assert!(told.contains(part), "{told}");
        }
        let other = Question {
            asks: "logs".to_owned(),
            ..first
        };
        let refused = join_group(&store, &member, &other, NOW).await;
        let told = refused.expect_err("another configuration").to_string();
        assert!(told.contains("of another configuration"), "{told}");
    }

    #[test]
    fn a_day_later_a_run_without_dates_is_another() {
        let group = Group::new(4, &asked(Some(days(0)), false), NOW);
        let question = asked(Some(days(1)), false);
        let admitted = |now| group.admits(4, &question, now);
        assert_eq!(admitted(NOW + DAY_SECONDS - 1), Admission::Joins);
        assert_eq!(admitted(NOW + DAY_SECONDS), Admission::Refused);
    }

    #[tokio::test]
    async fn a_group_of_a_newer_version_is_refused() {
        let store = MemoryStore::new();
        let name = first_of_four().group;
        let mut group = Group::new(4, &asked(None, false), NOW);
        for (version, is_read) in [(VERSION, true), (VERSION + 1, false)] {
            group.group_version = version;
            write_group(&store, &name, &group).await.expect("written");
            let read = read_group(&store, &name).await;
            assert_eq!(read.is_ok(), is_read, "{version}");
        }
    }
}
