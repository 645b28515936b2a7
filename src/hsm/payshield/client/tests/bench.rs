//! A software module, simulated devices, and a client of theirs, all with the same keys.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::domain::clock::{Clock, SystemClock};
use crate::domain::pan::{Account12, Pan};
use crate::domain::pin::{BlockFormat, KeyId, LmkPin, Method, ZonePin};
use crate::hsm::Hsm;
use crate::hsm::key::{Algorithm, ClearKey, KeyType, TestKeys, check_value};
use crate::hsm::lmk::Lmk;
use crate::hsm::payshield::client::{
    DeviceSettings, KeyKind, KeyPlan, KeySettings, PayShield, Running, Settings, StartError, Token,
};
use crate::hsm::payshield::simulator::{self, Kind, Options, Setup};
use crate::hsm::payshield::wire::key::KeyType as Code;
use crate::hsm::soft::SoftHsm;
use crate::iso8583::Charset;
use crate::peer::breaker::BreakerRule;

/// Name, kind, usage in a key block, clear value: random bytes of odd parity.
const KEYS: &[(&str, KeyKind, &[u8; 2], &str)] = &[
    ("ac.chip", KeyKind::MkAc, b"E0", "FEDCBA98765432100123456789ABCDEF"),
    ("bdk", KeyKind::Bdk, b"B0", "C8A16DABB957C1761652C1A49E836294"),
    ("pvk.ibm", KeyKind::Pvk, b"V1", "54A1521FDA7083E9C83E9EC4263786EC"),
    ("pvk.policy", KeyKind::Pvk, b"V2", "0B169746643829CD0489A8AB8A268016"),
    ("pvk.visa", KeyKind::Pvk, b"V2", "C8199237EA5857BC40EF9DA2B5E96BBF"),
    ("smc.chip", KeyKind::MkSmc, b"E1", "10101010101010102323232323232323"),
    ("smi.chip", KeyKind::MkSmi, b"E2", "0123456789ABCDEFFEDCBA9876543210"),
    ("zak", KeyKind::Zak, b"M3", "7962D9ECE03D1ACD4C76089DCE131543"),
    ("zmk", KeyKind::Zmk, b"K0", "851A0D9D0B2A1602622AD0B0E9E6B070"),
    ("zpk.a", KeyKind::Zpk, b"P0", "C7152C20BC2C830EA7EC9E8334ABE3FE"),
    ("zpk.b", KeyKind::Zpk, b"P0", "98519E45CBB9291F49EFAD4AFEFDDC79"),
    ("zpk.transit", KeyKind::Zpk, b"P0", "5BE64AE3869D7080A48C52E9B61525AB"),
];

pub(super) fn bytes(hex: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(hex::decode(hex).unwrap())
}

fn clear(name: &str) -> &'static str {
    KEYS.iter().find(|key| key.0 == name).unwrap().3
}

/// The software module the client is compared with.
pub(super) fn soft() -> SoftHsm {
    let keys = KEYS.iter().map(|(name, kind, _, hex)| {
        let test = TestKeys::Allowed;
        ClearKey::new(name, kind.key_type(), Algorithm::Tdes, bytes(hex), test).unwrap()
    });
    SoftHsm::from_clear(keys, &Lmk::demo(), clock()).unwrap()
}

pub(super) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::start())
}

pub(super) fn token(lmk: Kind, kind: KeyKind, usage: [u8; 2], hex: &str) -> Token {
    let bare = Token::parse(b"0123456789ABCDEF").unwrap();
    let Code(code) = kind.code(&bare);
    Token::parse(simulator::token(lmk, Code(code), usage, false, &bytes(hex)).unwrap().as_bytes())
        .unwrap()
}

pub(super) fn plan(lmk: Kind) -> KeyPlan {
    let keys = KEYS.iter().map(|(name, kind, usage, hex)| KeySettings {
        name: (*name).into(),
        kind: *kind,
        token: token(lmk, *kind, **usage, hex),
        check_value: check_value(Algorithm::Tdes, &bytes(hex)),
    });
    KeyPlan {
        keys: keys.collect(),
        transit_zpk: Some("zpk.transit".into()),
        policy_pvk: Some("pvk.policy".into()),
    }
}

/// Simulated devices with this LMK.
pub(super) async fn device(lmk: Kind) -> simulator::Running {
    device_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), lmk).await
}

/// One with the variant LMK that is otherwise as this says.
pub(super) async fn device_with(set: impl FnOnce(&mut Setup)) -> simulator::Running {
    device_set(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), set).await
}

pub(super) async fn device_at(address: SocketAddr, lmk: Kind) -> simulator::Running {
    device_set(address, |setup| setup.lmks = vec![lmk]).await
}

async fn device_set(address: SocketAddr, set: impl FnOnce(&mut Setup)) -> simulator::Running {
    let mut options = Options::new(vec![address]);
    set(&mut options.setup);
    options.setup.authorised = true;
    options.setup.settings.header = 6;
    simulator::start(options).await.unwrap()
}

