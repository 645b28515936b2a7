//! One HTTP request from its head to its answer, the same for all doors, read from top to bottom.
//!
//! Room, method, client, rights, rate, body, signature, idempotency, fields, the switch. **Never here:** a shape of any
//! door (`door` and the five beside it), sockets (`server`).

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, RawPathParams};
use axum::http::request::Parts as Head;
use axum::http::{HeaderName, HeaderValue, Request, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::domain::clock::{Clock, Now};
use crate::domain::outcome::{Outcome, Reason, Side};
use crate::domain::pin::RevealedPin;
use crate::domain::request::TransactionKey;
use crate::hsm::{Hsm, Verdict};
use crate::http::ask::{self, Frame};
use crate::http::client::{Client, Presented};
use crate::http::door::{About, Call, Door, Endpoint, Presentation, Refusal, Reply, Shown};
use crate::http::field::{Fault, Problem, Values};
use crate::http::meters::Finished;
use crate::http::server::{Http, InFlight};
use crate::limits::{HTTP_BODY_BYTES_MAX, HTTP_BODY_SECONDS, IDEMPOTENCY_KEY_BYTES_MAX};
use crate::switch::{Answer, Parts, Stage, Stages};

const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// A request that was served.
struct Approved {
    shown: Shown,
    answer: Answer,
}

/// What is known of a request while it is worked on: for its answer, its metrics and its log line.
struct Progress {
    key: TransactionKey,
    client: Option<Arc<Client>>,
    finished: Finished,
    repeated: bool,
    stages: Stages,
}

/// Takes one request of a door to its answer.
pub(super) async fn serve<P: Parts>(
    http: &Arc<Http<P>>,
    door: Door,
    path: Option<&RawPathParams>,
    request: Request<Body>,
) -> Response {
    let clock = http.switch.clock();
    let arrived = clock.now();
    let (head, body) = request.into_parts();
    let mut progress = Progress {
        key: TransactionKey(clock.random()),
        client: None,
        finished: Finished::default(),
        repeated: false,
        stages: Stages::start(arrived),
    };
    let run = AssertUnwindSafe(run(http, door, path, &head, body, arrived, &mut progress));
    // A panic in one request is that request's failure and nobody else's.
    let result = run.catch_unwind().await.unwrap_or(Err(Refusal::Failed));

    let correlation = progress.key.text().to_string();
    let about = About { path: head.uri.path(), correlation: &correlation };
    let shapes = door.shapes();
    let reply = match &result {
        Ok(Approved { shown, answer }) => {
            let pin = answer.pin.as_ref().map(RevealedPin::expose_digits);
            shapes.approved(about, shown, pin)
        }
        Err(refusal) => shapes.refused(about, refusal),
    };
    progress.finished.status = reply.status;
    progress.finished.declined = match &result {
        Err(Refusal::Declined(reason)) => Some(*reason),
        Ok(_) | Err(_) => None,
    };
    let response = response(door, &head, reply, result.err().as_ref());
    count(http, door, progress, arrived);
    response
}

/// The straight line. Every early return is a refusal.
async fn run<P: Parts>(
    http: &Arc<Http<P>>,
    door: Door,
    path: Option<&RawPathParams>,
    head: &Head,
    body: Body,
    arrived: Now,
    progress: &mut Progress,
) -> Result<Approved, Refusal> {
    let shapes = door.shapes();
    let clock = http.switch.clock();
    let settings = http.settings();
    let _place = InFlight::enter(http, door, &settings)?;
    let endpoint = shapes.endpoints().iter().find(|endpoint| endpoint.method == head.method);
    let endpoint = endpoint.ok_or(Refusal::Method)?;

    let presented = Presented::of(door, &head.headers)?;
    let client = http.clients().find(door, presented, clock.wall())?;
    progress.client = Some(Arc::clone(&client));
    if !endpoint.asks.iter().any(|what| client.may(*what)) {
        return Err(Refusal::Forbidden);
    }
    client.bucket.take(arrived).map_err(|wait| Refusal::RateLimited {
        seconds: wait.as_secs() + u64::from(wait.subsec_nanos() != 0),
    })?;

    if shapes.needs_media_type() && endpoint.body.is_some() {
        check_media_type(head)?;
    }
    let body = read(body).await?;
    check_signature(http, &client, head, &body).await?;
    let mut frame = Frame {
        door,
        key: progress.key,
        fingerprint: None,
        arrived,
        deadline: arrived.saturating_add(settings.request_time),
    };
    if let Some(name) = head.headers.get(IDEMPOTENCY_KEY) {
        frame.key = transaction_key(door, &client, name)?;
        frame.fingerprint = Some(fingerprint(door, &client, presented, head, &body));
        progress.key = frame.key;
    }

    let (shown, wanted) = {
        let (path, query, body) = fields(endpoint, path, head, &body)?;
        let call = Call {
            endpoint,
            path: &path,
            query: &query,
            body: &body,
            pan_tokens: client.pan_tokens,
        };
        let wanted = shapes.wanted(&call)?;
        (wanted.shown.clone(), wanted)
    };
    drop(body);
    progress.finished.operation = Some(wanted.operation);
    if !client.may(wanted.operation) {
        return Err(Refusal::Forbidden);
    }
    let request = ask::request(&http.switch, &client, &frame, wanted).await?;
    progress.stages.end(Stage::Decode, clock.now());
    // In a task of its own: what has begun is brought to its end, also when the client hangs up.
    let switch = Arc::clone(&http.switch);
    let answer = tokio::spawn(async move { switch.handle(&request).await });
    let answer = answer.await.map_err(|_| Refusal::Failed)?;
    progress.finished.route = answer.route;
    progress.repeated = answer.repeated;
    progress.stages.follow(&answer.stages);
    match &answer.outcome {
        Outcome::Approved(_) => Ok(Approved { shown, answer }),
        Outcome::Declined(declined) => Err(Refusal::Declined(declined.reason)),
    }
}

fn check_media_type(head: &Head) -> Result<(), Refusal> {
    let value = head.headers.get(header::CONTENT_TYPE).ok_or(Refusal::MediaTypeMissing)?;
    let text = value.to_str().map_err(|_| Refusal::MediaType)?;
    let essence = text.split(';').next().unwrap_or_default().trim();
    let is_json = essence.eq_ignore_ascii_case("application/json");
    is_json.then_some(()).ok_or(Refusal::MediaType)
}

/// A client that shares a secret with us signs every request: HMAC-SHA-256 of the body, Base64.
async fn check_signature<P: Parts>(
    http: &Http<P>,
    client: &Client,
    head: &Head,
    body: &[u8],
) -> Result<(), Refusal> {
    let Some(key) = client.signature else { return Ok(()) };
    let signature = head.headers.get("signature").and_then(|value| value.to_str().ok());
    let signature = signature.and_then(|text| STANDARD.decode(text.trim()).ok());
    let signature = signature.unwrap_or_default();
    match http.switch.hsm().verify_hmac(key, body, &signature).await {
        Ok(Verdict::Right) => Ok(()),
        Ok(Verdict::Wrong) => Err(Refusal::Signature),
        Err(_) => Err(Refusal::Declined(Reason::HsmUnavailable)),
    }
}

/// The whole body, wiped when it is dropped.
async fn read(mut body: Body) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    use hyper::body::Body as _;
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if HTTP_BODY_BYTES_MAX < announced {
        return Err(Refusal::TooLarge);
    }
    // Room for all of it at once: growing would leave copies behind.
    let room = body.size_hint().upper().and_then(|n| usize::try_from(n).ok());
    let room = room.map_or(HTTP_BODY_BYTES_MAX, |n| n.min(HTTP_BODY_BYTES_MAX));
    let mut whole = Zeroizing::new(Vec::with_capacity(room));
    let reading = async {
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Refusal::Unreadable)?.into_data() else { continue };
            if HTTP_BODY_BYTES_MAX < whole.len() + data.len() {
                return Err(Refusal::TooLarge);
            }
            whole.extend_from_slice(&data);
            // Where the connection holds it too, its next read overwrites it.
            if let Ok(mut data) = data.try_into_mut() {
                data.zeroize();
            }
        }
        Ok(())
    };
    let patience = Duration::from_secs(HTTP_BODY_SECONDS);
    tokio::time::timeout(patience, reading).await.map_err(|_| Refusal::Slow)??;
    Ok(whole)
}

