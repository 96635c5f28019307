//! Numbers and names as people read them.

/// Names come from AWS: no control character of theirs reaches a terminal.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if drives(c) { '\u{fffd}' } else { c })
        .collect()
}

/// The same of a text of several lines. Every text goes through here on its way to a terminal: whatever a lake or an answer holds, it drives
/// nothing.
pub fn printable_lines(text: &str) -> String {
    text.chars()
        .map(|c| {
            if drives(c) && c != '\n' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// Control characters, and marks that turn the direction of what follows or hide in it.
fn drives(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// `1 account`, `12 accounts`.
pub fn counted(count: impl TryInto<u64>, what: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    format!(
        "{} {what}{}",
        grouped(count),
        if count == 1 { "" } else { "s" }
    )
}

/// `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `$1,234.50`; less than a cent is not nothing: `$0.0002`.
pub fn dollars(amount: f64) -> String {
    let digits = match amount.abs() {
        0.000_000_5..0.000_1 => 6,
        0.000_1..0.01 => 4,
        _ => 2,
    };
    let text = format!("{:.digits$}", amount.abs());
    let (whole, part) = text.split_once('.').unwrap_or((&text, "00"));
    let sign = if amount < 0.0 { "-" } else { "" };
    format!("{sign}${}.{part}", grouped(whole.parse().unwrap_or(0)))
}

/// `1.2 MiB`.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1_024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            ["0", "999", "1,000", "11,520,000"],
            [0, 999, 1_000, 11_520_000]
                .map(grouped)
                .each_ref()
                .map(String::as_str)
        );
        assert_eq!(
            [size(10), size(2_048), size(3 << 20)],
            ["10 B", "2.0 KiB", "3.0 MiB"]
        );
    }

    #[test]
    fn less_than_a_cent_is_not_nothing() {
        assert_eq!(
            [0.0, 0.000_2, 0.000_01, 0.126, 1_234.5, -3.0].map(dollars),
            [
                "$0.00",
                "$0.0002",
                "$0.000010",
                "$0.13",
                "$1,234.50",
                "-$3.00"
            ]
        );
    }

    #[test]
    fn hostile_names_cannot_drive_a_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\n"), "a\u{fffd}[31mb\u{fffd}");
        assert_eq!(printable("a\u{202e}b"), "a\u{fffd}b");
    }
}