pub(super) fn settings(addresses: &[SocketAddr], lmk: Kind) -> Settings {
    let devices = addresses.iter().zip(1..).map(|(address, number)| DeviceSettings {
        name: format!("hsm-{number}").into(),
        address: address.to_string().into(),
        tls: None,
        lmk: Some(0),
        header: 6,
        charset: Charset::Ascii,
        connections: 2,
        window: 64,
        in_flight: 256,
        timeout: Duration::from_millis(500),
        connect_time: Duration::from_millis(500),
        breaker: BreakerRule { failures: 5, open: Duration::from_millis(100), eject_share: 1.0 },
    });
    let mut lmk_check_value = [0; 3];
    hex::decode_to_slice(&lmk.check_value()[..6], &mut lmk_check_value).unwrap();
    Settings {
        devices: devices.collect(),
        lmk_check_value,
        firmware: Vec::new(),
        pin_digits: 13,
        health: Duration::from_millis(200),
        reconnect: Duration::from_millis(10),
        reconnect_max: Duration::from_millis(50),
        tables: Vec::new(),
        state: None::<PathBuf>,
    }
}

/// A client that is connected.
pub(super) struct Client {
    pub(super) hsm: Arc<PayShield>,
    pub(super) running: Running,
}

pub(super) async fn start(settings: Settings, plan: &KeyPlan) -> Result<Client, StartError> {
    let vault = SoftHsm::from_clear([], &Lmk::demo(), clock()).unwrap();
    let hsm = Arc::new(PayShield::open(settings, plan, vault, clock()).unwrap());
    let running = hsm.start().await?;
    Ok(Client { hsm, running })
}

/// A client of one device, and the device.
pub(super) async fn one(lmk: Kind) -> (Client, simulator::Running) {
    let device = device(lmk).await;
    let client = start(settings(device.ports(), lmk), &plan(lmk)).await.unwrap();
    client.hsm.diagnose().await.expect("usable");
    (client, device)
}

pub(super) fn account() -> Account12 {
    Pan::parse(b"4761739001010010").unwrap().account12()
}

pub(super) fn visa(hsm: &impl Hsm) -> Method {
    Method::VisaPvv { pvk: hsm.key("pvk.visa").unwrap(), pvki: b'1' }
}

pub(super) fn ibm(hsm: &impl Hsm) -> Method {
    Method::Ibm3624 {
        pvk: hsm.key("pvk.ibm").unwrap(),
        decimalization_table: *b"0123456789012345",
        validation_start: 3,
        validation_length: 12,
        validation_pad: b'F',
    }
}

/// A block of this PIN, made by the software module.
pub(super) async fn block(soft: &SoftHsm, pin: &[u8], key: &str, format: BlockFormat) -> ZonePin {
    let sealed = lmk_pin(soft, pin).await;
    let id = soft.key(key).unwrap();
    soft.from_lmk(&sealed, id, format, &account()).await.unwrap()
}

pub(super) async fn lmk_pin(hsm: &impl Hsm, pin: &[u8]) -> LmkPin {
    hsm.encrypt_pin(Zeroizing::new(pin.to_vec()), &account()).await.unwrap()
}

/// The same block, its key named as `hsm` knows it.
pub(super) fn as_of(hsm: &impl Hsm, soft: &SoftHsm, pin: &ZonePin) -> ZonePin {
    let name = soft.name_of(pin.key()).unwrap();
    let id: KeyId = hsm.key(&name).unwrap();
    ZonePin::new(pin.block(), pin.format(), id).unwrap()
}

/// The clear PIN of a block, told by the software module.
pub(super) async fn opened(soft: &SoftHsm, pin: &ZonePin) -> Vec<u8> {
    let sealed = soft.to_lmk(pin, &account()).await.unwrap();
    soft.reveal(&sealed, &account()).await.unwrap().to_vec()
}

/// A zone key as a partner sends it: under the ZMK, X9.17.
pub(super) fn wrapped(hex: &str) -> Vec<u8> {
    use des::cipher::{BlockCipherEncrypt, KeyInit};
    let zmk = bytes(clear("zmk"));
    let cipher = des::TdesEde2::new_from_slice(&zmk).unwrap();
    let mut key = hex::decode(hex).unwrap();
    for part in key.as_chunks_mut::<8>().0 {
        cipher.encrypt_block(part.into());
    }
    key
}

/// The check value of a test key.
pub(super) fn check_of(hex: &str) -> [u8; 3] {
    check_value(Algorithm::Tdes, &bytes(hex))
}

/// Its type in the key file, for what the software module must not hold.
pub(super) fn zpk_in_clear() -> ClearKey {
    let (test, bytes) = (TestKeys::Allowed, bytes(clear("zpk.a")));
    ClearKey::new("zpk.other", KeyType::Zpk, Algorithm::Tdes, bytes, test).unwrap()
}
