//! Runs on their way from one merge to the next: written once, read once, and never kept.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::files::{create_file, create_folder, open_own};
use crate::framing::{Reader, put_len, put_points, put_text};
use crate::model::{
    AccountId, Lane, MetricId, Period, QueryPoints, Region, Series, Statistic, Timestamps,
    parse_dimensions_key,
};
use crate::normalize::{RunIdentity, RunOwner};

/// A run with whose it is.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) owner: Arc<RunOwner>,
    pub(super) identity: Arc<RunIdentity>,
    pub(super) timestamps: Timestamps,
    pub(super) values: Vec<f64>,
}

/// Bytes that are read or written at once; hundreds of files are open.
const BUFFER: usize = 64 << 10;

/// Runs to disk.
pub(super) struct SpillWriter {
    path: PathBuf,
    out: BufWriter<File>,
    frame: Vec<u8>,
}

impl SpillWriter {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            create_folder(folder)?;
        }
        Ok(Self {
            path: path.to_owned(),
            out: BufWriter::with_capacity(BUFFER, create_file(path)?),
            frame: Vec::new(),
        })
    }

    pub(super) fn write(&mut self, run: &Run) -> io::Result<()> {
        self.frame.clear();
        let out = &mut self.frame;
        let (owner, identity) = (&run.owner, &run.identity);
        let metric = &identity.series.metric;
        for text in [
            owner.lane.account.as_str(),
            owner.lane.region.as_str(),
            metric.namespace(),
            metric.metric_name(),
            metric.dimensions_key(),
            identity.statistic.as_str(),
        ] {
            put_text(out, text);
        }
        for text in [&owner.account_name, &identity.unit] {
            out.push(u8::from(text.is_some()));
            put_text(out, text.as_deref().unwrap_or_default());
        }
        out.extend(identity.series.id.to_le_bytes());
        put_len(out, identity.period.seconds() as usize);
        put_points(out, (&run.timestamps, &run.values));
        self.out.write_all(&(out.len() as u64).to_le_bytes())?;
        self.out.write_all(out)
    }

    pub(super) fn finish(mut self) -> io::Result<PathBuf> {
        self.out.flush()?;
        Ok(self.path)
    }
}

/// Runs from disk, in the order in which they were written.
pub(super) struct SpillReader {
    from: BufReader<File>,
    frame: Vec<u8>,
    last: Option<Shared>,
}

/// What the next run may share with the one before.
type Shared = (Arc<RunOwner>, Arc<RunIdentity>);

impl SpillReader {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            from: BufReader::with_capacity(BUFFER, open_own(path)?),
            frame: Vec::new(),
            last: None,
        })
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Run>> {
        let mut length = [0; 8];
        match self.from.read_exact(&mut length) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let length = usize::try_from(u64::from_le_bytes(length)).map_err(io::Error::other)?;
        self.frame.resize(length, 0);
        self.from.read_exact(&mut self.frame)?;
        let run = parse(&self.frame, self.last.as_ref()).ok_or_else(|| {
            io::Error::other("points on their way were not read as they were written")
        })?;
        self.last = Some((Arc::clone(&run.owner), Arc::clone(&run.identity)));
        Ok(Some(run))
    }
}

fn parse(frame: &[u8], last: Option<&Shared>) -> Option<Run> {
    let mut reader = Reader(frame);
    let (account, region) = (reader.text()?, reader.text()?);
    let (namespace, name, key) = (reader.text()?, reader.text()?, reader.text()?);
    let stat = reader.text()?;
    let mut optional = || {
        let is_some = reader.take(1)? == [1];
        let text = reader.text()?;
        Some(is_some.then_some(text))
    };
    let (account_name, unit) = (optional()?, optional()?);
    let (id, period) = (reader.i64()?, reader.len()?);
    let QueryPoints { timestamps, values } = reader.points()?;
    let owner = last.map(|(owner, _)| owner).filter(|owner| {
        owner.lane.account.as_str() == account
            && owner.lane.region.as_str() == region
            && owner.account_name.as_deref() == account_name
    });
    let owner = match owner {
        Some(owner) => Arc::clone(owner),
        None => Arc::new(RunOwner {
            lane: Lane {
                account: AccountId::parse(account)?,
                region: Region::parse(region)?,
            },
            account_name: account_name.map(Arc::from),
        }),
    };
    let metric = last
        .map(|(_, identity)| &identity.series.metric)
        .filter(|metric| {
            metric.dimensions_key() == key
                && metric.metric_name() == name
                && metric.namespace() == namespace
        });
    let metric = match metric {
        Some(metric) => metric.clone(),
        None => MetricId::new(namespace, name, parse_dimensions_key(key)?),
    };
    let identity = RunIdentity {
        series: Series { metric, id },
        statistic: Statistic::parse(stat).ok()?,
        period: Period::new(u32::try_from(period).ok()?)?,
        unit: unit.map(Arc::from),
    };
    Some(Run {
        owner,
        identity: Arc::new(identity),
        timestamps,
        values,
    })
}
