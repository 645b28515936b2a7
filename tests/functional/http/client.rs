//! A node with HTTP doors, and the lines of HTTP the tests send it.
//!
//! **Never here:** a test.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::iso::ISO87_ASCII;
use crate::support::node::{Link, Node, Place, done};
use crate::support::ports::free_port;
use crate::support::wire::tcp;

/// Owner and card of seed 003.
pub(crate) const P100: (&str, &str) =
    ("985f38c8-9a33-423b-86be-86a5997feaa9", "9eefa38e-6db4-40de-bc1b-719cd9d2cf05");
/// Account, person and card of seed 004.
pub(crate) const EQUALS: (&str, &str, &str) =
    ("F12345", "775596ae-2624-40af-a9dc-9756110a4a04", "e9293471-5eb3-4dbc-916c-dbaf9e2deefd");

/// A key file with an RSA key pair beside the world's keys, and the public half. Making one takes a while.
pub(crate) static RSA: LazyLock<(PathBuf, String)> = LazyLock::new(|| {
    let place = Place::new(vec![Link::new("atm-1", &ISO87_ASCII)]);
    let at = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory").keep();
    let path = |name: &str| place.path(name).display().to_string();
    let (keys, lmk) = (path("keys.toml"), path("lmk.key"));
    let files = ["keys", "--keys", &keys, "--lmk", &lmk, "--allow-test-keys"];
    done(&[&files[..], &["generate", "rsa.postcard", "--type", "RSA"]].concat(), "");
    let public = done(&[&files[..], &["public", "rsa.postcard"]].concat(), "");
    std::fs::copy(&keys, at.join("keys.toml")).expect("copied");
    (at, public)
});

/// A running switch with one ISO link and the doors.
pub(crate) struct Doors {
    pub(crate) node: Node,
    pub(crate) port: u16,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    /// Reads one from a stream that its peer closes after it.
    pub(crate) fn read(stream: &mut impl Read) -> Self {
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text}"));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value)
    }
}

/// The clients of most tests: one a door, `t-` and the door's short name as its token.
pub(crate) fn clients() -> String {
    let digest = |secret: &str| hex::encode(Sha256::digest(secret));
    let client = |name: &str, door: &str, more: &str| {
        let token = digest(&format!("t-{name}"));
        format!(
            "[[client]]\nname = \"{name}\"\ndoors = [\"{door}\"]\ntoken_sha256 = \"{token}\"\n\
             per_second = 10000\nburst = 10000\n{more}\n"
        )
    };
    let zpk = "zpk = \"zpk.atm\"\nkey_associations = { IAT = \"zpk.atm\" }\n";
    let latam = format!(
        "{zpk}organizations = [600]\nclient_id = \"00970\"\napi_key_sha256 = \"{}\"\n",
        digest("k-latam")
    );
    let no_tokens = latam.clone() + "pan_tokens = false\n";
    let postcard = "rsa_key = \"rsa.postcard\"\n";
    let set = "rights = [\"set\"]\n";
    [
        client("latam", "firstvision-latam", &latam),
        client("latam-plain", "firstvision-latam", &no_tokens),
        client("apac", "firstvision-apac", zpk),
        client("postcard", "postcard", postcard),
        client("p100", "p100", set),
        client("p100-none", "p100", "rights = [\"reveal\"]\n"),
        client("equals", "equals", "rights = [\"set\", \"reveal\"]\n"),
        client("equals-set", "equals", set),
    ]
    .concat()
}

/// A place with doors and these clients; nothing runs yet.
pub(crate) fn place(clients: &str, more: &str) -> (Place, u16) {
    let rights = r#"rights = ["change", "reverse", "verify", "unblock"]"#;
    let place = Place::new(vec![Link::new("atm-1", &ISO87_ASCII).with(rights)]);
    let port = free_port();
    let http =
        format!("[http]\nlisten = \"127.0.0.1:{port}\"\nclients = \"clients.toml\"\n{more}\n[log]");
    place.replace("[log]", &http);
    std::fs::copy(Path::new(&RSA.0).join("keys.toml"), place.path("keys.toml")).expect("copied");
    std::fs::write(place.path("clients.toml"), clients).expect("written");
    (place, port)
}

impl Doors {
    /// With the usual clients.
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::of(place(&clients(), ""))
    }

    #[track_caller]
    pub(crate) fn of((place, port): (Place, u16)) -> Self {
        Self { node: place.start(), port }
    }

    /// Sends one request on a connection of its own.
    #[track_caller]
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut stream = self.begin(method, path, headers, body.len());
        // The node may refuse a body before it has come whole.
        let _ = stream.write_all(body.as_bytes());
        Answer::read(&mut stream)
    }

    /// Sends the head of one request.
    pub(crate) fn begin(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        length: usize,
    ) -> TcpStream {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").expect("text");
        }
        write!(head, "Content-Length: {length}\r\n\r\n").expect("text");
        let mut stream = tcp(self.port);
        stream.write_all(head.as_bytes()).expect("written");
        stream
    }

    #[track_caller]
    pub(crate) fn latam(&self, body: &Value) -> Answer {
        self.latam_as("t-latam", body)
    }

    #[track_caller]
    pub(crate) fn latam_as(&self, token: &str, body: &Value) -> Answer {
        let token = format!("Bearer {token}");
        let headers =
            [("authorization", token.as_str()), ("apikey", "k-latam"), ("x-clientid", "00970")];
        self.ask("PUT", "/cards/pin/pin-change", &headers, &body.to_string())
    }

    #[track_caller]
    pub(crate) fn apac(&self, instrument: &str, body: &str) -> Answer {
        let headers = [("authorization", "Bearer t-apac"), ("content-type", "application/json")];
        self.ask("PUT", &format!("/v1/cards/{instrument}/pinBlockChange"), &headers, body)
    }

    #[track_caller]
    pub(crate) fn postcard(&self, query: &str, body: &Value) -> Answer {
        let path = format!("/card-management/api/v1/card/changePin?{query}");
        self.ask("POST", &path, &[("authorization", "Bearer t-postcard")], &body.to_string())
    }

    #[track_caller]
    pub(crate) fn p100(&self, body: &Value) -> Answer {
        self.ask("PATCH", "/v1/card/pin", &[("x-api-key", "t-p100")], &body.to_string())
    }

    #[track_caller]
    pub(crate) fn equals(
        &self,
        method: &str,
        (account, person, card): (&str, &str, &str),
        query: &str,
        body: &str,
    ) -> Answer {
        let path = format!("/v2/cards/{card}/pin?accountId={account}&personId={person}{query}");
        self.ask(method, &path, &[("authorization", "ApiKey t-equals")], body)
    }
}

/// A text as a client of `postcard` encrypts it: AWS-LC's own OAEP, hex.
pub(crate) fn encrypted(_: &Doors, text: &str) -> String {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(RSA.1.as_bytes()).expect("PEM");
    let key = PublicEncryptingKey::from_der(&der).expect("a key");
    let key = OaepPublicEncryptingKey::new(key).expect("a key for OAEP");
    let mut cipher = vec![0; key.ciphertext_size()];
    let cipher = key.encrypt(&OAEP_SHA256_MGF1SHA256, text.as_bytes(), &mut cipher, None);
    hex::encode(cipher.expect("encrypted"))
}
