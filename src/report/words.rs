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

/// `one account`, `12 accounts`.
pub fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("one {what}"),
        many => format!("{} {what}s", grouped(many as u64)),
    }
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
    fn hostile_names_cannot_drive_a_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\n"), "a\u{fffd}[31mb\u{fffd}");
        assert_eq!(printable("a\u{202e}b"), "a\u{fffd}b");
    }
}
