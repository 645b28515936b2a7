//! Devices that answer late, in another order, wrongly, not at all, or that are others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::domain::pin::{BlockFormat, PresentedPin, Reference};
use crate::hsm::payshield::client::tests::bench::*;
use crate::hsm::payshield::client::{DeviceStatus, PayShield, StartError};
use crate::hsm::payshield::simulator::{FaultRules, Kind, Running as Device};
use crate::hsm::payshield::wire::field::Firmware;
use crate::hsm::{Hsm, HsmError, Verdict};

fn ports(devices: &[&Device]) -> Vec<SocketAddr> {
    devices.iter().flat_map(|device| device.ports().to_vec()).collect()
}

fn faults(change: impl FnOnce(&mut FaultRules)) -> FaultRules {
    let mut rules = FaultRules::default();
    change(&mut rules);
    rules
}

pub(super) async fn until(hsm: &PayShield, what: &str, fits: impl Fn(&[DeviceStatus]) -> bool) {
    let waited = async {
        while !fits(&hsm.devices()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), waited).await;
    assert!(waited.is_ok(), "{what}: {:?}", hsm.devices());
}

/// So many verifications at once, alternately of a right and of a wrong PIN: how many were answered right, and how many
/// not at all. A wrong answer fails.
async fn verify_many(hsm: &Arc<PayShield>, count: usize) -> (usize, usize) {
    let soft = soft();
    let reference = Reference::Pvv(pvv(hsm).await);
    let mut asked = tokio::task::JoinSet::new();
    for n in 0..count {
        let (pin, want) =
            if n % 2 == 0 { (b"7268", Verdict::Right) } else { (b"1357", Verdict::Wrong) };
        let made = block(&soft, pin, "zpk.a", BlockFormat::Iso0).await;
        let pin = PresentedPin::Zone(as_of(hsm, &soft, &made));
        let hsm = Arc::clone(hsm);
        asked.spawn(async move {
            match hsm.verify(&pin, &account(), &visa(&hsm), &reference).await {
                Ok(verdict) => {
                    assert_eq!(verdict, want);
                    true
                }
                Err(error) => {
                    assert_eq!(error, HsmError::Unavailable);
                    false
                }
            }
        });
    }
    let answered = asked.join_all().await;
    let done = answered.iter().filter(|answered| **answered).count();
    (done, count - done)
}

