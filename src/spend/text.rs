//! Charges as a table to read at a glance.

use std::fmt::Write as _;

use super::account::AccountSpend;
use super::budgets::{BudgetCheck, BudgetState, Threshold};
use super::summary::SpendReport;
use crate::report::{grouped, printable};

/// `1,234.50`.
pub fn amount(value: f64) -> String {
    let cents = (value.abs() * 100.0).round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an amount of money, far below 2^63 cents"
    )]
    let cents = cents as u64;
    let sign = if value < 0.0 && cents > 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", grouped(cents / 100), cents % 100)
}

fn optional(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), amount)
}

/// A sign a day between nothing and the greatest; a dot for what is not known.
pub fn sparkline(values: &[Option<f64>]) -> String {
    const SIGNS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().flatten().copied().fold(0.0, f64::max);
    let sign = |value: f64| {
        if most <= 0.0 {
            return SIGNS[0];
        }
        let share = (value / most).clamp(0.0, 1.0);
        let at = (0..SIGNS.len()).rev().find(|n| share * 8.0 > *n as f64);
        SIGNS[at.unwrap_or(0)]
    };
    let signs = values.iter().map(|v| v.map_or('·', sign));
    signs.collect()
}

impl BudgetCheck {
    /// What is told of it: `1,234.50 on 2026-11-20, above 1,000.00 a day`.
    pub fn sentence(&self, date: &str) -> String {
        let least = if self.partial { "at least " } else { "" };
        let days = self.trailing_days.unwrap_or(0);
        let is = match (self.actual, self.threshold) {
            (None, _) => "not known".to_owned(),
            (Some(actual), Threshold::ChangePercent) => format!("{least}{actual:+.1} %"),
            (Some(actual), _) => format!("{least}{}", amount(actual)),
        };
        let side = match self.state {
            BudgetState::Breach => "above",
            BudgetState::Ok => "within",
            BudgetState::Unknown => "to be held against",
        };
        match self.threshold {
            Threshold::Daily => format!("{is} on {date}, {side} {} a day", amount(self.limit)),
            Threshold::Month => format!(
                "{is} in the month up to {date}, {side} {}",
                amount(self.limit)
            ),
            Threshold::Projected => format!(
                "{is} projected for the month, {side} {}",
                amount(self.limit)
            ),
            Threshold::Change => format!(
                "{is} more on {date} than the mean of {days} days before, {side} {}",
                amount(self.limit)
            ),
            Threshold::ChangePercent => format!(
                "{is} on {date} against the mean of {days} days before, {side} {} %",
                self.limit
            ),
        }
    }

    fn short_limit(&self) -> String {
        match self.threshold {
            Threshold::Daily => format!("{} a day", amount(self.limit)),
            Threshold::Month => format!("{} a month", amount(self.limit)),
            Threshold::Projected => format!("{} projected", amount(self.limit)),
            Threshold::Change => format!("+{}", amount(self.limit)),
            Threshold::ChangePercent => format!("+{} %", self.limit),
        }
    }

    /// What there is of what is allowed.
    fn share(&self) -> f64 {
        match self.actual {
            Some(actual) if self.limit > 0.0 => actual / self.limit,
            Some(actual) if actual > 0.0 => f64::INFINITY,
            _ => 0.0,
        }
    }
}

/// The threshold that an account alone is nearest to, or furthest above.
fn nearest<'a>(report: &'a SpendReport, account: &AccountSpend) -> Option<&'a BudgetCheck> {
    let own = report
        .budgets
        .iter()
        .filter(|b| b.accounts.len() == 1 && b.accounts.contains(&account.account_id));
    own.max_by(|a, b| a.share().total_cmp(&b.share()))
}

/// Thresholds that are kept and shown one by one, at most.
const FEW: usize = 6;

