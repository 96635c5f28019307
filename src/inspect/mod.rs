//! What looks and changes nothing: which accounts there are, what is selected, how whole a lake is, and whether everything is allowed.

mod accounts;
mod calendar;
mod compacted;
mod discovery;
mod doctor;
mod fault;
mod overview;
mod past;
mod series;
mod status;
mod verify;

pub use accounts::{AccountList, ListedAccount, accounts};
pub use discovery::{DiscoverReport, DiscoveredLane, DiscoveredMetric, discover};
pub use doctor::{Check, CheckState, DoctorReport, StatementToAdd, doctor};
pub use fault::Fault;
pub use overview::{Overview, RunFigures, overview};
pub use past::past_report;
pub use status::{AccountStatus, DayFigures, ShortUnit, StatusReport, TableFigures, status};
pub use verify::{Gap, VerifyReport, verify};
