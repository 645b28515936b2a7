//! The doors behind TLS: HTTP/2 and HTTP/1.1 by ALPN, many requests on one connection.
//!
//! **Never here:** certificates of clients (`crate::tls` shows those of links; the loader is the same).

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, KeyPair};
use rustix::process::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::client::{Doors, P100, clients, place};
use crate::support::eventually;
use crate::support::node::Place;

const NAME: &str = "switch.test";

/// Doors behind TLS, and the certificate they show.
fn doors() -> (Doors, String) {
    let tls = "[http.tls]\ncertificate = \"http.pem\"\nkey = \"http.key\"\n";
    let (place, port) = place(&clients(), tls);
    let certificate = write_certificate(&place);
    (Doors::of((place, port)), certificate)
}

/// A new certificate and its key where the configuration names them.
fn write_certificate(place: &Place) -> String {
    let key = KeyPair::generate().expect("a key");
    let parameters = CertificateParams::new([NAME.to_owned()]).expect("a name");
    let certificate = parameters.self_signed(&key).expect("signed").pem();
    std::fs::write(place.path("http.pem"), &certificate).expect("written");
    std::fs::write(place.path("http.key"), key.serialize_pem()).expect("written");
    certificate
}

/// SIGHUP takes a new certificate: whoever trusts only the new one is served then.
#[test]
fn a_new_certificate_is_taken_without_a_restart() {
    let (doors, _) = doors();
    let certificate = write_certificate(&doors.node.place);
    doors.node.signal(Signal::HUP);
    eventually("the new certificate", || {
        let mut served = None;
        run(async { served = try_connect(&doors, &certificate, b"http/1.1").await });
        served
    });
}

async fn connect(doors: &Doors, certificate: &str, protocol: &[u8]) -> TlsStream<TcpStream> {
    try_connect(doors, certificate, protocol).await.expect("a session")
}

async fn try_connect(
    doors: &Doors,
    certificate: &str,
    protocol: &[u8],
) -> Option<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
    roots.add(certificate).expect("added");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(("127.0.0.1", doors.port)).await.expect("connected");
    let name = ServerName::try_from(NAME).expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()
}

fn request(path: &str, pin: &str) -> Request<Full<Bytes>> {
    let body = json!({ "externalUserId": P100.0, "cardId": P100.1, "pin": pin }).to_string();
    Request::builder()
        .method("PATCH")
        .uri(path)
        .header("host", NAME)
        .header("x-api-key", "t-p100")
        .body(Full::from(body))
        .expect("a request")
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test);
}

#[test]
fn http_2() {
    let (doors, certificate) = doors();
    run(async {
        let stream = connect(&doors, &certificate, b"h2").await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let io = TokioIo::new(stream);
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("h2");
        tokio::spawn(connection);
        // All at once on one connection; each sets the PIN of the one card.
        let asks = (0..50).map(|_| {
            let mut sender = sender.clone();
            async move {
                let request = request("https://switch.test/v1/card/pin", "1379");
                let answer = sender.send_request(request).await.expect("an answer");
                let status = answer.status().as_u16();
                (status, answer.into_body().collect().await.expect("a body").to_bytes())
            }
        });
        for (status, body) in futures_util::future::join_all(asks).await {
            assert_eq!(
                (status, &body[..]),
                (200, &br#"{"message":"Card pin updated successfully"}"#[..])
            );
        }
    });
}

#[test]
fn http_1() {
    let (doors, certificate) = doors();
    run(async {
        let stream = connect(&doors, &certificate, b"http/1.1").await;
        let io = TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.expect("h1");
        tokio::spawn(connection);
        for _ in 0..3 {
            sender.ready().await.expect("ready");
            let answer = sender.send_request(request("/v1/card/pin", "2580")).await;
            let answer = answer.expect("an answer");
            assert_eq!(answer.status(), 200);
            answer.into_body().collect().await.expect("a body");
        }
    });
}
