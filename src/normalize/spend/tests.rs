
use super::*;
use crate::model::Lane;
use crate::model::{AccountId, Region};

fn key(service: Option<&str>) -> ChargeKey {
    ChargeKey {
        currency: "USD".to_owned(),
        linked_account: None,
        service: service.map(str::to_owned),
    }
}

/// Points at hours, as `11-02 06 3.5` a line.
fn points(text: &str) -> Vec<ChargePoint> {
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
    lines
        .map(|line| {
            let mut fields = line.split(' ');
            let mut field = || fields.next().expect("three fields");
            let day = Day::parse(&format!("2026-{}", field())).expect("a day");
            ChargePoint {
                ts: day.start() + field().parse::<i64>().expect("an hour") * 3_600,
                period: 300,
                month_to_date: field().parse().expect("an amount"),
            }
        })
        .collect()
}

fn november(charges: &[(Option<&str>, &str)], end: &str) -> Vec<String> {
    let charges = charges.iter().map(|(s, text)| (key(*s), points(text)));
    let month = Day::parse("2026-11-01").expect("a day");
    let end = Day::parse(end).expect("a day").start();
    let amount = |a: Option<f64>| a.map_or("-".to_owned(), |a| format!("{a}"));
    month_charges(&charges.collect(), month, end, end)
        .iter()
        .map(|r| {
            format!(
                "{}{} {} {} {} {}",
                r.key
                    .service
                    .as_deref()
                    .map_or(String::new(), |s| format!("{s} ")),
                &r.day.to_string()[5..],
                amount(r.month_to_date),
                amount(r.spend),
                r.days.map_or("-".to_owned(), |d| d.to_string()),
                r.state.as_str()
            )
        })
        .collect()
}

#[test]
fn a_month_begins_anew_whatever_is_still_published_of_the_old_one() {
    // The old month's total goes on for some hours of the first.
    let rows = november(
        &[(
            None,
            "10-31 06 990
                 10-31 20 1000
                 11-01 02 1005
                 11-01 08 4
                 11-01 20 12.5
                 11-02 20 30",
        )],
        "2026-11-03",
    );
    assert_eq!(rows, ["11-01 12.5 12.5 1 ok", "11-02 30 17.5 1 ok"]);
    // All of the first day: what is of the new month is not known, and in the next day's.
    let rows = november(
        &[(
            None,
            "10-31 20 1000\n11-01 02 1005\n11-01 20 1008\n11-02 20 30",
        )],
        "2026-11-03",
    );
    assert_eq!(rows, ["11-01 1008 - - carried_over", "11-02 30 30 2 ok"]);
    // Nothing was spent before: nothing can be carried over.
    let rows = november(
        &[(None, "10-31 20 0\n11-01 20 0\n11-02 20 5")],
        "2026-11-03",
    );
    assert_eq!(rows, ["11-01 0 0 1 ok", "11-02 5 5 1 ok"]);
}

#[test]
fn a_flat_fee_on_the_first_is_no_old_month() {
    let rows = november(
        &[
            (None, "10-31 20 1000\n11-01 20 120"),
            (Some("Support"), "10-31 20 100\n11-01 20 100"),
        ],
        "2026-11-02",
    );
    assert_eq!(rows, ["Support 11-01 100 100 1 ok", "11-01 120 120 1 ok"]);
}

#[test]
fn a_missing_day_is_named_and_the_next_one_covers_it() {
    let rows = november(
        &[(None, "11-01 20 10\n11-03 20 40\n11-04 20 50")],
        "2026-11-06",
    );
    assert_eq!(
        rows,
        [
            "11-01 10 10 1 ok",
            "11-02 - - - missing",
            "11-03 40 30 2 ok",
            "11-04 50 10 1 ok",
            "11-05 - - - missing",
        ]
    );
    let rows = november(&[(None, "11-03 20 40")], "2026-11-04");
    assert_eq!(
        rows,
        [
            "11-01 - - - missing",
            "11-02 - - - missing",
            "11-03 40 40 3 ok"
        ]
    );
}

