//! Who may ask: clients of the doors, and which of them a request's credentials belong to.
//!
//! Of a token only its SHA-256 is known here. **Never here:** files (`ops::config`), the order of the checks
//! (`request`).

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::domain::clock::WallMillis;
use crate::domain::owner::ClientLimits;
use crate::domain::pin::{BlockFormat, KeyId, RsaPadding};
use crate::domain::request::Rights;
use crate::http::ask::asked;
use crate::http::bucket::Bucket;
use crate::http::door::{Asked, Door, Presentation, Refusal};
use crate::http::jwt::Issuer;

/// SHA-256 of a secret.
pub type Hashed = [u8; 32];

/// One client.
#[derive(Debug)]
pub struct Client {
    /// Its name: in logs and in the journal, where it is cut to 16 bytes.
    pub name: Arc<str>,
    /// The doors it may use.
    pub doors: Vec<Door>,
    /// How it is known.
    pub credential: Credential,
    /// What it may ask for.
    pub rights: Rights,
    /// Cards it may name.
    pub limits: Arc<ClientLimits>,
    /// Its zone PIN key, for requests that name none.
    pub zpk: Option<KeyId>,
    /// Zone PIN keys by key association.
    pub associations: Vec<(Box<str>, KeyId)>,
    /// Layout of its PIN blocks.
    pub pin_block_format: BlockFormat,
    /// Its RSA key and how it pads.
    pub rsa: Option<(KeyId, RsaPadding)>,
    /// The key its requests are signed with; with it, each must be.
    pub signature: Option<KeyId>,
    /// Whether it may name cards by tokens.
    pub pan_tokens: bool,
    /// How fast it may ask.
    pub bucket: Arc<Bucket>,
}

/// How a client is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Its name is the subject of a token that the configured issuer signed.
    Jwt,
    /// By a secret that only it has.
    Token {
        /// Of the token.
        token: Hashed,
        /// Of the second secret of `firstvision-latam`.
        api_key: Option<Hashed>,
        /// The public id of `firstvision-latam`.
        client_id: Option<Box<str>>,
    },
}

impl Client {
    /// The zone key of a key association; blank for its own.
    pub(super) fn zone_key(&self, association: &str) -> Option<KeyId> {
        if association.is_empty() {
            return self.zpk;
        }
        let found = self.associations.iter().find(|(name, _)| **name == *association);
        found.map(|(_, key)| *key)
    }

    pub(super) fn may(&self, what: Asked) -> bool {
        self.rights.allow(asked(what))
    }

    pub(super) fn allows_organization(&self, organization: u16) -> bool {
        let listed = self.limits.organizations.as_ref();
        listed.is_none_or(|listed| listed.contains(&organization))
    }
}

/// Credentials as a request carries them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Presented<'a> {
    token: &'a str,
    api_key: Option<&'a str>,
    client_id: Option<&'a str>,
}

impl<'a> Presented<'a> {
    /// Reads the headers where `door` has them.
    pub(super) fn of(door: Door, headers: &'a HeaderMap) -> Result<Self, Refusal> {
        let only = |name: &str| {
            let mut values = headers.get_all(name).iter();
            match (values.next(), values.next()) {
                (None, _) => Err(Refusal::NoCredentials),
                (Some(value), None) => value.to_str().map_err(|_| Refusal::BadCredentials),
                (Some(_), Some(_)) => Err(Refusal::BadCredentials),
            }
        };
        let scheme = |name: &str| {
            let (scheme, token) = only(header::AUTHORIZATION.as_str())?
                .split_once(' ')
                .ok_or(Refusal::BadCredentials)?;
            let is_named = scheme.eq_ignore_ascii_case(name);
            is_named.then(|| token.trim()).ok_or(Refusal::BadCredentials)
        };
        let plain = |token| Self { token, api_key: None, client_id: None };
        match door.presentation() {
            Presentation::ApiKey => scheme("ApiKey").map(plain),
            Presentation::Bearer => scheme("Bearer").map(plain),
            Presentation::BearerAndApiKey => Ok(Self {
                token: scheme("Bearer")?,
                api_key: Some(only("apikey")?),
                client_id: Some(only("x-clientid")?),
            }),
            Presentation::XApiKey => only("x-api-key").map(plain),
        }
    }