/// The key of a request that its client named.
fn transaction_key(
    door: Door,
    client: &Client,
    name: &HeaderValue,
) -> Result<TransactionKey, Refusal> {
    let problem = |fault| Refusal::from(Problem { field: IDEMPOTENCY_KEY, fault });
    let name = name.to_str().map_err(|_| problem(Fault::Characters))?;
    if name.trim().is_empty() || IDEMPOTENCY_KEY_BYTES_MAX < name.len() {
        return Err(problem(Fault::Length));
    }
    if !name.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
        return Err(problem(Fault::Characters));
    }
    let mut digest = Sha256::new();
    for part in [door.name(), &client.name, name] {
        digest.update(part.as_bytes());
        digest.update([0]);
    }
    let digest: [u8; 32] = digest.finalize().into();
    let mut key = [0; 16];
    key.copy_from_slice(digest.split_at(16).0);
    Ok(TransactionKey(key))
}

/// Eight bytes over the whole request: method, path, query and body.
///
/// The journal keeps them. Where the body has a clear PIN the digest is keyed with the client's API key, which is kept
/// nowhere, so that nobody tries PINs against the journal.
fn fingerprint(
    door: Door,
    client: &Client,
    presented: Presented<'_>,
    head: &Head,
    body: &[u8],
) -> u64 {
    let key = match door.presentation() {
        Presentation::ApiKey | Presentation::XApiKey => presented.expose_token(),
        Presentation::Bearer | Presentation::BearerAndApiKey => &client.name,
    };
    // Any length of key is good for HMAC.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.as_bytes()) else { return 0 };
    let query = head.uri.query().unwrap_or_default();
    for part in [head.method.as_str(), head.uri.path(), query] {
        mac.update(part.as_bytes());
        mac.update(&[0]);
    }
    mac.update(body);
    let digest: [u8; 32] = mac.finalize().into_bytes().into();
    digest.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

/// Reads path, query and body by the tables of the endpoint; all that is wrong is told at once. A path whose parts are
/// no text is `None`.
fn fields(
    endpoint: &'static Endpoint,
    path: Option<&RawPathParams>,
    head: &Head,
    body: &[u8],
) -> Result<(Values, Values, Values), Refusal> {
    let Some(path) = path else {
        let field = endpoint.path_fields.first().map_or("path", |field| field.name);
        return Err(Problem { field, fault: Fault::Characters }.into());
    };
    let path = Values::of_texts(endpoint.path_fields, path.iter());
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(&head.uri);
    let Query(pairs) = pairs.unwrap_or_default();
    let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let query = Values::of_texts(endpoint.query, pairs);
    let body = match endpoint.body {
        None => Values::default(),
        // Where every field may be absent, so may the body.
        Some(table) if body.is_empty() && table.iter().all(|field| !field.required) => {
            Values::default()
        }
        Some(table) => Values::of_json(table, body)?,
    };
    let problems = [path.problems(), query.problems(), body.problems()].concat();
    if problems.is_empty() { Ok((path, query, body)) } else { Err(Refusal::Invalid(problems)) }
}

fn response(door: Door, head: &Head, reply: Reply, refusal: Option<&Refusal>) -> Response {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    for name in door.shapes().echoed() {
        if let Some(value) = head.headers.get(*name) {
            headers.insert(HeaderName::from_static(name), value.clone());
        }
    }
    if reply.status == 401 {
        let scheme = match door.presentation() {
            Presentation::ApiKey | Presentation::XApiKey => "ApiKey",
            Presentation::Bearer | Presentation::BearerAndApiKey => "Bearer",
        };
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
    }
    match refusal {
        Some(Refusal::RateLimited { seconds }) => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
        }
        Some(Refusal::Method) => {
            let methods = door.shapes().endpoints().iter().map(|e| e.method.as_str());
            let methods = methods.collect::<Vec<_>>().join(", ");
            if let Ok(methods) = HeaderValue::from_str(&methods) {
                headers.insert(header::ALLOW, methods);
            }
        }
        Some(_) | None => {}
    }
    response
}

