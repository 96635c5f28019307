//! Answers that broke off, or that have no list, are no answers: an account whose list did not arrive is not an empty one.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// Refuses a successful answer in XML whose root element is not closed: the SDK's own reader takes what was read until then for all of it.
#[derive(Debug)]
pub(super) struct WholeXml;

#[dyn_dispatch_hint]
impl Intercept for WholeXml {
    fn name(&self) -> &'static str {
        "WholeXml"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        let body = response.body().bytes().unwrap_or_default();
        if response.status().is_success() && is_cut(body) {
            return Err("the answer breaks off before its end".into());
        }
        Ok(())
    }
}

/// Whether a body begins as XML and does not end with the closing tag of its root.
pub(crate) fn is_cut(body: &[u8]) -> bool {
    let body = body.trim_ascii();
    if !body.starts_with(b"<") {
        return false;
    }
    let Some(rest) = after_prolog(body) else {
        return true;
    };
    let name_end = rest.iter().position(|b| b" \t\r\n/>".contains(b));
    let name = &rest[..name_end.unwrap_or(rest.len())];
    let closing = [b"</", name, b">"].concat();
    let opening_ends = rest.iter().position(|b| *b == b'>');
    let is_empty_element =
        opening_ends.is_some_and(|at| at + 1 == rest.len() && rest[..at].ends_with(b"/"));
    !(body.ends_with(&closing) || is_empty_element)
}

/// What follows the `<` of the root element.
fn after_prolog(mut body: &[u8]) -> Option<&[u8]> {
    loop {
        let rest = body.trim_ascii_start().strip_prefix(b"<")?;
        if !rest.starts_with(b"?") && !rest.starts_with(b"!") {
            return Some(rest);
        }
        let end = rest.iter().position(|b| *b == b'>')?;
        body = &rest[end + 1..];
    }
}

/// Passes on a page that has its list; one without is asked for again.
///
/// # Errors
/// An [`SdkError`] that the retry layer takes for a passing fault.
#[expect(clippy::result_large_err, reason = "the SDK's own error")]
pub fn listed<T, E>(page: T, has_list: bool) -> Result<T, SdkError<E, HttpResponse>> {
    if has_list {
        Ok(page)
    } else {
        Err(SdkError::construction_failure("the answer has no list"))
    }
}

#[cfg(test)]
mod tests {
    use super::is_cut;

    #[test]
    fn an_answer_is_whole_with_the_closing_tag_of_its_root() {
        let whole = "<?xml version=\"1.0\"?>\n<R xmlns=\"x\"><A>1</A></R>\n";
        assert!(!is_cut(whole.as_bytes()));
        for end in 1..whole.trim_end().len() {
            assert!(is_cut(&whole.as_bytes()[..end]), "{}", &whole[..end]);
        }
        for whole in [
            "",
            "{}",
            "<R/>",
            "<R a='b' />",
            "<!-- x --><R></R>",
            "<R >1</R>",
        ] {
            assert!(!is_cut(whole.as_bytes()), "{whole}");
        }
        for cut in ["<", "<>", "<R", "<R>", "<R/", "<A/><R>", "<R><B></B>"] {
            assert!(is_cut(cut.as_bytes()), "{cut}");
        }
    }
}
