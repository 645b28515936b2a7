//! The OpenAPI document of all five doors, made of the tables they read by and the answers they give.
//!
//! It is served at `/openapi.json` and committed as `spec/openapi.json`; a test holds the two equal. **Never here:**
//! a field or a code that is not in a door's file.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::http::door::{About, Door, Endpoint, Presentation, Refusal};
use crate::http::field::{Chars, Field, Shape};
use crate::limits::{HTTP_BODY_BYTES_MAX, IDEMPOTENCY_KEY_BYTES_MAX};

/// A correlation id for examples: that of seed 002.
const CORRELATION: &str = "5daa9a3f6ce9497d84c559aea9f924b3";

/// The whole document: OpenAPI 3.1.
#[must_use]
pub fn document() -> Value {
    let mut paths = Map::new();
    for door in Door::ALL {
        for endpoint in door.shapes().endpoints() {
            let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
            let method = endpoint.method.as_str().to_ascii_lowercase();
            path[method] = operation(door, endpoint);
        }
    }
    let about = format!(
        "Five public PIN-change APIs before one switch. Every answer is JSON and not to be cached. A body is at most \
         {HTTP_BODY_BYTES_MAX} bytes; fields that are not listed are ignored. A card that does not exist and a card \
         of somebody else have one answer."
    );
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Pinion: PIN changes over HTTP",
            "version": env!("CARGO_PKG_VERSION"),
            "description": about,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": Door::ALL.map(|door| json!({ "name": door.name() })),
        "paths": paths,
        "components": { "securitySchemes": {
            "bearer": { "type": "http", "scheme": "bearer" },
            "apikey": { "type": "apiKey", "in": "header", "name": "apikey" },
            "clientId": { "type": "apiKey", "in": "header", "name": "X-ClientID" },
            "xApiKey": { "type": "apiKey", "in": "header", "name": "x-api-key" },
            "authorizationApiKey": {
                "type": "apiKey", "in": "header", "name": "Authorization",
                "description": "`ApiKey`, a blank, the key.",
            },
        } },
    })
}

fn operation(door: Door, endpoint: &Endpoint) -> Value {
    let security = match door.presentation() {
        Presentation::ApiKey => json!([{ "authorizationApiKey": [] }]),
        Presentation::Bearer => json!([{ "bearer": [] }]),
        Presentation::BearerAndApiKey => json!([{ "bearer": [], "apikey": [], "clientId": [] }]),
        Presentation::XApiKey => json!([{ "xApiKey": [] }]),
    };
    let mut operation = json!({
        "tags": [door.name()],
        "operationId": endpoint.id,
        "summary": endpoint.summary,
        "security": security,
        "parameters": parameters(door, endpoint),
    });
    if let Some(table) = endpoint.body {
        operation["requestBody"] = json!({
            "required": table.iter().any(|field| field.required),
            "content": { "application/json": { "schema": object(table) } },
        });
    }
    operation["responses"] = responses(door, endpoint);
    operation
}

fn parameters(door: Door, endpoint: &Endpoint) -> Vec<Value> {
    let parameter = |place: &str, field: &Field| {
        json!({
            "name": field.name,
            "in": place,
            "required": field.required,
            "description": says(field),
            "schema": schema(field.shape),
        })
    };
    let mut all: Vec<_> = endpoint.path_fields.iter().map(|f| parameter("path", f)).collect();
    all.extend(endpoint.query.iter().map(|f| parameter("query", f)));
    let header = |name: &str, says: &str, schema: Value| {
        json!({
            "name": name, "in": "header", "required": false, "description": says, "schema": schema,
        })
    };
    let says = "The same key with the same request gets the same answer and changes nothing twice; with another \
                request it is refused: 422.";
    let schema = json!({
        "type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_BYTES_MAX, "pattern": "^[!-~]+$",
    });
    all.push(header("Idempotency-Key", says, schema));
    let says = "HMAC-SHA-256 of the body under the client's secret, Base64. Required of clients that have one.";
    all.push(header("Signature", says, json!({ "type": "string" })));
    for name in door.shapes().echoed() {
        all.push(header(name, "Comes back unchanged.", json!({ "type": "string" })));
    }
    all
}

