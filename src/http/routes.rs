//! Which path leads where: the endpoints of the doors, the documentation, and what is answered elsewhere.
//!
//! **Never here:** what happens at an endpoint (`request`).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::RawPathParams;
use axum::extract::rejection::RawPathParamsRejection;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use serde_json::json;

use crate::http::door::Door;
use crate::http::server::Http;
use crate::http::{docs, request};
use crate::switch::Parts;

/// The parts of a path, or that they are no text.
type Parameters = Result<RawPathParams, RawPathParamsRejection>;

/// All paths of the listener.
pub(super) fn router<P: Parts>(http: &Arc<Http<P>>) -> Router {
    let mut paths = BTreeMap::new();
    for door in Door::ALL {
        paths.extend(door.shapes().endpoints().iter().map(|endpoint| (endpoint.path, door)));
    }
    let mut router = Router::new()
        .route("/openapi.json", get(docs::openapi))
        .route("/docs", get(docs::page))
        .route("/docs/page.css", get(docs::style))
        .route("/docs/page.js", get(docs::script));
    for (path, door) in paths {
        let http = Arc::clone(http);
        // Every method comes here, so that one that is not there is refused in the door's shape.
        let serve = move |path: Parameters, request: Request<Body>| {
            let http = Arc::clone(&http);
            async move { request::serve(&http, door, path.as_ref().ok(), request).await }
        };
        router = router.route(path, any(serve));
    }
    router.fallback(not_found).method_not_allowed_fallback(method_not_allowed)
}

async fn not_found() -> Response {
    plain(StatusCode::NOT_FOUND, "no such path: see /docs")
}

async fn method_not_allowed() -> Response {
    plain(StatusCode::METHOD_NOT_ALLOWED, "not by this method: see /docs")
}

fn plain(status: StatusCode, error: &str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, json!({ "error": error }).to_string()).into_response()
}
