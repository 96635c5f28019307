//! What a command leaves to read: as JSON and as text.

mod alert;
mod columns;
mod compact;
mod ending;
mod fleet;
mod lane;
mod look;
mod plan;
mod presets;
mod remarks;
mod run;
mod run_text;
mod shard;
mod shards;
mod stored;
mod words;

pub use alert::{AlertReport, NoticeReport};
pub(crate) use columns::{Columns, Painted};
pub use compact::{CompactReport, CompactedTable, FailedCompaction, TableCompaction};
pub use fleet::{AccountReport, Detour, FleetReport, LeftOutAccount, LinkReport, SharedSeries};
pub(crate) use fleet::{close_accounts, lane_notes};
pub use lane::{Forecast, LaneReport};
pub use look::{Look, Paint};
pub use plan::plan_text;
pub use presets::presets_text;
pub(crate) use remarks::{Remarks, Subject, Told, pattern};
pub(crate) use run::is_short;
pub use run::{LISTED_REFUSALS, MessageReport, RefusedQuery, RunReport, Totals, UnitReport};
pub(crate) use run_text::FELL;
pub use shard::{ShardReport, ShardTimes};
pub use stored::unpacked;
pub use words::{counted, dollars, grouped, printable, printable_lines, size};
