//! Settings of the HTTP doors and their clients: names of doors and keys resolved, certificates read.
//!
//! **Never here:** sockets.

use std::sync::Arc;
use std::time::Duration;

use crate::cli::Failure;
use crate::domain::owner::ClientLimits;
use crate::domain::pin::KeyId;
use crate::domain::request::Rights;
use crate::hsm::key::KeyType;
use crate::hsm::module::KeyBook;
use crate::http::{
    Bucket, Client, Clients, Credential, Door, Issuer, PROTOCOLS, Presentation, Settings, Signature,
};
use crate::ops::config::{ClientRight, Config, ConfigError, Http, HttpClient, HttpClients};
use crate::tls::{Tls, TlsFiles};

/// What the doors are made of, where there are any.
pub(crate) struct Doors {
    pub(crate) settings: Settings,
    clients: Vec<Client>,
    issuer: Option<Issuer>,
}

impl Doors {
    /// The clients; who was there before keeps the rate it has used up.
    pub(crate) fn split(self, before: Option<&Clients>) -> (Settings, Clients) {
        (self.settings, Clients::new(self.clients, self.issuer, before))
    }
}

/// Reads what `[http]` names.
pub(crate) fn doors(config: &Config, hsm: &dyn KeyBook) -> Result<Option<Doors>, Failure> {
    let Some(http) = &config.http else { return Ok(None) };
    let issuer = issuer(config, http)?;
    let clients = HttpClients::load(&http.clients)?;
    let clients = resolve(&clients, issuer.is_some(), hsm)?;
    let tls = match &http.tls {
        Some(tls) => {
            let files = TlsFiles {
                certificate: tls.certificate.clone(),
                key: tls.key.clone(),
                client_ca: tls.client_ca.clone(),
            };
            let tls = Tls::load_for(files, PROTOCOLS);
            Some(Arc::new(tls.map_err(|error| config.error("http.tls", error))?))
        }
        None => None,
    };
    let settings = Settings {
        listen: http.listen,
        tls,
        connections_max: http.connections,
        in_flight_max: http.in_flight,
        idle: Duration::from_secs(http.idle_seconds),
        request_time: Duration::from_millis(http.request_ms.unwrap_or(config.limits.request_ms)),
        slow_request: Duration::from_millis(config.log.slow_request_ms),
    };
    Ok(Some(Doors { settings, clients, issuer }))
}

fn issuer(config: &Config, http: &Http) -> Result<Option<Issuer>, Failure> {
    let Some(jwt) = &http.jwt else { return Ok(None) };
    let signature = match jwt.algorithm.as_str() {
        "ES256" => Signature::Es256,
        "RS256" => Signature::Rs256,
        _ => return Err(config.error("http.jwt.algorithm", "RS256 or ES256").into()),
    };
    let at =
        |reason: String| config.error("http.jwt.key", format!("{}: {reason}", jwt.key.display()));
    let pem = std::fs::read(&jwt.key).map_err(|error| at(error.to_string()))?;
    let issuer = Issuer::new(&pem, signature, &jwt.audience);
    Ok(Some(issuer.map_err(|error| at(error.to_string()))?))
}

/// Every client with its names resolved.
pub(crate) fn resolve(
    all: &HttpClients,
    signed_tokens: bool,
    hsm: &dyn KeyBook,
) -> Result<Vec<Client>, ConfigError> {
    let clients = all.clients.iter().enumerate();
    clients.map(|(index, client)| one(all, index, client, signed_tokens, hsm)).collect()
}

fn one(
    all: &HttpClients,
    index: usize,
    client: &HttpClient,
    signed_tokens: bool,
    hsm: &dyn KeyBook,
) -> Result<Client, ConfigError> {
    let refuse = |key: &str, reason: String| all.error(&format!("client[{index}].{key}"), reason);
    let key = |place: &str, name: &str, key_type: KeyType| -> Result<KeyId, ConfigError> {
        let id = hsm.key(name).ok_or_else(|| refuse(place, format!("no key {name:?}")))?;
        let is_right = hsm.keys().iter().any(|k| k.id == id && k.key_type == key_type);
        is_right.then_some(id).ok_or_else(|| refuse(place, format!("{name:?} is no {key_type}")))
    };
    let maybe = |place: &str, name: &Option<String>, key_type| {
        name.as_ref().map(|name| key(place, name, key_type)).transpose()
    };
    let mut doors = Vec::new();
    for name in &client.doors {
        let known = || Door::ALL.map(Door::name).join(", ");
        let door = Door::named(name);
        doors.push(
            door.ok_or_else(|| refuse("doors", format!("no door {name:?}: one of {}", known())))?,
        );
    }
    let uses = |presentation| doors.iter().any(|door| door.presentation() == presentation);
    let latam = uses(Presentation::BearerAndApiKey);
    let credential = match client.token_sha256 {
        Some(token) => {
            if latam && (client.api_key_sha256.is_none() || client.client_id.is_none()) {
                let reason = "missing: firstvision-latam asks for api_key_sha256 and client_id";
                return Err(refuse("api_key_sha256", reason.to_owned()));
            }
            let client_id = client.client_id.as_deref().map(Into::into);
            Credential::Token { token, api_key: client.api_key_sha256, client_id }
        }
        None if !signed_tokens => {
            let reason = "missing; a client without one needs [http.jwt]";
            return Err(refuse("token_sha256", reason.to_owned()));
        }
        None if latam || uses(Presentation::XApiKey) || uses(Presentation::ApiKey) => {
            let reason = "missing: only doors with a bearer token alone take signed tokens";
            return Err(refuse("token_sha256", reason.to_owned()));
        }
        None => Credential::Jwt,
    };
    let has = |right| client.rights.contains(&right);
    let associations = client.key_associations.iter().map(|(association, name)| {
        Ok((association.as_str().into(), key("key_associations", name, KeyType::Zpk)?))
    });
    Ok(Client {
        name: client.name.as_str().into(),
        doors,
        credential,
        rights: Rights {
            change: has(ClientRight::Change),
            set: has(ClientRight::Set),
            reveal: has(ClientRight::Reveal),
            ..Rights::default()
        },
        limits: Arc::new(ClientLimits {
            organizations: client.organizations.as_deref().map(Into::into),
            bins: client.bins.as_ref().map(|bins| bins.iter().map(|b| b.as_str().into()).collect()),
        }),
        zpk: maybe("zpk", &client.zpk, KeyType::Zpk)?,
        associations: associations.collect::<Result<_, ConfigError>>()?,
        pin_block_format: client.pin_block_format,
        rsa: maybe("rsa_key", &client.rsa_key, KeyType::Rsa)?.map(|key| (key, client.rsa_padding)),
        signature: maybe("signature_key", &client.signature_key, KeyType::Signature)?,
        pan_tokens: client.pan_tokens,
        bucket: Arc::new(Bucket::new(client.per_second, client.burst)),
    })
}
