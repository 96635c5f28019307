//! Which layout a lake has.

use serde::{Deserialize, Serialize};

/// The layout that this version writes, and the only one it knows.
const LAYOUT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Format {
    layout: u32,
    written_by: String,
}

/// The text of the marker.
pub fn marker() -> Vec<u8> {
    let format = Format {
        layout: LAYOUT,
        written_by: "cwlake".to_owned(),
    };
    serde_json::to_vec_pretty(&format).unwrap_or_default()
}

/// Whether a marker is one of a lake that this version may write to.
///
/// # Errors
/// Why it is not.
///
/// # Examples
/// ```
/// use cwlake::lake::format::{check, marker};
/// assert!(check(&marker()).is_ok());
/// assert!(check(b"{}").is_err());
/// ```
pub fn check(body: &[u8]) -> Result<(), String> {
    let format: Format = serde_json::from_slice(body)
        .map_err(|e| format!("it is no marker of a cwlake lake: {e}"))?;
    if format.layout == LAYOUT {
        Ok(())
    } else {
        Err(format!(
            "the lake has layout {}, and this cwlake knows layout {LAYOUT} alone",
            format.layout
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lake_of_another_layout_is_refused_with_the_reason() {
        assert_eq!(check(&marker()), Ok(()));
        let newer = br#"{"layout": 2, "written_by": "cwlake"}"#;
        assert!(check(newer).is_err_and(|e| e.contains("layout 2")));
        assert!(check(b"{}").is_err() && check(b"").is_err());
    }
}
