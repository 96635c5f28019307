//! What a run takes for itself in a lake while it writes: no two runs that would touch one unit run at once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Day, Member};

/// The units that a run may write: of each table from a first unit to a last. The catalog of series is nobody's: every run adds to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// First and last unit by table; of charges by the first day of the month. `None`: the whole lake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<BTreeMap<String, (Day, Day)>>,
    /// The shard that holds it. Shards of one group share their units by lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<Member>,
}

impl Claim {
    /// No units.
    pub fn nothing() -> Self {
        Self {
            units: Some(BTreeMap::new()),
            member: None,
        }
    }

    /// Everything: what an earlier version's lock meant.
    pub fn everything() -> Self {
        Self {
            units: None,
            member: None,
        }
    }

    /// The same and the units of a table from `first` to `last`.
    #[must_use]
    pub fn and(mut self, table: &str, first: Day, last: Day) -> Self {
        if let Some(units) = &mut self.units {
            let (from, to) = units.entry(table.to_owned()).or_insert((first, last));
            *from = first.min(*from);
            *to = last.max(*to);
        }
        self
    }

    /// Whether the units of a table from `first` to `last` are all in it.
    pub fn has(&self, table: &str, first: Day, last: Day) -> bool {
        self.units.as_ref().is_none_or(|units| {
            let claimed = units.get(table);
            claimed.is_some_and(|(from, to)| *from <= first && last <= *to)
        })
    }

    /// The last unit of a table that is claimed before a day.
    pub fn last_before(&self, table: &str, day: Day) -> Option<Day> {
        let units = self.units.as_ref()?;
        let (first, last) = units.get(table)?;
        (*first < day).then(|| (*last).min(day.plus(-1)))
    }

    /// Whether a shard is another one of the same group, split alike: no lane is both its own and ours.
    pub fn is_beside(&self, other: &Member) -> bool {
        self.member.as_ref().is_some_and(|own| {
            let is_alike = own.group == other.group && own.shard.of == other.shard.of;
            is_alike && own.shard.index != other.shard.index
        })
    }

    /// Whether two runs with these claims would touch one unit.
    pub fn conflicts(&self, other: &Self) -> bool {
        if let (Some(ours), Some(theirs)) = (&self.member, &other.member)
            && ours.group == theirs.group
        {
            // Of a group that is split anew, no lane has a certain owner.
            return !self.is_beside(theirs);
        }
        let (ours, theirs) = match (&self.units, &other.units) {
            (Some(ours), Some(theirs)) => (ours, theirs),
            (Some(some), None) | (None, Some(some)) => return !some.is_empty(),
            (None, None) => return true,
        };
        ours.iter().any(|(table, (first, last))| {
            let there = theirs.get(table);
            there.is_some_and(|(from, to)| first <= to && from <= last)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GroupName, Shard};

    fn claim(units: &[(&str, &str, &str)], member: Option<(&str, &str)>) -> Claim {
        let day = |text: &str| Day::parse(text).expect("a day");
        let mut claim = Claim::nothing();
        for (table, first, last) in units {
            claim = claim.and(table, day(first), day(last));
        }
        claim.member = member.map(|(group, shard)| Member {
            group: GroupName::parse(group).expect("a name"),
            shard: Shard::parse(shard).unwrap_or(Shard::ALL),
        });
        claim
    }

    const JANUARY: [(&str, &str, &str); 1] = [("metrics", "2026-01-01", "2026-01-31")];
    const TODAY: [(&str, &str, &str); 1] = [("metrics", "2026-11-26", "2026-11-26")];

    fn check(name: &str, ours: &Claim, theirs: &Claim, expected: bool) {
        assert_eq!(ours.conflicts(theirs), expected, "{name}");
        assert_eq!(theirs.conflicts(ours), expected, "{name}, the other way");
    }

    #[test]
    fn runs_that_would_touch_one_unit_conflict_and_no_others() {
        let january = claim(&JANUARY, None);
        let late = claim(&[("metrics", "2026-01-31", "2026-02-03")], None);
        let logs = claim(&[("logs", "2026-01-01", "2026-01-31")], None);
        let (today, nothing, all) = (claim(&TODAY, None), Claim::nothing(), Claim::everything());
        check("the same days", &january, &january, true);
        check("one day of many", &january, &late, true);
        check("other days", &january, &today, false);
        check("another table", &january, &logs, false);
        check("nothing", &nothing, &january, false);
        check("nothing beside all", &nothing, &all, false);
        check("all of the lake", &all, &today, true);
        check("all, twice", &all, &all, true);
    }

    #[test]
    fn shards_of_a_group_conflict_with_others_and_not_with_one_another() {
        let shard = |group, text| claim(&JANUARY, Some((group, text)));
        let one = shard("g", "1/2");
        check("two shards", &one, &shard("g", "2/2"), false);
        check("a shard, twice", &one, &one, true);
        check("another split", &one, &shard("g", "2/3"), true);
        check("another group", &one, &shard("h", "2/2"), true);
        check(
            "its other days",
            &one,
            &claim(&TODAY, Some(("h", "1/2"))),
            false,
        );
        check("all of them", &one, &claim(&[], Some(("g", "all"))), true);
        check("a run alone", &one, &claim(&JANUARY, None), true);
    }

    #[test]
    fn a_claim_grows_and_is_read_back() {
        let day = |text: &str| Day::parse(text).expect("a day");
        let grown = claim(
            &[("metrics", "2026-01-05", "2026-01-06")],
            Some(("g", "1/2")),
        );
        let grown = grown.and("metrics", day("2026-01-02"), day("2026-01-02"));
        assert!(grown.has("metrics", day("2026-01-02"), day("2026-01-06")));
        assert!(!grown.has("metrics", day("2026-01-02"), day("2026-01-07")));
        assert!(!grown.has("logs", day("2026-01-02"), day("2026-01-02")));
        let text = serde_json::to_string(&grown).expect("written");
        assert_eq!(serde_json::from_str::<Claim>(&text).expect("read"), grown);
        // What an earlier version wrote about itself claims everything.
        let old: Claim = serde_json::from_str("{}").expect("read");
        assert_eq!(old, Claim::everything());
    }
}
