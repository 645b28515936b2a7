//! What an operator may do to a running switch over the admin port, and from where.
//!
//! - `GET /admin/unsettled` — changes whose outcome at a host is unknown; `GET /admin/unsettled/KEY` one of them.
//! - `POST /admin/unsettled/KEY/settle` — settles one by hand: `{"by": ..., "reason": ...}` goes into the audit.
//! - `POST /admin/hosts/NAME/drain`, `.../resume`, `.../exchange-key` — takes a node out of service, brings it back,
//!   asks it for a new zone key.
//! - `POST /admin/hsm/NAME/drain`, `.../resume` — the same with a device of the HSM; the last one needs
//!   `{"force": true}`.
//!
//! Only connections from this machine get that far, only with a `Host` of this machine and a JSON body, so that no page
//! in a browser can ask for it. **Never here:** how it is done: that is [`Control`]'s.

use axum::Router;
use axum::body::Bytes;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::limits::{ADMIN_BODY_BYTES_MAX, SETTLE_REASON_BYTES_MAX};
use crate::ops::admin::listener::Bounded;
use crate::ops::admin::{Admin, answer};

/// One thing an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Give a node no new requests.
    Drain {
        /// Its name.
        host: String,
    },
    /// Give a device of the HSM no new commands.
    DrainDevice {
        /// Its name.
        device: String,
        /// Also if no other takes commands.
        force: bool,
    },
    /// Ask a node for a new zone key.
    ExchangeKey {
        /// Its name.
        host: String,
    },
    /// Tell the changes whose outcome is unknown.
    ListUnsettled,
    /// Give a node requests again.
    Resume {
        /// Its name.
        host: String,
    },
    /// Give a device of the HSM commands again.
    ResumeDevice {
        /// Its name.
        device: String,
    },
    /// End an unsettled change without a host.
    Settle {
        /// Its key: 32 hex digits.
        key: String,
        /// Who says so, and why.
        reason: String,
    },
    /// Tell one unsettled change.
    ShowUnsettled {
        /// Its key: 32 hex digits.
        key: String,
    },
}

/// Why it was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ActRefused {
    /// It cannot be done now.
    #[error("{0}")]
    Failed(String),
    /// The request is wrong.
    #[error("{0}")]
    Invalid(String),
    /// No such node, no such device, no such change.
    #[error("{0}")]
    NotFound(String),
}

/// Does what an operator asks for.
pub trait Control: Send + Sync {
    /// Does it and tells the result as JSON, without card data.
    fn act(&self, act: Act) -> BoxFuture<'_, Result<Value, ActRefused>>;
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    local: bool,
}

impl Connected<IncomingStream<'_, Bounded>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        Self { local: stream.remote_addr().ip().to_canonical().is_loopback() }
    }
}

pub(super) fn routes() -> Router<Admin> {
    Router::new()
        .route("/admin/unsettled", get(list))
        .route("/admin/unsettled/{key}", get(show))
        .route("/admin/unsettled/{key}/settle", post(settle))
        .route("/admin/hosts/{name}/{act}", post(host))
        .route("/admin/hsm/{name}/{act}", post(device))
        .layer(DefaultBodyLimit::max(ADMIN_BODY_BYTES_MAX))
        .layer(from_fn(from_this_machine))
}

/// A page in a browser can reach the loopback address, too, under a name that resolves to it: hence the `Host`, and for
/// changes the content type, which a page of another origin cannot send unasked.
async fn from_this_machine(
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Response {
    let refused = |why| answer(StatusCode::FORBIDDEN, &json!({ "error": why }));
    if !peer.local {
        return refused("only from the switch's own machine");
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
    let ours = name == "localhost"
        || name
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback());
    if !ours {
        return refused("the Host header must name the loopback address");
    }
    let json = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if request.method().is_safe() || json {
        return next.run(request).await;
    }
    refused("the content type must be application/json")
}

async fn act(admin: &Admin, act: Act) -> Response {
    let Some(control) = &admin.control else {
        return answer(StatusCode::NOT_FOUND, &json!({ "error": "this switch has no hosts" }));
    };
    match control.act(act).await {
        Ok(body) => answer(StatusCode::OK, &body),
        Err(refused) => {
            let code = match refused {
                ActRefused::Failed(_) => StatusCode::CONFLICT,
                ActRefused::Invalid(_) => StatusCode::BAD_REQUEST,
                ActRefused::NotFound(_) => StatusCode::NOT_FOUND,
            };
            answer(code, &json!({ "error": refused.to_string() }))
        }
    }
}

async fn list(State(admin): State<Admin>) -> Response {
    act(&admin, Act::ListUnsettled).await
}

async fn show(State(admin): State<Admin>, Path(key): Path<String>) -> Response {
    act(&admin, Act::ShowUnsettled { key }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SettleBody {
    by: String,
    reason: String,
}

async fn settle(State(admin): State<Admin>, Path(key): Path<String>, body: Bytes) -> Response {
    let invalid = |why: &str| answer(StatusCode::BAD_REQUEST, &json!({ "error": why }));
    let Ok(SettleBody { by, reason }) = serde_json::from_slice(&body) else {
        return invalid("the body must be {\"by\": ..., \"reason\": ...}");
    };
    if by.trim().is_empty() || reason.trim().is_empty() {
        return invalid("by and reason must not be empty: they go into the audit");
    }
    let reason = format!("{}: {}", by.trim(), reason.trim());
    if SETTLE_REASON_BYTES_MAX < reason.len() {
        return invalid("by and reason are too long together");
    }
    // A card number has no place in the audit, whoever types it.
    if reason.split(|c: char| !c.is_ascii_digit()).any(|digits| 12 < digits.len()) {
        return invalid("the reason must not contain a card number");
    }
    act(&admin, Act::Settle { key, reason }).await
}

async fn host(State(admin): State<Admin>, Path((host, what)): Path<(String, String)>) -> Response {
    let asked = match what.as_str() {
        "drain" => Act::Drain { host },
        "resume" => Act::Resume { host },
        "exchange-key" => Act::ExchangeKey { host },
        _ => {
            let body = json!({ "error": "no such act: drain, resume or exchange-key" });
            return answer(StatusCode::NOT_FOUND, &body);
        }
    };
    act(&admin, asked).await
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DrainBody {
    #[serde(default)]
    force: bool,
}

async fn device(
    State(admin): State<Admin>,
    Path((device, what)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    let body =
        if body.is_empty() { Ok(DrainBody::default()) } else { serde_json::from_slice(&body) };
    let Ok(DrainBody { force }) = body else {
        let why = "the body must be {} or {\"force\": true}";
        return answer(StatusCode::BAD_REQUEST, &json!({ "error": why }));
    };
    let asked = match what.as_str() {
        "drain" => Act::DrainDevice { device, force },
        "resume" => Act::ResumeDevice { device },
        _ => {
            let body = json!({ "error": "no such act: drain or resume" });
            return answer(StatusCode::NOT_FOUND, &body);
        }
    };
    act(&admin, asked).await
}
