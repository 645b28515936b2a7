//! A link with TLS and client certificates.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustix::process::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::eventually;
use crate::support::iso::ISO87_ASCII;
use crate::support::node::{Link, Node, Place};
use crate::support::request::Terminal;
use crate::support::vectors::{PLAIN, further_cards};
use crate::support::wire::{Connection, framed, tcp};

const ATM: Terminal = Terminal::new(&ISO87_ASCII, "zpk.atm");
const NAME: &str = "switch.test";

/// A certificate authority.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
struct Identity {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        Self::until(2040)
    }

    /// One that ends with the last second before a year.
    fn until(year: i32) -> Self {
        let mut parameters = CertificateParams::new([]).expect("no names");
        parameters.not_after = date_time_ymd(year, 1, 1) - Duration::from_secs(1);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = parameters.self_signed(&key).expect("signed").pem();
        Self { pem, issuer: Issuer::new(parameters, key) }
    }

    fn issue(&self, name: &str) -> Identity {
        self.issue_until(name, 2040)
    }

    /// A certificate that ends with the last second before a year.
    fn issue_until(&self, name: &str, year: i32) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new([name.to_owned()]).expect("a name");
        parameters.not_after = date_time_ymd(year, 1, 1) - Duration::from_secs(1);
        let certificate = parameters.signed_by(&key, &self.issuer).expect("signed").pem();
        Identity { certificate, key: key.serialize_pem() }
    }
}

/// A link that takes clients of `atms` and shows a certificate of `bank`.
fn node(bank: &Authority, atms: &Authority) -> Node {
    let tls =
        "tls = { certificate = \"switch.pem\", key = \"switch.key\", client_ca = \"atms.pem\" }";
    let place = Place::new(vec![Link::new("atm-1", &ISO87_ASCII).with(tls)]);
    put_identity(&place, &bank.issue(NAME));
    std::fs::write(place.path("atms.pem"), &atms.pem).expect("written");
    place.start()
}

fn put_identity(place: &Place, identity: &Identity) {
    std::fs::write(place.path("switch.pem"), &identity.certificate).expect("written");
    std::fs::write(place.path("switch.key"), &identity.key).expect("written");
}

type Stream = StreamOwned<ClientConnection, std::net::TcpStream>;

/// A client that trusts `bank` and shows `own`.
fn client(node: &Node, bank: &Authority, own: Option<&Identity>) -> Connection<Stream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(bank.pem.as_bytes()).expect("PEM")).expect("added");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(Identity { certificate, key }) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM"),
            )
            .expect("an identity"),
    };
    let name = ServerName::try_from(NAME).expect("a name");
    let session = ClientConnection::new(Arc::new(config), name).expect("a session");
    let stream = StreamOwned::new(session, tcp(node.place.port("atm-1")));
    Connection { stream, dialect: &ISO87_ASCII, mac: None }
}

/// Whether a request gets an answer.
fn is_served(mut link: Connection<Stream>) -> bool {
    use std::io::{Read, Write};
    let bytes = framed(&link.bytes(&ATM.verify(PLAIN, "1234")));
    let mut first = [0];
    link.stream.write_all(&bytes).and_then(|()| link.stream.read_exact(&mut first)).is_ok()
}

fn refused(node: &Node) -> u64 {
    node.metric("pinion_frames_rejected_total", &[("link", "atm-1"), ("why", "handshake")])
}

#[test]
fn clients_of_the_authority_are_served() {
    let (bank, atms) = (Authority::new(), Authority::new());
    let node = node(&bank, &atms);
    let own = atms.issue("atm-1.test");
    let mut link = client(&node, &bank, Some(&own));
    assert_eq!(link.code(&ATM.change(PLAIN, "1234", "2580")), "00");
    assert_eq!(link.code(&ATM.verify(PLAIN, "2580")), "00");
    let requests: Vec<_> = further_cards().iter().map(|card| ATM.verify(card, "1234")).collect();
    let bytes: Vec<u8> = requests.iter().flat_map(|r| framed(&link.bytes(r))).collect();
    link.send_bytes(&bytes);
    for _ in &requests {
        assert_eq!(link.receive().code(), "00");
    }
    assert_eq!(refused(&node), 0);
}

