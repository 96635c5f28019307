//! Charges as a table to read at a glance.

use std::fmt::Write as _;

use super::account::AccountSpend;
use super::budgets::{BudgetCheck, BudgetState, Threshold};
use super::summary::{ALL, SpendReport};
use crate::report::{Columns, Look, Paint, Painted, counted, grouped, printable};

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

/// `+12.3 %`; of what was nothing before only the difference.
pub fn change(now: f64, before: f64) -> String {
    if before > 0.0 {
        format!("{:+.1} %", (now / before - 1.0) * 100.0)
    } else if now >= before {
        format!("+{}", amount(now - before))
    } else {
        amount(now - before)
    }
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

    /// `30.00 a day`.
    pub(crate) fn short_limit(&self) -> String {
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

/// The threshold that an account alone, or all together, is nearest to, or furthest above.
fn nearest<'a>(report: &'a SpendReport, account: &AccountSpend) -> Option<&'a BudgetCheck> {
    let is_all = account.account_id == ALL;
    let of_one =
        |b: &BudgetCheck| b.accounts.len() == 1 && b.accounts.contains(&account.account_id);
    let is_own = |b: &&BudgetCheck| b.is_of_all == is_all && (is_all || of_one(b));
    let own = report.budgets.iter().filter(is_own);
    own.max_by(|a, b| a.share().total_cmp(&b.share()))
}

/// What a line is held to, and how it stands.
pub(super) struct Standing {
    /// `30.00 a day`, of the threshold it is nearest to or furthest above.
    pub(super) limit: String,
    pub(super) state: String,
}

impl Standing {
    fn of(nearest: Option<&BudgetCheck>, account: &AccountSpend) -> Self {
        let state = match (account.spend, nearest) {
            (_, Some(check)) if check.is_breached() => BREACH,
            (Some(_), _) if account.days.is_some_and(|d| d > 1) => "several days",
            _ => account.state,
        };
        Self {
            limit: nearest.map_or("-".to_owned(), BudgetCheck::short_limit),
            state: state.to_owned(),
        }
    }
}

/// How an account, or all together, stands.
pub(super) fn standing(report: &SpendReport, account: &AccountSpend) -> Standing {
    Standing::of(nearest(report, account), account)
}

impl SpendReport {
    /// The limit that an account, or all together, is nearest to or furthest above: `30.00 a day`.
    pub(crate) fn limit_of(&self, account: &AccountSpend) -> String {
        standing(self, account).limit
    }
}

/// Its state, as the table of `cwlake spend` has it.
const BREACH: &str = "BREACH";

/// Columns that a screen needs for the charges of each day.
const WIDE: usize = 110;

/// Columns without which the last number is left out.
const TIGHT: usize = 70;

/// Thresholds that are kept and shown one by one, at most.
const FEW: usize = 6;

/// A line an account, the dearest first, the sum, every budget, and what is missing.
pub fn spend_text(report: &SpendReport, look: &Look) -> String {
    let (currency, lake) = (report.currency(), printable(&report.destination));
    let mut out = format!("charges of {} in {currency}, {lake}\n", report.date);
    let is_narrow = look.width.is_some_and(|width| width < WIDE);
    let texts: &[&str] = if is_narrow {
        &["account", "state"]
    } else {
        &["account", "state", "last 14 days"]
    };
    let numbers = ["on the day", "threshold", "month", "projected"];
    // A very narrow screen has no room for a forecast.
    let shown = if look.width.is_some_and(|width| width < TIGHT) {
        3
    } else {
        4
    };
    let mut table = Columns::new(look, texts, &numbers[..shown]);
    table.keep(1);
    let mut line = |name: &str, account: &AccountSpend| {
        let standing = standing(report, account);
        let chart = sparkline(&account.recent);
        let numbers = [
            optional(account.spend),
            standing.limit.clone(),
            optional(account.month_to_date),
            optional(account.projected),
        ];
        let paint = match standing.state.as_str() {
            BREACH => Some(Paint::Red),
            "ok" => None,
            _ => Some(Paint::Yellow),
        };
        let texts = [
            name.into(),
            Painted(&standing.state, paint),
            chart.as_str().into(),
        ];
        table.painted_row(&texts[..if is_narrow { 2 } else { 3 }], &numbers[..shown]);
    };
    for account in &report.accounts {
        if is_narrow {
            line(account.shown(), account);
        } else {
            line(&account.named(), account);
        }
    }
    if report.accounts.len() > 1 {
        line("all", &report.total);
    }
    out += &table.text();
    budget_lines(&mut out, report, look);
    missing_lines(&mut out, report);
    out
}

/// Thresholds that are passed or not known, each; those that are kept while they are few.
fn budget_lines(out: &mut String, report: &SpendReport, look: &Look) {
    let kept = report.budgets.iter().filter(|b| b.state == BudgetState::Ok);
    // Hundreds of accounts, each within its budget, are one line.
    let kept: Vec<&BudgetCheck> = kept.collect();
    let (few, many) = kept.split_at(if kept.len() > FEW { 0 } else { kept.len() });
    let unknown = report
        .budgets
        .iter()
        .filter(|b| b.state == BudgetState::Unknown);
    let told = report.breaches().into_iter().chain(unknown);
    for check in told.chain(few.iter().copied()) {
        let (word, paint) = match check.state {
            BudgetState::Ok => ("ok      ", Paint::Green),
            BudgetState::Breach => ("BREACH  ", Paint::Red),
            BudgetState::Unknown => ("unknown ", Paint::Yellow),
        };
        let _ = writeln!(
            out,
            "  {} {}: {}",
            look.painted(paint, word),
            printable(&check.subject()),
            check.sentence(&report.date)
        );
    }
    if !many.is_empty() {
        let _ = writeln!(out, "  ok       {} more", counted(many.len(), "threshold"));
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