fn says(field: &Field) -> String {
    match field.aliases {
        [] => field.says.to_owned(),
        aliases => format!("{} Also accepted as `{}`.", field.says, aliases.join("`, `")),
    }
}

fn object(table: &[Field]) -> Value {
    let mut properties = Map::new();
    for field in table {
        let mut schema = schema(field.shape);
        schema["description"] = says(field).into();
        properties.insert(field.name.to_owned(), schema);
    }
    // A field with another name is there under that one: the schema cannot say more than that.
    let required = table.iter().filter(|field| field.required && field.aliases.is_empty());
    let required: Vec<_> = required.map(|field| field.name).collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

fn schema(shape: Shape) -> Value {
    match shape {
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Integer { min, max } => {
            json!({ "type": "integer", "minimum": min, "maximum": max })
        }
        Shape::OneOf(values) => json!({ "type": "string", "enum": values }),
        Shape::Text { min, max, of } => {
            let mut schema = json!({ "type": "string", "minLength": min, "maxLength": max });
            let pattern = match of {
                Chars::Any => None,
                Chars::Digits => Some("^[0-9]*$"),
                Chars::Hex => Some("^[0-9A-Fa-f]*$"),
                Chars::Letters => Some("^[0-9A-Za-z]*$"),
            };
            if let Some(pattern) = pattern {
                schema["pattern"] = pattern.into();
            }
            schema
        }
    }
}

/// Every status the door can answer with, and an example of each of its bodies.
fn responses(door: Door, endpoint: &Endpoint) -> Value {
    let about = About { path: endpoint.path, correlation: CORRELATION };
    let mut by_status: BTreeMap<u16, Vec<(String, Value)>> = BTreeMap::new();
    by_status.insert(200, vec![("success".to_owned(), (endpoint.sample)())]);
    for refusal in Refusal::samples() {
        let reply = door.shapes().refused(about, &refusal);
        let body = serde_json::from_slice(&reply.body).unwrap_or_default();
        let examples = by_status.entry(reply.status).or_default();
        if !examples.iter().any(|(_, known)| *known == body) {
            examples.push((name(&refusal), body));
        }
    }
    let mut responses = Map::new();
    for (status, examples) in by_status {
        let shapes = examples.iter().map(|(_, body)| infer(body));
        let schema = shapes.reduce(either).unwrap_or_default();
        let examples: Map<_, _> =
            examples.into_iter().map(|(name, body)| (name, json!({ "value": body }))).collect();
        let mut response = json!({
            "description": description(status),
            "content": { "application/json": { "schema": schema, "examples": examples } },
        });
        if status == 429 {
            response["headers"] = json!({ "Retry-After": {
                "description": "Seconds to wait.", "schema": { "type": "integer" },
            } });
        }
        responses.insert(status.to_string(), response);
    }
    responses.into()
}

fn name(refusal: &Refusal) -> String {
    let name = match refusal {
        Refusal::Declined(reason) => return reason.label().to_owned(),
        Refusal::BadCredentials => "bad_credentials",
        Refusal::Empty => "empty_body",
        Refusal::Failed => "failed",
        Refusal::Forbidden => "forbidden",
        Refusal::Invalid(_) => "invalid_field",
        Refusal::MediaType => "media_type",
        Refusal::MediaTypeMissing => "no_media_type",
        Refusal::Method => "method",
        Refusal::NoCredentials => "no_credentials",
        Refusal::Organization => "organization",
        Refusal::RateLimited { .. } => "rate_limited",
        Refusal::Shed => "overload",
        Refusal::Signature => "signature",
        Refusal::Slow => "slow_body",
        Refusal::TooLarge => "too_large",
        Refusal::Unreadable => "no_json",
    };
    name.to_owned()
}

const fn description(status: u16) -> &'static str {
    match status {
        200 => "Done.",
        400 => "The request is not valid.",
        401 => "The credentials or the signature are missing or wrong.",
        403 => "The client may not do this.",
        404 => "No such card, or none of this client's.",
        405 => "Not by this method.",
        408 => "The body did not come in time.",
        409 => "The same request is in progress, or the card's PIN cannot be shown.",
        413 => "The body is too long.",
        415 => "The body is no JSON.",
        422 => "The request is refused.",
        429 => "Too many requests.",
        503 => "The service is not available.",
        504 => "The issuer's host did not answer: the outcome is unknown.",
        _ => "Something broke.",
    }
}