#[test]
fn others_are_refused_and_counted() {
    let (bank, atms, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let node = node(&bank, &atms);
    let stranger = strangers.issue("atm-1.test");
    for (nth, what, served) in [
        (1, "no certificate", is_served(client(&node, &bank, None))),
        (2, "another authority", is_served(client(&node, &bank, Some(&stranger)))),
    ] {
        assert!(!served, "{what}");
        eventually(what, || (nth <= refused(&node)).then_some(()));
    }
    let mut plain =
        Connection { stream: tcp(node.place.port("atm-1")), dialect: &ISO87_ASCII, mac: None };
    plain.send(&ATM.verify(PLAIN, "1234"));
    // What comes back is at most an alert of TLS, never an answer.
    let answer = {
        use std::io::Read;
        let mut bytes = Vec::new();
        let _ = plain.stream.read_to_end(&mut bytes);
        bytes
    };
    assert!(answer.len() < 10, "plain text was answered with {} bytes", answer.len());
    eventually("plain text is counted", || (3 <= refused(&node)).then_some(()));
    let own = atms.issue("atm-1.test");
    assert!(is_served(client(&node, &bank, Some(&own))), "the link goes on");
}

/// SIGHUP takes a new certificate; connections that are up stay.
#[test]
fn a_new_certificate_without_a_gap() {
    let (bank, other_bank, atms) = (Authority::new(), Authority::new(), Authority::new());
    let node = node(&bank, &atms);
    let own = atms.issue("atm-1.test");
    let mut up = client(&node, &bank, Some(&own));
    assert_eq!(up.code(&ATM.verify(PLAIN, "1234")), "00");
    put_identity(&node.place, &other_bank.issue(NAME));
    node.signal(Signal::HUP);
    eventually("the reload", || node.output().contains("configuration reloaded").then_some(()));
    assert_eq!(up.code(&ATM.verify(PLAIN, "1234")), "00", "the old connection");
    assert!(is_served(client(&node, &other_bank, Some(&own))), "the new certificate");
    assert!(!is_served(client(&node, &bank, Some(&own))), "the old one is gone");
    // A certificate that cannot be read leaves the one in force.
    std::fs::write(node.place.path("switch.pem"), "nonsense").expect("written");
    node.signal(Signal::HUP);
    eventually("the refusal", || node.output().contains("reload refused").then_some(()));
    assert!(is_served(client(&node, &other_bank, Some(&own))));
}

/// When each certificate ends is a metric, of what is in force: a chain ends with the first of its certificates, and a
/// reload tells of the new files. Expected values by `date -u -d '2039-12-31 23:59:59' +%s` and the like.
#[test]
fn the_end_of_each_certificate_is_told() {
    let (bank, atms) = (Authority::until(2045), Authority::until(2038));
    let node = node(&bank, &atms);
    let told = |file: &str| {
        let (_, page) = node.get("/metrics");
        let labels = format!("{{use=\"link\",name=\"atm-1\",file=\"{file}\"}} ");
        let series = format!("pinion_certificate_expires_seconds{labels}");
        page.lines().find_map(|line| line.strip_prefix(&series).map(str::to_owned))
    };
    assert_eq!(told("certificate").expect("a gauge"), "2208988799", "2039-12-31");
    assert_eq!(told("client_ca").expect("a gauge"), "2145916799", "2037-12-31");
    let (_, page) = node.get("/metrics");
    let series = |line: &&str| line.starts_with("pinion_certificate_expires_seconds{");
    assert_eq!(page.lines().filter(series).count(), 2, "one of each file");

    let Identity { certificate, key } = bank.issue_until(NAME, 2050);
    put_identity(&node.place, &Identity { certificate: certificate + &bank.pem, key });
    node.signal(Signal::HUP);
    eventually("the chain's end", || (told("certificate")? == "2366841599").then_some(()));

    // Without TLS nothing ends there; the link's other settings stay.
    let lines = node.place.read();
    let tls = lines.lines().find(|line| line.starts_with("tls = ")).expect("the line").to_owned();
    node.place.replace(&tls, "");
    node.signal(Signal::HUP);
    eventually("no end", || (told("client_ca")? == "NaN").then_some(()));
    assert_eq!(told("certificate").expect("a gauge"), "NaN");
}
