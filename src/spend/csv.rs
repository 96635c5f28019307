//! Charges as comma-separated values, for spreadsheets.

use super::summary::SpendReport;
use super::text::standing;
use crate::report::printable;

const HEAD: [&str; 11] = [
    "date",
    "account_id",
    "account_name",
    "currency",
    "spend",
    "days",
    "month_to_date",
    "projected",
    "threshold",
    "state",
    "provisional",
];

/// A line an account, the dearest first.
///
/// # Source
/// RFC 4180, but lines end as everywhere else.
pub fn spend_csv(report: &SpendReport) -> String {
    let mut csv = csv::Writer::from_writer(Vec::new());
    // Memory takes whatever is written to it.
    let _ = csv.write_record(HEAD);
    let number = |n: Option<f64>| n.map_or(String::new(), |n| n.to_string());
    for account in &report.accounts {
        let standing = standing(report, account);
        let _ = csv.write_record([
            &report.date,
            &account.account_id,
            &as_text(account.account_name.as_deref().unwrap_or("")),
            &account.currency,
            &number(account.spend),
            &account.days.map_or(String::new(), |n| n.to_string()),
            &number(account.month_to_date),
            &number(account.projected),
            &standing.limit,
            &standing.state,
            &account.provisional.to_string(),
        ]);
    }
    let bytes = csv.into_inner().unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Names come from others' accounts: one that a spreadsheet would take for a formula is marked as text.
///
/// # Source
/// OWASP, "CSV Injection".
fn as_text(name: &str) -> String {
    let name = printable(name);
    if name.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{name}")
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::as_text;

    #[test]
    fn names_are_no_formulas() {
        assert_eq!(as_text("=HYPERLINK(\"x\")"), "'=HYPERLINK(\"x\")");
        assert_eq!(as_text("shop"), "shop");
    }
}