#[test]
fn a_late_correction_is_kept_and_flagged() {
    let rows = november(
        &[(
            None,
            "11-01 20 10\n11-02 20 40\n11-03 20 35.5\n11-04 20 45.5",
        )],
        "2026-11-05",
    );
    assert_eq!(
        rows,
        [
            "11-01 10 10 1 ok",
            "11-02 40 30 1 ok",
            "11-03 35.5 -4.5 1 fell",
            "11-04 45.5 10 1 ok",
        ]
    );
    // Published late, for a day that was read before: the day is what it is now.
    let before = Charges::from([(key(None), points("11-01 20 10\n11-02 08 20"))]);
    let late = Charges::from([(key(None), points("11-02 08 21\n11-02 20 22"))]);
    let joined = join_charges(before, late);
    assert_eq!(
        joined[&key(None)],
        points("11-01 20 10\n11-02 08 21\n11-02 20 22")
    );
}

#[test]
fn a_service_that_vanishes_or_begins_mid_month_is_told_from_a_missing_answer() {
    let rows = november(
        &[
            (None, "11-01 20 10\n11-02 20 20\n11-04 20 40\n11-05 20 50"),
            (Some("A"), "11-01 20 1\n11-02 20 2"),
            (Some("B"), "11-04 20 7\n11-05 20 9"),
            (Some("C"), "11-05 20 4"),
        ],
        "2026-11-06",
    );
    assert_eq!(
        rows,
        [
            "A 11-01 1 1 1 ok",
            "A 11-02 2 1 1 ok",
            "A 11-03 - - - vanished",
            "A 11-04 - - - vanished",
            "A 11-05 - - - vanished",
            // The total had no value on the third: B may have begun on it.
            "B 11-04 7 7 2 ok",
            "B 11-05 9 2 1 ok",
            "C 11-05 4 4 1 ok",
            "11-01 10 10 1 ok",
            "11-02 20 10 1 ok",
            "11-03 - - - missing",
            "11-04 40 20 2 ok",
            "11-05 50 10 1 ok",
        ]
    );
}

#[test]
fn hours_give_way_to_the_five_minutes_in_them() {
    let fine = ChargePoint {
        ts: 7_500,
        period: 300,
        month_to_date: 2.0,
    };
    let coarse = |ts| ChargePoint {
        ts,
        period: 3_600,
        month_to_date: 2.0,
    };
    let before = Charges::from([(key(None), vec![fine])]);
    let hours = [3_600, 7_200, 10_800].map(coarse);
    let now = Charges::from([(key(None), hours.to_vec())]);
    let joined = join_charges(before, now);
    assert_eq!(joined[&key(None)], [hours[0], fine, hours[2]]);
}

#[test]
fn both_tables_round_trip() {
    let lane = Lane {
        account: AccountId::parse("000122223333").expect("id"),
        region: Region::parse("us-east-1").expect("region"),
    };
    let charges = Charges::from([
        (key(None), points("11-01 20 10\n11-02 20 4")),
        (key(Some("=A\u{1b}<")), points("11-01 20 1")),
    ]);
    let batch = intraday_batch(
        Owner {
            lane: &lane,
            account_name: Some("prod"),
        },
        &charges,
    )
    .expect("built");
    let mut back = Charges::new();
    decode_intraday(&batch, &mut back).expect("decoded");
    assert_eq!(back, charges);
    let month = Day::parse("2026-11-01").expect("a day");
    let read = |until| month_charges(&charges, month, month.plus(3).start(), until);
    let provisional: Vec<bool> = read(month.end()).iter().map(|r| r.provisional).collect();
    assert_eq!(provisional, [false, true, true].repeat(2));
    let rows = read(i64::MAX);
    let batch = spend_batch(
        Owner {
            lane: &lane,
            account_name: None,
        },
        &rows,
    )
    .expect("built");
    assert_eq!(decode_spend(&batch).expect("decoded"), rows);
}
