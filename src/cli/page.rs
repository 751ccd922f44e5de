//! A page for a browser, of text alone: its frame, and text made fit for it.

use crate::shown::shown;

const PAGE: &str = include_str!("page.html");

/// A page with this title and this markup.
pub(super) fn page(title: &str, body: &str) -> String {
    PAGE.replace("{{title}}", &html(title)).replace("{{body}}", body)
}

/// Text as text of a page.
pub(super) fn html(text: &str) -> String {
    let escapes = [('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('"', "&quot;")];
    escapes.iter().fold(shown(text), |text, (from, to)| text.replace(*from, to))
}
