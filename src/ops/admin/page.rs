//! The page at `/`: latches, links and counts as plain HTML.
//!
//! Built from the same JSON as `/status`: single values become a list, lists of objects become tables. Everything is
//! escaped; no script, nothing from another server. **Never here:** a form or a button: the page changes nothing.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::ops::health::Latch;

/// Served as `/console.css`, because the content security policy allows no inline style.
pub(super) const STYLE: &str = "\
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 0.5rem 0 1.5rem; }
th, td { text-align: left; padding: 0.25rem 1rem 0.25rem 0; border-bottom: 1px solid #8884; }
td { font-variant-numeric: tabular-nums; }
.closed { color: #c33; font-weight: 600; }
";

type Closed = Option<Arc<Cow<'static, str>>>;

pub(super) fn render(latches: &[(Latch, Closed)], status: &Value) -> String {
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta http-equiv=\"refresh\" content=\"5\"><title>Pinion</title>\
         <link rel=\"stylesheet\" href=\"/console.css\"></head><body><h1>Pinion</h1>\n",
    );
    page.push_str("<h2>Readiness</h2>\n<table><tbody>\n");
    for (latch, closed) in latches {
        let (class, text) =
            closed.as_ref().map_or(("open", "open"), |why| ("closed", why.as_ref()));
        row(&mut page, latch.label(), class, &escape(text));
    }
    page.push_str("</tbody></table>\n");
    if let Some(status) = status.as_object() {
        sections(&mut page, status);
    }
    page.push_str(
        "<p><a href=\"/status\">status</a> · <a href=\"/metrics\">metrics</a></p></body></html>\n",
    );
    page
}

fn sections(page: &mut String, status: &Map<String, Value>) {
    page.push_str("<h2>Status</h2>\n<table><tbody>\n");
    for (name, value) in status.iter().filter(|(_, v)| !v.is_array() && !v.is_object()) {
        row(page, name, "", &cell(value));
    }
    page.push_str("</tbody></table>\n");
    for (name, value) in status {
        match value {
            Value::Array(items) => {
                heading(page, name);
                table(page, items);
            }
            Value::Object(members) => {
                heading(page, name);
                page.push_str("<table><tbody>\n");
                for (name, value) in members {
                    row(page, name, "", &cell(value));
                }
                page.push_str("</tbody></table>\n");
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// Columns are the keys of the first object; an item that is no object is one cell.
fn table(page: &mut String, items: &[Value]) {
    let columns: Vec<&String> =
        items.first().and_then(Value::as_object).map(|o| o.keys().collect()).unwrap_or_default();
    page.push_str("<table><thead><tr>");
    for column in &columns {
        push(page, format_args!("<th scope=\"col\">{}</th>", escape(column)));
    }
    page.push_str("</tr></thead><tbody>\n");
    for item in items {
        page.push_str("<tr>");
        match item.as_object() {
            Some(members) => {
                for column in &columns {
                    let value = members.get(*column).map(cell).unwrap_or_default();
                    push(page, format_args!("<td>{value}</td>"));
                }
            }
            None => push(page, format_args!("<td>{}</td>", cell(item))),
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table>\n");
}

fn heading(page: &mut String, name: &str) {
    push(page, format_args!("<h2>{}</h2>\n", escape(name)));
}

fn row(page: &mut String, name: &str, class: &str, html: &str) {
    let name = escape(name);
    push(
        page,
        format_args!("<tr><th scope=\"row\">{name}</th><td class=\"{class}\">{html}</td></tr>\n"),
    );
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => escape(text),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            escape(&value.to_string())
        }
    }
}

fn push(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = page.write_fmt(text);
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}
