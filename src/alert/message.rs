//! What an alert says: a subject, a text, an HTML page and an event. Pure.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::html;
use crate::report::printable;
use crate::spend::{BudgetCheck, SpendReport, spend_text};

/// An alert about breaches of one day.
#[derive(Clone, Debug)]
pub struct Message {
    /// One line of ASCII, at most 100 characters: what SNS takes.
    pub subject: String,
    /// For readers of plain text.
    pub text: String,
    /// For mail clients.
    pub html: String,
    /// The detail of an event.
    pub event: Value,
    /// Two alerts of the same breaches have the same.
    pub id: String,
}

/// Breaches that an event lists: it may have 256 KB.
///
/// # Source
/// `EventBridge` user guide, "Calculating `PutEvents` entry size".
const LISTED: usize = 100;

impl Message {
    /// The alert about `breaches`, some or all of those of a report.
    pub fn of(report: &SpendReport, breaches: &[&BudgetCheck]) -> Self {
        let first = breaches.first().map_or(String::new(), |b| b.subject());
        let ascii: String = printable(&first)
            .chars()
            .map(|c| {
                if c.is_ascii_graphic() || c == ' ' {
                    c
                } else {
                    '?'
                }
            })
            .take(40)
            .collect();
        let subject = match breaches.len() {
            1 => format!("cwlake: {ascii} is above its budget on {}", report.date),
            n => format!(
                "cwlake: {n} budgets breached on {}, {ascii} first",
                report.date
            ),
        };
        let mut text = format!("{subject}\n\n");
        for breach in breaches {
            let line = breach.sentence(&report.date);
            text += &format!("* {}: {line}\n", printable(&breach.subject()));
        }
        text += &format!("\n{}", spend_text(report));
        let mut hash = Sha256::new();
        for breach in breaches {
            hash.update(breach.key());
            hash.update([0]);
        }
        hash.update(&report.date);
        let id = hash
            .finalize()
            .iter()
            .take(12)
            .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        Self {
            html: html::page(report, breaches, &subject),
            event: event(report, breaches),
            subject,
            text,
            id,
        }
    }
}

fn event(report: &SpendReport, breaches: &[&BudgetCheck]) -> Value {
    let sums = json!({
        "spend": report.total.spend,
        "month_to_date": report.total.month_to_date,
        "projected": report.total.projected,
        "currency": report.total.currency,
    });
    json!({
        "date": report.date,
        "destination": report.destination,
        "breaches": breaches.iter().take(LISTED).collect::<Vec<_>>(),
        "breached": breaches.len(),
        "total": sums,
        "missing_accounts": report.missing.len(),
    })
}
