//! The simulator's admin port, JSON over HTTP:
//!
//! - `GET /state` — every card with its PIN and changes, remembered reversals, keys, counters of each node;
//!   `?touched=true` leaves out cards nobody asked about.
//! - `GET /cards/{pan}` — one card.
//! - `POST /faults` — what nodes do wrong from now on, see [`FaultRules`]; `{}` clears.
//! - `POST /nodes/{n}/stop`, `POST /nodes/{n}/start` — closes a node's listener and connections, and opens it again.
//! - `POST /rekey` — `{"node": 1, "wrong_check_value": false}`: pushes a new zone key on a signed-on connection.
//! - `POST /reset` — counters to zero.
//!
//! It shows PINs, because its cards are test cards: keep it on loopback. **Never here:** what a fault does.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::sim::postilion::core::{Counters, Push};
use crate::sim::postilion::fault::FaultRules;
use crate::sim::postilion::shared::Shared;
use crate::sim::postilion::view;

/// How long a pushed key may wait for its answer.
const PUSH_WAIT: Duration = Duration::from_secs(10);
/// Bytes of a body.
const BODY_MAX: usize = 64 * 1024;

/// Its routes.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/state", get(state))
        .route("/cards/{pan}", get(card))
        .route("/faults", post(faults))
        .route("/nodes/{node}/stop", post(stop))
        .route("/nodes/{node}/start", post(start))
        .route("/rekey", post(rekey))
        .route("/reset", post(reset))
        .fallback(async || failed(StatusCode::NOT_FOUND, "no such path"))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(shared)
}

fn failed(code: StatusCode, why: impl Into<String>) -> Response {
    let why: String = why.into();
    (code, Json(json!({ "error": why }))).into_response()
}

fn done(body: Value) -> Response {
    Json(body).into_response()
}

/// What `/state` may be asked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    touched: bool,
}

async fn state(State(shared): State<Arc<Shared>>, Query(wanted): Query<Wanted>) -> Response {
    let places = view::places(&shared);
    let core = shared.core();
    Json(view::state(&core, &places, wanted.touched)).into_response()
}

async fn card(State(shared): State<Arc<Shared>>, Path(pan): Path<String>) -> Response {
    let core = shared.core();
    match core.book.card(&pan) {
        Some(card) => done(view::card(&core.book, card)),
        None => failed(StatusCode::NOT_FOUND, "no such card"),
    }
}

/// Reads a body; none is the same as `{}`.
fn body<T: Default + for<'de> Deserialize<'de>>(bytes: &Bytes) -> Result<T, Box<Response>> {
    if bytes.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(bytes)
        .map_err(|e| Box::new(failed(StatusCode::BAD_REQUEST, e.to_string())))
}

async fn faults(State(shared): State<Arc<Shared>>, bytes: Bytes) -> Response {
    let rules: FaultRules = match body(&bytes) {
        Ok(rules) => rules,
        Err(answer) => return *answer,
    };
    match shared.core().tell(&rules) {
        Ok(()) => done(json!({ "ok": true })),
        Err(error) => failed(StatusCode::BAD_REQUEST, error.to_string()),
    }
}

/// The index of node `number`, which counts from 1.
fn index(shared: &Shared, number: usize) -> Result<usize, Box<Response>> {
    let nodes = shared.addresses().count();
    let no_such = || {
        let why = format!("no node {number}: there are {nodes}, counted from 1");
        Box::new(failed(StatusCode::NOT_FOUND, why))
    };
    number.checked_sub(1).filter(|index| *index < nodes).ok_or_else(no_such)
}

async fn stop(State(shared): State<Arc<Shared>>, Path(number): Path<usize>) -> Response {
    match index(&shared, number) {
        Ok(index) => {
            shared.stop(index).await;
            done(json!({ "node": number, "up": false }))
        }
        Err(answer) => *answer,
    }
}

async fn start(State(shared): State<Arc<Shared>>, Path(number): Path<usize>) -> Response {
    let index = match index(&shared, number) {
        Ok(index) => index,
        Err(answer) => return *answer,
    };
    match shared.start(index).await {
        Ok(()) => done(json!({ "node": number, "up": true })),
        Err(error) => failed(StatusCode::CONFLICT, error.to_string()),
    }
}

/// What `/rekey` is told.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Rekey {
    node: Option<usize>,
    wrong_check_value: bool,
}

async fn rekey(State(shared): State<Arc<Shared>>, bytes: Bytes) -> Response {
    let told: Rekey = match body(&bytes) {
        Ok(told) => told,
        Err(answer) => return *answer,
    };
    let wanted = match told.node.map(|number| index(&shared, number)).transpose() {
        Ok(index) => index,
        Err(answer) => return *answer,
    };
    let line = {
        let core = shared.core();
        let mut nodes = core.nodes.iter().enumerate();
        nodes.find_map(|(index, node)| {
            let (_, line) = node.lines.first()?;
            wanted.is_none_or(|wanted| wanted == index).then(|| (index, line.clone()))
        })
    };
    let Some((index, line)) = line else {
        return failed(StatusCode::CONFLICT, "no connection is signed on");
    };
    let (done_with, answered) = oneshot::channel();
    let push = Push { wrong_check_value: told.wrong_check_value, done: done_with };
    if line.try_send(push).is_err() {
        return failed(StatusCode::CONFLICT, "the connection is closing, or has keys waiting");
    }
    match timeout(PUSH_WAIT, answered).await {
        Ok(Ok(pushed)) => done(json!({
            "node": index + 1,
            "code": pushed.code,
            "check_value": hex::encode_upper(pushed.check_value),
        })),
        Ok(Err(_)) | Err(_) => failed(StatusCode::GATEWAY_TIMEOUT, "the peer did not answer"),
    }
}

async fn reset(State(shared): State<Arc<Shared>>) -> Response {
    for node in &mut shared.core().nodes {
        node.counters = Counters::default();
    }
    done(json!({ "ok": true }))
}