/// The schema of a body.
fn infer(body: &Value) -> Value {
    match body {
        Value::Null => json!({ "type": "null" }),
        Value::Bool(_) => json!({ "type": "boolean" }),
        Value::Number(_) => json!({ "type": "number" }),
        Value::String(_) => json!({ "type": "string" }),
        Value::Array(items) => match items.iter().map(infer).reduce(either) {
            Some(schema) => json!({ "type": "array", "items": schema }),
            None => json!({ "type": "array" }),
        },
        Value::Object(fields) => {
            let properties: Map<_, _> =
                fields.iter().map(|(name, value)| (name.clone(), infer(value))).collect();
            let required: Vec<_> = fields.keys().collect();
            json!({ "type": "object", "properties": properties, "required": required })
        }
    }
}

/// A schema for both: properties of either, required what both require.
fn either(one: Value, other: Value) -> Value {
    if one == other {
        return one;
    }
    let (Value::Object(mut one), Value::Object(other)) = (one, other) else { return json!({}) };
    if one.get("type") != other.get("type") {
        return json!({});
    }
    if let Some(Value::Object(properties)) = other.get("properties") {
        for (name, schema) in properties {
            let had = one.get_mut("properties").and_then(|known| known.get_mut(name));
            match had {
                Some(known) => *known = either(known.take(), schema.clone()),
                None => {
                    if let Some(Value::Object(known)) = one.get_mut("properties") {
                        known.insert(name.clone(), schema.clone());
                    }
                }
            }
        }
        if let (Some(Value::Array(mine)), Some(Value::Array(theirs))) =
            (one.get_mut("required"), other.get("required"))
        {
            mine.retain(|name| theirs.contains(name));
        }
    }
    if let Some(items) = other.get("items") {
        let known = one.get_mut("items").map(Value::take);
        let merged = known.map_or_else(|| items.clone(), |known| either(known, items.clone()));
        one.insert("items".to_owned(), merged);
    }
    Value::Object(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_document_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/spec/openapi.json");
        let text = serde_json::to_string_pretty(&document()).unwrap() + "\n";
        if std::env::var_os("PINION_WRITE_SPEC").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == text,
            "spec/openapi.json is out of date: PINION_WRITE_SPEC=1 cargo test --lib http::openapi"
        );
    }

    #[test]
    fn it_has_every_operation_once() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let methods: usize = paths.values().map(|path| path.as_object().unwrap().len()).sum();
        assert_eq!((paths.len(), methods), (5, 6));
        let text = document.to_string();
        for id in ["firstvisionLatamPinChange", "postcardChangePin", "equalsRetrievePin"] {
            assert_eq!(text.matches(id).count(), 1, "{id}");
        }
    }

    #[test]
    fn schemas_of_two_bodies() {
        let both = either(infer(&json!({ "a": 1, "b": "x" })), infer(&json!({ "a": 2, "c": [1] })));
        let want = json!({
            "type": "object",
            "properties": {
                "a": { "type": "number" },
                "b": { "type": "string" },
                "c": { "type": "array", "items": { "type": "number" } },
            },
            "required": ["a"],
        });
        assert_eq!(both, want);
    }
}
