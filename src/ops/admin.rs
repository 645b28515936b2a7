//! The admin endpoints, for operators and their tools:
//!
//! - `GET /` — a page with the links and counts, for a browser.
//! - `GET /live` — 200 while the process answers.
//! - `GET /metrics` — all metrics, for Prometheus.
//! - `GET /ready` — 200 when work may be sent here, else 503; which latches are closed and why.
//! - `GET /status` — the state of the switch as JSON.
//! - `/admin/...` — the few things an operator may do, from this machine only: see `control`.
//!
//! No authentication: configuration keeps the listener on loopback unless told otherwise. **Never here:** card data;
//! the provider of the status has none. Where next: `health` for the latches, `metrics` for the catalogue, `page` for
//! the HTML, `listener` for the bounds.

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::ops::health::Readiness;
use crate::ops::metrics::Metrics;

mod control;
mod listener;
mod page;

pub use control::{Act, ActRefused, Control};

/// Gives the state of the switch: a JSON object, whose `links` is a list of objects. Called once a request to `/status`
/// or `/`, on a runtime thread: it must not block.
pub type StatusProvider = dyn Fn() -> Value + Send + Sync;

/// What the endpoints show.
#[derive(Clone)]
pub struct Admin {
    metrics: Metrics,
    readiness: Arc<Readiness>,
    status: Arc<StatusProvider>,
    control: Option<Arc<dyn Control>>,
}

impl Admin {
    /// Puts the endpoints together.
    #[must_use]
    pub fn new(metrics: Metrics, readiness: Arc<Readiness>, status: Arc<StatusProvider>) -> Self {
        Self { metrics, readiness, status, control: None }
    }

    /// Lets an operator do what `control` can.
    #[must_use]
    pub fn with_control(mut self, control: Arc<dyn Control>) -> Self {
        self.control = Some(control);
        self
    }

    /// Serves them on `listener` until `stop` completes. Connections are bounded (`limits::ADMIN_CONNECTIONS_MAX`).
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let listener = listener::Bounded::new(listener);
        let service = self.router().into_make_service_with_connect_info::<control::Peer>();
        let server = IntoFuture::into_future(axum::serve(listener, service));
        // Without waiting for open connections: an idle scraper must not hold up the end.
        tokio::select! {
            () = stop => {}
            ended = server => drop(ended),
        }
    }

    fn router(self) -> Router {
        Router::new()
            .route("/", get(console))
            .route("/console.css", get(stylesheet))
            .route("/live", get(live))
            .route("/metrics", get(metrics))
            .route("/ready", get(ready))
            .route("/status", get(status))
            .merge(control::routes())
            .fallback(not_found)
            .method_not_allowed_fallback(method_not_allowed)
            .with_state(self)
    }
}

/// Headers of every answer: nothing is cached, framed, sniffed, or loaded from elsewhere.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
        ),
    ),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
];

fn answer(code: StatusCode, body: &Value) -> Response {
    (code, HEADERS, Json(body)).into_response()
}

fn text(content_type: &'static str, body: impl IntoResponse) -> Response {
    (HEADERS, [(header::CONTENT_TYPE, content_type)], body).into_response()
}

async fn live() -> Response {
    answer(StatusCode::OK, &json!({ "live": true }))
}

async fn ready(State(admin): State<Admin>) -> Response {
    let ready = admin.readiness.is_ready();
    let mut body = json!({ "ready": ready, "latches": {}});
    for (latch, closed) in admin.readiness.latches() {
        body["latches"][latch.label()] = closed.map_or_else(|| json!("open"), |why| json!(**why));
    }
    answer(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &body)
}

async fn status(State(admin): State<Admin>) -> Response {
    answer(StatusCode::OK, &(admin.status)())
}

async fn metrics(State(admin): State<Admin>) -> Response {
    // On a thread of its own: rendering many series would hold up requests.
    match tokio::task::spawn_blocking(move || admin.metrics.render()).await {
        Ok(body) => text("text/plain; version=0.0.4; charset=utf-8", body),
        Err(_) => {
            answer(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "error": "rendering failed" }))
        }
    }
}

async fn console(State(admin): State<Admin>) -> Response {
    let latches = admin.readiness.latches();
    text("text/html; charset=utf-8", page::render(&latches, &(admin.status)()))
}

async fn stylesheet() -> Response {
    text("text/css; charset=utf-8", page::STYLE)
}

async fn not_found() -> Response {
    let body = json!({
        "error": "no such path",
        "paths": ["/", "/live", "/metrics", "/ready", "/status", "/admin/unsettled"],
    });
    answer(StatusCode::NOT_FOUND, &body)
}

async fn method_not_allowed() -> Response {
    answer(StatusCode::METHOD_NOT_ALLOWED, &json!({ "error": "not by this method" }))
}

#[cfg(test)]
mod tests;
