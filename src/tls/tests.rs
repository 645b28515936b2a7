//! Handshakes over an in-memory stream, with certificates made for the test.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::*;

/// A certificate authority and where its certificate lies.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn authority() -> Authority {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    Authority { pem, issuer: Issuer::new(params, key) }
}

/// Certificate and key in PEM, for one name.
fn issue(authority: &Authority, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    (params.signed_by(&key, &authority.issuer).unwrap().pem(), key.serialize_pem())
}

fn put(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn server(dir: &TempDir, authority: &Authority, client_ca: Option<&Authority>) -> TlsFiles {
    let (certificate, key) = issue(authority, "switch.test");
    TlsFiles {
        certificate: put(dir, "switch.pem", &certificate),
        key: put(dir, "switch.key", &key),
        client_ca: client_ca.map(|ca| put(dir, "atms.pem", &ca.pem)),
    }
}

fn client(trusted: &Authority, own: Option<(String, String)>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.pem.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    TlsConnector::from(Arc::new(config))
}

/// Echoes four bytes through a handshake; the certificate the client saw, or `None` when the server refused.
async fn talk(tls: &Tls, client: &TlsConnector) -> Option<CertificateDer<'static>> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let serve = async {
        let mut stream = tls.acceptor().accept(far).await?;
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).await?;
        stream.write_all(&bytes).await?;
        stream.shutdown().await
    };
    let ask = async {
        let name = ServerName::try_from("switch.test").unwrap();
        let mut stream = client.connect(name, near).await.ok()?;
        stream.write_all(b"0800").await.ok()?;
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).await.ok()?;
        assert_eq!(&bytes, b"0800");
        let chain = stream.get_ref().1.peer_certificates().unwrap();
        Some(chain[0].clone().into_owned())
    };
    let (served, seen) = tokio::join!(serve, ask);
    assert_eq!(served.is_ok(), seen.is_some());
    seen
}

#[tokio::test]
async fn a_client_of_the_authority_is_served_and_no_other() {
    let dir = TempDir::new().unwrap();
    let (ours, atms, strangers) = (authority(), authority(), authority());
    let tls = Tls::load(server(&dir, &ours, Some(&atms))).unwrap();

    let good = client(&ours, Some(issue(&atms, "atm-1.test")));
    assert!(talk(&tls, &good).await.is_some(), "client certificate of the authority");
    let bare = client(&ours, None);
    assert!(talk(&tls, &bare).await.is_none(), "no client certificate");
    let stranger = client(&ours, Some(issue(&strangers, "atm-1.test")));
    assert!(talk(&tls, &stranger).await.is_none(), "client certificate of another authority");

    let open = Tls::load(server(&dir, &ours, None)).unwrap();
    assert!(talk(&open, &bare).await.is_some(), "no client authority configured");
}

#[tokio::test]
async fn reload_serves_the_new_certificate_and_survives_a_bad_one() {
    let dir = TempDir::new().unwrap();
    let ours = authority();
    let files = server(&dir, &ours, None);
    let tls = Tls::load(files.clone()).unwrap();
    let client = client(&ours, None);
    let first = talk(&tls, &client).await.unwrap();

    server(&dir, &ours, None);
    assert_eq!(talk(&tls, &client).await.as_ref(), Some(&first), "not before the reload");
    tls.reload().unwrap();
    let second = talk(&tls, &client).await.unwrap();
    assert_ne!(second, first);

    std::fs::write(&files.certificate, "nonsense").unwrap();
    assert!(tls.reload().is_err());
    assert_eq!(talk(&tls, &client).await.as_ref(), Some(&second), "goes on with what it had");
}

#[track_caller]
fn check(files: &TlsFiles, file: &Path, want: &str) {
    let error = Tls::load(files.clone()).unwrap_err().to_string();
    assert!(error.contains(&file.display().to_string()) && error.contains(want), "{error}");
}

#[test]
fn errors_name_file_and_reason() {
    let dir = TempDir::new().unwrap();
    let ours = authority();
    let good = server(&dir, &ours, Some(&ours));
    let missing = dir.path().join("missing.pem");
    let nonsense = put(&dir, "nonsense.pem", "nonsense");
    let cut = put(&dir, "cut.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    let not_base64 =
        put(&dir, "b64.pem", "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n");
    let not_der =
        put(&dir, "der.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let other_key = put(&dir, "other.key", &issue(&ours, "switch.test").1);

    let with = |certificate: &Path| TlsFiles { certificate: certificate.into(), ..good.clone() };
    check(&with(&missing), &missing, "cannot be read");
    check(&with(&nonsense), &nonsense, "holds no certificate");
    check(&with(&cut), &cut, "no END line");
    check(&with(&not_base64), &not_base64, "not base64");
    check(&with(&not_der), &not_der, "certificate");

    let with = |key: &Path| TlsFiles { key: key.into(), ..good.clone() };
    check(&with(&missing), &missing, "cannot be read");
    check(&with(&good.certificate), &good.certificate, "holds no private key");
    check(&with(&other_key), &other_key, "");

    let with = |ca: &Path| TlsFiles { client_ca: Some(ca.into()), ..good.clone() };
    check(&with(&missing), &missing, "cannot be read");
    check(&with(&nonsense), &nonsense, "holds no certificate");
    check(&with(&not_der), &not_der, "certificate 1 is unusable");
}

/// Expected values by `date -u -d '2031-01-01' +%s`.
#[test]
fn the_first_end_of_a_file() {
    let dir = TempDir::new().unwrap();
    let until = |year| {
        let mut params = CertificateParams::new(["switch.test".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        params
    };
    let leaf = |year| until(year).self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    let mut ca = until(2031);
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let ca = ca.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    for (what, text, end) in [
        ("a certificate", leaf(2033), 1_988_150_400),
        ("an authority", ca.clone(), 1_924_992_000),
        ("a chain", leaf(2033) + &ca, 1_924_992_000),
        ("the other way round", ca.clone() + &leaf(2033), 1_924_992_000),
        ("one that has ended", leaf(2001), 978_307_200),
        ("later than two digits of a year go", leaf(2051), 2_556_144_000),
    ] {
        let file = put(&dir, "certificates.pem", &text);
        assert_eq!(first_end(&file).unwrap(), Some(end), "{what}");
    }
    let missing = first_end(Path::new("/nowhere/at.pem"));
    assert!(matches!(missing, Err(TlsError::Read { .. })), "{missing:?}");
}