/// The PVV of 7268.
async fn pvv(hsm: &PayShield) -> [u8; 4] {
    let soft = soft();
    let new = PresentedPin::Lmk(lmk_pin(&soft, b"7268").await);
    let rules = crate::domain::pin::PinRules { lengths: 16, ..Default::default() };
    let _ = hsm;
    match soft.derive(&new, &account(), &visa(&soft), &rules, &Reference::None).await {
        Ok(Reference::Pvv(pvv)) => pvv,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_in_any_order_and_in_pieces_find_their_commands() {
    let (client, device) = one(Kind::Variant).await;
    device
        .tell(faults(|rules| (rules.reorder, rules.reorder_ms, rules.partial) = (0.7, 30, true)))
        .unwrap();
    assert_eq!(verify_many(&client.hsm, 200).await, (200, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_device_loses_another_is_asked() {
    let devices = [device(Kind::Variant).await, device(Kind::Variant).await];
    let all = ports(&[&devices[0], &devices[1]]);
    let mut settings = settings(&all, Kind::Variant);
    settings.devices.iter_mut().for_each(|device| device.timeout = Duration::from_millis(150));
    let client = start(settings, &plan(Kind::Variant)).await.unwrap();
    devices[0].tell(faults(|rules| rules.loss = 0.3)).unwrap();
    assert_eq!(verify_many(&client.hsm, 60).await, (60, 0));
    devices[0].tell(faults(|rules| rules.close = 0.5)).unwrap();
    assert_eq!(verify_many(&client.hsm, 60).await, (60, 0));
    // A code that says the device cannot work; of NC it would keep it out.
    let broken = faults(|rules| rules.errors = [("EC".to_owned(), "41".to_owned())].into());
    devices[0].tell(broken).unwrap();
    assert_eq!(verify_many(&client.hsm, 60).await, (60, 0));
    // One about keys is an answer: nobody else is asked.
    let other = faults(|rules| rules.errors = [("EC".to_owned(), "10".to_owned())].into());
    for device in &devices {
        device.tell(other.clone()).unwrap();
    }
    let soft = soft();
    let pin = as_of(&client.hsm, &soft, &block(&soft, b"7268", "zpk.a", BlockFormat::Iso0).await);
    let reference = Reference::Pvv(*b"1234");
    let answer = client.hsm.verify(&pin.into(), &account(), &visa(&client.hsm), &reference).await;
    assert_eq!(answer, Err(HsmError::KeyUnusable));
}

/// Two devices that answer after 200 ms: one has so much time, the other never answers in its own, and what it was
/// asked is done by the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_device_has_its_own_time() {
    let devices = [device(Kind::Variant).await, device(Kind::Variant).await];
    let mut settings = settings(&ports(&[&devices[0], &devices[1]]), Kind::Variant);
    settings.devices[0].timeout = Duration::from_secs(5);
    settings.devices[1].timeout = Duration::from_millis(100);
    let client = start(settings, &plan(Kind::Variant)).await.unwrap();
    for device in &devices {
        device.tell(faults(|rules| rules.latency_ms = 200)).unwrap();
    }
    assert_eq!(verify_many(&client.hsm, 40).await, (40, 0));
    until(&client.hsm, "the second is found out", |devices| devices[1].state != "up").await;
    assert_eq!(client.hsm.devices()[0].state, "up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_goes_and_comes_is_used_again() {
    let devices = [device(Kind::Variant).await, device(Kind::Variant).await];
    let all = ports(&[&devices[0], &devices[1]]);
    let client = start(settings(&all, Kind::Variant), &plan(Kind::Variant)).await.unwrap();
    let hsm = &client.hsm;
    let [first, second] = devices;
    first.stop().await;
    until(hsm, "one is gone", |devices| devices[0].state == "down").await;
    assert_eq!(verify_many(hsm, 50).await, (50, 0));
    second.stop().await;
    until(hsm, "both are gone", |devices| devices.iter().all(|device| device.state == "down"))
        .await;
    assert_eq!(hsm.diagnose().await, Err(HsmError::Unavailable));
    assert_eq!(verify_many(hsm, 4).await, (0, 4));
    let _back = device_at(all[0], Kind::Variant).await;
    until(hsm, "one is back", |devices| devices[0].state == "up").await;
    assert_eq!(hsm.diagnose().await, Ok(()));
    assert_eq!(verify_many(hsm, 50).await, (50, 0));
    client.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_device_is_found_out_and_comes_back() {
    let (client, device) = one(Kind::Variant).await;
    let hsm = &client.hsm;
    device.tell(faults(|rules| rules.loss = 1.0)).unwrap();
    assert_eq!(verify_many(hsm, 20).await, (0, 20));
    until(hsm, "it is down", |devices| devices[0].state != "up").await;
    device.tell(FaultRules::default()).unwrap();
    until(hsm, "it is up", |devices| devices[0].state == "up").await;
    assert_eq!(verify_many(hsm, 20).await, (20, 0));
}

#[tokio::test]
async fn a_device_with_another_lmk_is_quarantined() {
    let devices = [device(Kind::TdesBlock).await, device(Kind::Variant).await];
    let all = ports(&[&devices[0], &devices[1]]);
    let client = start(settings(&all, Kind::Variant), &plan(Kind::Variant)).await.unwrap();
    let status = client.hsm.devices();
    assert_eq!((status[0].state, status[1].state), ("quarantined", "up"));
    let why = status[0].last_error.as_deref().unwrap();
    assert!(why.contains("165126"), "{why}");
    assert_eq!(verify_many(&client.hsm, 10).await, (10, 0));
    // The right LMK is loaded into it.
    let [other, _second] = devices;
    other.stop().await;
    let _right = device_at(all[0], Kind::Variant).await;
    until(&client.hsm, "it is up", |devices| devices[0].state == "up").await;
}

#[tokio::test]
async fn a_device_whose_firmware_is_not_listed_is_quarantined() {
    let upgraded = device_with(|setup| setup.firmware = Firmware(*b"1084-0907")).await;
    let devices = [upgraded, device(Kind::Variant).await];
    let all = ports(&[&devices[0], &devices[1]]);
    let mut settings = settings(&all, Kind::Variant);
    settings.firmware = vec!["1084-0905".into(), "1084-0906".into()];
    let client = start(settings, &plan(Kind::Variant)).await.unwrap();
    let status = client.hsm.devices();
    assert_eq!((status[0].state, status[1].state), ("quarantined", "up"));
    let why = status[0].last_error.as_deref().unwrap();
    assert!(why.contains("1084-0907") && why.contains("hsm.firmware"), "{why}");
    assert_eq!(verify_many(&client.hsm, 10).await, (10, 0));
    // It goes back to what it was.
    let [upgraded, _second] = devices;
    upgraded.stop().await;
    let _back = device_at(all[0], Kind::Variant).await;
    until(&client.hsm, "it is up", |devices| devices[0].state == "up").await;
}

#[tokio::test]
async fn a_key_that_is_another_refuses_the_start() {
    let device = device(Kind::Variant).await;
    let mut plan = plan(Kind::Variant);
    plan.keys.iter_mut().find(|key| &*key.name == "zpk.b").unwrap().check_value = [1, 2, 3];
    let refused = start(settings(device.ports(), Kind::Variant), &plan).await.err();
    let Some(StartError::Key { name, why, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(
        (&*name, why.contains("4FE9FD, the configuration says 010203")),
        ("zpk.b", true),
        "{why}"
    );
    // A token of another type.
    let mut plan = crate::hsm::payshield::client::tests::bench::plan(Kind::Variant);
    let pvk = plan.keys.iter().find(|key| &*key.name == "pvk.visa").unwrap().token.clone();
    plan.keys.iter_mut().find(|key| &*key.name == "zpk.a").unwrap().token = pvk;
    let refused = start(settings(device.ports(), Kind::Variant), &plan).await.err();
    assert!(
        matches!(&refused, Some(StartError::Key { name, .. }) if &**name == "zpk.a"),
        "{refused:?}"
    );
}

/// Nobody listens: the switch starts, and the keys are examined when the device comes.
#[tokio::test]
async fn an_unreachable_device_is_no_reason_not_to_start() {
    let gone = device(Kind::Variant).await;
    let all = gone.ports().to_vec();
    gone.stop().await;
    let client = start(settings(&all, Kind::Variant), &plan(Kind::Variant)).await.unwrap();
    assert_eq!(client.hsm.diagnose().await, Err(HsmError::Unavailable));
    let _device = device_at(all[0], Kind::Variant).await;
    until(&client.hsm, "it is up", |devices| devices[0].state == "up").await;
}

/// It answers NC as a device, and every other command with bytes that are no answer to it.
#[tokio::test]
async fn an_answer_that_cannot_be_read_closes_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut length = [0; 2];
                while stream.read_exact(&mut length).await.is_ok() {
                    let mut body = vec![0; usize::from(u16::from_be_bytes(length))];
                    stream.read_exact(&mut body).await.unwrap();
                    let (header, rest) = body.split_at(6);
                    let answer: &[u8] = match &rest[..2] {
                        b"NC" => b"ND0026860400000000001084-0906",
                        b"BU" => b"BV00",
                        _ => b"??",
                    };
                    let body = [header, answer].concat();
                    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
                    stream.write_all(&[&length[..], &body].concat()).await.unwrap();
                }
            });
        }
    });
    let client = start(settings(&[address], Kind::Variant), &plan(Kind::Variant)).await.unwrap();
    until(&client.hsm, "closed", |devices| {
        devices[0].last_error.as_deref().is_some_and(|why| why.contains("cannot be read"))
    })
    .await;
    assert_eq!(client.hsm.diagnose().await, Err(HsmError::Unavailable));
}

/// The brake of the software module is before the devices.
#[tokio::test]
async fn guesses_at_one_account_come_to_an_end() {
    use crate::hsm::lmk::Lmk;
    use crate::hsm::soft::{SoftHsm, ThrottleLimit};
    let device = device(Kind::Variant).await;
    let limit = ThrottleLimit { wrong: 3, window: Duration::from_hours(1) };
    let vault =
        SoftHsm::from_clear([], &Lmk::demo(), clock()).unwrap().with_throttle(limit).unwrap();
    let settings = settings(device.ports(), Kind::Variant);
    let hsm = Arc::new(PayShield::open(settings, &plan(Kind::Variant), vault, clock()).unwrap());
    let _running = hsm.start().await.unwrap();
    let soft = soft();
    let pin = as_of(&hsm, &soft, &block(&soft, b"1357", "zpk.a", BlockFormat::Iso0).await);
    let reference = Reference::Pvv(pvv(&hsm).await);
    for n in 0..5 {
        let verdict = hsm.verify(&pin.into(), &account(), &visa(&hsm), &reference).await;
        let want = if n < 3 { Ok(Verdict::Wrong) } else { Err(HsmError::Throttled) };
        assert_eq!(verdict, want);
    }
}

/// Certificate and key in PEM for one name, by an authority of the test.
fn issue(authority: &rcgen::Issuer<'_, rcgen::KeyPair>, name: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

/// A device behind TLS that wants a certificate of ours: with it commands go, without it the device is never up.
#[tokio::test]
async fn commands_go_through_tls_with_certificates_on_both_sides() {
    use crate::tls::{ClientFiles, Tls, TlsConnector, TlsFiles};
    let directory = tempfile::TempDir::new().unwrap();
    let put = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let mut params = rcgen::CertificateParams::new([]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let ca = put("ca.pem", &params.self_signed(&key).unwrap().pem());
    let authority = rcgen::Issuer::new(params, key);
    let (device_pem, device_key) = issue(&authority, "payshield.test");
    let (own_pem, own_key) = issue(&authority, "switch.test");
    let tls = Tls::load(TlsFiles {
        certificate: put("device.pem", &device_pem),
        key: put("device.key", &device_key),
        client_ca: Some(ca.clone()),
    });
    let acceptor = tls.unwrap().acceptor();

    let device = device(Kind::Variant).await;
    let plain = device.ports()[0];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut secure) = acceptor.accept(stream).await else { return };
                let mut behind = tokio::net::TcpStream::connect(plain).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut secure, &mut behind).await;
            });
        }
    });
    let own = (put("own.pem", &own_pem), put("own.key", &own_key));
    for (client, name, state) in [
        (Some(own.clone()), "payshield.test", "up"),
        (None, "payshield.test", "down"),
        (Some(own), "other.test", "down"),
    ] {
        let connector =
            TlsConnector::load(&ClientFiles { ca: ca.clone(), identity: client }, name).unwrap();
        let mut settings = settings(&[address], Kind::Variant);
        settings.devices[0].tls = Some(Arc::new(connector));
        let client = start(settings, &plan(Kind::Variant)).await.unwrap();
        assert_eq!(client.hsm.devices()[0].state, state, "{name}");
        if state == "up" {
            assert_eq!(verify_many(&client.hsm, 20).await, (20, 0));
        }
    }
}
