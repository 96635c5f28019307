//! An alert as a page for mail clients: tables and inline styles, since most take nothing else; a chart as inline SVG, with its numbers as text
//! for those that drop it; colours for light and dark.

use crate::report::printable;
use crate::spend::{AccountSpend, BudgetCheck, SpendReport, amount, sparkline};

/// Text between tags or in an attribute.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

const FONT: &str = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif";

/// Clients that know dark mode take these; the others have the inline styles, which read on white as well as on black.
const STYLE: &str = "\
:root{color-scheme:light dark;supported-color-schemes:light dark}\
@media (prefers-color-scheme:dark){\
.page{background:#15181d!important}\
.card{background:#1f242b!important;border-color:#39414c!important}\
.ink{color:#e8ebef!important}\
.soft{color:#a6b0bc!important}\
.rule{border-color:#39414c!important}\
.alarm{background:#4a1d1a!important;border-color:#ff7a6b!important}\
.hot{color:#ff8f80!important}\
.bar{fill:#7fa7d9!important}\
.barhot{fill:#ff7a6b!important}}";

/// Accounts in the table, the dearest first: a page for hundreds would be cut off by mail clients.
///
/// # Source
/// Gmail clips messages above 102 KB.
const MOST_ROWS: usize = 40;

/// The whole page.
pub(super) fn page(report: &SpendReport, breaches: &[&BudgetCheck], subject: &str) -> String {
    let mut body = String::new();
    body += &format!(
        "<p class=\"soft\" style=\"margin:0 0 4px;color:#5b6673;font-size:13px\">Spend of {}</p>\
         <h1 class=\"ink\" style=\"margin:0 0 16px;color:#1b2430;font-size:20px;line-height:1.3\">{}</h1>",
        escaped(&report.date),
        headline(breaches)
    );
    for breach in breaches {
        body += &format!(
            "<div class=\"alarm\" style=\"margin:0 0 8px;padding:10px 12px;background:#fdeceb;border-left:4px solid #c4392b;border-radius:4px\">\
             <span class=\"hot\" style=\"color:#a32a1f;font-weight:600\">{}</span><br>\
             <span class=\"ink\" style=\"color:#1b2430\">{}</span></div>",
            escaped(&breach.subject()),
            escaped(&breach.sentence(&report.date))
        );
    }
    body += &chart(report);
    body += &table(report, breaches);
    if !report.missing.is_empty() {
        body += &format!(
            "<p class=\"soft\" style=\"margin:12px 0 0;color:#5b6673;font-size:13px\">{} of {} accounts have no charges of this day yet: \
             sums are of what is known.</p>",
            report.missing.len(),
            report.accounts.len()
        );
    }
    body += &format!(
        "<p class=\"soft rule\" style=\"margin:20px 0 0;padding-top:12px;border-top:1px solid #dde2e8;color:#5b6673;font-size:12px\">\
         From AWS/Billing estimated charges in {}. Projected: the month so far, and for the days to come the mean of the last seven. \
         <code>cwlake spend --date {}</code> shows the same.</p>",
        escaped(&report.destination),
        escaped(&report.date)
    );
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"color-scheme\" content=\"light dark\"><meta name=\"supported-color-schemes\" content=\"light dark\">\
         <title>{}</title><style>{STYLE}</style></head>\
         <body class=\"page\" style=\"margin:0;padding:0;background:#f2f4f7\">\
         <table role=\"presentation\" class=\"page\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\" style=\"background:#f2f4f7\"><tr>\
         <td align=\"center\" style=\"padding:24px 12px\">\
         <table role=\"presentation\" class=\"card\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\" \
         style=\"max-width:720px;background:#ffffff;border:1px solid #dde2e8;border-radius:8px\"><tr>\
         <td style=\"padding:24px;{FONT};font-size:15px;line-height:1.5;text-align:left\">{body}</td></tr></table></td></tr></table></body></html>",
        escaped(subject)
    )
}

fn headline(breaches: &[&BudgetCheck]) -> String {
    match breaches {
        [one] => format!("{} is above its budget", escaped(&one.subject())),
        many => format!("{} budgets are breached", many.len()),
    }
}

/// Width of a day and height of the chart, pixels.
const STEP: usize = 24;
const HEIGHT: f64 = 72.0;

