//! The documentation as it is served: the OpenAPI document, and one page to read it, with everything it needs.
//!
//! **Never here:** anything from another host: the page's policy forbids it, and a test looks for addresses.

use std::sync::LazyLock;

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::http::openapi;

const PAGE: &str = include_str!("docs/page.html");
const SCRIPT: &str = include_str!("docs/page.js");
const STYLE: &str = include_str!("docs/page.css");

/// Nothing is loaded from elsewhere, framed or sniffed.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
];

fn serve(content_type: &'static str, body: &'static str) -> Response {
    (HEADERS, [(header::CONTENT_TYPE, content_type)], body).into_response()
}

pub(super) async fn openapi() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(|| openapi::document().to_string());
    serve("application/json", &TEXT)
}

pub(super) async fn page() -> Response {
    serve("text/html; charset=utf-8", PAGE)
}

pub(super) async fn script() -> Response {
    serve("text/javascript; charset=utf-8", SCRIPT)
}

pub(super) async fn style() -> Response {
    serve("text/css; charset=utf-8", STYLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_from_elsewhere_or_from_a_string() {
        for text in [PAGE, SCRIPT, STYLE] {
            for banned in ["http:", "https:", "//cdn", "innerHTML", "eval(", "style=", "onclick"] {
                assert!(!text.contains(banned), "{banned}");
            }
        }
        assert!(!PAGE.contains("<script>"), "the policy forbids scripts in the page");
    }
}
