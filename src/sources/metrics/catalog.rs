//! The series of a lane as the lake knows them: read for a backfill, widened by every run.

use crate::lake::table::{SCHEMA_VERSION, SERIES};

use bytes::Bytes;

use crate::commit::Lake;
use crate::normalize::schema_of;
use crate::store::{Store, StoreError};

use crate::config::{Selection, Source};
use crate::lake::{UnitId, layout};
use crate::model::{Cause, DAY_SECONDS, Day, Lane, MetricId, TimeWindow};
use crate::normalize::{Catalog, Owner, Seen, decode_series, series_batch};
use crate::write::{FooterKeys, UnitFile, read_rows_of};

/// `ListMetrics` knows what had a point in the past two weeks; a day less, for its own delay.
///
/// # Source
/// botocore `data/cloudwatch/2010-08-01/service-2.json`, `ListMetrics`.
const LISTED_SECONDS: i64 = 13 * DAY_SECONDS;

/// Which known series a run asks for beside those it discovers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// None: discovery sees all that can have a point in the window.
    None,
    /// Those with a point since this second: `DescribeInstances` forgets an instance within the hour, its points are a day's.
    Since(i64),
    /// Those whose own time meets the window: it reaches back to where no discovery does.
    In(TimeWindow),
}

/// What discovery cannot see of a window.
pub(crate) fn known_beside(window: TimeWindow, selections: &[Selection], now: i64) -> Known {
    let by_instances = |s: &Selection| matches!(s.source, Source::Ec2(_));
    if window.is_empty() {
        Known::None
    } else if window.start < now - LISTED_SECONDS {
        Known::In(window)
    } else if selections.iter().any(by_instances) {
        // A day more: the catalog knows of points as far as they were exported.
        Known::Since(window.start - DAY_SECONDS)
    } else {
        Known::None
    }
}

/// The metrics of a catalog that a run asks for.
pub(crate) fn chosen(catalog: Catalog, known: Known) -> Vec<MetricId> {
    let wanted = |seen: Seen| match known {
        Known::None => false,
        Known::Since(start) => seen.is_some_and(|(_, last)| last >= start * 1_000_000),
        Known::In(window) => seen.is_some_and(|(first, last)| {
            first < window.end * 1_000_000 && last >= window.start * 1_000_000
        }),
    };
    let metrics = catalog.into_iter().filter(|(_, seen)| wanted(*seen));
    metrics.map(|(metric, _)| metric).collect()
}

/// The file of a lane's catalog: of no day.
fn series_of(lane: &Lane) -> UnitId {
    UnitId::new(&SERIES, Day::containing(0), lane)
}

/// The catalog of a lane, with the bytes it was read from; empty when there is none.
pub(crate) async fn read_catalog(
    store: &dyn Store,
    lane: &Lane,
) -> Result<(Catalog, Option<Bytes>), Cause> {
    let key = layout::unit(&series_of(lane));
    let Some(bytes) = store.get(&key).await? else {
        return Ok((Catalog::new(), None));
    };
    let broken = |error: &dyn std::error::Error| {
        let cause = Cause::of_destination(error);
        Cause {
            message: format!("reading {key}: {}", cause.message),
            ..cause
        }
        .with_hint(
            "move the file away: the series of terminated resources in it are then no longer known",
        )
    };
    let mut catalog = Catalog::new();
    for batch in read_rows_of(bytes.clone()).map_err(|e| broken(&e))? {
        decode_series(&batch.map_err(|e| broken(&e))?, &mut catalog).map_err(|e| broken(&e))?;
    }
    Ok((catalog, Some(bytes)))
}

/// Adds to the catalog of a lane what `note` notes, and writes it when that changed it. Where another run wrote it meanwhile, it is
/// added to that.
pub(crate) async fn widen_catalog(
    lake: &Lake,
    lane: &Lane,
    account_name: Option<&str>,
    note: impl Fn(&mut Catalog),
) -> Result<(), Cause> {
    const TRIES: u32 = 8;
    let mut tries = 1;
    loop {
        match widened(lake, lane, account_name, &note).await {
            Err(cause)
                if cause.is(StoreError::CHANGED) && tries < TRIES && lake.is_ours(true).await =>
            {
                tries += 1;
            }
            done => return done,
        }
    }
}

async fn widened(
    lake: &Lake,
    lane: &Lane,
    account_name: Option<&str>,
    note: &impl Fn(&mut Catalog),
) -> Result<(), Cause> {
    let (mut catalog, before) = read_catalog(&**lake.store(), lane).await?;
    note(&mut catalog);
    if catalog.is_empty() {
        return Ok(());
    }
    let path = lake
        .staging()
        .join(format!("series_{}_{}.part", lane.account, lane.region));
    let (lane_of, name) = (lane.clone(), account_name.map(str::to_owned));
    let written = tokio::task::spawn_blocking(move || {
        let footer = FooterKeys {
            schema_version: SCHEMA_VERSION,
            plan_hash: None,
        };
        let owner = Owner {
            lane: &lane_of,
            account_name: name.as_deref(),
        };
        let mut file = UnitFile::create(&path, schema_of(&SERIES), SERIES.sort, footer)?;
        let batch =
            series_batch(owner, &catalog).map_err(|e| crate::write::WriteError::Parquet {
                path: path.clone(),
                source: e.into(),
            })?;
        file.write(&batch)?;
        file.finish(true)
    });
    let staged = match written.await {
        Ok(staged) => staged.map_err(|e| Cause::of_destination(&e))?,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    let same = match &before {
        Some(bytes) => tokio::fs::read(&staged.path)
            .await
            .is_ok_and(|new| new == *bytes),
        None => false,
    };
    if same {
        let _ = tokio::fs::remove_file(&staged.path).await;
        return Ok(());
    }
    if !lake.is_ours(false).await {
        return Err(Cause::lock_lost());
    }
    lake.store()
        .publish(&layout::unit(&series_of(lane)), &staged)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_that_no_listing_sees_asks_for_the_series_whose_time_meets_it() {
        let days = |from: i64, to: i64| TimeWindow {
            start: from * DAY_SECONDS,
            end: to * DAY_SECONDS,
        };
        let now = 100 * DAY_SECONDS;
        let known = known_beside(days(50, 52), &[], now);
        assert_eq!(known, Known::In(days(50, 52)));
        assert_eq!(known_beside(days(90, 91), &[], now), Known::None);
        let seen = |from: i64, to: i64| {
            let micros = DAY_SECONDS * 1_000_000;
            Some((from * micros, to * micros))
        };
        let catalog: Catalog = [
            ("ended before", seen(10, 49)),
            ("ended in it", seen(10, 50)),
            ("all of it", seen(10, 99)),
            ("inside", seen(51, 51)),
            ("began after", seen(52, 99)),
            ("never had a point", None),
        ]
        .into_iter()
        .map(|(name, seen)| (MetricId::new("App", name, Vec::new()), seen))
        .collect();
        let asked = chosen(catalog, known);
        let names: Vec<&str> = asked.iter().map(MetricId::metric_name).collect();
        assert_eq!(names, ["all of it", "ended in it", "inside"]);
    }
}
