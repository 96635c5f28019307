//! Chains of errors: what lies below one.

use std::error::Error;

/// The texts of all errors below one, each once: the SDK's outermost says only that something went wrong.
pub(super) fn all_below(error: &dyn Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut current = error.source();
    while let Some(error) = current {
        let text = error.to_string();
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        current = error.source();
    }
    if texts.is_empty() {
        texts.push(error.to_string());
    }
    texts.join(": ")
}

/// An error of this kind in a chain.
pub(super) fn below<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        current = error.source();
    }
    None
}

/// The text of the last error in a chain: the SDK's outer layers only say "an error occurred".
pub(super) fn innermost(error: &dyn Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
