//! What accounts have spent, against what they may: from the rows of the `spend` table to a report, and to the breaches that alerts tell of.
//! Pure: nothing is read or called.

mod account;
mod budgets;
mod csv;
mod summary;
mod text;

pub use self::csv::spend_csv;
pub use account::{AccountRows, AccountSpend};
pub use budgets::{BudgetCheck, BudgetState, Threshold};
pub use summary::{SpendReport, account_rows, spend_report};
pub use text::{amount, change, sparkline, spend_text};