    /// The token: a secret.
    pub(super) fn expose_token(&self) -> &'a str {
        self.token
    }
}

/// All clients.
#[derive(Debug, Default)]
pub struct Clients {
    by_door: [Vec<Arc<Client>>; Door::ALL.len()],
    issuer: Option<Issuer>,
}

impl Clients {
    /// Collects clients. Who was there before goes on with the rate it has used up.
    #[must_use]
    pub fn new(clients: Vec<Client>, issuer: Option<Issuer>, before: Option<&Self>) -> Self {
        let mut all = Self { issuer, ..Self::default() };
        for mut client in clients {
            let had = before.and_then(|before| before.named(&client.name));
            if let Some(had) = had.filter(|had| had.bucket.is_like(&client.bucket)) {
                client.bucket = Arc::clone(&had.bucket);
            }
            let client = Arc::new(client);
            for (door, clients) in Door::ALL.into_iter().zip(&mut all.by_door) {
                if client.doors.contains(&door) {
                    clients.push(Arc::clone(&client));
                }
            }
        }
        all
    }

    fn named(&self, name: &str) -> Option<&Arc<Client>> {
        self.by_door.iter().flatten().find(|client| &*client.name == name)
    }

    /// The client of these credentials at this door. Every client is compared, in constant time.
    pub(super) fn find(
        &self,
        door: Door,
        presented: Presented<'_>,
        wall: WallMillis,
    ) -> Result<Arc<Client>, Refusal> {
        let token = hashed(presented.token);
        let api_key = presented.api_key.map(hashed);
        let mut found = None;
        let clients = self.by_door.get(door.index()).map(Vec::as_slice).unwrap_or_default();
        for client in clients {
            let Credential::Token { token: want, api_key: second, client_id } = &client.credential
            else {
                continue;
            };
            let mut same = want.ct_eq(&token);
            if door.presentation() == Presentation::BearerAndApiKey {
                same &= match (second, &api_key) {
                    (Some(want), Some(given)) => want.ct_eq(given),
                    _ => Choice::from(0),
                };
                let is_named = client_id.as_deref() == presented.client_id;
                same &= Choice::from(u8::from(is_named));
            }
            if bool::from(same) {
                found = Some(client);
            }
        }
        // A signed token is tried only where no secret is the same: it costs a signature's check.
        let signed = || {
            let issuer = self.issuer.as_ref()?;
            let by_bearer = door.presentation() == Presentation::Bearer;
            let subject = by_bearer.then(|| issuer.subject(presented.token, wall)).flatten()?;
            let is_subject =
                |c: &&Arc<Client>| *c.name == *subject && c.credential == Credential::Jwt;
            clients.iter().find(is_subject)
        };
        found.or_else(signed).cloned().ok_or(Refusal::BadCredentials)
    }
}