/// Bars of the last days over all accounts.
fn chart(report: &SpendReport) -> String {
    let values = &report.total.recent;
    let most = values.iter().flatten().copied().fold(0.0, f64::max);
    if most <= 0.0 {
        return String::new();
    }
    let mut bars = String::new();
    for (n, value) in values.iter().enumerate() {
        let height = (value.unwrap_or(0.0).max(0.0) / most * HEIGHT).max(1.0);
        let class = if n + 1 == values.len() {
            "barhot"
        } else {
            "bar"
        };
        let fill = if n + 1 == values.len() {
            "#c4392b"
        } else {
            "#4a78b0"
        };
        let label = value.map_or("not known".to_owned(), amount);
        // What is not known is a gap, not a low bar.
        if value.is_some() {
            bars += &format!(
                "<rect class=\"{class}\" x=\"{}\" y=\"{:.1}\" width=\"{}\" height=\"{height:.1}\" rx=\"2\" fill=\"{fill}\"><title>{label}</title></rect>",
                n * STEP,
                HEIGHT - height,
                STEP - 6
            );
        }
    }
    let width = values.len() * STEP - 6;
    let (low, last) = (
        values
            .iter()
            .flatten()
            .copied()
            .fold(f64::INFINITY, f64::min),
        values.last().copied().flatten(),
    );
    format!(
        "<div style=\"margin:18px 0 6px\"><svg role=\"img\" aria-label=\"Daily spend of the last {days} days\" width=\"{width}\" height=\"{HEIGHT}\" \
         viewBox=\"0 0 {width} {HEIGHT}\" xmlns=\"http://www.w3.org/2000/svg\" style=\"max-width:100%\">{bars}</svg></div>\
         <p class=\"soft\" style=\"margin:0 0 16px;color:#5b6673;font-size:13px\">{days} days, all accounts: \
         <span style=\"letter-spacing:1px\">{}</span> from {} to {} a day{}</p>",
        sparkline(values),
        amount(low),
        amount(most),
        last.map_or(String::new(), |l| format!(", {} on the last", amount(l))),
        days = values.len(),
    )
}

fn table(report: &SpendReport, breaches: &[&BudgetCheck]) -> String {
    let head = |text: &str, side: &str| {
        format!(
            "<th class=\"soft rule\" align=\"{side}\" style=\"padding:6px 8px;border-bottom:1px solid #dde2e8;color:#5b6673;font-size:12px;\
             font-weight:600;white-space:nowrap\">{text}</th>"
        )
    };
    let currency = if report.total.currency.is_empty() {
        "USD"
    } else {
        &report.total.currency
    };
    let mut rows = format!(
        "<tr>{}{}{}{}{}</tr>",
        head("Account", "left"),
        head(&format!("On the day, {}", escaped(currency)), "right"),
        head("Month to date", "right"),
        head("Projected", "right"),
        head("14 days", "left")
    );
    let is_hot = |a: &AccountSpend| {
        breaches
            .iter()
            .any(|b| b.accounts.len() == 1 && b.accounts.contains(&a.account_id))
    };
    let mut accounts: Vec<&AccountSpend> = report.accounts.iter().collect();
    accounts.sort_by(|a, b| {
        let cost = |a: &AccountSpend| a.spend.unwrap_or(f64::NEG_INFINITY);
        is_hot(b)
            .cmp(&is_hot(a))
            .then(cost(b).total_cmp(&cost(a)))
            .then(a.account_id.cmp(&b.account_id))
    });
    for account in accounts.iter().take(MOST_ROWS) {
        rows += &row(account, is_hot(account), 400);
    }
    if accounts.len() > MOST_ROWS {
        let more = accounts.len() - MOST_ROWS;
        rows += &format!(
            "<tr><td class=\"soft\" colspan=\"5\" style=\"padding:6px 8px;color:#5b6673;font-size:13px\">and {more} accounts more, each below these</td></tr>"
        );
    }
    if accounts.len() > 1 {
        let mut all = report.total.clone();
        all.account_id.clear();
        all.account_name = Some("All accounts".to_owned());
        rows += &row(&all, false, 600);
    }
    format!(
        "<table width=\"100%\" cellpadding=\"0\" cellspacing=\"0\" style=\"border-collapse:collapse;font-size:14px\">{rows}</table>"
    )
}

fn row(account: &AccountSpend, is_hot: bool, weight: u32) -> String {
    let (class, colour) = if is_hot {
        ("hot", "#a32a1f")
    } else {
        ("ink", "#1b2430")
    };
    let number = |value: Option<f64>| {
        format!(
            "<td class=\"{class} rule\" align=\"right\" style=\"padding:6px 8px;border-bottom:1px solid #eef1f4;color:{colour};font-weight:{weight};\
             font-variant-numeric:tabular-nums;white-space:nowrap\">{}</td>",
            value.map_or("&ndash;".to_owned(), amount)
        )
    };
    let name = account
        .account_name
        .as_deref()
        .unwrap_or(&account.account_id);
    let id = if account.account_name.is_some() {
        escaped(&account.account_id)
    } else {
        String::new()
    };
    format!(
        "<tr><td class=\"{class} rule\" style=\"padding:6px 8px;border-bottom:1px solid #eef1f4;color:{colour};font-weight:{weight};word-break:break-word\">{}\
         <span class=\"soft\" style=\"color:#5b6673;font-size:12px;font-weight:400\"> {id}</span></td>{}{}{}\
         <td class=\"soft rule\" style=\"padding:6px 8px;border-bottom:1px solid #eef1f4;color:#5b6673;white-space:nowrap\">{}</td></tr>",
        escaped(name),
        number(account.spend),
        number(account.month_to_date),
        number(account.projected),
        sparkline(&account.recent)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_end_a_tag() {
        assert_eq!(
            escaped("<img src=x onerror='a'>&\"\u{1b}\u{202e}\n"),
            "&lt;img src=x onerror=&#39;a&#39;&gt;&amp;&quot;\u{fffd}\u{fffd}\u{fffd}"
        );
    }
}
