//! Answers kept on local disk until their lane is in the lake: an interrupted run resumes without asking, or paying, for them again.
//!
//! One file a request, named by what was asked. A file that is cut short, was written for another request or has grown stale is not
//! used; it is never an error, only a request more. No fsync: after a power cut the checksum tells.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::get_metric_data::Fetched;
use crate::model::{DAY_SECONDS, Lane, QueryOutcome, QueryPoints, ServiceMessage, TimeWindow};
use crate::plan::{Batch, LanePlan};

const MAGIC: &[u8; 8] = b"cwspool1";

/// Age up to which an answer about recent time still stands: late points would be missed by an older one.
const FRESH_SECONDS: i64 = 6 * 3_600;

/// An answer about time so long before it that nothing more comes stands as long as it lies here.
const SETTLED_SECONDS: i64 = 2 * DAY_SECONDS;

/// Files nobody came back for.
const ABANDONED: Duration = Duration::from_hours(14 * 24);

/// The kept answers of one lane.
#[derive(Clone, Debug)]
pub struct Spool {
    folder: PathBuf,
}

impl Spool {
    /// Below `root`, for one lane. Nothing is created yet.
    pub fn of_lane(root: &Path, lane: &Lane) -> Self {
        Self {
            folder: root.join(format!("{}_{}", lane.account, lane.region)),
        }
    }

    /// Whether an interrupted run left answers here.
    pub fn is_empty(&self) -> bool {
        fs::read_dir(&self.folder).map_or(true, |mut files| files.next().is_none())
    }

    /// Whether there is a file for a request; it may still turn out unusable.
    pub fn may_hold(&self, plan: &LanePlan, batch: &Batch) -> bool {
        self.file(plan, batch).exists()
    }

    /// The kept answer to a request, when it still stands at `now`.
    pub fn take(&self, plan: &LanePlan, batch: &Batch, now: i64) -> Option<Vec<QueryOutcome>> {
        let bytes = fs::read(self.file(plan, batch)).ok()?;
        let (read_at, outcomes) = decode(&bytes)?;
        let usable = outcomes.len() == batch.queries.len() && stands(batch.span, read_at, now);
        usable.then_some(outcomes)
    }

    /// Keeps the answer to a request, read at `now`, when all of it arrived.
    ///
    /// # Errors
    /// The file system's. What was kept so far is not harmed.
    pub fn keep(
        &self,
        plan: &LanePlan,
        batch: &Batch,
        fetched: &Fetched,
        now: i64,
    ) -> io::Result<()> {
        let whole = fetched.messages.is_empty()
            && fetched
                .outcomes
                .iter()
                .all(|o| matches!(o, QueryOutcome::Complete { .. }));
        if !whole {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)?;
        let path = self.file(plan, batch);
        let part = path.with_extension("part");
        fs::write(&part, encode(&fetched.outcomes, now)?)?;
        fs::rename(part, path)
    }