/// Counts the answer, and logs it: a line a request at debug when all is well, else by whose fault it is.
fn count<P: Parts>(http: &Http<P>, door: Door, mut progress: Progress, arrived: Now) {
    let now = http.switch.clock().now();
    progress.stages.end(Stage::Encode, now);
    let took = now.saturating_sub(arrived);
    let Progress { key, client, finished, repeated, stages } = progress;
    http.meters(door).finished(finished, &stages, took.as_secs_f64());
    let (key, link, status) = (key.text(), door.name(), finished.status);
    let client = client.as_ref().map_or("none", |client| &*client.name);
    if http.settings().slow_request <= took {
        let spent = |stage| stages.spent(stage).as_micros();
        tracing::warn!(link, %key, took_us = took.as_micros(), decode_us = spent(Stage::Decode),
            dedupe_us = spent(Stage::Dedupe), route_us = spent(Stage::Route),
            hsm_us = spent(Stage::Hsm), commit_us = spent(Stage::Commit),
            host_us = spent(Stage::Host), encode_us = spent(Stage::Encode), "slow request");
    }
    let reason = finished.declined.map_or("none", Reason::label);
    let ours = finished.declined.map(Reason::side);
    if status == 500 || matches!(ours, Some(Side::Us | Side::Host)) {
        tracing::warn!(link, client, %key, reason, status, "answered");
    } else {
        tracing::debug!(link, client, %key, reason, status, repeated, "answered");
    }
}
