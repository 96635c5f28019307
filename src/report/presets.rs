//! The presets as a list.

use super::columns::Columns;
use super::look::Look;
use crate::config::Preset;

/// A line a preset.
pub fn presets_text(presets: &[Preset], look: &Look) -> String {
    let mut table = Columns::new(look, &["preset", "what one gets"], &["metrics"]);
    for preset in presets {
        let metrics = preset.tables.iter().map(|t| t.metrics.len()).sum::<usize>();
        table.row(&[preset.name, &preset.description], &[metrics.to_string()]);
    }
    table.text() + "cwlake presets NAME shows one, as tables of a configuration\n"
}
