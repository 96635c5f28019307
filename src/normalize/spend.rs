//! Charges by day, and as they were published, to rows and back.

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;

use super::charges::{ChargeState, Charges, DayCharge, place};
use super::decode::DecodeError;
use super::rows::{Cell, Owner, Rows, batch_of};
use crate::lake::table::{SPEND, SPEND_INTRADAY};
use crate::model::{ChargeKey, ChargePoint, DAY_SECONDS, Day};

fn of_key<'a>(key: &'a ChargeKey, column: &str) -> Cell<'a> {
    match column {
        "scope" => Cell::Text(key.scope()),
        "linked_account_id" => Cell::text(key.linked_account.as_deref()),
        "service_name" => Cell::text(key.service.as_deref()),
        "currency" => Cell::Text(&key.currency),
        _ => Cell::Null,
    }
}

/// Charges by day as one batch, in the order given.
///
/// # Errors
/// An [`ArrowError`] when it would exceed what Arrow's 32-bit offsets can hold.
pub fn spend_batch(owner: Owner<'_>, rows: &[DayCharge]) -> Result<RecordBatch, ArrowError> {
    batch_of(&SPEND, owner, rows, |r, column| match column {
        "day" => Cell::Number(r.day.start() / DAY_SECONDS),
        "month_to_date" => Cell::double(r.month_to_date),
        "spend" => Cell::double(r.spend),
        "days" => Cell::number(r.days.map(i64::from)),
        "state" => Cell::Text(r.state.as_str()),
        "last_ts" => Cell::number(r.last_ts.map(|s| s.saturating_mul(1_000_000))),
        "provisional" => Cell::Truth(r.provisional),
        key => of_key(&r.key, key),
    })
}

/// Published charges as one batch.
///
/// # Shape
/// Sorted by series and time.
///
/// # Errors
/// An [`ArrowError`] when it would exceed what Arrow's 32-bit offsets can hold.
pub fn intraday_batch(owner: Owner<'_>, charges: &Charges) -> Result<RecordBatch, ArrowError> {
    let mut series: Vec<(&ChargeKey, &Vec<ChargePoint>)> = charges.iter().collect();
    series.sort_by(|a, b| place(a.0).cmp(&place(b.0)));
    let points = series
        .iter()
        .flat_map(|(key, points)| points.iter().map(move |p| (*key, *p)));
    let rows: Vec<(&ChargeKey, ChargePoint)> = points.collect();
    batch_of(
        &SPEND_INTRADAY,
        owner,
        &rows,
        |(key, p), column| match column {
            "ts" => Cell::Number(p.ts.saturating_mul(1_000_000)),
            "period" => Cell::Number(p.period.into()),
            "month_to_date" => Cell::Double(p.month_to_date),
            name => of_key(key, name),
        },
    )
}

fn key_at(rows: &Rows<'_>, row: usize) -> Result<ChargeKey, DecodeError> {
    Ok(ChargeKey {
        linked_account: rows.text("linked_account_id", row).map(str::to_owned),
        service: rows.text("service_name", row).map(str::to_owned),
        currency: rows.must("currency", row)?.to_owned(),
    })
}

/// Adds the charges of a batch.
///
/// # Errors
/// [`DecodeError`] for another schema.
pub fn decode_intraday(batch: &RecordBatch, charges: &mut Charges) -> Result<(), DecodeError> {
    let rows = Rows::of(&SPEND_INTRADAY, batch)?;
    for row in 0..rows.len() {
        let number = |name: &str| {
            let number = rows.number(name, row);
            number.ok_or_else(|| DecodeError::missing(name))
        };
        let value = rows.double("month_to_date", row);
        let point = ChargePoint {
            ts: number("ts")?.div_euclid(1_000_000),
            period: i32::try_from(number("period")?).unwrap_or(i32::MAX),
            month_to_date: value.ok_or_else(|| DecodeError::missing("month_to_date"))?,
        };
        charges.entry(key_at(&rows, row)?).or_default().push(point);
    }
    Ok(())
}

/// The rows of a batch of the `spend` table.
///
/// # Errors
/// [`DecodeError`] for another schema.
pub fn decode_spend(batch: &RecordBatch) -> Result<Vec<DayCharge>, DecodeError> {
    let rows = Rows::of(&SPEND, batch)?;
    (0..rows.len())
        .map(|row| {
            let state = rows.must("state", row)?;
            let known = ChargeState::ALL.into_iter().find(|s| s.as_str() == state);
            let day = rows.number("day", row);
            let day = day.ok_or_else(|| DecodeError::missing("day"))?;
            let days = rows.number("days", row);
            Ok(DayCharge {
                key: key_at(&rows, row)?,
                day: Day::containing(day * DAY_SECONDS),
                month_to_date: rows.double("month_to_date", row),
                spend: rows.double("spend", row),
                days: days.and_then(|n| i32::try_from(n).ok()),
                state: known.ok_or_else(|| DecodeError::new("it has an unknown state"))?,
                last_ts: rows.number("last_ts", row).map(|t| t.div_euclid(1_000_000)),
                // Files of months that were over had no such column.
                provisional: rows.truth("provisional", row).unwrap_or(false),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountId, Lane, Region};
    use crate::normalize::charges::{
        month_charges,
        tests::{key, points},
    };

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
}
