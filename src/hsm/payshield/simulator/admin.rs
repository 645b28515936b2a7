//! The admin port of a simulated device, JSON over HTTP:
//!
//! - `GET /state` — how many frames came, how many writes their answers took, how many connections were too many.
//! - `POST /faults` — what it does wrong from now on, see [`FaultRules`]; `{}` clears.
//!
//! **Never here:** what a fault does.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::hsm::payshield::simulator::fault::FaultRules;
use crate::hsm::payshield::simulator::server::Shared;

/// Bytes of a body.
const BODY_MAX: usize = 16 * 1024;

/// Its routes.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/state", get(state))
        .route("/faults", post(faults))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(shared)
}

async fn state(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({
        "commands": shared.commands.load(Ordering::Relaxed),
        "writes": shared.writes.load(Ordering::Relaxed),
        "refused": shared.refused.load(Ordering::Relaxed),
    }))
}

async fn faults(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let refused =
        |why: String| (StatusCode::BAD_REQUEST, Json(json!({ "error": why }))).into_response();
    let text: &[u8] = if body.is_empty() { b"{}" } else { &body };
    match serde_json::from_slice::<FaultRules>(text) {
        Err(error) => refused(error.to_string()),
        Ok(rules) => match shared.tell(rules) {
            Err(error) => refused(error.to_string()),
            Ok(()) => Json(json!({ "ok": true })).into_response(),
        },
    }
}