/// What is kept of a secret.
#[must_use]
pub fn hashed(secret: &str) -> Hashed {
    Sha256::digest(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn client(name: &str, doors: &[Door], token: &str) -> Client {
        Client {
            name: name.into(),
            doors: doors.to_vec(),
            credential: Credential::Token {
                token: hashed(token),
                api_key: Some(hashed("second")),
                client_id: Some("00970".into()),
            },
            rights: Rights { change: true, ..Rights::default() },
            limits: Arc::default(),
            zpk: Some(KeyId(1)),
            associations: vec![("IVL".into(), KeyId(2))],
            pin_block_format: BlockFormat::Iso0,
            rsa: None,
            signature: None,
            pan_tokens: true,
            bucket: Arc::new(Bucket::new(10, 10)),
        }
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        lines.iter().map(line).collect()
    }

    #[track_caller]
    fn check(door: Door, lines: &[(&'static str, &'static str)], want: &Result<&str, Refusal>) {
        let all = [
            client("bank", &[Door::FirstvisionApac, Door::FirstvisionLatam], "one"),
            client("other", &[Door::Postcard], "two"),
            client("keys", &[Door::P100, Door::Equals], "three"),
        ];
        let clients = Clients::new(all.into(), None, None);
        let headers = headers(lines);
        let found = Presented::of(door, &headers)
            .and_then(|presented| clients.find(door, presented, WallMillis(0)));
        let found = found.as_ref().map(|client| &*client.name).map_err(Clone::clone);
        assert_eq!(&found, want, "{lines:?}");
    }

    #[test]
    fn credentials_by_door() {
        use Door::{Equals, FirstvisionApac, FirstvisionLatam, P100, Postcard};
        use Refusal::{BadCredentials, NoCredentials};
        let bearer = ("authorization", "Bearer one");
        check(FirstvisionApac, &[bearer], &Ok("bank"));
        check(FirstvisionApac, &[("authorization", "bearer  one")], &Ok("bank"));
        check(FirstvisionApac, &[], &Err(NoCredentials));
        check(FirstvisionApac, &[bearer, bearer], &Err(BadCredentials));
        check(FirstvisionApac, &[("authorization", "Bearer")], &Err(BadCredentials));
        check(FirstvisionApac, &[("authorization", "Bearer two")], &Err(BadCredentials));
        check(FirstvisionApac, &[("authorization", "ApiKey one")], &Err(BadCredentials));
        check(Postcard, &[bearer], &Err(BadCredentials));
        check(Postcard, &[("authorization", "Bearer two")], &Ok("other"));
        let (key, id) = (("apikey", "second"), ("x-clientid", "00970"));
        check(FirstvisionLatam, &[bearer, key, id], &Ok("bank"));
        check(FirstvisionLatam, &[bearer, key], &Err(NoCredentials));
        check(FirstvisionLatam, &[bearer, id], &Err(NoCredentials));
        check(FirstvisionLatam, &[bearer, ("apikey", "x"), id], &Err(BadCredentials));
        check(FirstvisionLatam, &[bearer, key, ("x-clientid", "0")], &Err(BadCredentials));
        check(P100, &[("x-api-key", "three")], &Ok("keys"));
        check(P100, &[("x-api-key", "")], &Err(BadCredentials));
        check(P100, &[("authorization", "ApiKey three")], &Err(NoCredentials));
        check(Equals, &[("authorization", "ApiKey three")], &Ok("keys"));
        check(Equals, &[("authorization", "Bearer three")], &Err(BadCredentials));
    }

    #[test]
    fn zone_keys_by_association() {
        let client = client("bank", &[], "one");
        assert_eq!(client.zone_key(""), Some(KeyId(1)));
        assert_eq!(client.zone_key("IVL"), Some(KeyId(2)));
        assert_eq!(client.zone_key("IXX"), None);
    }

    #[test]
    fn a_reload_does_not_refill_the_bucket() {
        let before = Clients::new(vec![client("bank", &[Door::P100], "one")], None, None);
        let first = before.named("bank").unwrap().bucket.clone();
        let after = Clients::new(vec![client("bank", &[Door::P100], "two")], None, Some(&before));
        assert!(Arc::ptr_eq(&first, &after.named("bank").unwrap().bucket));
        let mut faster = client("bank", &[Door::P100], "two");
        faster.bucket = Arc::new(Bucket::new(20, 10));
        let after = Clients::new(vec![faster], None, Some(&before));
        assert!(!Arc::ptr_eq(&first, &after.named("bank").unwrap().bucket));
    }
}