    /// Forgets everything: the lane is in the lake.
    ///
    /// # Errors
    /// The file system's.
    pub fn clear(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    fn file(&self, plan: &LanePlan, batch: &Batch) -> PathBuf {
        self.folder.join(format!("{}.batch", key(plan, batch)))
    }
}

/// Removes what no run came back for in two weeks.
///
/// # Errors
/// The file system's.
pub fn sweep(root: &Path) -> io::Result<()> {
    let lanes = match fs::read_dir(root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        lanes => lanes?,
    };
    for lane in lanes {
        let folder = lane?.path();
        if !folder.is_dir() {
            continue;
        }
        for file in fs::read_dir(&folder)? {
            let file = file?;
            let age = file.metadata()?.modified()?.elapsed().unwrap_or_default();
            if age > ABANDONED {
                fs::remove_file(file.path())?;
            }
        }
        // Only an empty folder goes.
        let _ = fs::remove_dir(&folder);
    }
    Ok(())
}

fn stands(span: TimeWindow, read_at: i64, now: i64) -> bool {
    // A clock that was set back a little does no harm; one that was far ahead may have called anything settled.
    let age = now - read_at;
    let settled = span.end + SETTLED_SECONDS <= read_at;
    age >= -FRESH_SECONDS && (settled || age <= FRESH_SECONDS)
}

/// Everything the answer depends on.
fn key(plan: &LanePlan, batch: &Batch) -> String {
    let mut hash = Sha256::new();
    let mut field = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    field(plan.lane.account.as_str().as_bytes());
    field(plan.lane.region.as_str().as_bytes());
    field(&batch.span.start.to_le_bytes());
    field(&batch.span.end.to_le_bytes());
    for query in &batch.queries {
        let series = &plan.series[query.series as usize];
        let ask = &series.asks[query.ask as usize];
        field(&series.series.id.to_le_bytes());
        field(ask.statistic.as_str().as_bytes());
        field(&query.period.seconds().to_le_bytes());
        field(ask.unit.as_deref().unwrap_or("").as_bytes());
    }
    hex(&hash.finalize()[..16])
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Magic, zstd of the columns, SHA-256 of both. Timestamps at a constant step, as nearly all are, take twenty bytes.
fn encode(outcomes: &[QueryOutcome], read_at: i64) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    plain.extend(read_at.to_le_bytes());
    put_len(&mut plain, outcomes.len());
    for outcome in outcomes {
        let QueryOutcome::Complete { points, messages } = outcome else {
            return Err(io::Error::other("only whole answers are kept"));
        };
        put_points(&mut plain, points);
        put_len(&mut plain, messages.len());
        for message in messages {
            put_text(&mut plain, &message.code);
            put_text(&mut plain, &message.text);
        }
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend(zstd::bulk::compress(&plain, 1)?);
    let checksum = Sha256::digest(&bytes);
    bytes.extend(checksum);
    Ok(bytes)
}

fn put_len(out: &mut Vec<u8>, length: usize) {
    out.extend((length as u64).to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_len(out, text.len());
    out.extend(text.as_bytes());
}

fn put_points(out: &mut Vec<u8>, points: &QueryPoints) {
    let ts = &points.timestamps;
    put_len(out, ts.len());
    let step = ts
        .first()
        .zip(ts.get(1))
        .map_or(0, |(a, b)| b.wrapping_sub(*a));
    let regular = ts.windows(2).all(|w| w[1].wrapping_sub(w[0]) == step);
    out.push(u8::from(regular));
    if regular {
        out.extend(ts.first().copied().unwrap_or(0).to_le_bytes());
        out.extend(step.to_le_bytes());
    } else {
        ts.iter().for_each(|t| out.extend(t.to_le_bytes()));
    }
    points
        .values
        .iter()
        .for_each(|v| out.extend(v.to_bits().to_le_bytes()));
}

fn decode(bytes: &[u8]) -> Option<(i64, Vec<QueryOutcome>)> {
    let (body, checksum) = bytes.split_last_chunk::<32>()?;
    if Sha256::digest(body)[..] != checksum[..] {
        return None;
    }
    let plain = zstd::stream::decode_all(body.strip_prefix(MAGIC)?).ok()?;
    let mut reader = Reader(&plain);
    let read_at = reader.i64()?;
    let count = reader.len()?;
    let mut outcomes = Vec::new();
    for _ in 0..count {
        let points = reader.points()?;
        let messages = (0..reader.len()?)
            .map(|_| {
                Some(ServiceMessage {
                    code: reader.text()?,
                    text: reader.text()?,
                })
            })
            .collect::<Option<_>>()?;
        outcomes.push(QueryOutcome::Complete { points, messages });
    }
    Some((read_at, outcomes))
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, n: usize) -> Option<&[u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }

    fn i64(&mut self) -> Option<i64> {
        self.take(8)?.try_into().ok().map(i64::from_le_bytes)
    }

    fn len(&mut self) -> Option<usize> {
        usize::try_from(self.i64()?).ok()
    }

    fn text(&mut self) -> Option<String> {
        let n = self.len()?;
        String::from_utf8(self.take(n)?.to_vec()).ok()
    }

    fn points(&mut self) -> Option<QueryPoints> {
        let n = self.len()?;
        let regular = self.take(1)? == [1];
        let timestamps = if regular {
            let (first, step) = (self.i64()?, self.i64()?);
            std::iter::successors(Some(first), |at| Some(at.wrapping_add(step)))
                .take(n)
                .collect()
        } else {
            (0..n).map(|_| self.i64()).collect::<Option<_>>()?
        };
        let values = (0..n)
            .map(|_| self.i64().map(|bits| f64::from_bits(bits.cast_unsigned())))
            .collect::<Option<_>>()?;
        Some(QueryPoints { timestamps, values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn outcome(timestamps: Vec<i64>, values: Vec<f64>) -> QueryOutcome {
        QueryOutcome::Complete {
            points: QueryPoints { timestamps, values },
            messages: vec![ServiceMessage {
                code: "MultipleUnits".to_owned(),
                text: "é".to_owned(),
            }],
        }
    }

    proptest! {
        #[test]
        fn what_is_kept_comes_back_bit_for_bit(
            columns in prop::collection::vec(prop::collection::vec((any::<i64>(), any::<u64>()), 0..20), 0..5),
            start in any::<i32>(), step in 1_i64..1_000, n in 0_i64..50, read_at in any::<i64>(),
        ) {
            let mut outcomes: Vec<QueryOutcome> = columns
                .into_iter()
                .map(|c| outcome(c.iter().map(|p| p.0).collect(), c.iter().map(|p| f64::from_bits(p.1)).collect()))
                .collect();
            let regular = (0..n).map(|i| i64::from(start) + i * step).collect();
            outcomes.push(outcome(regular, (0..n).map(|i| i as f64).collect()));
            let bytes = encode(&outcomes, read_at).expect("encoded");
            let (at, back) = decode(&bytes).expect("decoded");
            prop_assert_eq!(at, read_at);
            let bits = |outcomes: &[QueryOutcome]| -> Vec<(Vec<i64>, Vec<u64>)> {
                outcomes
                    .iter()
                    .map(|o| match o {
                        QueryOutcome::Complete { points, .. } => {
                            (points.timestamps.clone(), points.values.iter().map(|v| v.to_bits()).collect())
                        }
                        _ => (Vec::new(), Vec::new()),
                    })
                    .collect()
            };
            prop_assert_eq!(bits(&back), bits(&outcomes));
        }

        #[test]
        fn a_damaged_file_is_not_used(cut in 0_usize..200, flip in 0_usize..200) {
            let bytes = encode(&[outcome((0..30).collect(), vec![0.5; 30])], 7).expect("encoded");
            prop_assert!(decode(&bytes[..cut.min(bytes.len() - 1)]).is_none());
            let mut flipped = bytes.clone();
            let at = flip % flipped.len();
            flipped[at] ^= 1;
            prop_assert!(decode(&flipped).is_none());
        }
    }

    #[test]
    fn old_answers_stand_when_they_were_about_settled_time() {
        let span = TimeWindow {
            start: 0,
            end: DAY_SECONDS,
        };
        let soon = DAY_SECONDS + 3_600;
        assert!(stands(span, soon, soon + FRESH_SECONDS));
        assert!(!stands(span, soon, soon + FRESH_SECONDS + 1));
        let late = span.end + SETTLED_SECONDS;
        assert!(stands(span, late, late + 300 * DAY_SECONDS));
        assert!(
            !stands(span, late, late - FRESH_SECONDS - 1),
            "not from the future"
        );
        assert!(
            stands(span, soon, soon - 2),
            "a clock that was set back a little"
        );
    }
}