/// A line an account, the sum, every budget, and what is missing.
pub fn spend_text(report: &SpendReport) -> String {
    let mut out = String::new();
    let name = |a: &AccountSpend| printable(a.account_name.as_deref().unwrap_or(""));
    let widest = report
        .accounts
        .iter()
        .map(|a| name(a).chars().count())
        .max();
    let widest = widest.unwrap_or(0).clamp(4, 32);
    let currency = &report.total.currency;
    let _ = writeln!(
        out,
        "charges of {} in {}, {}",
        report.date,
        if currency.is_empty() { "USD" } else { currency },
        report.destination
    );
    let _ = writeln!(
        out,
        "{:<12} {:<widest$} {:>13} {:>14} {:>14} {:>18} {:<12} last 14 days",
        "account", "name", "on the day", "month to date", "projected", "threshold", "state"
    );
    let mut line = |id: &str, name: String, a: &AccountSpend, limit: String, state: &str| {
        let name: String = name.chars().take(widest).collect();
        let _ = writeln!(
            out,
            "{id:<12} {name:<widest$} {:>13} {:>14} {:>14} {limit:>18} {state:<12} {}",
            optional(a.spend),
            optional(a.month_to_date),
            optional(a.projected),
            sparkline(&a.recent)
        );
    };
    for account in &report.accounts {
        let nearest = nearest(report, account);
        let limit = nearest.map_or("-".to_owned(), BudgetCheck::short_limit);
        let state = match (account.spend, nearest) {
            (_, Some(check)) if check.is_breached() => "BREACH",
            (Some(_), _) if account.days.is_some_and(|d| d > 1) => "several days",
            _ => account.state,
        };
        line(&account.account_id, name(account), account, limit, state);
    }
    if report.accounts.len() > 1 {
        // Held to by a budget of all: of whatever name, it is about every account.
        let of_all = report
            .budgets
            .iter()
            .filter(|b| b.account_id.is_none() && b.accounts.len() == report.accounts.len());
        let nearest = of_all.max_by(|a, b| a.share().total_cmp(&b.share()));
        let limit = nearest.map_or("-".to_owned(), BudgetCheck::short_limit);
        let state = match nearest {
            Some(check) if check.is_breached() => "BREACH",
            _ => report.total.state,
        };
        line("all", String::new(), &report.total, limit, state);
    }
    budget_lines(&mut out, report);
    missing_lines(&mut out, report);
    out
}

/// Thresholds that are passed or not known, each; those that are kept while they are few.
fn budget_lines(out: &mut String, report: &SpendReport) {
    let kept = report.budgets.iter().filter(|b| b.state == BudgetState::Ok);
    // Hundreds of accounts, each within its budget, are one line.
    let kept: Vec<&BudgetCheck> = kept.collect();
    let (few, many) = kept.split_at(if kept.len() > FEW { 0 } else { kept.len() });
    let told = report.budgets.iter().filter(|b| b.state != BudgetState::Ok);
    for check in told.chain(few.iter().copied()) {
        let word = match check.state {
            BudgetState::Ok => "ok",
            BudgetState::Breach => "BREACH",
            BudgetState::Unknown => "unknown",
        };
        let _ = writeln!(
            out,
            "  {word:<8} {}: {}",
            printable(&check.subject()),
            check.sentence(&report.date)
        );
    }
    if !many.is_empty() {
        let _ = writeln!(
            out,
            "  ok       {} thresholds more",
            grouped(many.len() as u64)
        );
    }
}

/// What is not known, and what may still change.
fn missing_lines(out: &mut String, report: &SpendReport) {
    let lacking = |state: &str| {
        report
            .accounts
            .iter()
            .filter(|a| a.spend.is_none() && a.state == state)
            .count()
    };
    if report.total.provisional {
        let _ = writeln!(
            out,
            "  note: AWS/Billing publishes for a day after the day's end: these charges of {} may still rise",
            report.date
        );
    }
    if !report.missing.is_empty() {
        let carried = lacking("carried_over");
        let _ = writeln!(
            out,
            "  missing: {} of {} accounts have no charges of {}{}",
            report.missing.len(),
            report.accounts.len(),
            report.date,
            if carried > 0 {
                format!("; of {carried} the old month's total is still published")
            } else {
                String::new()
            }
        );
        let _ = writeln!(
            out,
            "    = cwlake export --dataset spend reads them; billing alerts must be turned on in the account that pays"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_sparklines_read_well() {
        assert_eq!(
            [0.0, 1_234.5, -0.005, 1e6, -12.345].map(amount),
            ["0.00", "1,234.50", "-0.01", "1,000,000.00", "-12.35"].map(str::to_owned)
        );
        assert_eq!(
            sparkline(&[Some(0.0), Some(4.0), None, Some(8.0), Some(-1.0)]),
            "▁▄·█▁"
        );
        assert_eq!(sparkline(&[Some(0.0), None]), "▁·");
    }
}
